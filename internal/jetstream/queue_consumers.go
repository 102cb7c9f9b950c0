package jetstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/semaphore"
)

// stream is what this process knows of one JetStream stream, whoever uses it.
type stream struct {
	name    string
	opening *semaphore.Weighted // held while a session opens or closes
	id      string              // under Server.mu; empty: never seen

	// purging is held while it is found out what nobody needs, until that is gone.
	purging sync.Mutex
	wake    chan struct{} // tells the keeper that something changed
	stop    func()        // ends the keeper and waits for it; nil: none runs
	users   int           // open sessions; under opening

	mu        sync.Mutex
	loaded    bool
	consumers map[string]*consumer
	full      time.Time // when a writer was last held back; zero: not since something was purged
}

// consumer is one registered consumer.
type consumer struct {
	Version  int    `json:"v"`
	Consumer string `json:"consumer"`
	Subject  string `json:"subject"`
	Acked    uint64 `json:"acked"`

	written uint64   // what Acked is in the store
	samples []sample // of Acked, for the rate; at most rateSamples, oldest first
}

// stream returns the state of one stream, the same for all.
func (s *Server) stream(name string) *stream {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.streams[name]
	if st == nil {
		st = &stream{name: name, opening: semaphore.NewWeighted(1), wake: make(chan struct{}, 1), consumers: map[string]*consumer{}}
		s.streams[name] = st
	}
	return st
}

// registries are the streams that hold the consumers of the queues. The caller holds mu.
func (s *Server) registries() []string {
	var all []string
	for name := range s.streams {
		all = append(all, registry(name))
	}
	return all
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

// attach counts a session, reads the consumers where that was not done, and has the keeper run.
// opening is held.
func (st *stream) attach(ctx context.Context, q *Queue, js jetstream.JetStream, info jetstream.StreamState) error {
	if err := st.acquaint(ctx, q, js, info); err != nil {
		return err
	}
	st.users++
	if st.stop == nil {
		ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		done := make(chan struct{})
		k := &keeper{queue: q, stream: st, purged: map[string]time.Time{}, marks: map[string]uint64{}}
		go func() {
			defer close(done)
			k.run(ctx)
		}()
		st.stop = func() {
			cancel()
			<-done
		}
	}
	return nil
}

// detach counts a session out. The last one waits until what is known is written down.
func (st *stream) detach() {
	_ = st.opening.Acquire(context.Background(), 1) // fails only with its context
	defer st.opening.Release(1)
	if st.users--; st.users > 0 {
		return
	}
	st.stop()
	st.stop = nil
}

// acquaint reads the consumers, and compares what they have with what there is.
func (st *stream) acquaint(ctx context.Context, q *Queue, js jetstream.JetStream, info jetstream.StreamState) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	if !st.loaded {
		if err := st.load(ctx, js); err != nil {
			return fmt.Errorf("read the queue's consumers: %w", err)
		}
		st.loaded = true
	}
	for _, c := range st.consumers {
		if c.Acked > info.LastSeq {
			return q.server.gone(st.name, fmt.Sprintf("consumer %s has message %d of the queue's stream in %s, which ends at %d",
				c.Consumer, c.Acked, q.server.Dir, info.LastSeq))
		}
	}
	return nil
}

// changed wakes the keeper.
func (st *stream) changed() {
	select {
	case st.wake <- struct{}{}:
	default: // it was told already
	}
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
	if _, err := js.Publish(ctx, entrySubject(st.name, c.Consumer), text); err != nil {
		return lasting(fmt.Errorf("write down consumer %s: %w", c.Consumer, err))
	}
	c.written = c.Acked
	return nil
}

// register makes consumer known, so that what it lacks of the subject is kept; nothing is
// kept for nobody. Known ones stay where they are.
func (q *Queue) register(ctx context.Context, s *session, name, subject string) error {
	st := s.stream
	st.purging.Lock() // what is being removed is not what the newcomer gets
	defer st.purging.Unlock()
	st.mu.Lock()
	defer st.mu.Unlock()
	if c := st.consumers[name]; c != nil && c.Subject == subject {
		return nil
	}
	if err := q.server.entryRoom(); err != nil {
		return err
	}
	c := &consumer{Version: 1, Consumer: name, Subject: subject}
	if err := st.put(ctx, s.js, c); err != nil {
		q.server.broken(ctx, err)
		return err
	}
	st.consumers[name] = c
	return nil
}

// acked notes that consumer has everything of its subject up to and including the message with this
// stream sequence. It is written down and made use of (retention) in the background of a
// later call, at the latest by the last close; losing it costs nothing but space. The message
// itself stays, and so does the last one of the subject.
func (q *Queue) acked(_ context.Context, s *session, name, subject string, seq uint64) error {
	st := s.stream
	st.mu.Lock()
	defer st.mu.Unlock()
	c := st.consumers[name]
	if c == nil || c.Subject != subject {
		return fmt.Errorf("acknowledge to queue %s: consumer %s of %s is not registered", q.Stream, name, subject)
	}
	if seq > c.Acked {
		c.sampled(time.Now())
		c.Acked = seq
		st.changed()
	}
	return nil
}

// drop forgets a consumer; one that is not known is no error. What was kept for it goes.
func (q *Queue) drop(ctx context.Context, name string) error {
	if _, err := os.Stat(q.server.Dir); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err := q.server.Start(ctx); err != nil {
		return fmt.Errorf("drop consumer %s of queue %s: %w", name, q.Stream, err)
	}
	err := q.dropStarted(ctx, name)
	if err != nil {
		err = fmt.Errorf("drop consumer %s of queue %s: %w", name, q.Stream, err)
	}
	return errors.Join(err, q.server.Close())
}

func (q *Queue) dropStarted(ctx context.Context, name string) error {
	nc, err := q.server.connect("waybill drop")
	if err != nil {
		return err
	}
	js, err := jetstream.New(nc)
	if err == nil {
		_, err = js.Stream(ctx, registry(q.Stream))
	}
	nc.Close()
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil
	}
	if err != nil {
		return lasting(err)
	}
	s, err := q.open(ctx, "waybill drop")
	if err != nil {
		return err
	}
	return errors.Join(q.forget(ctx, s, name), s.close())
}

func (q *Queue) forget(ctx context.Context, s *session, name string) error {
	st := s.stream
	st.purging.Lock()
	defer st.purging.Unlock()
	reg, err := s.js.Stream(ctx, registry(q.Stream))
	if err == nil {
		err = reg.Purge(ctx, jetstream.WithPurgeSubject(entrySubject(q.Stream, name)))
	}
	if err != nil {
		return lasting(err)
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	delete(st.consumers, name)
	st.changed()
	return nil
}

// heldBack notes that a writer found the stream full.
func (s *session) heldBack() {
	s.stream.mu.Lock()
	defer s.stream.mu.Unlock()
	s.stream.full = time.Now()
	s.stream.changed()
}

func (st *stream) isFull() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return !st.full.IsZero()
}

// freed notes that something was purged.
func (st *stream) freed() {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.full = time.Time{}
}
