package jetstream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/envelope/event"
	"github.com/waybill-data/waybill/internal/fault"
)

const (
	defaultActions = 1000
	defaultBytes   = 4 << 20
)

// ReaderOptions describe one consumer of one subject.
type ReaderOptions struct {
	// Subject is the last token of the subject. Empty: the only one that the queue holds.
	Subject string
	// Stream is the consumer's name, "pipeline/target".
	Stream     string
	MaxActions int   // bounds of a batch; default 1000
	MaxBytes   int64 // bytes; default 4 MiB
	Log        *slog.Logger
}

// Reader yields the actions of one subject. See the package documentation.
type Reader struct {
	ReaderOptions
	queue *Queue

	mu      sync.Mutex // over what is used beside Next
	session *session   // nil: not open
	subject string     // the last token, also where the options do not say it

	fetch   *fetcher
	decoder *event.Decoder
	after   waybill.Position // where the next batch begins
	at      point            // the same, taken apart; N is 0 at the beginning
	begun   bool             // at.Number is known though at.N is 0
	anchor  anchor           // the message at.N
	read    uint64           // the last message that was fetched
	pending []stored         // fetched, not handed on
	short   bool             // the last fetch found the subject's end
	open    *assembly        // parts of an action whose last is still to come
	failed  error            // a large action could not be put aside
	wake    chan struct{}
}

// NewReader prepares a reader; it opens nothing.
func NewReader(q *Queue, o ReaderOptions) *Reader {
	if o.MaxActions <= 0 {
		o.MaxActions = defaultActions
	}
	if o.MaxBytes <= 0 {
		o.MaxBytes = defaultBytes
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Reader{ReaderOptions: o, queue: q, wake: make(chan struct{}, 1)}
}

// Open registers the consumer and verifies that the position is one of this queue's history;
// see waybill.Reader.
func (r *Reader) Open(ctx context.Context, after waybill.Position) error {
	if err := r.Close(); err != nil {
		return err
	}
	var at point
	if after != "" {
		var err error
		if at, err = parsePosition(after); err != nil {
			return r.gap(err.Error())
		}
	}
	s, err := r.queue.open(ctx, "waybill reader "+r.Stream)
	if err != nil {
		return err
	}
	if err := r.openOn(ctx, s, after, at); err != nil {
		return errors.Join(fmt.Errorf("open queue %s: %w", r.queue.Stream, err), s.close())
	}
	r.mu.Lock()
	r.session = s
	r.mu.Unlock()
	fault.Hit(fault.OpenDone)
	return nil
}

func (r *Reader) openOn(ctx context.Context, s *session, after waybill.Position, at point) error {
	name, err := r.resolve(ctx, s)
	if errors.Is(err, errEmpty) && after != "" {
		name, err = at.Subject, nil // which is gone
	}
	if err != nil {
		return err
	}
	subject := r.queue.Stream + "." + name
	acked := s.ackedBy(r.Stream, name)
	if err := r.queue.register(s, r.Stream, name); err != nil {
		return err
	}
	r.decoder = event.NewDecoder(func(hash string) (*waybill.Schema, error) { return s.schema(subject, hash) })
	r.after, r.at, r.begun, r.anchor = after, at, false, anchor{}
	r.read, r.pending, r.open, r.failed = at.N, nil, nil, nil
	if after == "" {
		r.at = point{V: positionVersion, Queue: s.id, Subject: name}
		err = r.beginning(ctx, s, subject, acked)
	} else {
		err = r.resume(ctx, s, name)
	}
	if err != nil {
		return err
	}
	r.mu.Lock()
	r.subject = name
	r.mu.Unlock()
	r.fetch, err = newFetcher(s, r.queue.Stream, name, r.MaxActions+2, r.wake)
	return err
}

// errEmpty: there is no subject yet that could be the only one.
var errEmpty = errors.New("it holds no stream yet")

// resolve names the subject where the options do not.
func (r *Reader) resolve(ctx context.Context, s *session) (string, error) {
	if r.Subject != "" {
		return r.Subject, nil
	}
	found, err := s.js.Stream(ctx, r.queue.Stream)
	if err != nil {
		return "", s.failed(ctx, err)
	}
	info, err := found.Info(ctx, jetstream.WithSubjectFilter(r.queue.Stream+".*"))
	if err != nil {
		return "", s.failed(ctx, err)
	}
	var names []string
	for subject := range info.State.Subjects {
		names = append(names, strings.TrimPrefix(subject, r.queue.Stream+"."))
	}
	switch len(names) {
	case 0:
		return "", waybill.AsTransient(errEmpty)
	case 1:
		return names[0], nil
	}
	return "", fmt.Errorf("it holds %d streams (%s); say which one to read (queue.embedded.subject)", len(names), strings.Join(names, ", "))
}

// beginning verifies that nothing is missing before the oldest message for a consumer that had
// acknowledged messages: its target lost its position.
func (r *Reader) beginning(ctx context.Context, s *session, subject string, acked uint64) error {
	if acked == 0 {
		return nil
	}
	m, err := s.next(ctx, subject, 1)
	if err != nil {
		return err
	}
	if m != nil {
		if ev, err := r.decoder.Decode(m.data); err == nil && ev.Seq == 1 && (ev.Kind != event.Part || ev.Part == 1) {
			return nil
		}
	}
	return r.gap(fmt.Sprintf("the consumer had acknowledged message %d, of which the target knows nothing, and the queue does not hold everything from the beginning any more", acked))
}

// resume verifies that the message at which the position stands is there and the same.
func (r *Reader) resume(ctx context.Context, s *session, name string) error {
	if fault.Broken(fault.IgnoreIdentity) {
		r.at.Queue, r.at.Subject = s.id, name
		r.anchor = anchor{unknown: true}
		return nil
	}
	if r.at.Queue != s.id {
		return r.gap("the position belongs to another queue")
	}
	if r.at.Subject != name {
		return r.gap(fmt.Sprintf("the position belongs to the subject %s, not to %s", r.at.Subject, name))
	}
	m, err := s.message(ctx, r.at.N)
	if err != nil {
		return err
	}
	if m == nil {
		return r.gap(fmt.Sprintf("message %d, at which the position stands, is not there any more", r.at.N))
	}
	ev, err := r.decoder.Decode(m.data)
	if err != nil && (waybill.Transient(err) || errors.Is(err, waybill.ErrGap)) {
		return err
	}
	if err != nil || ev.ID != r.at.ID || ev.Seq != r.at.Number || isOpen(&ev) || m.hdr.Get(hdrSubject) != r.queue.Stream+"."+name {
		return r.gap(fmt.Sprintf("message %d, at which the position stands, is not the one that was read there", r.at.N))
	}
	r.anchor = anchorOf(m.data)
	return nil
}

func (r *Reader) gap(reason string) error {
	return &waybill.GapError{
		Stream: r.Stream, Reason: reason,
		Remedy: "restore the queue's directory, or drop the consumer and load the target afresh",
	}
}

// Next returns the next actions; see waybill.Reader.
func (r *Reader) Next(ctx context.Context) (waybill.Batch, error) {
	if r.fetch == nil {
		return waybill.Batch{}, waybill.AsTransient(fmt.Errorf("read queue %s: it is not open", r.queue.Stream))
	}
	for {
		if err := ctx.Err(); err != nil {
			return waybill.Batch{}, err
		}
		if len(r.pending) == 0 {
			if err := r.fill(ctx); err != nil {
				return waybill.Batch{}, fmt.Errorf("read queue %s: %w", r.queue.Stream, err)
			}
		}
		b, err := r.hand()
		if err != nil || b.Upto != b.After {
			return b, err
		}
	}
}

// Ack says that everything up to p is durable at the target; see waybill.Reader.
func (r *Reader) Ack(ctx context.Context, p waybill.Position) error {
	if p == "" {
		return nil
	}
	pt, err := parsePosition(p)
	if err != nil {
		return err
	}
	s, name := r.opened()
	if s == nil {
		return waybill.AsTransient(fmt.Errorf("acknowledge to queue %s: it is not open", r.queue.Stream))
	}
	if pt.Queue != s.id || pt.Subject != name {
		return fmt.Errorf("acknowledge to queue %s: %w", r.queue.Stream, r.gap("the position belongs to another queue"))
	}
	if err := r.queue.acked(ctx, s, r.Stream, name, pt.N); err != nil {
		return err
	}
	fault.Hit(fault.AckDone)
	return nil
}

func (r *Reader) opened() (*session, string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.session, r.subject
}

// Head is the end of the newest complete action; see waybill.Reader.
func (r *Reader) Head(ctx context.Context) (waybill.Position, error) {
	s, name := r.opened()
	if s == nil {
		return "", waybill.AsTransient(fmt.Errorf("ask queue %s for its head: it is not open", r.queue.Stream))
	}
	m, err := s.last(ctx, r.queue.Stream+"."+name)
	if err != nil || m == nil {
		return "", err
	}
	select {
	case r.wake <- struct{}{}:
	default:
	}
	head := point{V: positionVersion, Queue: s.id, Subject: name, N: m.n}
	ev, err := event.NewDecoder(anySchema).Decode(m.data)
	if err != nil {
		return head.position(), nil //nolint:nilerr // what cannot be read is reached by no one
	}
	head.ID, head.Number = ev.ID, ev.Seq
	if isOpen(&ev) {
		if head.Number--; head.Number == 0 {
			return "", nil // nothing is complete
		}
	}
	return head.position(), nil
}

// anySchema stands for every schema where the changes do not matter.
func anySchema(string) (*waybill.Schema, error) { return &waybill.Schema{Entity: "any"}, nil }

// Reached tells whether p is at or past head. Actions that are numbered are compared by their
// number: the last message may be a part of one that is not complete.
func (r *Reader) Reached(p, head waybill.Position) bool {
	if head == "" {
		return true
	}
	b, err := parsePosition(head)
	if err != nil {
		return false
	}
	a, err := parsePosition(p)
	if err != nil || a.Queue != b.Queue || a.Subject != b.Subject {
		return false
	}
	return a.N >= b.N || b.Number > 0 && a.Number >= b.Number
}

// Backlog counts the actions after p, and tells how long the oldest of them has been waiting.
func (r *Reader) Backlog(ctx context.Context, p waybill.Position) (actions int64, oldest time.Duration, err error) {
	pt := point{}
	if p != "" {
		if pt, err = parsePosition(p); err != nil {
			return 0, 0, err
		}
	}
	s, name := r.opened()
	if s == nil {
		return 0, 0, waybill.AsTransient(fmt.Errorf("count what waits in queue %s: it is not open", r.queue.Stream))
	}
	subject := r.queue.Stream + "." + name
	first, err := s.next(ctx, subject, pt.N+1)
	if err != nil || first == nil {
		return 0, 0, err
	}
	last, err := s.last(ctx, subject)
	if err != nil || last == nil {
		return 0, 0, err
	}
	return waiting(pt, first, last), max(0, time.Since(first.at)), nil
}

// waiting counts the actions after pt, of which the messages first and last are the ends.
func waiting(pt point, first, last *stored) int64 {
	decoder := event.NewDecoder(anySchema)
	a, errA := decoder.Decode(first.data)
	b, errB := decoder.Decode(last.data)
	if errA != nil || errB != nil || b.Seq == 0 && b.Kind != event.Position {
		return int64(last.n - first.n + 1) // not numbered: about as many as there are messages
	}
	newest, before := b.Seq, pt.Number
	if isOpen(&b) {
		newest--
	}
	if pt.N == 0 && a.Seq > 0 && a.Kind != event.Position {
		before = a.Seq - 1
	}
	return int64(newest - min(before, newest))
}

// Drop forgets the consumer.
func (r *Reader) Drop(ctx context.Context, stream string) error { return r.queue.drop(ctx, stream) }

// Close ends the connection.
func (r *Reader) Close() error {
	r.mu.Lock()
	s := r.session
	r.session = nil
	r.mu.Unlock()
	r.fetch, r.pending, r.open = nil, nil, nil
	if s == nil {
		return nil
	}
	return s.close()
}

// Claims are the queue's part in the pipeline's promise.
func (r *Reader) Claims() []waybill.Claim {
	return []waybill.Claim{
		{Property: waybill.Complete, Holds: true, Because: "the queue keeps what a registered consumer has not acknowledged, and a hole in the numbers of the actions stops the stream"},
		{Property: waybill.Once, Holds: true, Because: "actions are numbered, and read on behind the position that the target keeps"},
		{Property: waybill.Whole, Holds: true, Because: "one message is one action; of a large one in parts nothing is handed on before the last part is there"},
		{Property: waybill.Ordered, Holds: true, Because: "one consumer reads one subject in the order in which it was written"},
	}
}

var (
	_ waybill.Reader   = (*Reader)(nil)
	_ waybill.Backlog  = (*Reader)(nil)
	_ waybill.Dropper  = (*Reader)(nil)
	_ waybill.Claimant = (*Reader)(nil)
)
