package pattern

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/pump"
	"github.com/waybill-data/waybill/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

var (
	errBlip = waybill.AsTransient(errors.New("blip"))
	errBad  = errors.New("wrong password")
)

func pos(n int) waybill.Position {
	if n == 0 {
		return ""
	}
	return waybill.Position(strconv.Itoa(n))
}

func num(p waybill.Position) int {
	n, _ := strconv.Atoi(string(p))
	return n
}

// modelQueue is a bounded log of actions 1, 2, 3 …, from which only goes what all registered
// consumers have. The zero bound is none. A source is one that is filled from the start.
type modelQueue struct {
	mu        sync.Mutex
	first     int // the oldest that is held, from 1
	last      int
	bound     int
	consumers map[string]int
	changed   chan struct{}
	fail      func() error // nil: never; may be asked by anybody
}

func newModelQueue(bound, held int) *modelQueue {
	return &modelQueue{first: 1, last: held, bound: bound, consumers: map[string]int{}, changed: make(chan struct{}), fail: func() error { return nil }}
}

func (q *modelQueue) notify() {
	close(q.changed)
	q.changed = make(chan struct{})
}

func (q *modelQueue) Resume(context.Context, string) (waybill.Position, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return pos(q.last), q.fail()
}

// Write takes as much of the batch as there is room for, and goes on from there when it is tried
// again: a batch may be larger than the queue.
func (q *modelQueue) Write(_ context.Context, b waybill.Batch) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := q.fail(); err != nil {
		return err
	}
	after, upto := num(b.After), num(b.Upto)
	if q.last < after || q.last > upto {
		return &waybill.GapError{Reason: fmt.Sprintf("batch from %d to %d, the queue ends at %d", after, upto, q.last)}
	}
	room := upto - q.last
	if q.bound > 0 {
		room = min(room, q.bound-(q.last-q.first+1))
	}
	q.last += room
	q.notify()
	if q.last < upto {
		return waybill.AsFull(errors.New("the queue is full"))
	}
	return nil
}

func (q *modelQueue) Close() error { return nil }

// modelConsumer reads a modelQueue.
type modelConsumer struct {
	*modelQueue
	name     string
	at       int
	asked    bool // by Head, and not yet answered by Next
	register func() error
}

func (c *modelConsumer) Register(context.Context) error {
	if c.register != nil {
		if err := c.register(); err != nil {
			return err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, known := c.consumers[c.name]; !known {
		c.consumers[c.name] = 0
	}
	return nil
}

func (c *modelConsumer) Open(_ context.Context, after waybill.Position) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, known := c.consumers[c.name]; !known {
		return errors.New("not registered")
	}
	if num(after)+1 < c.first {
		return &waybill.GapError{Stream: c.name, Reason: fmt.Sprintf("%d is wanted, %d the oldest", num(after)+1, c.first)}
	}
	c.at = num(after)
	return c.fail()
}

func (c *modelConsumer) Next(ctx context.Context) (waybill.Batch, error) {
	for {
		c.mu.Lock()
		if err := c.fail(); err != nil {
			c.mu.Unlock()
			return waybill.Batch{}, err
		}
		if c.at < c.last || c.asked {
			break
		}
		changed := c.changed
		c.mu.Unlock()
		select {
		case <-ctx.Done():
			return waybill.Batch{}, ctx.Err()
		case <-changed:
		}
	}
	defer c.mu.Unlock()
	b := waybill.Batch{After: pos(c.at)}
	for range 3 {
		if c.at < c.last {
			c.at++
			b.Actions = append(b.Actions, waybill.Action{ID: strconv.Itoa(c.at), Seq: uint64(c.at), Size: 10, Changes: waybill.ChangeList{}})
		}
	}
	b.Upto = pos(c.at)
	c.asked = c.asked && c.at < c.last
	return b, nil
}

func (c *modelConsumer) Ack(_ context.Context, p waybill.Position) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.consumers[c.name] = max(c.consumers[c.name], num(p))
	low := c.last
	for _, at := range c.consumers {
		low = min(low, at)
	}
	c.first = max(c.first, low+1)
	return nil
}

func (c *modelConsumer) Head(context.Context) (waybill.Position, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked = true
	c.notify()
	return pos(c.last), nil
}

func (c *modelConsumer) Reached(p, head waybill.Position) bool { return num(p) >= num(head) }

func (c *modelConsumer) Close() error { return nil }

// modelTarget holds a dense list of actions.
type modelTarget struct {
	mu   sync.Mutex
	held int
	// fail is asked before each write, with what is held; nil: never.
	fail func(held int) error
}

func (t *modelTarget) holds() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.held
}

func (t *modelTarget) Resume(context.Context, string) (waybill.Position, error) {
	return pos(t.holds()), nil
}

func (t *modelTarget) Write(_ context.Context, b waybill.Batch) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.fail != nil {
		if err := t.fail(t.held); err != nil {
			return err
		}
	}
	if num(b.After) != t.held || b.CheckDense("", uint64(t.held)) != nil {
		return &waybill.GapError{Reason: fmt.Sprintf("batch after %s, %d are held", b.After, t.held)}
	}
	t.held = num(b.Upto)
	return nil
}

func (t *modelTarget) Close() error { return nil }

// line is a pipeline made of models.
type line struct {
	source, queue *modelQueue
	targets       []*modelTarget
	readers       []*modelConsumer
	parts         Parts
	ended         map[string]error
	mu            sync.Mutex
}

// newLine makes a source with n actions, a queue that holds up to bound, and two targets.
func newLine(n, bound int) *line {
	l := &line{source: newModelQueue(0, n), queue: newModelQueue(bound, 0), ended: map[string]error{}}
	l.source.consumers["p/embedded"] = 0
	l.parts.In = l.hop("p/embedded", &modelConsumer{modelQueue: l.source, name: "p/embedded"}, l.queue)
	for _, name := range []string{"p/a", "p/b"} {
		target, reader := &modelTarget{}, &modelConsumer{modelQueue: l.queue, name: name}
		l.targets, l.readers = append(l.targets, target), append(l.readers, reader)
		l.parts.Out = append(l.parts.Out, l.hop(name, reader, target))
	}
	return l
}

func (l *line) hop(stream string, r waybill.Reader, w waybill.Writer) *Hop {
	pipeline, target, _ := strings.Cut(stream, "/")
	return &Hop{
		Stream: stream, Reader: r, Writer: w, MaxActions: 3, Meter: pump.NewMeter(pipeline, target), Gate: pump.NewGate(),
		Ended: func(err error) {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.ended[stream] = err
		},
	}
}

func (l *line) held() []int {
	l.queue.mu.Lock()
	held := []int{l.queue.last}
	l.queue.mu.Unlock()
	for _, t := range l.targets {
		held = append(held, t.holds())
	}
	return held
}

func (l *line) expect(t *testing.T, want ...int) {
	t.Helper()
	if got := l.held(); !slices.Equal(got, want) {
		t.Errorf("queue and targets hold %v, want %v", got, want)
	}
}

func TestQueueUntilCaughtUp(t *testing.T) {
	for _, bound := range []int{0, 3 * atOnce, 5 * atOnce} {
		synctest.Test(t, func(t *testing.T) {
			l := newLine(100, bound)
			l.parts.UntilCaughtUp = true
			if err := Queue(t.Context(), l.parts); err != nil {
				t.Error(err)
			}
			l.expect(t, 100, 100, 100)
			if len(l.ended) != 3 {
				t.Errorf("ended: %v", l.ended)
			}
		})
	}
}

// TestQueueTargetFails: the failure of one target is not that of another, and In is not left
// waiting for the room that the one that failed will never make.
func TestQueueTargetFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLine(100, 4*atOnce)
		l.parts.UntilCaughtUp = true
		l.targets[0].fail = func(held int) error {
			if held >= 6 {
				return errBad
			}
			return nil
		}
		err := Queue(t.Context(), l.parts)
		if !errors.Is(err, errBad) || !strings.HasPrefix(err.Error(), "hop p/a: ") {
			t.Errorf("ended with %v", err)
		}
		if got := l.held(); got[0] < 6 || got[0] > 6+4*atOnce || got[1] != 6 || got[2] != got[0] {
			t.Errorf("held: %v", got)
		}
		if s := l.parts.In.Meter.Snapshot().State; s != pump.Stopped {
			t.Errorf("the first hop is %s", s)
		}
	})
}

func TestQueueGoesOnWithoutATarget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLine(100, 0)
		l.targets[0].fail = func(int) error { return errBad }
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- Queue(ctx, l.parts) }()
		time.Sleep(time.Minute)
		l.expect(t, 100, 0, 100)
		l.mu.Lock()
		if l.ended["p/a"] == nil || len(l.ended) != 1 {
			t.Errorf("ended: %v", l.ended)
		}
		l.mu.Unlock()
		cancel()
		if err := <-done; !errors.Is(err, errBad) {
			t.Error(err)
		}
		if l.queue.first != 1 {
			t.Errorf("the oldest is %d", l.queue.first)
		}
	})
}

func TestQueueSourceFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLine(100, 0)
		l.queue.last = 50
		l.parts.UntilCaughtUp = true
		l.source.fail = func() error { return errBad }
		err := Queue(t.Context(), l.parts)
		if !errors.Is(err, errBad) || !strings.HasPrefix(err.Error(), "hop p/embedded: ") {
			t.Errorf("ended with %v", err)
		}
		l.expect(t, 50, 50, 50)
	})
}

// TestQueueKeepsForThoseNotYetThere: a target that is down from the start misses nothing, though
// another one is through with everything.
func TestQueueKeepsForThoseNotYetThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLine(100, 0)
		blips := 0
		l.readers[1].register = func() error {
			if blips++; blips < 3 {
				return errBlip
			}
			return nil
		}
		var down atomic.Bool
		down.Store(true)
		l.parts.Out[1].Writer = &downTarget{l.targets[1], &down}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- Queue(ctx, l.parts) }()
		time.Sleep(time.Minute)
		l.expect(t, 100, 100, 0)
		down.Store(false)
		time.Sleep(time.Minute)
		l.expect(t, 100, 100, 100)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if l.queue.first != 101 {
			t.Errorf("the oldest is %d", l.queue.first)
		}
	})
}

type downTarget struct {
	*modelTarget
	down *atomic.Bool
}

func (t *downTarget) Resume(ctx context.Context, stream string) (waybill.Position, error) {
	if t.down.Load() {
		return "", errBlip
	}
	return t.modelTarget.Resume(ctx, stream)
}

func TestRelayOnlyAndConsumeOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLine(100, 0)
		l.parts.UntilCaughtUp = true
		relay, consume := l.parts, l.parts
		relay.Out, consume.In = nil, nil
		if err := Queue(t.Context(), relay); err != nil {
			t.Error(err)
		}
		l.expect(t, 100, 0, 0)
		if err := Queue(t.Context(), consume); err != nil {
			t.Error(err)
		}
		l.expect(t, 100, 100, 100)
	})
}

func TestPausedHopEndsUntilCaughtUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLine(100, 4*atOnce)
		l.parts.UntilCaughtUp = true
		l.parts.Out[0].Gate.Set(true)
		if err := Queue(t.Context(), l.parts); !errors.Is(err, pump.ErrPaused) {
			t.Errorf("ended with %v", err)
		}
		if l.targets[0].holds() != 0 || l.targets[1].holds() != l.queue.last {
			t.Errorf("held: %v", l.held())
		}
	})
}

func TestPushToSeveral(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLine(100, 0)
		l.parts.In, l.parts.UntilCaughtUp = nil, true
		for i, h := range l.parts.Out {
			l.source.consumers[h.Stream] = 0
			l.readers[i].modelQueue = l.source
		}
		l.targets[0].fail = func(int) error { return errBad }
		err := Push(t.Context(), l.parts)
		if !errors.Is(err, errBad) || !strings.HasPrefix(err.Error(), "hop p/a: ") || strings.Contains(err.Error(), "p/b") {
			t.Errorf("ended with %v", err)
		}
		l.expect(t, 0, 0, 100)
		l.targets[0].fail = nil
		if err := Push(t.Context(), l.parts); err != nil {
			t.Error(err)
		}
		l.expect(t, 0, 100, 100)
	})
}

// TestQueueAgainstModel lets everything fail at random, and one hop perhaps for good, stops it at
// random and starts it again: in the end each target has everything.
func TestQueueAgainstModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n, bound := rapid.IntRange(0, 60).Draw(rt, "actions"), rapid.SampledFrom([]int{0, 3 * atOnce, 4*atOnce + 1, 9 * atOnce}).Draw(rt, "bound")
		stops := rapid.SliceOfN(rapid.IntRange(0, 3000), 0, 3).Draw(rt, "stopped after ms")
		bad := rapid.IntRange(0, 60).Draw(rt, "target a fails at")
		seed := rapid.Uint64().Draw(rt, "seed")
		var err error
		synctest.Test(t, func(t *testing.T) { err = runQueueModel(t.Context(), n, bound, bad, stops, seed) })
		if err != nil {
			rt.Fatal(err)
		}
	})
}

func runQueueModel(ctx context.Context, n, bound, bad int, stops []int, seed uint64) error {
	var mu sync.Mutex
	random := rand.New(rand.NewPCG(seed, 0))
	blip := func() error {
		mu.Lock()
		defer mu.Unlock()
		if random.IntN(100) < 15 {
			return errBlip
		}
		return nil
	}
	l := newLine(n, bound)
	l.source.fail, l.queue.fail = blip, blip
	for i, target := range l.targets {
		target.fail = func(held int) error {
			if i == 0 && bad > 0 && held >= bad {
				return errBad
			}
			return blip()
		}
	}
	run := func(ctx context.Context, untilCaughtUp bool) error {
		l.parts.UntilCaughtUp = untilCaughtUp
		err := Queue(ctx, l.parts)
		if err != nil && (!errors.Is(err, errBad) || strings.Contains(err.Error(), "hop p/b") || strings.Contains(err.Error(), "hop p/embedded")) {
			return fmt.Errorf("ended with %w", err)
		}
		if ctx.Err() == nil && l.targets[1].holds() != l.queue.last {
			return fmt.Errorf("the queue ends at %d, target b at %d", l.queue.last, l.targets[1].holds())
		}
		return nil
	}
	for i, ms := range stops {
		ctx, cancel := context.WithTimeout(ctx, time.Duration(ms)*time.Millisecond)
		err := run(ctx, i%2 == 0)
		cancel()
		if err != nil {
			return err
		}
	}
	if err := run(ctx, true); err != nil {
		return err
	}
	bad = 0
	if err := run(ctx, true); err != nil {
		return err
	}
	if got := l.held(); !slices.Equal(got, []int{n, n, n}) {
		return fmt.Errorf("held: %v, want %d everywhere", got, n)
	}
	return nil
}
