package conformance

import (
	"path/filepath"
	"testing"
)

// Store is an opened state store.
type Store interface {
	ID() string
	Close() error
}

// TestStore runs the store suite; open opens the store at a path, creating it if need be.
func TestStore(t *testing.T, open func(path string) (Store, error)) {
	must := func(t *testing.T, path string) Store {
		t.Helper()
		s, err := open(path)
		if err != nil {
			t.Fatalf("open: %v", err)
		}
		return s
	}
	shut := func(t *testing.T, s Store) {
		t.Helper()
		if err := s.Close(); err != nil {
			t.Fatalf("Close: %v", err)
		}
	}
	t.Run("the id stays", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "state.db")
		s := must(t, path)
		id := s.ID()
		shut(t, s)
		for range 2 {
			s = must(t, path)
			if s.ID() != id || id == "" {
				t.Fatalf("id %q after reopening, it was %q", s.ID(), id)
			}
			shut(t, s)
		}
	})
	t.Run("every store has an id of its own", func(t *testing.T) {
		a, b := must(t, filepath.Join(t.TempDir(), "state.db")), must(t, filepath.Join(t.TempDir(), "state.db"))
		if a.ID() == b.ID() {
			t.Fatalf("two stores share the id %q", a.ID())
		}
		shut(t, a)
		shut(t, b)
	})
	t.Run("its directory is made", func(t *testing.T) {
		shut(t, must(t, filepath.Join(t.TempDir(), "some", "where", "state.db")))
	})
	t.Run("one at a time", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "state.db")
		s := must(t, path)
		if _, err := open(path); err == nil {
			t.Fatal("opened twice at the same time")
		}
		shut(t, s)
		shut(t, must(t, path))
	})
	t.Run("no store there", func(t *testing.T) {
		if _, err := open(t.TempDir()); err == nil {
			t.Fatal("opened a directory")
		}
	})
}
