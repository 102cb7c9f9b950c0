package jetstream

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/waybill-data/waybill"
)

// answerWithin bounds the wait for any one answer of the server but that to a write.
const answerWithin = 20 * time.Second

// wakeSubject is where a writer tells readers of a subject that something is new. Losing it
// costs them a moment.
func wakeSubject(stream, subject string) string {
	return reserved + ".wake." + stream + "." + subject
}

// Headers of what a direct get returns.
const (
	hdrSubject  = "Nats-Subject"
	hdrSequence = "Nats-Sequence"
	hdrStored   = "Nats-Time-Stamp"
	hdrStatus   = "Status"
)

// stored is one message of the stream.
type stored struct {
	n    uint64 // its sequence in the stream; 0: unknown
	at   time.Time
	data []byte
	hdr  nats.Header
}

// errStale: the server lost track of which message of a subject is the last. NATS server 2.15
// does where messages were removed from the end of a block that it compacted then. It finds
// out when it starts anew.
var errStale = errors.New("the queue's server has lost track of the last message")

// last returns the last message of a full subject, nil where there is none.
func (s *session) last(ctx context.Context, subject string) (*stored, error) {
	m, err := s.get(ctx, "$JS.API.DIRECT.GET."+s.queue.Stream+"."+subject, nil)
	if m != nil || err != nil {
		return m, err
	}
	if m, err = s.next(ctx, subject, 1); m == nil || err != nil {
		return nil, err
	}
	// A message may have come between the two questions.
	if m, err = s.get(ctx, "$JS.API.DIRECT.GET."+s.queue.Stream+"."+subject, nil); m != nil || err != nil {
		return m, err
	}
	return nil, waybill.AsTransient(fmt.Errorf("%w of %s", errStale, subject))
}

// message returns the message n of the stream, nil where there is none.
func (s *session) message(ctx context.Context, n uint64) (*stored, error) {
	return s.get(ctx, "$JS.API.DIRECT.GET."+s.queue.Stream, fmt.Appendf(nil, `{"seq":%d}`, n))
}

// next returns the first message of a full subject from n on, nil where there is none.
func (s *session) next(ctx context.Context, subject string, n uint64) (*stored, error) {
	return s.get(ctx, "$JS.API.DIRECT.GET."+s.queue.Stream, fmt.Appendf(nil, `{"seq":%d,"next_by_subj":%q}`, max(n, 1), subject))
}

func (s *session) get(ctx context.Context, api string, request []byte) (*stored, error) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	m, err := direct(ctx, s.nc, api, request)
	if err != nil && !waybill.Transient(err) {
		return nil, s.failed(ctx, err)
	}
	return m, err
}

// direct asks for one message by a direct get, nil where there is none.
func direct(ctx context.Context, nc *nats.Conn, api string, request []byte) (*stored, error) {
	m, err := nc.RequestMsgWithContext(ctx, &nats.Msg{Subject: api, Data: request})
	if err != nil {
		return nil, err
	}
	switch status := m.Header.Get(hdrStatus); status {
	case "":
	case "404":
		return nil, nil
	default:
		return nil, waybill.AsTransient(fmt.Errorf("read a message: the server answered %s %s", status, m.Header.Get("Description")))
	}
	return open(m)
}

// open takes a message apart that came with its headers.
func open(m *nats.Msg) (*stored, error) {
	n, err := strconv.ParseUint(m.Header.Get(hdrSequence), 10, 64)
	if err != nil {
		return nil, waybill.AsTransient(errors.New("read a message: it came without its sequence"))
	}
	at, _ := time.Parse(time.RFC3339Nano, m.Header.Get(hdrStored))
	return &stored{n: n, at: at, data: m.Data, hdr: m.Header}, nil
}

// failed says what the failure of a request means: a stream that is gone is a gap, everything
// else may pass.
func (s *session) failed(ctx context.Context, cause error) error {
	if errors.Is(cause, nats.ErrNoResponders) {
		if err := s.verify(ctx); err != nil {
			return err
		}
	}
	if err := context.Cause(ctx); errors.Is(err, context.Canceled) {
		return err
	}
	return waybill.AsTransient(fmt.Errorf("ask the queue's server: %w", cause))
}

// verify makes sure that the stream is the one that was opened.
func (s *session) verify(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	found, err := s.js.Stream(ctx, s.queue.Stream)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return s.gap("the queue's stream " + s.queue.Stream + " was deleted")
	case err != nil:
		return waybill.AsTransient(fmt.Errorf("look at the queue's stream: %w", err))
	case found.CachedInfo().Config.Metadata[idKey] != s.id:
		return s.gap("the queue's stream " + s.queue.Stream + " was replaced by another one")
	}
	return nil
}

func (s *session) gap(reason string) *waybill.GapError {
	return &waybill.GapError{
		Stream: s.queue.Stream, Reason: reason,
		Remedy: "stop the engine and restore the queue's directory, or load the targets afresh",
	}
}

// taken is the furthest message of a subject that a registered consumer acknowledged.
func (s *session) taken(subject string) (n uint64) {
	s.stream.mu.Lock()
	defer s.stream.mu.Unlock()
	for _, c := range s.stream.consumers {
		if c.Subject == subject {
			n = max(n, c.Acked)
		}
	}
	return n
}

// ackedBy is the message that a consumer acknowledged last, 0 if it did none.
func (s *session) ackedBy(consumer, subject string) uint64 {
	s.stream.mu.Lock()
	defer s.stream.mu.Unlock()
	if c := s.stream.consumers[consumer]; c != nil && c.Subject == subject {
		return c.Acked
	}
	return 0
}
