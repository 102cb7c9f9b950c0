package state_test

import (
	"database/sql"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	_ "modernc.org/sqlite"

	"github.com/waybill-data/waybill/internal/state"
)

var quiet = slog.New(slog.DiscardHandler)

func open(t *testing.T, path string) *state.Store {
	t.Helper()
	s, err := state.Open(path, quiet)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestRestartKeepsIdentity(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a b%#?", "state.db")
	first := open(t, path)
	if !first.Locked() || first.ID() == "" || first.Owner() != first.ID() {
		t.Fatalf("first: locked %v, id %q, owner %q", first.Locked(), first.ID(), first.Owner())
	}
	second := open(t, path)
	if second.Locked() || second.ID() != first.ID() || second.Owner() == first.Owner() || second.Owner() == "" {
		t.Fatalf("second: locked %v, id %q, owner %q; the first is %q", second.Locked(), second.ID(), second.Owner(), first.ID())
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	third := open(t, path)
	if !third.Locked() || third.ID() != first.ID() {
		t.Fatalf("after a restart: locked %v, id %q instead of %q", third.Locked(), third.ID(), first.ID())
	}
}

func TestModes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "waybill-data")
	open(t, filepath.Join(dir, "state.db"))
	for name, want := range map[string]os.FileMode{dir: 0o700, filepath.Join(dir, "state.db"): 0o600, filepath.Join(dir, "state.db.lock"): 0o600} {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%s has mode %o, want %o", name, got, want)
		}
	}
}

// TestLockEndsWithProcess: the lock of a process that was killed is free.
func TestLockEndsWithProcess(t *testing.T) {
	if path := os.Getenv("STATE_TEST_HOLD"); path != "" {
		s := open(t, path)
		if !s.Locked() {
			t.Fatal("not locked")
		}
		_, _ = os.Stdout.WriteString("locked\n")
		select {}
	}
	path := filepath.Join(t.TempDir(), "state.db")
	cmd := exec.Command(os.Args[0], "-test.run=^TestLockEndsWithProcess$")
	cmd.Env = append(os.Environ(), "STATE_TEST_HOLD="+path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, len("locked\n"))
	if _, err := io.ReadFull(out, line); err != nil {
		t.Fatalf("helper: %v", err)
	}
	held := open(t, path)
	if held.Locked() {
		t.Error("two processes hold the lock")
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if s := open(t, path); !s.Locked() || s.ID() != held.ID() {
		t.Errorf("after the kill: locked %v, id %s, want %s", s.Locked(), s.ID(), held.ID())
	}
}

func TestCopyIsAnotherEngine(t *testing.T) {
	dir := t.TempDir()
	from, to := filepath.Join(dir, "state.db"), filepath.Join(dir, "copy", "state.db")
	s := open(t, from)
	_ = s.Close()
	data, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, data, 0o600); err != nil {
		t.Fatal(err)
	}
	c := open(t, to)
	if c.ID() == s.ID() {
		t.Fatal("a copy passes for the original")
	}
	_ = c.Close()
	if again := open(t, to); again.ID() != c.ID() {
		t.Fatal("the copy's identity is not kept")
	}
}

func TestBadStores(t *testing.T) {
	dir := t.TempDir()
	newer := filepath.Join(dir, "newer.db")
	_ = open(t, newer).Close()
	db, err := sql.Open("sqlite", newer)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec(`UPDATE meta SET value = '99' WHERE key = 'format'`); err != nil {
		t.Fatal(err)
	}
	_ = db.Close()
	junk := filepath.Join(dir, "junk.db")
	if err := os.WriteFile(junk, []byte(strings.Repeat("this is no database ", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		newer:                           "its format is 99",
		junk:                            "not a database",
		filepath.Join(junk, "state.db"): "set state.sqlite.path",
		dir:                             "is a directory",
	} {
		s, err := state.Open(path, quiet)
		if err == nil {
			_ = s.Close()
			t.Errorf("%s opened", path)
			continue
		}
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q in it", path, err, want)
		}
		// a failed Open leaves no lock behind
		if s, err2 := state.Open(path, quiet); err2 == nil || err2.Error() != err.Error() {
			if s != nil {
				_ = s.Close()
			}
			t.Errorf("%s the second time: %v", path, err2)
		}
	}
}
