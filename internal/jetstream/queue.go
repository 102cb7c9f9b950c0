package jetstream

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/waybill-data/waybill"
)

// idKey is the key in a stream's metadata under which its identity is kept.
const idKey = "waybill.id"

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
func NewQueue(s *Server, o QueueOptions) *Queue {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s.closed.reading(o.Stream)
	return &Queue{QueueOptions: o, server: s}
}

// session is what a writer or reader holds while it is open: a connection, and the stream's
// identity as it was then.
type session struct {
	nc *nats.Conn
	js jetstream.JetStream
	// id is drawn when the stream is made and kept in its metadata ("waybill.id").
	id string

	queue  *Queue
	stream *stream
	closed bool
}

// open starts the server, makes the stream where it never was, applies changed bounds, and returns
// a session. The caller closes it.
func (q *Queue) open(ctx context.Context, name string) (*session, error) {
	if err := q.server.Start(ctx); err != nil {
		return nil, fmt.Errorf("open queue %s: %w", q.Stream, err)
	}
	s, err := q.openStarted(ctx, name)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open queue %s: %w", q.Stream, err), q.server.Close())
	}
	return s, nil
}

func (q *Queue) openStarted(ctx context.Context, name string) (*session, error) {
	st := q.server.stream(q.Stream)
	// One at a time: two sessions must not both make the stream.
	if err := st.opening.Acquire(ctx, 1); err != nil {
		return nil, err
	}
	defer st.opening.Release(1)
	nc, err := q.server.connect(name)
	if err != nil {
		return nil, err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		nc.Close()
		return nil, err
	}
	id, state, err := q.ensure(ctx, nc, js, st)
	if err == nil {
		err = st.attach(ctx, q, state)
	}
	if err != nil {
		nc.Close()
		return nil, lasting(err)
	}
	return &session{nc: nc, js: js, id: id, queue: q, stream: st}, nil
}

// close ends the session; it may be called twice. The last one of a stream waits until what its
// consumers have is written down.
func (s *session) close() error {
	if s.closed {
		return nil
	}
	s.closed = true
	s.nc.Close()
	s.stream.detach()
	return s.queue.server.Close()
}

// ensure finds or makes the stream and returns its identity and state.
func (q *Queue) ensure(ctx context.Context, nc *nats.Conn, js jetstream.JetStream, st *stream) (string, jetstream.StreamState, error) {
	none := jetstream.StreamState{}
	found, err := js.Stream(ctx, q.Stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		id, err := q.create(ctx, js)
		return id, none, err
	}
	if err != nil {
		return "", none, err
	}
	id, err := q.adopt(ctx, js, found.CachedInfo())
	if err != nil {
		return "", none, err
	}
	if err := q.lost(ctx, nc); err != nil {
		return "", none, err
	}
	// While somebody writes, the end of the stream is theirs.
	if st.users == 0 {
		if err := q.mend(ctx, nc, js); err != nil {
			return "", none, err
		}
	}
	return id, found.CachedInfo().State, nil
}

// config is the stream as it should be; meta holds its identity.
func (q *Queue) config(meta map[string]string) jetstream.StreamConfig {
	bound := q.MaxBytes
	if bound <= 0 {
		bound = -1
	}
	return jetstream.StreamConfig{
		Name: q.Stream, Subjects: []string{q.Stream + ".>"}, Metadata: meta,
		Description: "Waybill: one message an action; made and emptied by Waybill",
		Storage:     jetstream.FileStorage, Retention: jetstream.LimitsPolicy,
		Discard: jetstream.DiscardNew, MaxBytes: bound, MaxMsgs: -1, MaxConsumers: -1,
		AllowDirect: true, AllowAtomicPublish: true, Replicas: 1,
		// Every message is wanted, also one that equals another.
		Duplicates: time.Second,
	}
}

func (q *Queue) create(ctx context.Context, js jetstream.JetStream) (string, error) {
	if err := q.server.absent(q.Stream); err != nil {
		return "", err
	}
	id := rand.Text()
	made, err := js.CreateStream(ctx, q.config(map[string]string{idKey: id}))
	if err != nil {
		return "", fmt.Errorf("make stream: %w", err)
	}
	_, err = q.server.remember(q.Stream, id, made.CachedInfo())
	return id, err
}

// adopt checks a stream that exists and applies changed bounds.
func (q *Queue) adopt(ctx context.Context, js jetstream.JetStream, info *jetstream.StreamInfo) (string, error) {
	id := info.Config.Metadata[idKey]
	if id == "" {
		return "", fmt.Errorf("the stream %s in %s was not made by Waybill; choose another name (queue.embedded.stream) or remove it", q.Stream, q.server.Dir)
	}
	fresh, err := q.server.remember(q.Stream, id, info)
	if err != nil {
		return "", err
	}
	if fresh && info.State.LastSeq > 0 {
		q.unsure()
	}
	want := q.config(info.Config.Metadata)
	touched := changed(&info.Config, &want)
	if !touched && info.Config.MaxBytes == want.MaxBytes {
		return id, nil
	}
	if want.MaxBytes > 0 && info.State.Bytes > uint64(want.MaxBytes) {
		q.Log.Warn("the queue holds more than max_bytes; nothing is dropped, and nothing is taken until consumers have caught up",
			"stream", q.Stream, "bytes", info.State.Bytes, "max_bytes", want.MaxBytes)
	}
	if _, err := js.UpdateStream(ctx, want); err != nil {
		return "", fmt.Errorf("apply max_bytes: %w", err)
	}
	if touched { // this connection may have been overheard
		return "", waybill.AsTransient(errors.New("somebody had changed how the stream keeps its messages; it is as it was again"))
	}
	return id, nil
}

// lasting marks what may pass as transient: all but gaps and what was decided here. Errors of
// the connection within the process come from a server that is being started anew.
func lasting(err error) error {
	for _, passing := range []error{
		nats.ErrConnectionClosed, nats.ErrTimeout, nats.ErrNoResponders, nats.ErrDisconnected,
		jetstream.ErrJetStreamNotEnabled, jetstream.ErrNoStreamResponse,
	} {
		if errors.Is(err, passing) {
			return waybill.AsTransient(err)
		}
	}
	var api *jetstream.APIError
	if errors.As(err, &api) && api.Code >= 500 {
		return waybill.AsTransient(err)
	}
	return err
}
