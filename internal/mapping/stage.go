package mapping

import (
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"

	waybill "github.com/waybill-data/waybill"
)

// half is one of the two halves of a mapping: what becomes of one change. It yields none, one or
// several; a false return of yield ends it.
type half interface {
	// counts tells whether the half may yield other than one change for one.
	counts() bool
	apply(c *waybill.Change, yield func(*waybill.Change) bool) error
}

// mapAction maps a's changes. A list in memory is mapped at once, any other while it is read; its
// length is known before, by one pass where it may be another one.
func mapAction(h half, a *waybill.Action) error {
	if list, ok := a.Changes.(waybill.ChangeList); ok {
		return mapList(h, a, list)
	}
	if a.Changes == nil {
		return nil
	}
	lazy := &lazyChanges{inner: a.Changes, half: h, count: a.Changes.Len(), id: a.ID, seq: a.Seq}
	if h.counts() {
		n := 0
		for _, err := range lazy.All() {
			if err != nil {
				return err
			}
			n++
		}
		lazy.count = n
	}
	a.Changes = lazy
	return nil
}

func mapList(h half, a *waybill.Action, list waybill.ChangeList) error {
	out := make(waybill.ChangeList, 0, len(list))
	for at := range list {
		err := h.apply(&list[at], func(c *waybill.Change) bool {
			out = append(out, *c)
			return true
		})
		if err != nil {
			return refused(a.ID, a.Seq, &list[at], err)
		}
	}
	a.Changes = out
	return nil
}

// lazyChanges are changes that are mapped whenever they are read.
type lazyChanges struct {
	inner waybill.Changes
	half  half
	count int
	id    string
	seq   uint64
}

// Len is waybill.Changes's.
func (l *lazyChanges) Len() int { return l.count }

// All is waybill.Changes's.
func (l *lazyChanges) All() iter.Seq2[*waybill.Change, error] {
	return func(yield func(*waybill.Change, error) bool) {
		for c, err := range l.inner.All() {
			if err != nil {
				yield(nil, err)
				return
			}
			on := true
			if err := l.half.apply(c, func(mapped *waybill.Change) bool {
				on = yield(mapped, nil)
				return on
			}); err != nil {
				yield(nil, refused(l.id, l.seq, c, err))
				return
			}
			if !on {
				return
			}
		}
	}
}

// partialError is a change that cannot be mapped for what it leaves out.
type partialError struct {
	reason, remedy string
}

func (e *partialError) Error() string { return e.reason }

// ruleError is a fault of a rule that only a change shows: it stops the stream.
type ruleError struct{ what string }

func (e *ruleError) Error() string { return e.what }

// refused says which action and change cannot be mapped.
func refused(id string, seq uint64, c *waybill.Change, err error) error {
	if _, ok := errors.AsType[*ruleError](err); ok {
		return fmt.Errorf("map %s of action %s: %w", c.Entity, id, err)
	}
	r := &waybill.Refusal{Action: id, Seq: seq, Entity: c.Entity, Key: c.Key.String(), Reason: "mapping: " + err.Error()}
	if part, ok := errors.AsType[*partialError](err); ok {
		r.Remedy = part.remedy
	}
	return r
}

// wholeRows is what to do where rows are not whole.
func wholeRows(c *waybill.Change) string {
	if c.Schema != nil {
		return "give the table replica identity full (ALTER TABLE … REPLICA IDENTITY FULL), so that changes carry full rows"
	}
	return "write full rows to the outbox: all columns in row, and before as well"
}

// maxSchemas bounds how many schemas a decorator remembers; past it, it begins anew.
const maxSchemas = 4096

// schemaCache maps each schema once, so that the same one gives the same pointer.
type schemaCache struct {
	mu    sync.Mutex
	known map[*waybill.Schema]*waybill.Schema
}

func (s *schemaCache) get(of *waybill.Schema, mapped func(*waybill.Schema) (*waybill.Schema, error)) (*waybill.Schema, error) {
	if of == nil {
		return nil, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if to := s.known[of]; to != nil {
		return to, nil
	}
	to, err := mapped(of)
	if err != nil {
		return nil, err
	}
	if s.known == nil || len(s.known) >= maxSchemas {
		s.known = make(map[*waybill.Schema]*waybill.Schema)
	}
	s.known[of] = to
	return to, nil
}

// overlay is top, and of below the columns that top lacks.
func overlay(top, below waybill.Row) waybill.Row {
	out := slices.Clip(top)
	for i := range below {
		if _, ok := top.Get(below[i].Name); !ok {
			out = append(out, below[i])
		}
	}
	return out
}
