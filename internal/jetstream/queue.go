package jetstream

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// QueueOptions describe one JetStream stream.
type QueueOptions struct {
	// Stream is its name; subjects are Stream.NAME.
	Stream string
	// MaxBytes bounds what it holds; the writer is held back there, nothing is dropped.
	MaxBytes int64
	// Keep is for how long what every consumer has is kept nevertheless.
	Keep time.Duration
	Log  *slog.Logger
}

// Queue is one JetStream stream, shared by the writers and readers of its subjects. All
// methods may be called concurrently.
type Queue struct {
	QueueOptions
	server *Server
}

// NewQueue prepares a queue; it opens nothing.
func NewQueue(s *Server, o QueueOptions) *Queue { return &Queue{QueueOptions: o, server: s} }

// Stats is one look at a queue.
type Stats struct {
	Stream        string          `json:"stream"`
	Messages      uint64          `json:"messages"` // held
	Bytes         uint64          `json:"bytes"`    // held
	MaxBytes      uint64          `json:"max_bytes"`
	OldestSeconds float64         `json:"oldest_seconds"` // age of the oldest message that some consumer lacks; 0 without any
	Full          bool            `json:"full"`           // a writer is held back
	Subjects      []SubjectStats  `json:"subjects"`
	Consumers     []ConsumerStats `json:"consumers"`
}

// SubjectStats is one look at one subject.
type SubjectStats struct {
	Subject  string `json:"subject"`
	Messages uint64 `json:"messages"`
}

// ConsumerStats is one look at one registered consumer.
type ConsumerStats struct {
	Consumer      string  `json:"consumer"` // the Waybill stream, "pipeline/target"
	Subject       string  `json:"subject"`
	Depth         uint64  `json:"depth"` // messages that it lacks
	Bytes         uint64  `json:"bytes"` // that these take, about
	OldestSeconds float64 `json:"oldest_seconds"`
	Rate          float64 `json:"rate"` // messages acknowledged per second, over about 10 s
}

// Stats looks at the queue now.
func (q *Queue) Stats(ctx context.Context) (Stats, error) {
	return Stats{}, errors.New("not built yet")
}

// session is what a writer or reader holds while it is open: a connection, and the stream's
// identity as it was then.
type session struct {
	nc *nats.Conn
	js jetstream.JetStream
	// id is drawn when the stream is made and kept in its metadata ("waybill.id").
	id string
}

// open starts the server, makes the stream where it never was, applies changed bounds, and returns
// a session. The caller closes it.
func (q *Queue) open(ctx context.Context, name string) (*session, error) {
	return nil, errors.New("not built yet")
}

func (s *session) close() error { return nil }

// register makes consumer known, so that what it lacks of the subject is kept; nothing is
// kept for nobody. Known ones stay where they are.
func (q *Queue) register(ctx context.Context, s *session, consumer, subject string) error {
	return nil
}

// acked notes that consumer has everything of its subject up to and including the message with this
// stream sequence. It is written down and made use of (retention) in the background of a
// later call, at the latest by the last close; losing it costs nothing but space. The message
// itself stays, and so does the last one of the subject.
func (q *Queue) acked(ctx context.Context, s *session, consumer, subject string, seq uint64) error {
	return nil
}

// drop forgets a consumer.
func (q *Queue) drop(ctx context.Context, consumer string) error { return nil }
