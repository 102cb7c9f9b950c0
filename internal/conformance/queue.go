package conformance

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/waybill-data/waybill"
)

// Queue is a thing that is Writer and Reader: what enters on a subject comes out of it.
type Queue struct {
	// Writer and Reader make the two ends of a subject, not opened; stream is the consumer.
	Writer func(t testing.TB, subject string) waybill.Writer
	Reader func(t testing.TB, subject, stream string) waybill.Reader
	// Restart stops and starts the queue, hard: connections break.
	Restart func(t testing.TB)
	// Remove takes the ith message of a subject (0 is the oldest) out of the middle.
	Remove func(t testing.TB, subject string, i int)
	// Messages counts the messages that a subject holds.
	Messages func(t testing.TB, subject string) int
	// Empty removes all messages, Delete the queue, and Swap replaces it by a new one, while
	// writers and readers have it open.
	Empty, Delete, Swap func(t testing.TB)
	// Publish puts a message of somebody else's onto a subject.
	Publish func(t testing.TB, subject string, message []byte)
}

type queueRule struct {
	name string
	// bytes is what the queue may hold; 0: plenty.
	bytes int64
	test  func(t *testing.T, q *Queue)
}

// TestQueue runs the queue suite. newQueue is called once for every rule; bytes is how much the
// queue may hold, 0 plenty. What the reader and the writer must do on their own is in
// TestReader and TestWriter.
func TestQueue(t *testing.T, newQueue func(t *testing.T, bytes int64) Queue) {
	for _, rules := range [][]queueRule{queueContentRules(), queueOrderRules(), queueDoubtRules(), queuePartRules(), queueGapRules()} {
		for _, rule := range rules {
			t.Run(rule.name, func(t *testing.T) {
				q := newQueue(t, rule.bytes)
				rule.test(t, &q)
			})
		}
	}
}

// entry is a writer with what it has written. Positions are those of TestWriter: place.
type entry struct {
	t       testing.TB
	q       *Queue
	subject string
	w       waybill.Writer
	pos     waybill.Position
	seq     uint64
	ids     []string // of all that was ever written to the subject
	name    string
}

func (q *Queue) enter(t testing.TB, subject string) *entry {
	t.Helper()
	e := &entry{t: t, q: q, subject: subject, w: q.Writer(t, subject), name: fmt.Sprintf("%s-%x", subject, rand.Uint64())}
	t.Cleanup(func() { _ = e.w.Close() })
	e.resume()
	return e
}

// resume takes the stream and believes what it is told.
func (e *entry) resume() {
	e.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	pos, err := e.w.Resume(ctx, e.subject+"/queue")
	for waybill.Transient(err) && ctx.Err() == nil {
		pos, err = e.w.Resume(ctx, e.subject+"/queue")
	}
	if err != nil {
		e.t.Fatalf("Resume: %v", err)
	}
	e.pos, e.seq = pos, 0
	if pos != "" {
		e.seq = seqOf(pos)
	}
	if n, ok := e.w.(waybill.Numbered); ok && n.Seq() != e.seq {
		e.t.Fatalf("Seq is %d at position %q", n.Seq(), pos)
	}
}

// batch makes the batch that follows, of actions with these changes.
func (e *entry) batch(actions ...[]waybill.Change) waybill.Batch {
	b := batch(e.seq, actions...)
	b.After = e.pos
	seq := e.seq
	b.At = func(i int) waybill.Position { return place(seq + uint64(i) + 1) }
	for i := range b.Actions {
		a := &b.Actions[i]
		a.ID = fmt.Sprintf("%s-%d", e.name, a.Seq)
		a.Time = time.Date(2026, 3, 1, 12, 0, int(a.Seq%60), 1000, time.UTC)
		a.Size = 100
		for j := range actions[i] {
			a.Size += actions[i][j].Size()
		}
	}
	return b
}

// small makes a batch of n actions of one change.
func (e *entry) small(n int) waybill.Batch {
	actions := make([][]waybill.Change, n)
	for i := range actions {
		actions[i] = one(customer(i))
	}
	return e.batch(actions...)
}

// wrote notes a batch that is in the queue.
func (e *entry) wrote(b waybill.Batch) {
	for i := range b.Actions {
		e.ids = append(e.ids, b.Actions[i].ID)
	}
	e.pos, e.seq = b.Upto, b.LastSeq(e.seq)
}

func (e *entry) try(b waybill.Batch) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return e.w.Write(ctx, b)
}

// write writes b, again where that may help.
func (e *entry) write(b waybill.Batch) {
	e.t.Helper()
	deadline := time.Now().Add(patience)
	err := e.try(b)
	for waybill.Transient(err) && time.Now().Before(deadline) {
		err = e.try(b)
	}
	if err != nil {
		e.t.Fatalf("Write after %q: %v", b.After, err)
	}
	e.wrote(b)
}

// emit writes n actions, each on its own.
func (e *entry) emit(n int) {
	e.t.Helper()
	for range n {
		e.write(e.small(1))
	}
}

// source is the reading end as TestReader knows it.
func (q *Queue) source(subject, stream string) *Source {
	return &Source{Exact: true, New: func(t testing.TB) waybill.Reader { return q.Reader(t, subject, stream) }}
}

// leaves reads the subject from the beginning.
func (q *Queue) leaves(t testing.TB, subject string) []got {
	t.Helper()
	x := q.source(subject, subject+"/check").open(t, "", 0)
	defer x.close()
	return x.drain()
}

// all fails unless exactly what was written comes out.
func (e *entry) all() {
	e.t.Helper()
	wantIDs(e.t, e.q.leaves(e.t, e.subject), 0, e.ids...)
}

// again reads until the head, opening the reader again after transient errors.
func (x *reading) again() []got {
	x.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var have []got
	for {
		head, err := x.r.Head(ctx)
		for err == nil && !x.r.Reached(x.at, head) {
			var b waybill.Batch
			if b, err = x.r.Next(ctx); err == nil {
				have = append(have, x.check(b)...)
			}
		}
		if err == nil {
			return have
		}
		for err != nil {
			if !waybill.Transient(err) || ctx.Err() != nil {
				x.t.Fatalf("read after %q: %v", x.at, err)
			}
			_ = x.r.Close()
			err = x.r.Open(ctx, x.at)
		}
	}
}

// gapAt reads on until an error, which must be a gap, and fails if anything is handed on.
func (x *reading) gapAt(allowed ...string) {
	x.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for tries := 0; ; {
		b, err := x.r.Next(ctx)
		if err == nil {
			for _, g := range x.check(b) {
				if len(allowed) == 0 || g.id != allowed[0] {
					x.t.Fatalf("handed on %s from behind a gap", g.id)
				}
				allowed = allowed[1:]
			}
			continue
		}
		if waybill.Transient(err) && ctx.Err() == nil {
			_ = x.r.Close()
			if err = x.r.Open(ctx, x.at); err == nil {
				continue
			}
			if waybill.Transient(err) {
				continue
			}
		}
		if !errors.Is(err, waybill.ErrGap) {
			x.t.Fatalf("Next: %v, want ErrGap", err)
		}
		if len(allowed) > 0 {
			x.t.Fatalf("a gap before %v was handed on", allowed)
		}
		if tries++; tries == 3 { // it stays one
			return
		}
	}
}
