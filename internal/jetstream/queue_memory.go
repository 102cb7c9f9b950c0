package jetstream

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/waybill-data/waybill"
)

// memoryName is the file beside the store that tells which streams there were, so that a store
// that was emptied, swapped or damaged is not taken for a new one, and what the consumers have.
const memoryName = "streams.json"

const memoryVersion = 1

// memory is what the file holds.
type memory struct {
	Version int                 `json:"v"`
	Streams map[string]remnants `json:"streams"`
}

// remnants is what is known of one stream without its store.
type remnants struct {
	ID      string    `json:"id"`
	Created time.Time `json:"created"`
	// Last is a sequence that the stream had reached when it was last closed.
	Last uint64 `json:"last"`
	// Consumers are the registered ones, by name.
	Consumers map[string]noted `json:"consumers,omitempty"`
}

// noted is what is written down of a consumer.
type noted struct {
	Subject string `json:"subject"`
	Acked   uint64 `json:"acked"`
}

func (s *Server) readMemory() (memory, error) {
	m := memory{Version: memoryVersion, Streams: map[string]remnants{}}
	path := filepath.Join(s.Dir, memoryName)
	text, err := os.ReadFile(path) //nolint:gosec // the directory that the user names
	if errors.Is(err, os.ErrNotExist) || err == nil && len(bytes.TrimSpace(text)) == 0 {
		return m, nil
	}
	if err != nil {
		return m, err
	}
	if err := json.Unmarshal(text, &m); err != nil {
		return m, fmt.Errorf("parse %s (if it is beyond repair, remove it: what consumers have taken is then kept until they have taken more): %w", path, err)
	}
	if m.Version != memoryVersion {
		return m, fmt.Errorf("%s has format %d; this program knows %d", path, m.Version, memoryVersion)
	}
	if m.Streams == nil {
		m.Streams = map[string]remnants{}
	}
	return m, nil
}

// note changes what the file holds.
func (s *Server) note(change func(*memory) (changed bool, err error)) error {
	s.noting.Lock()
	defer s.noting.Unlock()
	m, err := s.readMemory()
	if err != nil {
		return err
	}
	changed, err := change(&m)
	if err != nil || !changed {
		return err
	}
	if err := s.writeMemory(m); err != nil {
		return fmt.Errorf("write %s: %w", filepath.Join(s.Dir, memoryName), err)
	}
	return nil
}

// noteConsumers writes down what the consumers of a stream have.
func (s *Server) noteConsumers(name string, all map[string]noted) error {
	return s.note(func(m *memory) (bool, error) {
		was := m.Streams[name]
		was.Consumers = all
		m.Streams[name] = was
		return true, nil
	})
}

// writeMemory replaces the file in one step.
func (s *Server) writeMemory(m memory) error {
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	path := filepath.Join(s.Dir, memoryName)
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600) //nolint:gosec // the directory that the user names
	if err != nil {
		return err
	}
	_, err = f.Write(append(text, '\n'))
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(path+".new")) //nolint:gosec // the directory that the user names
	}
	if err := os.Rename(path+".new", path); err != nil { //nolint:gosec // the directory that the user names
		return err
	}
	dir, err := os.Open(s.Dir) //nolint:gosec // the directory that the user names
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// gone is the gap of a stream that should be there.
func (s *Server) gone(name, reason string) error {
	return &waybill.GapError{
		Stream: name, Reason: reason,
		Remedy: fmt.Sprintf("restore %s from a copy, or remove the directory as a whole to begin anew and load the targets afresh", s.Dir),
	}
}

// absent is asked before a stream is made: a stream that there was is a gap.
func (s *Server) absent(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	m, err := s.readMemory()
	if err != nil {
		return err
	}
	if _, ok := m.Streams[name]; ok || s.streams[name].id != "" {
		return s.gone(name, "the queue's stream existed in "+s.Dir+" and is gone")
	}
	return nil
}

// remember notes a stream that was found or made; one that is not what it was is a gap. fresh:
// nothing was written down of it.
func (s *Server) remember(name, id string, info *jetstream.StreamInfo) (fresh bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	err = s.note(func(m *memory) (bool, error) {
		was := m.Streams[name]
		if fresh = was.ID == ""; fresh {
			was.ID = s.streams[name].id
		}
		switch {
		case was.ID != "" && was.ID != id:
			return false, s.gone(name, fmt.Sprintf("the queue's stream in %s is another one (%s) than it was (%s)", s.Dir, id, was.ID))
		case info.State.LastSeq < was.Last:
			return false, s.gone(name, fmt.Sprintf("the queue's stream in %s ends at message %d; it had reached %d", s.Dir, info.State.LastSeq, was.Last))
		}
		s.streams[name].id = id
		was.ID, was.Created = id, info.Created.UTC()
		m.Streams[name] = was
		return fresh, nil
	})
	return fresh, err
}

// reached notes how far a stream is at its close.
func (s *Server) reached(name string, last uint64) error {
	return s.note(func(m *memory) (bool, error) {
		was, ok := m.Streams[name]
		if !ok || was.Last == last {
			return false, nil
		}
		was.Last = last
		m.Streams[name] = was
		return true, nil
	})
}
