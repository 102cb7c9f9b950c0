package jetstream

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/envelope/event"
	"github.com/waybill-data/waybill/internal/fault"
)

// storedOverhead estimates what the store needs for a message beside its data, in bytes.
const storedOverhead = 256

func (w *Writer) reset() {
	if cap(w.buf) > keepBuffer {
		w.buf = nil
	}
	w.buf, w.out = w.buf[:0], w.out[:0]
}

// encode appends an event to what is written next.
func (w *Writer) encode(ev *event.Event) error {
	start := len(w.buf)
	buf, err := w.encoder.AppendEvent(w.buf, ev)
	if err != nil {
		return err
	}
	w.buf = buf
	w.out = append(w.out, outgoing{subject: w.subject(), start: start, end: len(buf)})
	return nil
}

// commit writes what was encoded and moves the position. When it returns, either that is known
// to be done, or known not to be, or in doubt, which the next Write resolves first.
func (w *Writer) commit(ctx context.Context, target written) error {
	n, err := w.publish(ctx)
	switch {
	case err == nil:
		fault.Hit(fault.WriteCommitted)
	case errors.Is(err, errWrongLast), errors.Is(err, errUnknown):
		return w.readBack(ctx, target, err)
	default:
		return err
	}
	w.pos, w.seq, w.last, w.tail = target.pos, target.seq, n, n
	w.wake()
	return nil
}

// wake tells readers in this process; it is no matter if it fails.
func (w *Writer) wake() {
	_ = w.p.s.nc.Publish(wakeSubject(w.queue.Stream, w.Subject), nil)
}

// publish writes what was encoded as one step, with the schemas that are not there yet.
func (w *Writer) publish(ctx context.Context) (uint64, error) {
	if err := w.addSchemas(ctx); err != nil {
		return 0, err
	}
	bytes := int64(0)
	for _, o := range w.out {
		bytes += int64(o.end-o.start) + storedOverhead
	}
	if err := w.queue.server.room(bytes); err != nil {
		return 0, err
	}
	fault.Hit(fault.WriteBegun)
	if len(w.out) == 1 {
		fault.Hit(fault.WriteData)
		fault.Hit(fault.WritePosition)
	}
	n, err := w.p.write(ctx, w.buf, w.out, w.subject(), w.tail, w.mark())
	switch {
	case err == nil:
		w.schemas.done()
		return n, nil
	case isWrongLast(err):
		return 0, fmt.Errorf("%w: %w", errWrongLast, err)
	case errors.Is(err, errUnknown):
		return 0, err
	}
	return 0, w.meaning(ctx, err, bytes)
}

// readBack finds out what became of a write whose outcome is not known, or that was not taken
// because the subject does not end where it should: the write itself may be what is there.
func (w *Writer) readBack(ctx context.Context, target written, cause error) error {
	w.doubt = &target
	if errors.Is(cause, errUnknown) {
		if fault.Broken(fault.RetryUnknown) {
			w.doubt = nil
			_ = w.disconnect()
			return waybill.AsTransient(cause)
		}
		if errors.Is(cause, errSilent) {
			w.queue.server.broken(ctx, cause)
		}
		if err := w.disconnect(); err != nil {
			w.Log.Debug("close a broken connection", "error", err)
		}
	}
	before := w.last
	if err := w.settled(ctx); err != nil {
		return err
	}
	if w.last != before && w.pos == target.pos {
		w.Log.Info("a write without answer had succeeded", "subject", w.subject())
		return nil
	}
	return waybill.AsTransient(fmt.Errorf("write to %s: nothing was written: %w", w.subject(), cause))
}

// settled makes sure that there is a connection, and that what this writer believes of the
// subject's end is so.
func (w *Writer) settled(ctx context.Context) error {
	broken := w.p != nil && w.p.s.nc.IsClosed()
	if w.p != nil && !broken && w.doubt == nil && w.tail == w.last {
		return nil
	}
	if broken {
		if err := w.disconnect(); err != nil {
			w.Log.Debug("close a broken connection", "error", err)
		}
	}
	if w.p == nil {
		if err := w.connect(ctx); err != nil {
			return err
		}
	}
	if err := w.settle(ctx); err != nil {
		return fmt.Errorf("read back the end of %s: %w", w.subject(), err)
	}
	return nil
}

// settle compares the end of the subject with what this writer left there. A write that is
// still under way cannot do harm later: its message to follow is not the last any more, or it
// is what this writer wrote, and then found.
func (w *Writer) settle(ctx context.Context) error {
	m, ev, err := w.end(ctx, w.instance)
	switch {
	case err != nil:
		return err
	case m != nil && isOpen(&ev) && w.last == 0: // of our own attempt; see end
		w.doubt, w.tail = nil, m.n
		return nil
	case m == nil && w.last == 0, m != nil && m.n == w.last:
	case m == nil || m.n < w.last:
		return w.gap("the last message of " + w.subject() + " was removed")
	case fault.Broken(fault.RetryUnknown) && w.doubt == nil:
		w.tail = m.n
		return nil
	case !w.isDoubt(m, &ev):
		if alien := w.alien(m, &ev); alien != "" {
			return w.foreign(m, alien)
		}
		return waybill.ErrFenced
	default:
		w.pos, w.seq, w.last = w.doubt.pos, w.doubt.seq, m.n
		fault.Hit(fault.WriteCommitted)
		w.wake()
	}
	w.doubt, w.tail = nil, w.last
	return nil
}

// isDoubt tells whether the message is the end of the write in doubt.
func (w *Writer) isDoubt(m *stored, ev *event.Event) bool {
	return w.doubt != nil && w.wrote(m) && ev.Position == w.doubt.pos && ev.Seq == w.doubt.seq
}

// wrote tells whether the message ends a write of this Writer.
func (w *Writer) wrote(m *stored) bool {
	return strings.HasPrefix(m.hdr.Get(hdrMark), w.instance+".")
}

// alien says why the message was not written by a Writer of this subject; empty: it may have been.
func (w *Writer) alien(m *stored, ev *event.Event) string {
	switch {
	case ev.Source != w.source():
		return "its CloudEvents source is " + strconv.Quote(ev.Source)
	case ev.Seq == 0 && ev.Kind != event.Position:
		return "it has no sequence"
	case m.hdr.Get(hdrMark) == "" && m.hdr.Get(hdrBatch) == "":
		return "it does not say which write it is of"
	}
	return ""
}

// foreign is the error of a message at the end of the subject that this pipeline did not write.
func (w *Writer) foreign(m *stored, why string) error {
	return fmt.Errorf("message %d of %s was not written by the pipeline (%s): %s", m.n, w.subject(), why, removal(w.queue.Stream, m.n))
}

// removal is the remedy for a message that does not belong where it is.
func removal(stream string, n uint64) string {
	return fmt.Sprintf("remove message %d of stream %s (nats stream rmm %s %d, or with the engine stopped: with any nats-server on the directory) and start again",
		n, stream, stream, n)
}

// isOpen tells whether the event is a part that others must follow.
func isOpen(ev *event.Event) bool { return ev.Kind == event.Part && !ev.Last }

// takeOver reads the position from the end of the subject.
func (w *Writer) takeOver(ctx context.Context) error {
	known := w.last
	m, ev, err := w.end(ctx, "")
	if err != nil {
		return err
	}
	switch {
	case m == nil && w.p.s.taken(w.Subject) > 0:
		return w.gap("consumers have read messages of " + w.subject() + ", and there are none any more")
	case m == nil && known > 0, m != nil && m.n < known:
		return w.gap("the last message of " + w.subject() + " was removed")
	case m == nil:
		w.pos, w.seq, w.last, w.tail = "", 0, 0, 0
		return nil
	case isOpen(&ev): // the only one of the subject; see end
		w.pos, w.seq, w.last, w.tail = ev.Position, ev.Seq-1, 0, m.n
		return nil
	case w.alien(m, &ev) != "":
		return w.foreign(m, w.alien(m, &ev))
	case ev.Position == "":
		return w.gap(fmt.Sprintf("message %d of %s is not the end of a write: what followed it is lost", m.n, w.subject()))
	}
	w.pos, w.seq, w.last, w.tail = ev.Position, ev.Seq, m.n, m.n
	return nil
}

// end returns the last message of the subject, once everything published before has been dealt
// with. Parts of an action that was not completed are removed first. Where instance is not
// empty, parts that another writer left say that it took over.
func (w *Writer) end(ctx context.Context, instance string) (*stored, event.Event, error) {
	if err := w.p.barrier(ctx, w.subject()); err != nil {
		return nil, event.Event{}, err
	}
	for renewed := false; ; {
		m, err := w.p.s.last(ctx, w.subject())
		if errors.Is(err, errStale) && !renewed {
			if renewed, err = true, w.renew(ctx); err == nil {
				continue
			}
		}
		if m == nil || err != nil {
			return nil, event.Event{}, err
		}
		ev, err := event.NewDecoder(anySchema).Decode(m.data)
		if err != nil {
			return nil, ev, w.foreign(m, err.Error())
		}
		if !isOpen(&ev) {
			return m, ev, nil
		}
		if alien := w.alien(m, &ev); alien != "" {
			return nil, ev, w.foreign(m, alien)
		}
		if instance != "" && m.n != w.tail && !strings.HasPrefix(ev.Attempt, instance+".") {
			return nil, ev, waybill.ErrFenced
		}
		first, err := w.p.s.next(ctx, w.subject(), 1)
		if err != nil || first == nil || first.n == m.n && ev.Position != "" {
			return m, ev, err // nothing else tells the position any more
		}
		if err := w.clear(ctx, m.n, first.n); err != nil {
			return nil, ev, err
		}
	}
}

// clear removes parts of actions that were not completed, from message n backwards, the last one
// first, so that what is left is always a beginning. The first part of all stays where there is
// nothing before it: it tells the position.
func (w *Writer) clear(ctx context.Context, n, first uint64) error {
	removed := 0
	for ; n >= first; n-- {
		m, err := w.p.s.message(ctx, n)
		if err != nil {
			return err
		}
		if m == nil || m.hdr.Get(hdrSubject) != w.subject() {
			continue
		}
		ev, err := event.NewDecoder(anySchema).Decode(m.data)
		if err != nil || !isOpen(&ev) || n == first && ev.Position != "" {
			break
		}
		if err := w.p.s.remove(ctx, n); err != nil {
			return err
		}
		removed++
	}
	w.Log.Info("removed parts of an action that was not completed", "subject", w.subject(), "messages", removed)
	return nil //nolint:nilerr // what cannot be read is not ours to remove
}

// renew starts the server anew and then looks at the end again.
func (w *Writer) renew(ctx context.Context) error {
	w.Log.Info("starting the queue's server anew, to find the last message behind removed parts", "subject", w.subject())
	if err := w.queue.server.renew(ctx); err != nil {
		return waybill.AsTransient(err)
	}
	if err := w.disconnect(); err != nil {
		w.Log.Debug("close a broken connection", "error", err)
	}
	return w.connect(ctx)
}

// renew stops the server and starts it again; connections made before break.
func (s *Server) renew(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.end()
	return s.run(ctx)
}

// remove removes one message; one that is gone already is no error.
func (s *session) remove(ctx context.Context, n uint64) error {
	stream, err := s.js.Stream(ctx, s.queue.Stream)
	if err == nil {
		err = stream.DeleteMsg(ctx, n)
	}
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil
	}
	if err != nil {
		return waybill.AsTransient(fmt.Errorf("remove message %d, of an action that was not completed: %w", n, err))
	}
	return nil
}
