package conformance

import (
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"testing"

	"github.com/waybill-data/waybill"
)

func queuePartRules() []queueRule {
	return []queueRule{
		{name: "large action", test: largeAction},
		{name: "large action: attempts that failed", test: failedAttempts},
		{name: "large action: killed in the middle", test: killedAttempt},
		{name: "large action: another writer in the middle", test: stolenAttempt},
		{name: "large action: a part removed", test: removedPart},
		{name: "large action: a large change", test: func(t *testing.T, q *Queue) {
			e := q.enter(t, "orders")
			b := e.batch(append(sized(9<<20), sized(100)...))
			e.write(b)
			e.all()
			e.write(e.batch(append(append(sized(1<<20), sized(1<<20)...), customer(1))))
			e.all()
			wantChanges(t, &Source{Exact: true}, q.leaves(t, "orders")[0], listOf(b.Actions[0].Changes)...)
		}},
	}
}

// wide makes n changes of rows of about so many bytes.
func wide(n, bytes int) []waybill.Change {
	note := []byte(`"` + strings.Repeat("x", bytes) + `"`)
	changes := make([]waybill.Change, n)
	for i := range changes {
		changes[i] = waybill.Change{
			Entity: "customer", Op: waybill.Upsert,
			Key: waybill.Row{{Name: "id", Value: waybill.Value{Form: waybill.JSON, Raw: strconv.AppendInt(nil, int64(i), 10)}}},
			Row: waybill.Row{{Name: "note", Value: waybill.Value{Form: waybill.JSON, Raw: note}}},
		}
	}
	return changes
}

func listOf(changes waybill.Changes) []waybill.Change {
	list, _ := changes.(waybill.ChangeList)
	return list
}

func largeAction(t *testing.T, q *Queue) {
	changes := wide(50_000, 20)
	e := q.enter(t, "orders")
	x := q.source("orders", "orders/reader").open(t, "", 0)
	var want []waybill.Batch
	for _, b := range []func() waybill.Batch{
		func() waybill.Batch { return e.batch(changes) },
		func() waybill.Batch {
			return e.batch(one(customer(1)), changes, one(customer(2)), changes[:20_000], one(customer(3)))
		},
	} {
		want = append(want, b())
		e.write(want[len(want)-1])
	}
	have := x.take(6)
	wantIDs(t, have, 0, e.ids...)
	i := 0
	for _, b := range want {
		for j := range b.Actions {
			wantChanges(t, x.s, have[i], listOf(b.Actions[j].Changes)...)
			i++
		}
	}
	x.ack(x.at)
	x.close()
	x.reopen(x.at, 6)
	e.emit(1)
	wantIDs(t, x.drain(), 6, e.ids[6])
	newcomer := q.source("orders", "orders/newcomer").open(t, "", 0)
	late := newcomer.drain()
	if late[len(late)-1].id != e.ids[6] {
		t.Fatalf("a newcomer was handed %v", idsOf(late))
	}
}

// failing yields an error in the middle of its nth iteration, or calls then.
type failing struct {
	waybill.ChangeList
	at   int // the change
	from int // the iteration, from 1
	then func() error
	seen *int
}

func (f failing) All() iter.Seq2[*waybill.Change, error] {
	*f.seen++
	return func(yield func(*waybill.Change, error) bool) {
		for i := range f.ChangeList {
			if i == f.at && *f.seen == f.from {
				if err := f.then(); err != nil {
					yield(nil, err)
					return
				}
			}
			if !yield(&f.ChangeList[i], nil) {
				return
			}
		}
	}
}

// spoiled makes a batch whose one large action fails at a change, in each iteration that may be
// the one that writes.
func (e *entry) spoiled(changes []waybill.Change, at, from int, then func() error) waybill.Batch {
	b := e.batch(changes)
	b.Actions[0].Changes = failing{changes, at, from, then, new(int)}
	return b
}

var errSpoiled = errors.New("the changes cannot be read again")

func failedAttempts(t *testing.T, q *Queue) {
	changes := wide(15_000, 1000)
	e := q.enter(t, "orders")
	e.emit(1)
	x := q.source("orders", "orders/reader").open(t, "", 0)
	x.take(1)
	for i, at := range []int{14999, 14000, 10000, 5} {
		for from := 1; from <= 2; from++ {
			b := e.spoiled(changes, at, from, func() error { return errSpoiled })
			if err := e.try(b); !errors.Is(err, errSpoiled) {
				t.Fatalf("Write of changes that fail: %v", err)
			}
		}
		if have := x.again(); len(have) > 0 {
			t.Fatalf("handed on %v, of which the end is missing", idsOf(have))
		}
		if i == 1 {
			at := e.pos
			if e.resume(); e.pos != at {
				t.Fatalf("after half an action the position is %q, want %q", e.pos, at)
			}
		}
	}
	b := e.batch(changes)
	e.write(b)
	have := x.again()
	wantIDs(t, have, 1, e.ids[1])
	wantChanges(t, x.s, have[0], changes...)
	if err := e.try(e.spoiled(changes, 14900, 2, func() error { return errSpoiled })); !errors.Is(err, errSpoiled) {
		t.Fatalf("Write of changes that fail: %v", err)
	}
	e.emit(2)
	wantIDs(t, x.again(), 2, e.ids[2:]...)
	e.all()
}

func killedAttempt(t *testing.T, q *Queue) {
	changes := wide(15_000, 1000)
	e := q.enter(t, "orders")
	x := q.source("orders", "orders/reader").open(t, "", 0)
	for n, at := range []int{14000, 9000} {
		b := e.spoiled(changes, at, 2, func() error { q.Restart(t); return nil })
		e.write(b)
		have := x.again()
		wantIDs(t, have, uint64(n), e.ids[n])
		wantChanges(t, x.s, have[0], changes...)
	}
	e.all()
}

// stolenAttempt: another writer takes the subject while parts are written.
func stolenAttempt(t *testing.T, q *Queue) {
	changes := wide(15_000, 1000)
	e := q.enter(t, "orders")
	x := q.source("orders", "orders/reader").open(t, "", 0)
	f := q.enter(t, "orders")
	b := e.spoiled(changes, 14000, 2, func() error {
		if have := x.drain(); len(have) > 0 {
			return fmt.Errorf("half an action was handed on: %v", idsOf(have))
		}
		f.resume()
		f.emit(1)
		return nil
	})
	wantErr(t, "going on with an action that another writer overtook", e.try(b), waybill.ErrFenced)
	f.write(f.batch(changes))
	have := x.again()
	wantIDs(t, have, 0, f.ids...)
	wantChanges(t, x.s, have[1], changes...)
	f.all()
}

func removedPart(t *testing.T, q *Queue) {
	for i := range 6 {
		subject := fmt.Sprintf("orders%d", i)
		e := q.enter(t, subject)
		if i < 3 {
			e.emit(1)
		}
		before := q.Messages(t, subject)
		e.write(e.batch(wide(3000, 1000)))
		e.emit(1)
		parts := q.Messages(t, subject) - before - 1
		if parts < 3 {
			t.Fatalf("an action of 30,000 changes takes %d messages", parts)
		}
		q.Remove(t, subject, before+i%3)
		x := q.source(subject, subject+"/reader").open(t, "", 0)
		x.gapAt(e.ids[:before]...)
	}
}
