package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/waybill-data/waybill/internal/jetstream"
	"github.com/waybill-data/waybill/internal/monitor"
)

const (
	gaugeEvery   = time.Second
	gaugeWatched = 200 * time.Millisecond // while somebody keeps asking
	watchedFor   = 2 * time.Second        // after each time that somebody asked
	gaugeTimeout = 5 * time.Second        // for one look
)

// gauges look at the queues of an engine.
type gauges map[queueKey]*gauge

// gauge is one queue, looked at about once a second while a pipeline has it open, and more often
// while somebody watches. Whoever asks gets what was seen last.
type gauge struct {
	queue *jetstream.Queue
	open  atomic.Int32 // pipelines that have it open
	asked atomic.Int64 // when somebody asked last, in Unix nanoseconds
	gates map[string]*hop

	mu   sync.Mutex
	seen monitor.Queue
}

func newGauges(e *engine) gauges {
	all := gauges{}
	for _, w := range e.workers {
		q := w.pipeline.Queue.Embedded
		if q == nil {
			continue
		}
		key := queueKey{q.Dir, q.Stream}
		g := all[key]
		if g == nil {
			_, queue := e.queues.of(w.pipeline)
			g = &gauge{queue: queue, gates: map[string]*hop{}}
			g.seen = monitor.Queue{Queue: q.Stream, Dir: q.Dir, MaxBytes: uint64(max(0, q.MaxBytes)), Consumers: []monitor.QueueConsumer{}, Error: "it was not looked at yet"}
			all[key] = g
		}
		g.seen.Pipelines = append(g.seen.Pipelines, w.pipeline.Name)
		for _, h := range w.hops {
			g.gates[h.stream] = h
		}
	}
	return all
}

// Queues is monitor.Queues's. A queue that no pipeline has open is not known.
func (all gauges) Queues() []monitor.Queue {
	queues := all.last()
	for i := range queues {
		all[queueKey{queues[i].Dir, queues[i].Queue}].asked.Store(time.Now().UnixNano())
		if all[queueKey{queues[i].Dir, queues[i].Queue}].open.Load() == 0 {
			queues[i].Known, queues[i].Error = false, "this engine does not have it open"
		}
	}
	return queues
}

// last is what was seen last, for who reports how a run ended.
func (all gauges) last() []monitor.Queue {
	keys := slices.SortedFunc(maps.Keys(all), func(a, b queueKey) int {
		return cmp.Or(cmp.Compare(a.dir, b.dir), cmp.Compare(a.stream, b.stream))
	})
	var queues []monitor.Queue
	for _, key := range keys {
		queues = append(queues, all[key].look())
	}
	return queues
}

func (g *gauge) look() monitor.Queue {
	g.mu.Lock()
	defer g.mu.Unlock()
	q := g.seen
	q.Consumers = slices.Clone(q.Consumers)
	for i := range q.Consumers {
		if h := g.gates[q.Consumers[i].Consumer]; h != nil {
			q.Consumers[i].Paused = h.gate.Paused()
		}
	}
	return q
}

// run looks until ctx ends. While nobody has the queue open, looking would open it.
func (g *gauge) run(ctx context.Context) {
	tick := time.NewTicker(gaugeWatched)
	defer tick.Stop()
	var last time.Time
	for {
		watched := time.Since(time.Unix(0, g.asked.Load())) < watchedFor
		if g.open.Load() > 0 && (watched || time.Since(last) >= gaugeEvery) {
			g.sample(ctx)
			last = time.Now()
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// begin and end enclose a pipeline's use of the queue; end takes a last look.
func (g *gauge) begin() { g.open.Add(1) }

func (g *gauge) end(ctx context.Context) {
	g.sample(context.WithoutCancel(ctx))
	g.open.Add(-1)
}

func (g *gauge) sample(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, gaugeTimeout)
	defer cancel()
	s, err := g.queue.Stats(ctx)
	g.mu.Lock()
	defer g.mu.Unlock()
	if err != nil {
		g.seen.Known, g.seen.Error = false, err.Error()
		return
	}
	q := monitor.Queue{
		Queue: g.seen.Queue, Dir: g.seen.Dir, Pipelines: g.seen.Pipelines, Known: true,
		Messages: s.Messages, Bytes: s.Bytes, MaxBytes: s.MaxBytes, OldestSeconds: s.OldestSeconds, Full: s.Full,
		Consumers: []monitor.QueueConsumer{},
	}
	if q.MaxBytes > 0 {
		q.UsedPercent = 100 * float64(q.Bytes) / float64(q.MaxBytes)
	}
	for _, c := range s.Consumers {
		q.Consumers = append(q.Consumers, monitor.QueueConsumer{
			Consumer: c.Consumer, Subject: c.Subject, Depth: c.Depth, Bytes: c.Bytes, OldestSeconds: c.OldestSeconds, Rate: c.Rate,
		})
	}
	if q.Full {
		q.Why = g.whyFull(q.Consumers)
	}
	g.seen = q
}

// whyFull names the consumer that lacks most, else what else keeps messages there.
func (g *gauge) whyFull(consumers []monitor.QueueConsumer) string {
	most := monitor.QueueConsumer{}
	for _, c := range consumers {
		if c.Bytes > most.Bytes || c.Depth > most.Depth && c.Bytes == most.Bytes {
			most = c
		}
	}
	switch h := g.gates[most.Consumer]; {
	case len(consumers) == 0:
		return "nobody takes anything from it: no consumer is registered"
	case most.Depth == 0 && g.queue.Keep > 0:
		return fmt.Sprintf("it keeps everything for %v (keep)", g.queue.Keep)
	case most.Depth == 0:
		return "there is no room in it"
	case h != nil && h.gate.Paused():
		return fmt.Sprintf("%s lacks %s and is paused", most.Consumer, plural(most.Depth, "message", "messages"))
	default:
		return fmt.Sprintf("%s lacks %s", most.Consumer, plural(most.Depth, "message", "messages"))
	}
}
