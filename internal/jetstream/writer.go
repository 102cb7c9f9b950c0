package jetstream

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/envelope/event"
	"github.com/waybill-data/waybill/internal/fault"
)

const (
	// portionActions and portionBytes (by the actions' own estimate) bound what is written at
	// once. The server takes at most maxBuffered messages that it has not looked at yet.
	portionActions = 4000
	portionBytes   = 8 << 20
	// fewActions are written one by one: to write two or more at once the server makes a store for
	// them, and syncs that too, which takes as long as a dozen single messages.
	fewActions = 8
	// partBytes is about what one part of a large action takes; smaller actions are one message.
	partBytes = 1 << 20
	// maxChange bounds one change, in bytes as written.
	maxChange = 48 << 20
	// keepBuffer bounds the buffer that stays between writes, in bytes.
	keepBuffer = 16 << 20
	// writtenWithin bounds the wait for the answer to a write.
	writtenWithin = 30 * time.Second
)

// WriterOptions describe the writing end of one subject.
type WriterOptions struct {
	// Subject is the last token of the subject, the pipeline's name.
	Subject string
	Log     *slog.Logger
}

// Writer appends actions to one subject and keeps the position in its last message.
type Writer struct {
	WriterOptions
	queue    *Queue
	instance string // tells what this Writer wrote from what others did
	within   time.Duration

	stream  string
	taken   bool
	p       *publisher // nil: not connected
	id      string     // of the JetStream stream that was taken
	pos     waybill.Position
	seq     uint64
	last    uint64            // the message that holds pos; 0: nothing was ever written
	tail    uint64            // the subject's last message: last, or a part of an action under way
	begun   *waybill.Position // After of a batch of which a portion may be written
	doubt   *written          // what may or may not have been written
	attempt uint64            // numbers attempts at large actions, and writes

	encoder event.Encoder
	buf     []byte
	out     []outgoing
	schemas schemaQueue
}

// written is what a successful write leaves behind.
type written struct {
	pos waybill.Position
	seq uint64
}

// NewWriter prepares a writer; it opens nothing.
func NewWriter(q *Queue, o WriterOptions) *Writer {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	q.server.writing(q.Stream + "." + o.Subject)
	w := &Writer{WriterOptions: o, queue: q, instance: rand.Text()[:12], within: writtenWithin}
	w.encoder.Schemas = w.schemas.add
	return w
}

// subject is the full subject.
func (w *Writer) subject() string { return w.queue.Stream + "." + w.Subject }

func (w *Writer) source() string { return "/waybill/" + w.Subject }

// Resume takes the stream; see waybill.Writer.
func (w *Writer) Resume(ctx context.Context, stream string) (waybill.Position, error) {
	w.taken = false
	if err := w.disconnect(); err != nil {
		return "", err
	}
	w.stream, w.begun, w.doubt = stream, nil, nil
	if err := w.connect(ctx); err != nil {
		return "", err
	}
	if err := w.takeOver(ctx); err != nil {
		return "", fmt.Errorf("look at the end of %s: %w", w.subject(), err)
	}
	w.taken = true
	fault.Hit(fault.ResumeTaken)
	return w.pos, nil
}

func (w *Writer) connect(ctx context.Context) error {
	s, err := w.queue.open(ctx, "waybill writer "+w.Subject)
	if err != nil {
		return err
	}
	p, err := newPublisher(s, w.within)
	if err != nil {
		return errors.Join(waybill.AsTransient(err), s.close())
	}
	w.p = p
	if w.id != "" && w.id != s.id {
		return w.gap("the queue's stream " + w.queue.Stream + " was replaced by another one")
	}
	w.id = s.id
	return nil
}

func (w *Writer) disconnect() error {
	p := w.p
	w.p = nil
	return p.close()
}

func (w *Writer) gap(reason string) error {
	return &waybill.GapError{
		Stream: w.stream, Reason: reason,
		Remedy: "restore the queue's directory, or remove it as a whole and load the targets afresh",
	}
}

// Write appends b; see waybill.Writer. What is too much for one atomic write goes in several,
// of which each moves the position: a batch tried again goes on behind what is there.
func (w *Writer) Write(ctx context.Context, b waybill.Batch) error {
	if !w.taken {
		return fmt.Errorf("write to %s: no stream was taken", w.subject())
	}
	if err := w.settled(ctx); err != nil {
		return err
	}
	rest, done, err := w.rest(b)
	if err != nil {
		return err
	}
	if done {
		w.begun = nil
		return nil
	}
	if err := rest.CheckDense(w.stream, w.seq); err != nil {
		return err
	}
	if len(rest.Actions) == 0 && rest.Upto == rest.After {
		return w.idle(ctx)
	}
	w.begun = &b.After
	if err := w.writeAll(ctx, rest); err != nil {
		return err
	}
	w.begun = nil
	return nil
}

// rest is what of b is not written yet.
func (w *Writer) rest(b waybill.Batch) (rest waybill.Batch, done bool, err error) {
	if b.After == w.pos {
		return b, false, nil
	}
	if w.begun != nil && *w.begun == b.After {
		if b.Upto == w.pos {
			return b, true, nil
		}
		for i := 1; i < len(b.Actions) && b.At != nil; i++ {
			if b.At(i-1) == w.pos {
				_, tail, _ := b.Cut(i)
				return tail, false, nil
			}
		}
	}
	return b, false, w.gap("the batch does not continue the position that the queue holds")
}

// writeAll writes b portion by portion.
func (w *Writer) writeAll(ctx context.Context, b waybill.Batch) error {
	for {
		n, large := w.portion(&b)
		head, tail := b, waybill.Batch{}
		if n < len(b.Actions) {
			var ok bool
			if head, tail, ok = b.Cut(n); !ok {
				return fmt.Errorf("write to %s: a batch of %d actions is too large for one write and cannot be cut", w.subject(), len(b.Actions))
			}
		}
		write := w.writeWhole
		if large {
			write = w.writeLarge
		}
		if err := write(ctx, head); err != nil {
			return err
		}
		if n >= len(b.Actions) {
			return nil
		}
		b = tail
	}
}

// portion tells how many of the first actions are written at once. large: it is one alone,
// which may need parts.
func (w *Writer) portion(b *waybill.Batch) (n int, large bool) {
	if b.At != nil && len(b.Actions) > 0 && len(b.Actions) <= fewActions {
		return 1, isLarge(&b.Actions[0])
	}
	most := portionBytes
	if w.queue.MaxBytes > 0 {
		most = min(most, int(w.queue.MaxBytes/4))
	}
	bytes := 0
	for ; n < len(b.Actions) && n < portionActions; n++ {
		if isLarge(&b.Actions[n]) {
			if n == 0 {
				return 1, true
			}
			return n, false
		}
		if bytes += b.Actions[n].Size; n > 0 && bytes > most {
			return n, false
		}
	}
	return n, false
}

// isLarge: it may take more than one message.
func isLarge(a *waybill.Action) bool { return a.Size > partBytes || spilled(a) }

// spilled: the changes are more than what of them is in memory, which is all that Size tells.
func spilled(a *waybill.Action) bool {
	if _, ok := a.Changes.(waybill.ChangeList); ok || a.Changes == nil {
		return false
	}
	return a.Changes.Len() > portionActions
}

// writeWhole writes b as one message an action, all at once.
func (w *Writer) writeWhole(ctx context.Context, b waybill.Batch) error {
	w.reset()
	for i := range b.Actions {
		a := &b.Actions[i]
		list, err := changesOf(a)
		if err != nil {
			return err
		}
		ev := w.event(a)
		ev.Changes = list
		if i == len(b.Actions)-1 && !fault.Broken(fault.PositionApart) && !fault.Broken(fault.PositionFirst) {
			ev.Position = b.Upto
		}
		if err := w.encode(&ev); err != nil {
			return refuse(a, err)
		}
		if err := w.fits(a, int64(len(w.buf)-w.out[len(w.out)-1].start)); err != nil {
			return err
		}
	}
	target := written{b.Upto, b.LastSeq(w.seq)}
	if len(b.Actions) == 0 {
		if err := w.encodePosition(target); err != nil {
			return err
		}
		return w.commit(ctx, target)
	}
	if fault.Broken(fault.PositionApart) || fault.Broken(fault.PositionFirst) {
		return w.writeApart(ctx, target)
	}
	return w.commit(ctx, target)
}

// event is all of an action's event but its changes and position.
func (w *Writer) event(a *waybill.Action) event.Event {
	return event.Event{Source: w.source(), ID: a.ID, Seq: a.Seq, Name: a.Name, Time: a.Time, Trace: a.Trace}
}

func (w *Writer) encodePosition(t written) error {
	return w.encode(&event.Event{Kind: event.Position, Source: w.source(), Seq: t.seq, Position: t.pos})
}

// writeApart is the breakage of keeping the position apart from the data.
func (w *Writer) writeApart(ctx context.Context, target written) error {
	data, out := append([]byte(nil), w.buf...), append([]outgoing(nil), w.out...)
	position := func() error {
		w.reset()
		if err := w.encodePosition(target); err != nil {
			return err
		}
		return w.commit(ctx, target)
	}
	actions := func() error {
		w.buf, w.out = data, out
		return w.commit(ctx, target)
	}
	if fault.Broken(fault.PositionFirst) {
		position, actions = actions, position
	}
	if err := actions(); err != nil {
		return err
	}
	return position()
}

// changesOf reads the changes of an action that fits into one message.
func changesOf(a *waybill.Action) (waybill.ChangeList, error) {
	if a.Changes == nil {
		return nil, nil
	}
	if list, ok := a.Changes.(waybill.ChangeList); ok {
		return list, nil
	}
	list := make(waybill.ChangeList, 0, a.Changes.Len())
	for c, err := range a.Changes.All() {
		if err != nil {
			return nil, unread(a, err)
		}
		list = append(list, *c)
	}
	return list, nil
}

// unread is why the changes could not be read, or one of their values not be written as JSON.
func unread(a *waybill.Action, cause error) error {
	if of := (*waybill.Refusal)(nil); errors.As(cause, &of) {
		return refuse(a, cause)
	}
	return fmt.Errorf("read the changes of action %s: %w", a.ID, cause)
}

// refuse says why the queue cannot hold the action.
func refuse(a *waybill.Action, cause error) error {
	of := (*waybill.Refusal)(nil)
	if !errors.As(cause, &of) {
		return &waybill.Refusal{Action: a.ID, Seq: a.Seq, Reason: "the queue cannot hold it: " + cause.Error()}
	}
	named := *of
	named.Action, named.Seq = a.ID, a.Seq
	if named.Remedy == "" {
		named.Remedy = fmt.Sprintf("leave the column out of this pipeline (mapping.%s.drop): the value is on its way already, and correcting it at the source helps later changes alone", of.Entity)
	}
	return &named
}

// fits refuses an action that would not fit into the queue with the one before it, which stays
// because it holds the position.
func (w *Writer) fits(a *waybill.Action, size int64) error {
	if most := w.queue.MaxBytes / 2; most > 0 && size > most {
		return &waybill.Refusal{
			Action: a.ID, Seq: a.Seq,
			Reason: fmt.Sprintf("it takes %d bytes, and the queue's max_bytes is %d: an action may take half of it", size, w.queue.MaxBytes),
			Remedy: "raise queue.embedded.max_bytes",
		}
	}
	return nil
}

// idle proves that the stream is still ours.
func (w *Writer) idle(ctx context.Context) error {
	m, err := w.p.s.last(ctx, w.subject())
	switch {
	case err != nil:
		return err
	case m == nil && w.tail == 0:
		return nil
	case m == nil || m.n < w.tail:
		return w.gap("the last message of " + w.subject() + " was removed")
	case m.n != w.tail:
		if err := w.settle(ctx); err != nil {
			return fmt.Errorf("write to %s: %w", w.subject(), err)
		}
	}
	return nil
}

// mark names one write.
func (w *Writer) mark() string {
	w.attempt++
	return w.instance + "." + strconv.FormatUint(w.attempt, 10)
}

// Seq is the number of the last action that the queue holds, valid after Resume.
func (w *Writer) Seq() uint64 { return w.seq }

// Close ends the connection. Nothing is held that another writer would have to wait for.
func (w *Writer) Close() error {
	w.taken = false
	return w.disconnect()
}

// Claims are the queue's part in the pipeline's promise.
func (w *Writer) Claims() []waybill.Claim {
	return []waybill.Claim{
		{Property: waybill.Complete, Holds: true, Because: "the queue keeps the position in its last message, written in one step with the actions and synced to disk before the source hears of it; a full queue holds the source back and drops nothing"},
		{Property: waybill.Once, Holds: true, Because: "each write names the message that it follows, so a write that is repeated, or that another engine overtook, is not taken"},
		{Property: waybill.Whole, Holds: true, Because: "one message is one action; of a large one in parts nothing is handed on before the last part is there"},
		{Property: waybill.Ordered, Holds: true, Because: "the actions are numbered messages of one subject, written by one engine at a time"},
	}
}

var (
	_ waybill.Writer   = (*Writer)(nil)
	_ waybill.Numbered = (*Writer)(nil)
	_ waybill.Claimant = (*Writer)(nil)
)
