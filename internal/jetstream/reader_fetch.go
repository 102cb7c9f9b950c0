package jetstream

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/envelope/event"
)

const (
	// pollShort and pollLong bound how long a reader waits before it looks again when nobody woke
	// it: messages of writers in other processes are seen at the latest then.
	pollShort = 2 * time.Millisecond
	pollLong  = 40 * time.Millisecond
	// pollAlone is pollLong where nobody else can write: the writers of this process wake it.
	pollAlone = 500 * time.Millisecond
	// pollOpen is how long it waits for the rest of an action in parts, unless it is told that it is
	// there: the server keeps blocks in memory for 10 s that are read while they are written.
	pollOpen = 2 * time.Second
	// inlineAnchor is up to which size the message before is fetched once more with those that
	// follow it, in bytes; a larger one is looked at only when something follows it.
	inlineAnchor = 16 << 10
)

// anchor recognizes the last message that was handed on. It is never purged while the
// consumer is registered, so it proves that what follows it is the same history.
type anchor struct {
	sum     [sha256.Size]byte
	size    int
	unknown bool // a breakage: anything is taken for it
}

// anchorOf does not keep data.
func anchorOf(data []byte) anchor { return anchor{sum: sha256.Sum256(data), size: len(data)} }

func (a *anchor) is(data []byte) bool {
	return a.unknown || len(data) == a.size && sha256.Sum256(data) == a.sum
}

// fetcher gets messages of one subject, many at a time, by JetStream's direct get: the server
// reads them from its store and keeps nothing about the reader.
type fetcher struct {
	s       *session
	stream  string
	subject string
	replies chan *nats.Msg
	sub     *nats.Subscription // nil: to be made
	inbox   string
	closed  chan nats.Status
	// headers: messages of other subjects lie between, so that a message's sequence must be
	// asked for. The server then writes six headers for each.
	headers bool
	request []byte
}

func newFetcher(s *session, stream, name string, most int, wake chan struct{}) (*fetcher, error) {
	f := &fetcher{s: s, stream: stream, subject: stream + "." + name, replies: make(chan *nats.Msg, most+16)}
	f.closed = s.nc.StatusChanged(nats.CLOSED)
	_, err := s.nc.Subscribe(wakeSubject(stream, name), func(*nats.Msg) {
		select {
		case wake <- struct{}{}:
		default:
		}
	})
	if err == nil {
		err = s.nc.FlushTimeout(answerWithin) // from here on a writer wakes it
	}
	if err != nil {
		return nil, waybill.AsTransient(fmt.Errorf("subscribe: %w", err))
	}
	return f, nil
}

// get returns up to count messages from sequence n on, and at most about so many bytes.
func (f *fetcher) get(ctx context.Context, n uint64, count int, size int64) ([]stored, error) {
	list, contiguous, err := f.ask(ctx, n, count, size)
	if err != nil || contiguous {
		f.headers = f.headers && err != nil
		return list, err
	}
	if !f.headers {
		f.headers = true
		list, _, err = f.ask(ctx, n, count, size)
	}
	return list, err
}

// ask sends one request and gathers what comes. contiguous: the messages lie one after another.
func (f *fetcher) ask(ctx context.Context, n uint64, count int, size int64) (list []stored, contiguous bool, err error) {
	if f.sub == nil {
		f.inbox = f.s.nc.NewInbox()
		if f.sub, err = f.s.nc.ChanSubscribe(f.inbox, f.replies); err != nil {
			return nil, false, f.s.failed(ctx, err)
		}
	}
	f.request = fmt.Appendf(f.request[:0], `{"seq":%d,"next_by_subj":%q,"batch":%d,"max_bytes":%d,"no_hdr":%v}`, max(n, 1), f.subject, count, size, !f.headers)
	if err := f.s.nc.PublishRequest("$JS.API.DIRECT.GET."+f.stream, f.inbox, f.request); err != nil {
		return nil, false, f.s.failed(ctx, err)
	}
	last, list, err := f.gather(ctx, count)
	if err != nil {
		f.abandon()
		return nil, false, err
	}
	if f.headers {
		return list, len(list) == 0 || list[len(list)-1].n == max(n, 1)+uint64(len(list))-1, nil
	}
	if len(list) > 0 && last != max(n, 1)+uint64(len(list))-1 {
		return nil, false, nil
	}
	for i := range list {
		list[i].n = max(n, 1) + uint64(i)
	}
	return list, true, nil
}

// gather waits for the messages and the mark at their end, which names the last one.
func (f *fetcher) gather(ctx context.Context, count int) (last uint64, list []stored, err error) {
	timer := time.NewTimer(answerWithin)
	defer timer.Stop()
	for {
		var m *nats.Msg
		select {
		case m = <-f.replies:
		default:
			select {
			case m = <-f.replies:
			case <-f.closed:
				return 0, nil, waybill.AsTransient(errors.New("the connection to the queue's server broke"))
			case <-timer.C:
				return 0, nil, f.s.failed(ctx, fmt.Errorf("no answer within %v", answerWithin))
			case <-ctx.Done():
				return 0, nil, ctx.Err()
			}
		}
		switch status := m.Header.Get(hdrStatus); {
		case status == "" && !f.headers:
			if list == nil {
				list = make([]stored, 0, min(count, 1024))
			}
			list = append(list, stored{data: m.Data})
		case status == "":
			s, err := open(m)
			if err != nil {
				return 0, nil, err
			}
			list = append(list, *s)
		case status == "404":
			return 0, list, nil
		case status == "204":
			last, err := strconv.ParseUint(m.Header.Get("Nats-Last-Sequence"), 10, 64)
			if err != nil {
				err = waybill.AsTransient(fmt.Errorf("the server's answer has no end: %w", err))
			}
			return last, list, err
		case status == "503":
			return 0, nil, f.s.failed(ctx, nats.ErrNoResponders)
		default:
			return 0, nil, waybill.AsTransient(fmt.Errorf("the server answered %s %s", status, m.Header.Get("Description")))
		}
	}
}

// abandon makes sure that what still comes does not mix with the next answer.
func (f *fetcher) abandon() {
	_ = f.sub.Unsubscribe() // fails on a closed connection only
	f.sub, f.replies = nil, make(chan *nats.Msg, cap(f.replies))
}

// fill waits until there is something to hand on.
func (r *Reader) fill(ctx context.Context) error {
	poll := pollShort
	if r.open != nil && r.short {
		poll = pollOpen
	}
	for {
		if poll < pollOpen {
			list, err := r.look(ctx)
			if err != nil {
				return err
			}
			if len(list) > 0 {
				r.pending, r.short = list, r.isShort(list)
				r.read = list[len(list)-1].n
				return nil
			}
		}
		var err error
		timer := time.NewTimer(poll)
		select {
		case <-r.wake:
			poll = pollShort
		case <-timer.C:
			poll = min(2*poll, r.longest())
		case <-r.fetch.closed:
			err = waybill.AsTransient(errors.New("the connection to the queue's server broke"))
		case <-ctx.Done():
			err = ctx.Err()
		}
		timer.Stop()
		if err != nil {
			return err
		}
	}
}

func (r *Reader) longest() time.Duration {
	if r.queue.server.Listen == "" {
		return pollAlone
	}
	return pollLong
}

// isShort tells whether more than list could have been fetched: it ends where the subject did.
func (r *Reader) isShort(list []stored) bool {
	size := int64(0)
	for i := range list {
		size += int64(len(list[i].data))
	}
	return len(list) < r.MaxActions && size < r.MaxBytes/2
}

// look fetches what follows, and makes sure that it follows what was handed on.
func (r *Reader) look(ctx context.Context) ([]stored, error) {
	inline := r.open == nil && r.at.N > 0 && r.read == r.at.N && r.anchor.size <= inlineAnchor && !r.anchor.unknown
	if inline {
		list, err := r.fetch.get(ctx, r.at.N, r.MaxActions+1, r.MaxBytes+int64(r.anchor.size)+storedOverhead)
		if err != nil {
			return nil, err
		}
		if len(list) == 0 || list[0].n != r.at.N || !r.anchor.is(list[0].data) {
			return nil, r.lost(ctx)
		}
		return list[1:], nil
	}
	list, err := r.fetch.get(ctx, r.read+1, r.MaxActions, r.MaxBytes)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	if r.at.N == 0 {
		return list, r.fetch.s.verify(ctx)
	}
	if r.anchor.unknown {
		return list, nil
	}
	m, err := r.fetch.s.message(ctx, r.at.N)
	if err != nil {
		return nil, err
	}
	if m == nil || !r.anchor.is(m.data) {
		return nil, r.lost(ctx)
	}
	return list, nil
}

// lost says that the message before is not there any more, and why.
func (r *Reader) lost(ctx context.Context) error {
	if err := r.fetch.s.verify(ctx); err != nil {
		return err
	}
	return r.gap(fmt.Sprintf("message %d, the last one read, is not there any more or is another one: the queue was emptied or replaced", r.at.N))
}

// schema reads a schema that an event refers to.
func (s *session) schema(subject, hash string) (*waybill.Schema, error) {
	ctx, cancel := context.WithTimeout(context.Background(), answerWithin)
	defer cancel()
	m, err := s.last(ctx, schemaSubject(subject, hash))
	if err != nil {
		return nil, err
	}
	if m == nil {
		return nil, s.gap(fmt.Sprintf("the schema %s, to which a message refers, is not there", hash))
	}
	ev, err := event.NewDecoder(nil).Decode(bytes.Clone(m.data))
	if err != nil {
		return nil, err
	}
	return ev.Schema, nil
}
