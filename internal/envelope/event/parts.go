package event

import (
	"fmt"
	"slices"

	waybill "github.com/waybill-data/waybill"
)

// keepBytes bounds the buffers that an Encoder keeps for the next large action.
const keepBytes = 4 << 20

// Sizes counts, without keeping them, the bytes that the changes take in an event: all of them
// as data, and the largest one. The error is that of reading the changes, of Schemas, or of a value
// (a *waybill.Refusal without the action).
func (e *Encoder) Sizes(changes waybill.Changes) (total, largest int, err error) {
	total = len(`[]`)
	buf := e.part[:0]
	e.last = nil
	for c, err := range changes.All() {
		if err != nil {
			return 0, 0, err
		}
		if buf, err = e.appendChange(buf[:0], c); err != nil {
			return 0, 0, err
		}
		largest = max(largest, len(buf))
		total += len(buf) + len(`,`)
	}
	e.keep(buf)
	if changes.Len() > 0 {
		total -= len(`,`)
	}
	return total, largest, nil
}

// Parts hands on the action as parts of up to limit bytes each, cut between changes; a change
// that is larger becomes a part of its own, which is larger than limit. head says everything
// about the action but its changes, and the attempt; its Position goes onto the last part, and
// before, the position before the action, onto all others. A part is valid until emit returns.
// The error is that of emit, of Schemas, or of reading the changes; an action is then in parts
// without a last one.
func (e *Encoder) Parts(head *Event, before waybill.Position, changes waybill.Changes, limit int, emit func(part []byte, last bool) error) error {
	s := splitter{encoder: e, before: before, after: head.Position, event: *head, emit: emit}
	s.event.Kind, s.event.Part, s.event.Changes = Part, 1, nil
	if err := s.begin(); err != nil {
		return err
	}
	defer func() { e.keep(s.buf) }()
	for c, err := range changes.All() {
		if err != nil {
			return err
		}
		if err := s.add(c, limit); err != nil {
			return ofAction(head, err)
		}
	}
	if len(s.buf) == s.room {
		s.buf = append(s.buf, '[')
	}
	return s.flush(s.buf, true)
}

func (e *Encoder) keep(buf []byte) {
	if e.part = buf[:0]; cap(buf) > keepBytes {
		e.part = nil
	}
}

// splitter builds one part after another in a buffer that begins with room for the longest
// head, because only at its end is known whether a part is the last.
type splitter struct {
	encoder       *Encoder
	event         Event
	before, after waybill.Position
	emit          func([]byte, bool) error

	buf  []byte
	room int // for the head, in bytes
}

const (
	dataOpen = `,"data":`
	closing  = `]}`
)

func (s *splitter) begin() error {
	s.event.Part = maxPart
	for _, last := range []bool{false, true} {
		s.room = max(s.room, len(s.head(last)))
		if err := check(&s.event); err != nil { // with the position that head put there
			return err
		}
	}
	s.event.Part = 1
	s.buf = slices.Grow(s.encoder.part[:0], s.room)[:s.room]
	s.encoder.last = nil
	return nil
}

func (s *splitter) head(last bool) []byte {
	s.event.Last, s.event.Position = last, s.before
	if last {
		s.event.Position = s.after
	}
	s.encoder.head = append(appendHead(s.encoder.head[:0], &s.event), dataOpen...)
	return s.encoder.head
}

// add appends a change; where it does not fit any more, what was there before is handed on.
func (s *splitter) add(c *waybill.Change, limit int) (err error) {
	start := len(s.buf)
	s.buf = append(s.buf, ',')
	if start == s.room {
		s.buf[start] = '['
	}
	if s.buf, err = s.encoder.appendChange(s.buf, c); err != nil {
		return err
	}
	if start == s.room || len(s.buf)+len(closing) <= limit {
		return nil
	}
	if s.event.Part == maxPart {
		return fmt.Errorf("the action has more than %d parts", maxPart)
	}
	// The closing takes the place of the comma and the brace with which the change begins.
	if err := s.flush(s.buf[:start], false); err != nil {
		return err
	}
	s.event.Part++
	moved := copy(s.buf[s.room+len(closing):], s.buf[start+len(closing):]) // behind the [{ that is there
	s.buf = s.buf[:s.room+len(closing)+moved]
	return nil
}

// flush hands on what buf holds, with its head right before the data.
func (s *splitter) flush(buf []byte, last bool) error {
	head := s.head(last)
	from := s.room - len(head)
	copy(buf[from:], head)
	return s.emit(append(buf, closing...)[from:], last)
}
