package conformance

import (
	"os"
	"path/filepath"
	"testing"
)

// Store is an opened state store.
type Store interface {
	// ID is the same whenever the store is opened.
	ID() string
	// Owner is ID for the first process to open the store, and a value of its own for
	// whoever opens it beside that one.
	Owner() string
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
	t.Run("one owner at a time", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "state.db")
		first := must(t, path)
		if first.Owner() != first.ID() {
			t.Fatalf("the only one to have it open is owner %q, the id is %q", first.Owner(), first.ID())
		}
		owners := map[string]bool{first.Owner(): true}
		for range 2 {
			s := must(t, path)
			if owners[s.Owner()] {
				t.Fatalf("owner %q twice at the same time", s.Owner())
			}
			owners[s.Owner()] = true
			defer shut(t, s)
		}
		shut(t, first)
		again := must(t, path)
		if again.Owner() != first.ID() {
			t.Fatalf("owner %q after the first one closed, want %q", again.Owner(), first.ID())
		}
		shut(t, again)
	})
	t.Run("a copy is another store", func(t *testing.T) {
		path, twin := filepath.Join(t.TempDir(), "state.db"), filepath.Join(t.TempDir(), "state.db")
		s := must(t, path)
		shut(t, s)
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(twin, data, 0o600); err != nil {
			t.Fatal(err)
		}
		s = must(t, path)
		c := must(t, twin)
		if s.Owner() == c.Owner() {
			t.Fatalf("a store and its copy both act as %q", s.Owner())
		}
		shut(t, s)
		shut(t, c)
	})
	t.Run("no store there", func(t *testing.T) {
		if _, err := open(t.TempDir()); err == nil {
			t.Fatal("opened a directory")
		}
	})
}
