package jetstream

import (
	"errors"
	"fmt"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/envelope/event"
	"github.com/waybill-data/waybill/internal/envelope/spill"
	"github.com/waybill-data/waybill/internal/fault"
)

// actionSize is what an action takes in memory beside its changes, in bytes.
const actionSize = 256

// assembly collects the parts of one attempt at an action.
type assembly struct {
	attempt string
	next    uint32 // the part that is due
	head    event.Event
	builder spill.Builder
	cut     bool // its beginning was purged: it only ends
}

// hand makes a batch of pending messages. What cannot be handed on is an error only where it
// is the first; otherwise it ends the batch before.
func (r *Reader) hand() (waybill.Batch, error) {
	b := waybill.Batch{After: r.after}
	if r.failed != nil {
		return b, r.failed
	}
	var ends []point
	var last []byte // the message at which the position stands, if it moved
	size, n := int64(0), 0
	for ; n < len(r.pending) && len(b.Actions) < r.MaxActions && size < r.MaxBytes; n++ {
		m := &r.pending[n]
		a, err := r.take(m)
		if err != nil && n == 0 {
			return b, err
		}
		if err != nil {
			break
		}
		if r.at.N == m.n {
			last = m.data
		}
		if a != nil {
			b.Actions = append(b.Actions, *a)
			ends = append(ends, r.at)
			size += int64(a.Size)
		}
	}
	if r.pending = r.pending[min(n, len(r.pending)):]; len(r.pending) == 0 {
		r.pending = nil
	}
	if last != nil {
		if !r.anchor.unknown {
			r.anchor = anchorOf(last)
		}
		b.Upto = r.at.position()
		r.after = b.Upto
	} else {
		b.Upto = b.After
	}
	b.At = func(i int) waybill.Position { return ends[i].position() }
	return b, nil
}

// take deals with one message: it ends an action, or only moves the position, or neither. After
// an error nothing has changed.
func (r *Reader) take(m *stored) (*waybill.Action, error) {
	ev, err := r.decoder.Decode(m.data)
	if err != nil {
		return nil, r.unreadable(m, err)
	}
	switch ev.Kind {
	case event.Action:
		if err := r.follows(m, &ev, 1); err != nil {
			return nil, err
		}
		size := 0
		for i := range ev.Changes {
			size += ev.Changes[i].Size()
		}
		return r.complete(m, &ev, ev.Changes, size), nil
	case event.Part:
		return r.part(m, &ev)
	case event.Position:
		if err := r.follows(m, &ev, 0); err != nil {
			return nil, err
		}
		r.move(m, &ev)
	}
	return nil, nil
}

// unreadable says that nobody can make an action of the message, unless it is the schema that
// could not be had.
func (r *Reader) unreadable(m *stored, cause error) error {
	if waybill.Transient(cause) || errors.Is(cause, waybill.ErrGap) {
		return fmt.Errorf("read message %d: %w", m.n, cause)
	}
	return &waybill.Refusal{
		Action: fmt.Sprintf("in message %d of %s", m.n, r.fetch.subject), Seq: r.at.Seq + 1,
		Reason: fmt.Sprintf("message %d of %s is malformed, so it was not written by a pipeline: %v", m.n, r.fetch.subject, cause),
		Remedy: removal(r.queue.Stream, m.n),
	}
}

// follows verifies that the event is numbered step after the one before. What was not written
// by Waybill has no numbers, and may then not lie between what has.
func (r *Reader) follows(m *stored, ev *event.Event, step uint64) error {
	switch {
	case ev.Seq == r.at.Number+step:
		r.begun = true
		return nil
	case r.at.N == 0 && !r.begun && ev.Seq > 0: // the oldest there is
		r.at.Number, r.begun = ev.Seq-step, true
		return nil
	case ev.Seq > 0 || ev.Kind != event.Action:
		return r.gap(fmt.Sprintf("message %d of %s (action %s) carries number %d where %d was due", m.n, r.fetch.subject, ev.ID, ev.Seq, r.at.Number+step))
	case r.at.Number > 0:
		return &waybill.Refusal{
			Action: ev.ID, Seq: r.at.Seq + 1,
			Reason: fmt.Sprintf("message %d of %s has no sequence though others before it have: it was not written by the pipeline", m.n, r.fetch.subject),
			Remedy: removal(r.queue.Stream, m.n),
		}
	}
	return nil
}

// move takes the position behind the message.
func (r *Reader) move(m *stored, ev *event.Event) {
	r.open = nil
	r.at.N, r.at.Number, r.at.ID = m.n, ev.Seq, ev.ID
}

// complete ends an action.
func (r *Reader) complete(m *stored, ev *event.Event, changes waybill.Changes, size int) *waybill.Action {
	r.move(m, ev)
	r.at.Seq++
	return &waybill.Action{
		ID: ev.ID, Seq: r.at.Seq, Name: ev.Name, Time: ev.Time, Trace: ev.Trace,
		Changes: changes, Size: actionSize + size,
	}
}

// part takes a part of an action; a new attempt supersedes what was there of another.
func (r *Reader) part(m *stored, ev *event.Event) (*waybill.Action, error) {
	o := r.open
	if o == nil || o.attempt != ev.Attempt || o.head.ID != ev.ID {
		var err error
		if o, err = r.begin(m, ev); err != nil {
			return nil, err
		}
	} else if ev.Part != o.next {
		return nil, r.gap(fmt.Sprintf("message %d of %s is part %d of action %s where part %d was due", m.n, r.fetch.subject, ev.Part, ev.ID, o.next))
	}
	if !o.cut {
		if err := o.builder.Add(m.data, ev.Changes); err != nil {
			r.failed = err // what was collected is of no use: Open begins with its first part
			return nil, err
		}
	}
	r.open, o.next = o, ev.Part+1
	switch {
	case !ev.Last && !fault.Broken(fault.SplitAction):
		return nil, nil
	case o.cut:
		r.move(m, ev)
		return nil, nil
	}
	changes, size := o.builder.Take()
	return r.complete(m, ev, changes, size), nil
}

// begin begins an attempt.
func (r *Reader) begin(m *stored, ev *event.Event) (*assembly, error) {
	if err := r.follows(m, ev, 1); err != nil {
		return nil, err
	}
	o := &assembly{attempt: ev.Attempt, head: *ev, next: ev.Part}
	o.head.Changes = nil
	o.builder.Decoder = r.decoder.Again
	switch {
	case ev.Part == 1:
	case r.at.N == 0 && r.open == nil && ev.Last && r.fetch.s.taken(r.at.Subject) >= m.n:
		// The oldest message: somebody has acknowledged this action, and its beginning was purged.
		o.cut = true
	default:
		return nil, r.gap(fmt.Sprintf("message %d of %s is part %d of action %s, whose first part is not there", m.n, r.fetch.subject, ev.Part, ev.ID))
	}
	return o, nil
}
