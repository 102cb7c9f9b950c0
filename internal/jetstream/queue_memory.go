package jetstream

import (
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
// that was emptied, swapped or damaged is not taken for a new one.
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
}

func (s *Server) readMemory() (memory, error) {
	m := memory{Version: memoryVersion, Streams: map[string]remnants{}}
	path := filepath.Join(s.Dir, memoryName)
	text, err := os.ReadFile(path) //nolint:gosec // the directory that the user names
	if errors.Is(err, os.ErrNotExist) {
		return m, nil
	}
	if err != nil {
		return m, err
	}
	if err := json.Unmarshal(text, &m); err != nil {
		return m, fmt.Errorf("parse %s (if it is beyond repair, remove it): %w", path, err)
	}
	if m.Version != memoryVersion {
		return m, fmt.Errorf("%s has format %d; this program knows %d", path, m.Version, memoryVersion)
	}
	if m.Streams == nil {
		m.Streams = map[string]remnants{}
	}
	return m, nil
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
	dir, err := os.Open(s.Dir)
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

// remember notes a stream that was found or made; one that is not what it was is a gap.
func (s *Server) remember(name, id string, info *jetstream.StreamInfo) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	m, err := s.readMemory()
	if err != nil {
		return err
	}
	was, known := m.Streams[name]
	if !known {
		was.ID = s.streams[name].id
	}
	switch {
	case was.ID != "" && was.ID != id:
		return s.gone(name, fmt.Sprintf("the queue's stream in %s is another one (%s) than it was (%s)", s.Dir, id, was.ID))
	case info.State.LastSeq < was.Last:
		return s.gone(name, fmt.Sprintf("the queue's stream in %s ends at message %d; it had reached %d", s.Dir, info.State.LastSeq, was.Last))
	}
	s.streams[name].id = id
	if known {
		return nil
	}
	m.Streams[name] = remnants{ID: id, Created: info.Created.UTC()}
	if err := s.writeMemory(m); err != nil {
		return fmt.Errorf("write %s: %w", filepath.Join(s.Dir, memoryName), err)
	}
	return nil
}

// reached notes how far a stream is at its close.
func (s *Server) reached(name string, last uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	m, err := s.readMemory()
	if err != nil {
		return err
	}
	was, ok := m.Streams[name]
	if !ok || was.Last == last {
		return nil
	}
	was.Last = last
	m.Streams[name] = was
	return s.writeMemory(m)
}
