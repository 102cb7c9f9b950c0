package conformance

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/waybill-data/waybill"
)

func queueOrderRules() []queueRule {
	return []queueRule{
		{name: "order and numbers over every reopening", test: reopenedQueue},
		{name: "the position survives", test: positionSurvives},
		{name: "batches without actions", test: emptyBatches},
		{name: "two subjects do not disturb each other", test: twoSubjects},
		{name: "consumers at positions of their own", test: ownPositions},
		{name: "a waiting reader is woken", test: func(t *testing.T, q *Queue) {
			e := q.enter(t, "orders")
			x := q.source("orders", "orders/reader").open(t, "", 0)
			for i := range 20 {
				var wait sync.WaitGroup
				var have []got
				wait.Go(func() { have = x.next() })
				e.emit(1)
				wait.Wait()
				wantIDs(t, have, uint64(i), e.ids[i])
			}
		}},
		{name: "a batch that is too large for one write", test: func(t *testing.T, q *Queue) {
			e := q.enter(t, "orders")
			e.emit(1)
			e.write(e.small(9500))
			e.emit(1)
			e.all()
		}},
		{name: "a batch from elsewhere", test: wrongBatches},
		{name: "written without being taken", test: func(t *testing.T, q *Queue) {
			w := q.Writer(t, "orders")
			if err := w.Write(context.Background(), waybill.Batch{}); err == nil {
				t.Error("Write without Resume succeeded")
			}
			for range 2 {
				if err := w.Close(); err != nil {
					t.Error(err)
				}
			}
		}},
		{name: "no goroutine left", test: func(t *testing.T, q *Queue) {
			q.enter(t, "warm").emit(1)
			before := goleak.IgnoreCurrent()
			e := q.enter(t, "orders")
			x := q.source("orders", "orders/reader").open(t, "", 0)
			e.emit(2)
			x.take(2)
			nextCancelled(t, x)
			x.close()
			if err := errors.Join(e.w.Close(), goleak.Find(before)); err != nil {
				t.Fatal(err)
			}
		}},
	}
}

func reopenedQueue(t *testing.T, q *Queue) {
	e := q.enter(t, "orders")
	x := q.source("orders", "orders/reader").open(t, "", 0)
	var have []got
	for i := range 30 {
		e.write(e.small(1 + rand.IntN(40)))
		if i%3 == 0 {
			if err := e.w.Close(); err != nil {
				t.Fatal(err)
			}
			at, seq := e.pos, e.seq
			e.resume()
			if e.pos != at || e.seq != seq {
				t.Fatalf("Resume gives %q, number %d; the last write ended at %q, %d", e.pos, e.seq, at, seq)
			}
		}
		for len(have) < len(e.ids) {
			have = append(have, x.next()...)
			x.close()
			x.reopen(x.at, x.seq)
		}
	}
	wantIDs(t, have, 0, e.ids...)
	e.all()
}

func positionSurvives(t *testing.T, q *Queue) {
	e := q.enter(t, "orders")
	if e.pos != "" {
		t.Fatalf("the position of an empty queue is %q", e.pos)
	}
	x := q.source("orders", "orders/reader").open(t, "", 0)
	for range 3 {
		e.write(e.small(3))
		at := e.pos
		q.Restart(t)
		if e.resume(); e.pos != at {
			t.Fatalf("after a restart the position is %q, it was %q", e.pos, at)
		}
	}
	wantIDs(t, x.again(), 0, e.ids...)
	x.ack(x.at)
	q.Restart(t)
	x.again()
	x.ack(x.at)
	if e.resume(); e.seq != 9 {
		t.Fatalf("number %d after everything was acknowledged, want 9", e.seq)
	}
	e.emit(1)
	wantIDs(t, x.again(), 9, e.ids[9])
}

func emptyBatches(t *testing.T, q *Queue) {
	e := q.enter(t, "orders")
	x := q.source("orders", "orders/reader").open(t, "", 0)
	e.write(waybill.Batch{}) // nothing at all
	e.emit(2)
	for range 3 {
		b := waybill.Batch{After: e.pos, Upto: e.pos + " "}
		e.write(b)
		if have := x.drain(); x.seq != 2 {
			t.Fatalf("after two actions and an empty batch: %v", idsOf(have))
		}
		at := e.pos
		if e.resume(); e.pos != at {
			t.Fatalf("the position is %q, the empty batch ended at %q", e.pos, at)
		}
	}
	e.write(waybill.Batch{After: e.pos, Upto: e.pos})
	b := e.small(1)
	e.write(b)
	x.close()
	x.reopen(x.at, 2)
	wantIDs(t, x.drain(), 2, e.ids[2])
	e.all()
}

func twoSubjects(t *testing.T, q *Queue) {
	entries := []*entry{q.enter(t, "orders"), q.enter(t, "invoices"), q.enter(t, "orders2")}
	var readers []*reading
	for _, e := range entries {
		readers = append(readers, q.source(e.subject, e.subject+"/reader").open(t, "", 0))
	}
	haves := make([][]got, len(entries))
	var all sync.WaitGroup
	for i, e := range entries {
		all.Go(func() {
			for n := range 40 {
				e.write(e.small(1 + (n*7+i)%30))
			}
		})
	}
	all.Wait()
	for i, e := range entries {
		for len(haves[i]) < len(e.ids) {
			haves[i] = append(haves[i], readers[i].next()...)
			readers[i].ack(readers[i].at)
		}
		wantIDs(t, haves[i], 0, e.ids...)
	}
	for _, e := range entries {
		at := e.pos
		if e.resume(); e.pos != at {
			t.Fatalf("subject %s stands at %q, want %q", e.subject, e.pos, at)
		}
	}
}

func ownPositions(t *testing.T, q *Queue) {
	e := q.enter(t, "orders")
	fast := q.source("orders", "orders/fast").open(t, "", 0)
	slow := q.source("orders", "orders/slow").open(t, "", 0)
	for range 5 {
		e.emit(3)
		fast.drain()
		fast.ack(fast.at)
	}
	wantIDs(t, slow.drain(), 0, e.ids...)
	slow.ack(slow.at)
	e.emit(1)
	wantIDs(t, fast.take(1), 15, e.ids[15])
	wantIDs(t, slow.take(1), 15, e.ids[15])
}

func wrongBatches(t *testing.T, q *Queue) {
	e := q.enter(t, "orders")
	first := e.small(2)
	e.write(first)
	second := e.small(3)
	hole, repeated := e.small(3), e.small(3)
	hole.Actions[1].Seq++
	repeated.Actions[0].Seq--
	ahead := second
	ahead.After = place(77)
	for what, b := range map[string]waybill.Batch{"the last batch again": first, "a hole": hole, "a number again": repeated, "a batch from ahead": ahead} {
		wantErr(t, what, e.try(b), waybill.ErrGap)
	}
	e.write(second)
	e.all()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	third := e.small(1)
	began := time.Now()
	err := e.w.Write(ctx, third)
	if time.Since(began) > patience/2 {
		t.Errorf("Write went on long after its context: %v", err)
	}
	if err != nil {
		e.write(third)
	} else {
		e.wrote(third)
	}
	e.all()
}
