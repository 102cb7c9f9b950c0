package jetstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/envelope/event"
	"github.com/waybill-data/waybill/internal/fault"
)

// The headers of a write, which the server keeps with the message. See the NATS server's
// documentation on atomic batch publishing.
const (
	hdrBatch       = "Nats-Batch-Id"
	hdrBatchSeq    = "Nats-Batch-Sequence"
	hdrBatchCommit = "Nats-Batch-Commit"
	hdrExpected    = "Nats-Expected-Last-Subject-Sequence"
	hdrExpectedAll = "Nats-Expected-Last-Sequence"
	hdrContentType = "Content-Type"
	// hdrMark is on the last message of each write: which writer's it was.
	hdrMark = "Waybill-Write"
)

// Codes of errors of the server.
const (
	codeWrongLast         = 10071
	codeWrongLastConstant = 10164
	codeIncompleteBatch   = 10176
	codeTooManyRequests   = 10167
	codeTooManyInflight   = 10210
)

var (
	// errWrongLast: the subject does not end where this writer left it.
	errWrongLast = errors.New("the subject does not end where this engine left it")
	// errUnknown: there was no answer, so that the write may have happened.
	errUnknown = errors.New("the outcome is unknown")
	// errSilent: the server is there and did not answer.
	errSilent = fmt.Errorf("%w: the queue's server did not answer", errUnknown)
)

// outgoing is one message in a writer's buffer.
type outgoing struct {
	subject    string
	start, end int
}

// publisher writes to one session's connection.
type publisher struct {
	s       *session
	within  time.Duration
	sub     *nats.Subscription
	inbox   string
	replies chan *nats.Msg
	closed  chan nats.Status
	n       uint64 // of writes
	guard   guard
}

func newPublisher(s *session, within time.Duration) (*publisher, error) {
	p := &publisher{s: s, within: within, inbox: s.nc.NewInbox(), replies: make(chan *nats.Msg, 64)}
	p.closed = s.nc.StatusChanged(nats.CLOSED)
	var err error
	p.sub, err = s.nc.ChanSubscribe(p.inbox+".*", p.replies)
	return p, err
}

func (p *publisher) close() error {
	if p == nil {
		return nil
	}
	return p.s.close()
}

// ack is the server's answer to a write.
type ack struct {
	Seq   uint64              `json:"seq"`
	Error *jetstream.APIError `json:"error"`
}

// write publishes the messages as one step: buf holds them. The first one on subject must
// follow message expected. It returns the sequence of the last one.
func (p *publisher) write(ctx context.Context, buf []byte, out []outgoing, subject string, expected uint64, mark string) (uint64, error) {
	whole := p.guard.whole(expected, len(buf))
	n, err := p.publish(ctx, buf, out, subject, expected, mark, whole)
	switch {
	case whole && isWrongLast(err): // other subjects of the stream are written to
		p.guard.shared()
		n, err = p.publish(ctx, buf, out, subject, expected, mark+"+", false)
	case whole && err == nil:
		p.guard.alone()
	}
	p.guard.last = n
	return n, err
}

// publish is write. whole: the stream as a whole must end with message expected.
func (p *publisher) publish(ctx context.Context, buf []byte, out []outgoing, subject string, expected uint64, mark string, whole bool) (uint64, error) {
	p.n++
	reply := p.inbox + "." + strconv.FormatUint(p.n, 36)
	hdr := nats.Header{hdrContentType: {event.ContentType}}
	index := []string{""}
	if len(out) > 1 {
		hdr[hdrBatch], hdr[hdrBatchSeq] = []string{mark}, index
	}
	check, checked := hdrExpected, fault.Broken(fault.NoFence)
	if whole {
		check = hdrExpectedAll
	}
	for i, o := range out {
		m := nats.Msg{Subject: o.subject, Header: hdr, Data: buf[o.start:o.end:o.end]}
		index[0] = strconv.Itoa(i + 1)
		now := !checked && (whole || o.subject == subject)
		if now {
			hdr[check] = []string{strconv.FormatUint(expected, 10)}
			checked = true
		}
		if i == 0 {
			m.Reply = reply
		}
		if i == len(out)-1 {
			m.Reply = reply
			hdr[hdrMark] = []string{mark}
			if i > 0 {
				hdr[hdrBatchCommit] = []string{"1"}
				p.staged(fault.WritePosition)
			}
		}
		if err := p.s.nc.PublishMsg(&m); err != nil {
			return 0, fmt.Errorf("%w: %w", errUnknown, err)
		}
		if now {
			delete(hdr, check)
		}
		if i == 0 && len(out) > 1 {
			p.staged(fault.WriteData)
		}
	}
	return p.answer(ctx, reply, len(out) > 1)
}

// staged passes a kill point once the server has what was published so far.
func (p *publisher) staged(point string) {
	if fault.Enabled {
		_ = p.s.nc.FlushTimeout(answerWithin) // the next publish fails, too
		fault.Hit(point)
	}
}

// answer waits for what the server says. Of a batch the first message is answered, too: empty
// if it was taken, and otherwise with the reason for which none will be.
func (p *publisher) answer(ctx context.Context, reply string, batch bool) (uint64, error) {
	timer := time.NewTimer(p.within)
	defer timer.Stop()
	for {
		select {
		case m := <-p.replies:
			if m.Subject != reply {
				continue // to an earlier write
			}
			if m.Header.Get(hdrStatus) == "503" {
				return 0, nats.ErrNoResponders
			}
			if len(m.Data) == 0 && batch {
				continue
			}
			var a ack
			if err := json.Unmarshal(m.Data, &a); err != nil {
				return 0, fmt.Errorf("%w: the server's answer cannot be read: %w", errUnknown, err)
			}
			if a.Error != nil {
				return 0, a.Error
			}
			if a.Seq == 0 {
				return 0, fmt.Errorf("%w: the server's answer names no message", errUnknown)
			}
			return a.Seq, nil
		case <-p.closed:
			return 0, fmt.Errorf("%w: the connection to the queue's server broke", errUnknown)
		case <-timer.C:
			return 0, fmt.Errorf("%w within %v", errSilent, p.within)
		case <-ctx.Done():
			return 0, fmt.Errorf("%w: %w", errUnknown, ctx.Err())
		}
	}
}

// barrier returns once everything that was published before on this connection has been dealt
// with: the server refuses a message that could only follow one that is not there yet.
func (p *publisher) barrier(ctx context.Context, subject string) error {
	p.n++
	reply := p.inbox + "." + strconv.FormatUint(p.n, 36)
	m := nats.Msg{Subject: subject, Reply: reply, Header: nats.Header{hdrExpectedAll: {strconv.Itoa(1 << 62)}}}
	if err := p.s.nc.PublishMsg(&m); err != nil {
		return waybill.AsTransient(fmt.Errorf("ask the queue's server: %w", err))
	}
	_, err := p.answer(ctx, reply, false)
	var api *jetstream.APIError
	switch {
	case errors.As(err, &api):
		return nil
	case err == nil:
		return waybill.AsTransient(errors.New("the queue's server took a message that it had to refuse"))
	}
	return p.s.failed(ctx, err)
}

func isWrongLast(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && (api.ErrorCode == codeWrongLast || api.ErrorCode == codeWrongLastConstant)
}

// meaning classifies the failure of a write that was not taken.
func (w *Writer) meaning(ctx context.Context, cause error, bytes int64) error {
	var api *jetstream.APIError
	if !errors.As(cause, &api) {
		return w.p.s.failed(ctx, cause)
	}
	what := fmt.Errorf("write to queue %s: %w", w.queue.Stream, cause)
	switch code := int(api.ErrorCode); {
	case full(cause):
		w.p.s.heldBack()
		return waybill.AsFull(errors.New(w.fullText(ctx, bytes)))
	case code == codeStoreFailed, code == codeInsufficientResources, code == codeStorageExceeded, code == codeIncompleteBatch:
		w.queue.server.broken(ctx, cause)
		return waybill.AsTransient(what)
	case code == codeTooManyRequests, code == codeTooManyInflight, api.Code >= 500, api.Code == 429:
		return waybill.AsTransient(what)
	}
	return what
}

func (w *Writer) fullText(ctx context.Context, bytes int64) string {
	text := fmt.Sprintf("queue %s is full: %d bytes more would exceed its max_bytes of %d; held back until ",
		w.queue.Stream, bytes, w.queue.MaxBytes)
	if st, err := w.queue.stats(ctx); err == nil && len(st.Consumers) > 0 && st.unread != "" {
		return text + "there is room: " + st.unread
	}
	text += "every consumer has taken more"
	if w.queue.Keep > 0 {
		text += fmt.Sprintf(" and it is older than keep (%v)", w.queue.Keep)
	}
	return text
}
