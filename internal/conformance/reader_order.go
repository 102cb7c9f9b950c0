package conformance

import (
	"fmt"
	"testing"

	"github.com/waybill-data/waybill"
)

// customer is a change that is as good as any other.
func customer(n int) waybill.Change {
	return Change(waybill.Upsert, "customer", fmt.Sprintf(`{"id":%d}`, n), fmt.Sprintf(`{"name":"no %d"}`, n))
}

func hasBegin(s *Source) bool { return s.Begin != nil }

func concurrent(s *Source) bool { return s.Begin != nil && !s.OneWriter }

// emitN emits n actions and returns their IDs.
func (s *Source) emitN(t testing.TB, n int) []string {
	t.Helper()
	ids := make([]string, n)
	for i := range ids {
		ids[i] = s.Emit(t, customer(i+1))
	}
	return ids
}

// positions emits n actions and reads them one by one: where each of them ends.
func (s *Source) positions(t testing.TB, n int) (ids []string, at []waybill.Position) {
	t.Helper()
	x := s.open(t, "", 0)
	defer x.close()
	for i := range n {
		ids = append(ids, s.Emit(t, customer(i+1)))
		wantIDs(t, x.take(1), uint64(i), ids[i])
		at = append(at, x.at)
	}
	return ids, at
}

func orderRules() []readerRule {
	return []readerRule{
		{name: "zero position is the oldest retained action", test: func(t *testing.T, s *Source) {
			ids := s.emitN(t, 3)
			wantIDs(t, s.open(t, "", 0).take(3), 0, ids...)
		}},
		{name: "actions emitted while it reads", test: func(t *testing.T, s *Source) {
			x := s.open(t, "", 0)
			for i := range 5 {
				id := s.Emit(t, customer(i))
				wantIDs(t, x.take(1), uint64(i), id)
			}
		}},
		{name: "reopened at every position", test: reopenedEverywhere},
		{name: "reopened within a batch", test: reopenedWithin},
		{name: "same on every read", test: func(t *testing.T, s *Source) {
			s.emitN(t, 25)
			first := s.open(t, "", 0)
			a := first.drain()
			first.close()
			second := s.open(t, "", 0)
			wantIDs(t, second.drain(), 0, idsOf(a)...)
		}},
		{name: "batch bounds", test: func(t *testing.T, s *Source) {
			n := 3*max(s.MaxActions, 10) + 1
			ids := s.emitN(t, n)
			wantIDs(t, s.open(t, "", 0).take(n), 0, ids...)
		}},
		{name: "one transaction is one action", needs: hasBegin, test: func(t *testing.T, s *Source) {
			tx := s.Begin(t)
			tx.Emit(t, customer(1), customer(2))
			tx.Emit(t, customer(3))
			tx.Emit(t, customer(1))
			id := tx.Commit(t)
			have := s.open(t, "", 0).take(1)
			wantIDs(t, have, 0, id)
			wantChanges(t, s, have[0], customer(1), customer(2), customer(3), customer(1))
		}},
		{name: "rolled back", needs: hasBegin, test: func(t *testing.T, s *Source) {
			x := s.open(t, "", 0)
			first := s.Emit(t, customer(1))
			tx := s.Begin(t)
			tx.Emit(t, customer(2))
			tx.Rollback(t)
			second := s.Emit(t, customer(3))
			wantIDs(t, x.take(2), 0, first, second)
			if more := x.drain(); len(more) > 0 {
				t.Fatalf("handed on %v, which was rolled back", idsOf(more))
			}
		}},
		{name: "nothing uncommitted", needs: hasBegin, test: func(t *testing.T, s *Source) {
			x := s.open(t, "", 0)
			tx := s.Begin(t)
			tx.Emit(t, customer(1))
			if have := x.drain(); len(have) > 0 {
				t.Fatalf("handed on %v, which was not committed", idsOf(have))
			}
			id := tx.Commit(t)
			wantIDs(t, x.take(1), 0, id)
		}},
		{name: "a held transaction delays only itself", needs: concurrent, test: heldTransaction},
		{name: "order is commit order", needs: concurrent, test: commitOrder},
		{name: "a position amid held transactions", needs: concurrent, test: heldAcrossReopen},
	}
}

// reopenedWithin reopens where the pump cuts a batch in front of a refused action.
func reopenedWithin(t *testing.T, s *Source) {
	ids := s.emitN(t, 6)
	x := s.open(t, "", 0)
	read := 0
	for read < len(ids) {
		b := x.nextBatch()
		for i := range len(b.Actions) {
			read++
			if b.At == nil {
				t.Log("LEFT OUT: batches cannot be cut")
				continue
			}
			y := s.open(t, b.At(i), uint64(read))
			wantIDs(t, y.drain(), uint64(read), ids[read:]...)
			y.close()
		}
	}
}

func reopenedEverywhere(t *testing.T, s *Source) {
	ids, at := s.positions(t, 6)
	for i := range at {
		x := s.open(t, at[i], uint64(i+1))
		if i+1 < len(ids) {
			wantIDs(t, x.take(len(ids)-i-1), uint64(i+1), ids[i+1:]...)
		}
		if more := x.drain(); len(more) > 0 {
			t.Fatalf("after everything was read: %v once more", idsOf(more))
		}
		x.close()
		x.reopen(at[i], uint64(i+1)) // the same reader again
		wantIDs(t, x.drain(), uint64(i+1), ids[i+1:]...)
		x.close()
	}
}

func heldTransaction(t *testing.T, s *Source) {
	x := s.open(t, "", 0)
	held := s.Begin(t)
	held.Emit(t, customer(1))
	for i := range 5 {
		id := s.Emit(t, customer(10+i))
		wantIDs(t, x.take(1), uint64(i), id)
		x.ack(x.at)
	}
	id := held.Commit(t)
	wantIDs(t, x.take(1), 5, id)
	next := s.Emit(t, customer(2))
	wantIDs(t, x.take(1), 6, next)
}

// commitOrder: the transaction that begins first and emits first commits last, after it
// has also touched what the other one wrote.
func commitOrder(t *testing.T, s *Source) {
	x := s.open(t, "", 0)
	one, two := s.Begin(t), s.Begin(t)
	one.Emit(t, customer(2))
	two.Emit(t, customer(1))
	second := two.Commit(t)
	one.Emit(t, customer(1))
	first := one.Commit(t)
	have := x.take(2)
	wantIDs(t, have, 0, second, first)
	wantChanges(t, s, have[1], customer(2), customer(1))

	again := s.open(t, "", 0)
	wantIDs(t, again.take(2), 0, second, first)
}

func heldAcrossReopen(t *testing.T, s *Source) {
	x := s.open(t, "", 0)
	var held []Tx
	for i := range 3 {
		tx := s.Begin(t)
		tx.Emit(t, customer(100+i))
		held = append(held, tx)
	}
	before := s.Emit(t, customer(1))
	wantIDs(t, x.take(1), 0, before)
	at := x.at
	x.ack(at)
	x.close()

	ids := []string{held[1].Commit(t)}
	x = s.open(t, at, 1)
	wantIDs(t, x.take(1), 1, ids[0])
	held[0].Rollback(t)
	ids = append(ids, s.Emit(t, customer(2)), held[2].Commit(t))
	wantIDs(t, x.take(2), 2, ids[1:]...)

	again := s.open(t, at, 1)
	wantSet(t, again.drain(), ids)
}

// wantSet fails unless each of the actions is there once: where several transactions
// committed between two reads, reading them in one go may order them otherwise.
func wantSet(t testing.TB, have []got, ids []string) {
	t.Helper()
	seen := map[string]int{}
	for _, g := range have {
		seen[g.id]++
	}
	for _, id := range ids {
		if seen[id] != 1 {
			t.Fatalf("action %s handed on %d times: have %v, want %v", id, seen[id], idsOf(have), ids)
		}
	}
	if len(have) != len(ids) {
		t.Fatalf("have %v, want %v", idsOf(have), ids)
	}
}

func wantChanges(t testing.TB, s *Source, have got, want ...waybill.Change) {
	t.Helper()
	if len(have.changes) != len(want) {
		t.Fatalf("action %s: %d changes, want %d", have.id, len(have.changes), len(want))
	}
	for i := range want {
		if !sameChange(&have.changes[i], &want[i], s.Exact) {
			t.Fatalf("action %s, change %d: have %s %s key %s row %s before %s, want %s %s key %s row %s before %s", have.id, i+1,
				have.changes[i].Op, have.changes[i].Entity, have.changes[i].Key, have.changes[i].Row, have.changes[i].Before,
				want[i].Op, want[i].Entity, want[i].Key, want[i].Row, want[i].Before)
		}
	}
}
