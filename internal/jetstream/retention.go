package jetstream

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/waybill-data/waybill/internal/fault"
)

const (
	// tickEvery is how long acknowledgements are gathered before they are written down.
	tickEvery = 200 * time.Millisecond
	// purgeEvery is how long a purge that would free little is put off.
	purgeEvery = 2 * time.Second
	// filteredEvery is the same for a purge that must look at each message.
	filteredEvery = 5 * time.Second
	// purgeBytes is how much a purge must free, about, to be worth it before that.
	purgeBytes = 16 << 20
	// unsureFor is how long nothing is removed where it is not known who reads.
	unsureFor = time.Minute
	// tickTimeout bounds one round of the keeper.
	tickTimeout = 30 * time.Second
)

// keeper writes down what consumers have and removes what nobody needs any more. It runs while
// a session of the stream is open; the last session's close waits for it.
type keeper struct {
	queue  *Queue
	stream *stream
	nc     *nats.Conn
	js     jetstream.JetStream
	// purged is when a purge of a subject was last done; "" stands for the whole stream.
	purged map[string]time.Time
	marks  map[string]uint64 // and up to which sequence
	// touched: a stream may have been made or changed by somebody else.
	touched atomic.Bool
}

// run works until ctx ends, and then once more.
func (k *keeper) run(ctx context.Context) {
	defer func() {
		if k.nc != nil {
			k.nc.Close()
		}
	}()
	timer := time.NewTimer(tickEvery)
	defer timer.Stop()
	for {
		var again time.Duration
		select {
		case <-ctx.Done():
			after := context.WithoutCancel(ctx)
			k.tick(after, true)
			if k.js != nil {
				k.queue.leave(after, k.js)
			}
			return
		case <-timer.C:
			again = k.tick(ctx, false)
		}
		if again == 0 {
			select {
			case <-ctx.Done():
			case <-k.stream.wake:
			}
			again = tickEvery
		}
		timer.Reset(again)
	}
}

// tick is one round. It returns when it wants to be called again although nothing happens: 0 for never.
func (k *keeper) tick(ctx context.Context, last bool) time.Duration {
	ctx, cancel := context.WithTimeout(ctx, tickTimeout)
	defer cancel()
	again, err := k.round(ctx, last)
	if err != nil && !errors.Is(err, context.Canceled) {
		k.queue.Log.Debug("retention is tried again", "stream", k.stream.name, "err", err)
		if !last {
			k.queue.server.broken(ctx, err)
		}
		return time.Second
	}
	return again
}

func (k *keeper) round(ctx context.Context, last bool) (time.Duration, error) {
	if k.nc == nil || k.nc.IsClosed() {
		nc, err := k.queue.server.connect("waybill retention")
		if err != nil {
			return 0, err
		}
		js, err := jetstream.New(nc)
		if err != nil {
			nc.Close()
			return 0, err
		}
		k.nc, k.js = nc, js
		k.watch()
	}
	if err := k.guard(ctx); err != nil {
		return 0, err
	}
	// Purge even where the acknowledgements cannot be written down: on a full disk it is what
	// makes room, and the targets know their own positions.
	noted := k.stream.note(k.queue.server)
	again, err := k.purge(ctx, last)
	return again, errors.Join(noted, err)
}

// floors is what the registered consumers of each subject all have.
func (st *stream) floors() map[string]uint64 {
	st.mu.Lock()
	defer st.mu.Unlock()
	floors := map[string]uint64{}
	for _, c := range st.consumers {
		low, ok := floors[c.Subject]
		if !ok || c.Acked < low != fault.Broken(fault.PurgeUnacked) {
			floors[c.Subject] = c.Acked
		}
	}
	return floors
}

// purge removes what every registered consumer of a subject has, but for the last such message
// and what is to be kept for a time.
func (k *keeper) purge(ctx context.Context, last bool) (time.Duration, error) {
	st := k.stream
	// No consumer may be registered between the look at the floors and the purge.
	st.purging.Lock()
	defer st.purging.Unlock()
	if rest := st.resting(); rest > 0 {
		return rest, nil
	}
	p, err := k.plan(ctx)
	if err != nil || len(p.cuts) == 0 {
		return p.again, err
	}
	whole, err := k.wholeCut(ctx, p)
	if err != nil {
		return 0, err
	}
	again := p.again
	if whole > p.info.FirstSeq {
		later, err := k.cut(ctx, "", whole, p, purgeEvery, last)
		if err != nil {
			return 0, err
		}
		again = sooner(again, later)
	}
	if whole >= p.most {
		return again, nil
	}
	for subject, cut := range p.cuts {
		if cut <= max(whole, k.marks[subject]) {
			continue
		}
		later, err := k.cut(ctx, subject, cut, p, filteredEvery, last)
		if err != nil {
			return 0, err
		}
		again = sooner(again, later)
	}
	return again, nil
}

// plan is what could be purged now.
type plan struct {
	info  jetstream.StreamState
	count map[string]uint64 // messages per subject, of one token
	cuts  map[string]uint64 // per subject with consumers: what lies before goes
	most  uint64            // the highest cut
	again time.Duration
}

func (k *keeper) plan(ctx context.Context) (plan, error) {
	p := plan{cuts: map[string]uint64{}, count: map[string]uint64{}}
	floors := k.stream.floors()
	if len(floors) == 0 {
		return p, nil
	}
	stream, err := k.js.Stream(ctx, k.queue.Stream)
	if err != nil {
		return p, err
	}
	prefix := k.queue.Stream + "."
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter(prefix+"*"))
	if err != nil {
		return p, err
	}
	p.info = info.State
	for subject, n := range info.State.Subjects {
		p.count[strings.TrimPrefix(subject, prefix)] = n
	}
	held, err := k.held(ctx, &p)
	if err != nil {
		return p, err
	}
	for subject, floor := range floors {
		if p.count[subject] < 2 || floor <= p.info.FirstSeq {
			continue
		}
		m, err := stream.GetLastMsgForSubject(ctx, prefix+subject)
		if err != nil {
			return p, err
		}
		// The last message holds the position of the writer; a floor beyond it is not this stream's.
		if cut := min(floor, m.Sequence, held); cut > p.info.FirstSeq {
			p.cuts[subject] = cut
			p.most = max(p.most, cut)
		}
	}
	return p, nil
}

// held is the first message that is to be kept for its age, or one past the last.
func (k *keeper) held(ctx context.Context, p *plan) (uint64, error) {
	end := p.info.LastSeq + 1
	if k.queue.Keep <= 0 {
		return end, nil
	}
	p.again = min(max(k.queue.Keep/10, tickEvery), time.Minute)
	since := time.Now().Add(-k.queue.Keep)
	if p.info.LastTime.Before(since) {
		return end, nil
	}
	seq, err := firstSince(ctx, k.nc, k.queue.Stream, since)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return end, nil
	}
	return seq, err
}

// wholeCut is the sequence before which no subject needs anything; what lies before it can go
// at once, whatever its subject.
func (k *keeper) wholeCut(ctx context.Context, p plan) (uint64, error) {
	cut := p.most
	low := func(subject string) error {
		seq, err := firstOf(ctx, k.nc, k.queue.Stream, subject, p.info.FirstSeq)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return nil
		}
		cut = min(cut, seq)
		return err
	}
	for subject := range p.count {
		if own, ok := p.cuts[subject]; ok {
			cut = min(cut, own)
		} else if err := low(k.queue.Stream + "." + subject); err != nil {
			return 0, err
		}
	}
	// Schemas. Whether there are any cannot be told from the counts: these are not of one moment.
	if err := low(k.queue.Stream + ".*.>"); err != nil {
		return 0, err
	}
	return cut, nil
}

// cut removes what lies before seq on one subject ("" for all), or returns when to come back
// where that is not worth it yet.
func (k *keeper) cut(ctx context.Context, subject string, seq uint64, p plan, every time.Duration, last bool) (time.Duration, error) {
	done, n := k.marks[subject], p.info.Msgs
	if subject != "" {
		n = p.count[subject]
	}
	done = max(done, p.info.FirstSeq)
	if n == 0 || seq <= done {
		return 0, nil
	}
	span := p.info.LastSeq - p.info.FirstSeq + 1
	gain := float64(seq-done) / float64(span) * float64(p.info.Bytes) * float64(n) / float64(max(p.info.Msgs, 1))
	worth := float64(purgeBytes)
	if k.queue.MaxBytes > 0 {
		worth = min(worth, float64(k.queue.MaxBytes)/16)
	}
	wait := every - time.Since(k.purged[subject])
	if !last && wait > 0 && gain < worth && !k.stream.isFull() {
		return wait, nil
	}
	opts := []jetstream.StreamPurgeOpt{jetstream.WithPurgeSequence(seq)}
	if subject != "" {
		opts = append(opts, jetstream.WithPurgeSubject(k.queue.Stream+"."+subject))
	}
	stream, err := k.js.Stream(ctx, k.queue.Stream)
	if err != nil {
		return 0, err
	}
	fault.Hit(fault.PurgeBefore)
	if err := stream.Purge(ctx, opts...); err != nil {
		return 0, fmt.Errorf("purge up to message %d: %w", seq, err)
	}
	fault.Hit(fault.PurgeDone)
	k.purged[subject], k.marks[subject] = time.Now(), seq
	k.stream.freed()
	return 0, nil
}

// sooner is the earlier of two waits, where 0 stands for none.
func sooner(a, b time.Duration) time.Duration {
	if a == 0 || (b > 0 && b < a) {
		return b
	}
	return a
}
