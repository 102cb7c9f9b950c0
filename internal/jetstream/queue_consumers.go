package jetstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/semaphore"
)

// stream is what this process knows of one JetStream stream, whoever uses it.
type stream struct {
	name    string
	opening *semaphore.Weighted // held while a session opens
	id      string              // under Server.mu; empty: never seen

	mu        sync.Mutex
	users     int // open sessions
	loaded    bool
	consumers map[string]*consumer
}

// consumer is one registered consumer.
type consumer struct {
	Version  int    `json:"v"`
	Consumer string `json:"consumer"`
	Subject  string `json:"subject"`
	Acked    uint64 `json:"acked"`

	written uint64 // what Acked is in the store
}

// stream returns the state of one stream, the same for all.
func (s *Server) stream(name string) *stream {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.streams[name]
	if st == nil {
		st = &stream{name: name, opening: semaphore.NewWeighted(1), consumers: map[string]*consumer{}}
		s.streams[name] = st
	}
	return st
}

// registry is the name of the stream that holds the consumers of another.
func registry(stream string) string { return stream + "_consumers" }

// entrySubject is where one consumer is kept. What a subject cannot hold is escaped.
func entrySubject(stream, consumer string) string {
	var b strings.Builder
	b.WriteString(reserved + ".consumers." + stream + ".")
	for _, c := range []byte(consumer) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_', c == '/':
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// attach counts a session and reads the consumers where that was not done.
func (st *stream) attach(ctx context.Context, q *Queue, js jetstream.JetStream, id string) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	if !st.loaded {
		if err := st.load(ctx, js); err != nil {
			return fmt.Errorf("read the queue's consumers: %w", err)
		}
		st.loaded = true
	}
	st.users++
	return nil
}

// detach counts a session out.
func (st *stream) detach() error {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.users--
	return nil
}

func (st *stream) load(ctx context.Context, js jetstream.JetStream) error {
	all := entrySubject(st.name, "") + ">"
	reg, err := js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name: registry(st.name), Subjects: []string{all}, MaxMsgsPerSubject: 1,
		Description: "Waybill: what each consumer of " + st.name + " has",
		Storage:     jetstream.FileStorage, AllowDirect: true, Replicas: 1, MaxBytes: -1, MaxMsgs: -1, MaxConsumers: -1,
	})
	if err != nil {
		return err
	}
	info, err := reg.Info(ctx, jetstream.WithSubjectFilter(all))
	if err != nil {
		return err
	}
	for subject := range info.State.Subjects {
		m, err := reg.GetLastMsgForSubject(ctx, subject)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		var c consumer
		if err := json.Unmarshal(m.Data, &c); err != nil {
			return fmt.Errorf("parse %s: %w", subject, err)
		}
		if c.Version != 1 {
			return fmt.Errorf("%s has format %d; this program knows 1", subject, c.Version)
		}
		c.written = c.Acked
		st.consumers[c.Consumer] = &c
	}
	return nil
}

// put writes one consumer down.
func (st *stream) put(ctx context.Context, js jetstream.JetStream, c *consumer) error {
	text, err := json.Marshal(c)
	if err != nil {
		return err
	}
	acked := c.Acked
	if _, err := js.Publish(ctx, entrySubject(st.name, c.Consumer), text); err != nil {
		return lasting(fmt.Errorf("write down consumer %s: %w", c.Consumer, err))
	}
	c.written = acked
	return nil
}

// register makes consumer known, so that what it lacks of the subject is kept; nothing is
// kept for nobody. Known ones stay where they are.
func (q *Queue) register(ctx context.Context, s *session, name, subject string) error {
	st := s.stream
	st.mu.Lock()
	defer st.mu.Unlock()
	if c := st.consumers[name]; c != nil && c.Subject == subject {
		return nil
	}
	c := &consumer{Version: 1, Consumer: name, Subject: subject}
	if err := st.put(ctx, s.js, c); err != nil {
		return err
	}
	st.consumers[name] = c
	return nil
}

// acked notes that consumer has everything of its subject up to and including the message with this
// stream sequence. It is written down and made use of (retention) in the background of a
// later call, at the latest by the last close; losing it costs nothing but space. The message
// itself stays, and so does the last one of the subject.
func (q *Queue) acked(ctx context.Context, s *session, name, subject string, seq uint64) error {
	st := s.stream
	st.mu.Lock()
	defer st.mu.Unlock()
	c := st.consumers[name]
	if c == nil || c.Subject != subject {
		return fmt.Errorf("acknowledge to queue %s: consumer %s of %s is not registered", q.Stream, name, subject)
	}
	if seq > c.Acked {
		c.Acked = seq
	}
	return nil
}

// drop forgets a consumer.
func (q *Queue) drop(ctx context.Context, name string) error { return nil }
