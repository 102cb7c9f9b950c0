package state_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/waybill-data/waybill/internal/state"
)

func paused(t *testing.T, s *state.Store, want ...string) {
	t.Helper()
	got, err := s.Paused(t.Context())
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("paused are %q (%v), want %q", got, err, want)
	}
}

func set(t *testing.T, s *state.Store, yes bool, streams ...string) {
	t.Helper()
	if err := s.SetPaused(t.Context(), streams, yes); err != nil {
		t.Error(err)
	}
}

// TestPausedIsShared: whoever is on the directory sees it, with the lock or without, and it
// outlives them all.
func TestPausedIsShared(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a b%#?", "state.db")
	first, second := open(t, path), open(t, path)
	paused(t, first)
	set(t, first, true, "crm/b", "crm/a")
	paused(t, second, "crm/a", "crm/b")
	set(t, second, true, "crm/a", "erp/x")
	set(t, second, false, "crm/b", "nobody/knows")
	paused(t, first, "crm/a", "erp/x")
	_, _ = first.Close(), second.Close()
	paused(t, open(t, path), "crm/a", "erp/x")
}

// TestPausedIsNotReadAgain: as long as the file is the same, and no longer.
func TestPausedIsNotReadAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	s, other := open(t, path), open(t, path)
	past := time.Now().Add(-time.Hour)
	age := func() {
		t.Helper()
		if err := os.Chtimes(path, past, past); err != nil {
			t.Fatal(err)
		}
	}
	age()
	paused(t, s)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range [][]byte{make([]byte, len(data)), data} { // it is no database now, were it read
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		age()
		paused(t, s)
	}
	for _, name := range []string{"crm/a", "crm/b"} { // within one tick of the file's clock, perhaps
		set(t, other, true, name)
		got, err := s.Paused(t.Context())
		if err != nil || !slices.Contains(got, name) {
			t.Errorf("%s is not among %q: %v", name, got, err)
		}
	}
	age()
	paused(t, s, "crm/a", "crm/b")
	set(t, other, false, "crm/a")
	paused(t, s, "crm/b")
}

func TestPausedOfALostFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	s := open(t, path)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Paused(t.Context()); err == nil {
		t.Error("no error")
	}
	if err := s.SetPaused(t.Context(), []string{"crm/a"}, true); err == nil {
		t.Error("no error")
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("the file is there again, without an identity")
	}
}

// TestTryLock: a process that stands by becomes the engine of the directory.
func TestTryLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	first, second := open(t, path), open(t, path)
	if ok, err := second.TryLock(); ok || err != nil || second.Locked() || second.Owner() == first.ID() {
		t.Fatalf("beside the first: %v, %v", ok, err)
	}
	_ = first.Close()
	for range 2 {
		if ok, err := second.TryLock(); !ok || err != nil || !second.Locked() || second.Owner() != first.ID() || second.ID() != first.ID() {
			t.Fatalf("after the first: %v, %v, owner %s, want %s", ok, err, second.Owner(), first.ID())
		}
	}
	if third := open(t, path); third.Locked() {
		t.Error("two processes hold the lock")
	}
}
