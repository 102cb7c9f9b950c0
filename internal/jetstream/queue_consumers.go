package jetstream

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/semaphore"

	"github.com/waybill-data/waybill"
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

	noting sync.Mutex // held while consumers are written down; before mu

	mu        sync.Mutex
	loaded    bool
	unsure    time.Time // when it was found that nothing is written down of an old stream; else zero
	consumers map[string]*consumer
	full      time.Time // when a writer was last held back; zero: not since something was purged
}

// consumer is one registered consumer.
type consumer struct {
	noted
	name    string
	written uint64   // what Acked is in the file
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

// attach counts a session, reads the consumers where that was not done, and has the keeper run.
// opening is held.
func (st *stream) attach(ctx context.Context, q *Queue, info jetstream.StreamState) error {
	if err := st.acquaint(q, info); err != nil {
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
func (st *stream) acquaint(q *Queue, info jetstream.StreamState) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	if err := st.load(q.server); err != nil {
		return err
	}
	for _, c := range st.consumers {
		if c.Acked > info.LastSeq {
			return q.server.gone(st.name, fmt.Sprintf("consumer %s has message %d of the queue's stream in %s, which ends at %d",
				c.name, c.Acked, q.server.Dir, info.LastSeq))
		}
	}
	return nil
}

// unsure notes that it is not known who reads an old stream: its readers must register first.
func (q *Queue) unsure() {
	q.Log.Warn("the note of the queue's consumers is missing; nothing is removed until they had time to register again",
		"stream", q.Stream, "file", filepath.Join(q.server.Dir, memoryName), "time", unsureFor)
	st := q.server.stream(q.Stream)
	st.mu.Lock()
	defer st.mu.Unlock()
	st.unsure = time.Now()
}

// resting is how long nothing may be removed yet.
func (st *stream) resting() time.Duration {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.unsure.IsZero() {
		return 0
	}
	return max(0, unsureFor-time.Since(st.unsure))
}

// changed wakes the keeper.
func (st *stream) changed() {
	select {
	case st.wake <- struct{}{}:
	default: // it was told already
	}
}

// load reads the registered consumers, once. mu is held.
func (st *stream) load(s *Server) error {
	if st.loaded {
		return nil
	}
	s.noting.Lock()
	m, err := s.readMemory()
	s.noting.Unlock()
	if err != nil {
		return fmt.Errorf("read the queue's consumers: %w", err)
	}
	for name, c := range m.Streams[st.name].Consumers {
		st.consumers[name] = &consumer{noted: c, name: name, written: c.Acked}
	}
	st.loaded = true
	return nil
}

// write writes the consumers down as change leaves them; change may be nil. noting is held.
func (st *stream) write(s *Server, change func(all map[string]noted)) error {
	all := map[string]noted{}
	st.mu.Lock()
	for name, c := range st.consumers {
		all[name] = c.noted
	}
	st.mu.Unlock()
	if change != nil {
		change(all)
	}
	if err := s.entryRoom(); err != nil {
		return err
	}
	if err := s.noteConsumers(st.name, all); err != nil {
		return waybill.AsTransient(fmt.Errorf("write down the queue's consumers: %w", err))
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	for name, c := range all {
		if now := st.consumers[name]; now != nil {
			now.written = c.Acked
		}
	}
	return nil
}

// note writes down what the consumers have, where that changed.
func (st *stream) note(s *Server) error {
	st.noting.Lock()
	defer st.noting.Unlock()
	changed := false
	st.mu.Lock()
	for _, c := range st.consumers {
		changed = changed || c.Acked != c.written
	}
	st.mu.Unlock()
	if !changed {
		return nil
	}
	return st.write(s, nil)
}

// register makes consumer known, so that what it lacks of the subject is kept; nothing is
// kept for nobody. Known ones stay where they are.
func (q *Queue) register(s *session, name, subject string) error {
	st := s.stream
	st.purging.Lock() // what is being removed is not what the newcomer gets
	defer st.purging.Unlock()
	st.noting.Lock()
	defer st.noting.Unlock()
	st.mu.Lock()
	c := st.consumers[name]
	known := c != nil && c.Subject == subject
	st.mu.Unlock()
	if known {
		return nil
	}
	c = &consumer{name: name, noted: noted{Subject: subject}}
	if err := st.write(q.server, func(all map[string]noted) { all[name] = c.noted }); err != nil {
		return err
	}
	st.mu.Lock()
	defer st.mu.Unlock()
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
	consumers, _, err := q.registered()
	if err != nil || !slices.ContainsFunc(consumers, func(c consumer) bool { return c.name == name }) {
		return err
	}
	s, err := q.open(ctx, "waybill drop")
	if err != nil {
		return err
	}
	return errors.Join(q.forget(s, name), s.close())
}

func (q *Queue) forget(s *session, name string) error {
	st := s.stream
	st.noting.Lock()
	defer st.noting.Unlock()
	if err := st.write(q.server, func(all map[string]noted) { delete(all, name) }); err != nil {
		return err
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
