package conformance

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/waybill-data/waybill"
)

func queueDoubtRules() []queueRule {
	return []queueRule{
		{name: "killed in the middle of writes", test: killedWrites},
		{name: "a batch is there whole or not at all", test: neverTorn},
		{name: "two writers, one is fenced", test: twoWriters},
		{name: "a writer that was overtaken changes nothing", test: zombie},
		{name: "writers that take turns", test: takeTurns},
	}
}

// killedWrites restarts the queue while batches are written; each is written again until it is
// there, and must be there once.
func killedWrites(t *testing.T, q *Queue) {
	e := q.enter(t, "orders")
	e.emit(1)
	for i := range 25 {
		b := e.small(1 + (i%3)*400)
		var kill sync.WaitGroup
		kill.Go(func() {
			time.Sleep(time.Duration(rand.IntN(8000)) * time.Microsecond) // to hit another place each time
			q.Restart(t)
		})
		e.write(b)
		kill.Wait()
		if i%5 == 0 {
			at := e.pos
			if e.resume(); e.pos != at {
				t.Fatalf("the queue stands at %q, the batch ended at %q", e.pos, at)
			}
		}
	}
	e.all()
}

// neverTorn gives each write up when the queue was restarted, and looks at what is there.
func neverTorn(t *testing.T, q *Queue) {
	const n = 700
	e := q.enter(t, "orders")
	e.emit(1)
	for range 15 {
		b := e.small(n)
		var kill sync.WaitGroup
		kill.Go(func() {
			time.Sleep(time.Duration(rand.IntN(9000)) * time.Microsecond) // to hit another place each time
			q.Restart(t)
		})
		err := e.try(b)
		kill.Wait()
		if err == nil {
			e.wrote(b)
		} else if !waybill.Transient(err) {
			t.Fatalf("Write: %v", err)
		}
		have := q.leaves(t, "orders")
		if err != nil && len(have) == len(e.ids)+n { // it was, and nobody was told
			e.wrote(b)
		}
		wantIDs(t, have, 0, e.ids...)
		at := e.pos
		if e.resume(); e.pos != at {
			t.Fatalf("the queue stands at %q and holds the actions up to %q", e.pos, at)
		}
	}
}

func twoWriters(t *testing.T, q *Queue) {
	e := q.enter(t, "orders")
	e.emit(2)
	f := q.enter(t, "orders")
	if f.pos != e.pos {
		t.Fatalf("the second writer stands at %q, want %q", f.pos, e.pos)
	}
	mine, other := e.small(3), f.small(2)
	f.write(other)
	e.ids = append(e.ids, f.ids...)
	for range 2 {
		wantErr(t, "writing where another writer was faster", e.try(mine), waybill.ErrFenced)
	}
	wantErr(t, "an empty batch where another writer was faster", e.try(waybill.Batch{After: e.pos, Upto: e.pos}), waybill.ErrFenced)
	e.all()
	e.resume()
	if e.pos != f.pos {
		t.Fatalf("the first writer resumes at %q, want %q", e.pos, f.pos)
	}
	e.emit(1)
	e.all()
}

// zombie: both writers have the same batches to write, as two engines at one source do.
func zombie(t *testing.T, q *Queue) {
	e := q.enter(t, "orders")
	e.emit(2)
	f := q.enter(t, "orders")
	f.name = e.name // the same actions
	for _, n := range []int{3, 1, 200} {
		b := f.small(n)
		f.write(b)
		if err := e.try(b); !errors.Is(err, waybill.ErrFenced) {
			t.Fatalf("the same batch from a writer that was overtaken: %v, want ErrFenced", err)
		}
	}
	e.ids = append(e.ids, f.ids...)
	e.all()
}

func takeTurns(t *testing.T, q *Queue) {
	a, b := q.enter(t, "orders"), q.enter(t, "orders")
	var ids []string
	for i := range 12 {
		e := a
		if i%2 == 1 {
			e = b
		}
		e.resume()
		batch := e.small(1 + i)
		e.write(batch)
		for j := range batch.Actions {
			ids = append(ids, batch.Actions[j].ID)
		}
	}
	wantIDs(t, q.leaves(t, "orders"), 0, ids...)
}

func queueGapRules() []queueRule {
	gap := func(change func(t *testing.T, q *Queue)) func(t *testing.T, q *Queue) {
		return func(t *testing.T, q *Queue) {
			e := q.enter(t, "orders")
			x := q.source("orders", "orders/reader").open(t, "", 0)
			e.emit(5)
			wantIDs(t, x.take(5), 0, e.ids...)
			y := q.source("orders", "orders/behind").open(t, "", 0)
			behind := y.next()
			b := e.small(1)
			change(t, q)
			wantErr(t, "writing to what is not the queue any more", e.untilKnown(b), waybill.ErrGap)
			x.gapAt()
			_ = behind
			x.close()
			wantGap(t, x.s, x.at)
		}
	}
	return []queueRule{
		{name: "gap: emptied in mid-run", test: gap(func(t *testing.T, q *Queue) { q.Empty(t) })},
		{name: "gap: deleted in mid-run", test: gap(func(t *testing.T, q *Queue) { q.Delete(t) })},
		{name: "gap: swapped in mid-run", test: gap(func(t *testing.T, q *Queue) { q.Swap(t) })},
		{name: "gap: swapped by one that goes on alike", test: func(t *testing.T, q *Queue) {
			e := q.enter(t, "orders")
			x := q.source("orders", "orders/reader").open(t, "", 0)
			e.emit(3)
			x.take(3)
			q.Swap(t)
			for i := 1; i <= 6; i++ { // the numbers that are due, of other actions
				q.Publish(t, "orders", []byte(fmt.Sprintf(`{"specversion":"1.0","id":"x%d","source":"/waybill/orders","type":"waybill.action","sequence":"%020d","data":[]}`, i, i)))
			}
			x.gapAt()
		}},
		{name: "gap: a message removed", test: func(t *testing.T, q *Queue) {
			for _, open := range []bool{true, false} {
				subject := fmt.Sprintf("orders%v", open)
				e := q.enter(t, subject)
				e.emit(6)
				s := q.source(subject, subject+"/reader")
				x := s.open(t, "", 0)
				b := x.nextBatch()
				at := b.At(1)
				x.close()
				if open {
					x.reopen(at, 2)
				}
				q.Remove(t, subject, 3)
				if !open {
					x.reopen(at, 2)
				}
				x.gapAt(e.ids[2])
			}
		}},
		{name: "gap: the message at the position removed", test: func(t *testing.T, q *Queue) {
			e := q.enter(t, "orders")
			e.emit(6)
			x := q.source("orders", "orders/reader").open(t, "", 0)
			b := x.nextBatch()
			x.close()
			q.Remove(t, "orders", 2)
			wantGap(t, x.s, b.At(2))
		}},
		{name: "gap: the last message removed", test: func(t *testing.T, q *Queue) {
			e := q.enter(t, "orders")
			e.emit(6)
			q.Remove(t, "orders", 5)
			wantErr(t, "writing behind a message that is gone", e.try(e.small(1)), waybill.ErrGap)
		}},
	}
}

// untilKnown tries again while that may help.
func (e *entry) untilKnown(b waybill.Batch) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	err := e.w.Write(ctx, b)
	for waybill.Transient(err) && ctx.Err() == nil {
		err = e.w.Write(ctx, b)
	}
	return err
}
