package conformance

import (
	"context"
	"testing"
	"time"

	"github.com/waybill-data/waybill"
)

// Source is one stream at a source of its own.
type Source struct {
	// New makes an unopened reader. All readers it makes are of the same stream, which is
	// registered as a consumer.
	New func(t testing.TB) waybill.Reader
	// Emit commits one action in a transaction of its own, through the connector's own emit
	// (not through a reader), and returns its ID.
	Emit func(t testing.TB, changes ...waybill.Change) string

	// Exact: a reader hands on JSON byte by byte as it was emitted. Otherwise order of
	// columns and spelling may differ, but no value.
	Exact bool
	// MaxActions and MaxBytes are the bounds of a batch that New's readers were given; 0:
	// not checked. MaxActions should be small, such as 10.
	MaxActions int
	MaxBytes   int

	// What follows is nil where the source cannot do it.

	// Begin starts a transaction and leaves it open.
	Begin func(t testing.TB) Tx
	// OneWriter: while a transaction is open nobody else can emit.
	OneWriter bool
	// Consumer makes an unopened reader of the same source for another stream, registering
	// it as a consumer if it is not.
	Consumer func(t testing.TB, stream string) waybill.Reader
	// Malformed commits an outbox row that no reader can make an action of.
	Malformed func(t testing.TB)
	// Purge makes the source forget now everything that it may.
	Purge func(t testing.TB)
	// Retained counts the actions whose rows the source still holds.
	Retained func(t testing.TB) int
	// Swap replaces the source by a new, empty one at the same address, with the stream
	// registered. Readers were closed before.
	Swap func(t testing.TB)
	// Backup copies the source; the function it returns puts the copy back in place.
	// Readers were closed before.
	Backup func(t testing.TB) (restore func(t testing.TB))
	// Restart stops and starts the source, hard. Emit works again when it returns.
	Restart func(t testing.TB)
}

// Tx is a transaction held open at a source. Several emits in it are one action.
type Tx interface {
	Emit(t testing.TB, changes ...waybill.Change)
	// Commit returns the action's ID; empty where nothing was emitted.
	Commit(t testing.TB) string
	Rollback(t testing.TB)
}

// patience bounds every wait of the suites.
const patience = 20 * time.Second

type readerRule struct {
	name string
	// needs tells whether the source has the hooks; nil: always.
	needs func(s *Source) bool
	test  func(t *testing.T, s *Source)
}

// TestReader runs the reader suite; newSource is called once or twice for every rule.
func TestReader(t *testing.T, newSource func(t *testing.T) Source) {
	for _, rules := range [][]readerRule{orderRules(), contractRules(), ackRules(), contentRules()} {
		for _, rule := range rules {
			t.Run(rule.name, func(t *testing.T) {
				s := newSource(t)
				if rule.needs != nil && !rule.needs(&s) {
					t.Logf("LEFT OUT: the source gives no hook for this rule")
					return
				}
				rule.test(t, &s)
			})
		}
	}
	for _, rule := range gapRules() {
		t.Run(rule.name, func(t *testing.T) {
			s, other := newSource(t), newSource(t)
			if rule.needs != nil && !rule.needs(&s) {
				t.Logf("LEFT OUT: the source gives no hook for this rule")
				return
			}
			rule.test(t, &s, &other)
		})
	}
}

// got is one action as it was handed on.
type got struct {
	id      string
	seq     uint64
	changes []waybill.Change
}

// reading is one opened reader with what it has handed on so far.
type reading struct {
	t   testing.TB
	s   *Source
	r   waybill.Reader
	at  waybill.Position
	seq uint64
}

// open opens a fresh reader; it is closed when the test ends.
func (s *Source) open(t testing.TB, at waybill.Position, seq uint64) *reading {
	t.Helper()
	return s.openReader(t, s.New(t), at, seq)
}

func (s *Source) openReader(t testing.TB, r waybill.Reader, at waybill.Position, seq uint64) *reading {
	t.Helper()
	x := &reading{t: t, s: s, r: r}
	t.Cleanup(func() { _ = r.Close() })
	x.reopen(at, seq)
	return x
}

// reopen opens a closed reader again.
func (x *reading) reopen(at waybill.Position, seq uint64) {
	x.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel() // an opened reader must not hang on the context of its Open
	if err := x.r.Open(ctx, at); err != nil {
		x.t.Fatalf("Open(%q): %v", at, err)
	}
	x.at, x.seq = at, seq
}

func (x *reading) close() {
	x.t.Helper()
	if err := x.r.Close(); err != nil {
		x.t.Fatalf("Close: %v", err)
	}
}

// next reads one batch and checks what holds for every batch.
func (x *reading) next() []got {
	x.t.Helper()
	return x.check(x.nextBatch())
}

func (x *reading) nextBatch() waybill.Batch {
	x.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	b, err := x.r.Next(ctx)
	if err != nil {
		x.t.Fatalf("Next after %q: %v", x.at, err)
	}
	return b
}

func (x *reading) check(b waybill.Batch) []got {
	x.t.Helper()
	if b.After != x.at {
		x.t.Fatalf("batch continues from %q, the last one ended at %q", b.After, x.at)
	}
	if err := b.CheckDense("conformance", x.seq); err != nil {
		x.t.Fatal(err)
	}
	if len(b.Actions) > 0 && b.Upto == b.After {
		x.t.Fatalf("batch of %d actions does not move the position %q", len(b.Actions), b.Upto)
	}
	if n := x.s.MaxActions; n > 0 && len(b.Actions) > n {
		x.t.Fatalf("batch of %d actions, %d is the bound", len(b.Actions), n)
	}
	if n := x.s.MaxBytes; n > 0 && len(b.Actions) > 1 && b.Size() > n+b.Actions[len(b.Actions)-1].Size {
		x.t.Fatalf("batch of %d actions and %d bytes, %d is the bound", len(b.Actions), b.Size(), n)
	}
	var out []got
	for i := range b.Actions {
		a := &b.Actions[i]
		if a.ID == "" || a.Time.IsZero() || a.Size <= 0 || a.Changes == nil {
			x.t.Fatalf("action %d lacks an ID, time, size or changes: %+v", a.Seq, a)
		}
		out = append(out, got{id: a.ID, seq: a.Seq, changes: x.changes(a)})
	}
	x.at, x.seq = b.Upto, b.LastSeq(x.seq)
	return out
}

// changes copies an action's changes, iterating them in parts and then whole.
func (x *reading) changes(a *waybill.Action) []waybill.Change {
	x.t.Helper()
	for range a.Changes.All() { // given up after the first
		break
	}
	var first, second []waybill.Change
	for _, list := range []*[]waybill.Change{&first, &second} {
		for c, err := range a.Changes.All() {
			if err != nil {
				x.t.Fatalf("iterate changes of action %s: %v", a.ID, err)
			}
			*list = append(*list, copyChange(c))
		}
	}
	if len(first) != a.Changes.Len() || len(second) != len(first) {
		x.t.Fatalf("action %s: %d changes announced, %d and then %d iterated", a.ID, a.Changes.Len(), len(first), len(second))
	}
	for i := range first {
		if !sameChange(&first[i], &second[i], true) {
			x.t.Fatalf("action %s: change %d differs when iterated again", a.ID, i+1)
		}
	}
	return first
}

func copyChange(c *waybill.Change) waybill.Change {
	cp := *c
	for _, row := range []*waybill.Row{&cp.Key, &cp.Row, &cp.Before} {
		if *row == nil {
			continue
		}
		r := make(waybill.Row, len(*row))
		for i, col := range *row {
			col.Value.Raw = append([]byte(nil), col.Value.Raw...)
			r[i] = col
		}
		*row = r
	}
	return cp
}

// take reads until n actions are there, and fails if there are more.
func (x *reading) take(n int) []got {
	x.t.Helper()
	var out []got
	for len(out) < n {
		out = append(out, x.next()...)
	}
	if len(out) > n {
		x.t.Fatalf("%d actions handed on, %d were emitted", len(out), n)
	}
	return out
}

// drain reads until the head that the source has now.
func (x *reading) drain() []got {
	x.t.Helper()
	head := x.head()
	var out []got
	for !x.r.Reached(x.at, head) {
		out = append(out, x.next()...)
	}
	return out
}

func (x *reading) head() waybill.Position {
	x.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	head, err := x.r.Head(ctx)
	if err != nil {
		x.t.Fatalf("Head: %v", err)
	}
	return head
}

func (x *reading) ack(p waybill.Position) {
	x.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := x.r.Ack(ctx, p); err != nil {
		x.t.Fatalf("Ack(%q): %v", p, err)
	}
}

// wantIDs fails unless the actions are these, in this order, numbered after seq.
func wantIDs(t testing.TB, have []got, seq uint64, ids ...string) {
	t.Helper()
	if len(have) != len(ids) {
		t.Fatalf("%d actions handed on, want %d: have %v, want %v", len(have), len(ids), idsOf(have), ids)
	}
	for i := range have {
		if have[i].id != ids[i] || have[i].seq != seq+uint64(i)+1 {
			t.Fatalf("action %d of %d is %s (number %d), want %s (number %d)",
				i+1, len(ids), have[i].id, have[i].seq, ids[i], seq+uint64(i)+1)
		}
	}
}

func idsOf(list []got) []string {
	ids := make([]string, len(list))
	for i := range list {
		ids[i] = list[i].id
	}
	return ids
}
