package jetstream

import (
	"context"
	"errors"
	"fmt"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/envelope/event"
	"github.com/waybill-data/waybill/internal/fault"
)

// writeLarge writes a batch of one action, which may be too large for one message. Its parts
// are written one by one, because the server stages what is written at once a second time; the last of them moves the position. A failure on the way
// leaves parts that no reader hands on, and that are removed before the next attempt.
func (w *Writer) writeLarge(ctx context.Context, b waybill.Batch) error {
	a := &b.Actions[0]
	total, largest, err := w.encoder.Sizes(a.Changes)
	if err != nil {
		return unread(a, err)
	}
	if largest > maxChange {
		return &waybill.Refusal{
			Action: a.ID, Seq: a.Seq,
			Reason: fmt.Sprintf("one of its changes takes %d bytes, and the queue takes %d", largest, maxChange),
			Remedy: "keep such values outside of the row",
		}
	}
	if err := w.fits(a, int64(total)+int64(total/partBytes)*storedOverhead); err != nil {
		return err
	}
	if total <= partBytes {
		return w.writeWhole(ctx, b)
	}
	return w.writeParts(ctx, a, b.After, written{b.Upto, b.LastSeq(w.seq)})
}

func (w *Writer) writeParts(ctx context.Context, a *waybill.Action, before waybill.Position, target written) error {
	w.reset()
	head := w.event(a)
	head.Attempt, head.Position = w.mark(), target.pos
	var failed error // of writing, not of the action
	err := w.encoder.Parts(&head, before, a.Changes, partBytes, func(part []byte, last bool) error {
		start := len(w.buf)
		w.buf = append(w.buf, part...)
		w.out = append(w.out, outgoing{subject: w.subject(), start: start, end: len(w.buf)})
		if last {
			failed = w.commit(ctx, target)
		} else {
			failed = w.stage(ctx)
		}
		return failed
	})
	if err != nil && failed == nil {
		return unread(a, err)
	}
	return err
}

// stage writes a part that is not the last one.
func (w *Writer) stage(ctx context.Context) error {
	n, err := w.publish(ctx)
	if errors.Is(err, errWrongLast) || errors.Is(err, errUnknown) {
		// The position cannot have moved, or another writer moved it.
		return w.readBack(ctx, written{pos: w.pos, seq: w.seq}, err)
	}
	if err != nil {
		return err
	}
	w.tail = n
	w.reset()
	fault.Hit(fault.WriteData)
	return nil
}

// schemaQueue collects the schemas that what is written next refers to.
type schemaQueue struct {
	known   map[string]bool // to be in the queue
	pending []pendingSchema
}

type pendingSchema struct {
	hash   string
	schema *waybill.Schema
}

// add is an event.Encoder's Schemas.
func (q *schemaQueue) add(hash string, s *waybill.Schema) error {
	if q.known[hash] {
		return nil
	}
	for i := range q.pending {
		if q.pending[i].hash == hash {
			return nil
		}
	}
	q.pending = append(q.pending, pendingSchema{hash, s})
	return nil
}

// done notes that what was pending is in the queue.
func (q *schemaQueue) done() {
	if q.known == nil {
		q.known = map[string]bool{}
	}
	for _, p := range q.pending {
		q.known[p.hash] = true
	}
	q.pending = q.pending[:0]
}

// schemaSubject is where a schema of the subject is kept.
func schemaSubject(subject, hash string) string { return subject + ".schema." + hash }

// addSchemas puts the schemas that are not there yet before the messages that use them.
func (w *Writer) addSchemas(ctx context.Context) error {
	var before []outgoing
	for _, p := range w.schemas.pending {
		subject := schemaSubject(w.subject(), p.hash)
		m, err := w.p.s.last(ctx, subject)
		if err != nil {
			return err
		}
		if m != nil {
			continue
		}
		start := len(w.buf)
		var encoder event.Encoder
		w.buf, err = encoder.AppendEvent(w.buf, &event.Event{Kind: event.Schema, Source: w.source(), Schema: p.schema})
		if err != nil {
			return fmt.Errorf("write down the schema of %s: %w", p.schema.Entity, err)
		}
		before = append(before, outgoing{subject: subject, start: start, end: len(w.buf)})
	}
	if len(before) > 0 {
		w.out = append(before, w.out...)
	}
	return nil
}
