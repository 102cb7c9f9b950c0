package waybill

import (
	"fmt"
	"iter"
	"slices"
	"time"
)

// Op is what a change did to its entity.
type Op uint8

const (
	// Insert creates; the target refuses it where the key exists already.
	Insert Op = iota + 1
	// Update changes the columns it carries; the target refuses it where the key is missing.
	Update
	// Upsert creates the row, or changes the columns it carries.
	Upsert
	// Delete removes; a key that is already gone is no error.
	Delete
	// Truncate removes all rows of the entity, or with a Key all that have it, many or none: such a key
	// need not identify a row. It has no row. Logs yield it without a key, a mapping with one.
	Truncate
)

var opNames = [...]string{Insert: "insert", Update: "update", Upsert: "upsert", Delete: "delete", Truncate: "truncate"}

func (o Op) String() string {
	if o >= Insert && o <= Truncate {
		return opNames[o]
	}
	return fmt.Sprintf("op(%d)", o)
}

// ParseOp reads the name of an operation as it stands in an outbox row.
func ParseOp(s string) (Op, bool) {
	for o := Insert; o <= Delete; o++ {
		if opNames[o] == s {
			return o, true
		}
	}
	return 0, false
}

// Change is one entity created, updated or deleted.
type Change struct {
	// Entity is the type name: "customer", or "public.customer".
	Entity string
	Op     Op
	// Key identifies the entity; at least one column, none null. A Truncate's may be empty.
	Key Row
	// Row is the entity after the change; a column that is absent is unchanged. Empty for
	// Delete and Truncate. It may leave out the key's columns. Where it holds them with other values, an
	// Update changes the key; for Insert and Upsert that is malformed.
	Row Row
	// Before is the entity before the change where that is known, else nil.
	Before Row
	// Schema describes the rows where the source knows it, else nil. A change that has one was
	// captured from what the source's tables hold, so that it is a fact: an Insert that finds a
	// row, or an Update or Delete that finds none, shows that somebody else writes at the target.
	Schema *Schema
}

// Size is an estimate of the change's size in bytes.
func (c *Change) Size() int {
	return len(c.Entity) + c.Key.Size() + c.Row.Size() + c.Before.Size() + 64
}

// Changes are the changes of one action in order. They can be iterated more than once,
// by one goroutine at a time, until the batch that brought them is acknowledged. An
// error ends the iteration and means that the changes could not be read again.
type Changes interface {
	Len() int
	All() iter.Seq2[*Change, error]
}

// ChangeList is Changes held in memory.
type ChangeList []Change

// Len is the number of changes.
func (l ChangeList) Len() int { return len(l) }

// All iterates in order; it never yields an error.
func (l ChangeList) All() iter.Seq2[*Change, error] {
	return func(yield func(*Change, error) bool) {
		for i := range l {
			if !yield(&l[i], nil) {
				return
			}
		}
	}
}

// Action is everything that one business transaction changed, whole and in order.
type Action struct {
	// ID is drawn once at the source and is the same on every delivery, restart and re-read.
	ID string
	// Seq numbers the actions of a stream densely: 1, 2, 3 …
	Seq uint64
	// Name is what the application called the action ("customer.created"); may be empty.
	Name string
	// Time is when the source recorded the action, by the source's clock.
	Time time.Time
	// Trace is the W3C traceparent that the application gave; may be empty.
	Trace   string
	Changes Changes
	// Size is an estimate of the memory that the action takes, in bytes.
	Size int
}

// Len is the number of changes; 0 where the action says nothing of them.
func (a *Action) Len() int {
	if a.Changes == nil {
		return 0
	}
	return a.Changes.Len()
}

// Position is where to resume after an action. It is opaque to everyone but the stream
// that made it, comparable only for equality, valid UTF-8, and begins with the version of
// its format. The zero Position stands before the oldest retained action.
type Position string

// Batch is a run of consecutive whole actions of one stream.
type Batch struct {
	// After is the position that the batch continues from, Upto the one it ends at.
	After, Upto Position
	// Actions are in order; there may be none, and then the batch only moves the position.
	Actions []Action
	// At returns the position after Actions[i], so that a batch can be cut; nil means that it
	// cannot. It may be called until the batch is acknowledged.
	At func(i int) Position
}

// Cut splits b before Actions[i], 0 < i < len(Actions). Not ok: b has no At.
func (b Batch) Cut(i int) (head, tail Batch, ok bool) {
	if b.At == nil {
		return b, Batch{}, false
	}
	at, mid := b.At, b.At(i-1)
	head = Batch{After: b.After, Upto: mid, Actions: b.Actions[:i:i], At: at}
	tail = Batch{After: mid, Upto: b.Upto, Actions: b.Actions[i:], At: func(j int) Position { return at(i + j) }}
	return head, tail, true
}

// Join appends the batches that follow b.
func (b Batch) Join(next ...Batch) Batch {
	if len(next) == 0 {
		return b
	}
	all := append([]Batch{b}, next...)
	ends, n, at := make([]int, len(all)), 0, true
	for i := range all {
		n += len(all[i].Actions)
		ends[i] = n
		at = at && (all[i].At != nil || len(all[i].Actions) == 0)
	}
	joined := Batch{After: b.After, Upto: all[len(all)-1].Upto, Actions: make([]Action, 0, n)}
	for i := range all {
		joined.Actions = append(joined.Actions, all[i].Actions...)
	}
	if at {
		joined.At = func(i int) Position {
			k, _ := slices.BinarySearch(ends, i+1)
			return all[k].At(i - ends[k] + len(all[k].Actions))
		}
	}
	return joined
}

// Size is the estimated memory of the batch's actions, in bytes.
func (b *Batch) Size() int {
	n := 0
	for i := range b.Actions {
		n += b.Actions[i].Size
	}
	return n
}

// LastSeq is the Seq of the last action, or seq itself for a batch without actions.
func (b *Batch) LastSeq(seq uint64) uint64 {
	if n := len(b.Actions); n > 0 {
		return b.Actions[n-1].Seq
	}
	return seq
}

// CheckDense verifies that the batch continues the dense numbering after seq. A hole or a
// repetition is a GapError: behind the reader something was lost or doubled.
func (b *Batch) CheckDense(stream string, seq uint64) error {
	for i := range b.Actions {
		seq++
		if b.Actions[i].Seq != seq {
			return &GapError{
				Stream: stream,
				Reason: fmt.Sprintf("action %s carries number %d where %d was due", b.Actions[i].ID, b.Actions[i].Seq, seq),
			}
		}
	}
	return nil
}
