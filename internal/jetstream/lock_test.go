package jetstream

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/waybill-data/waybill"
)

func TestDirectoryIsHeldByOneProcess(t *testing.T) {
	dir := t.TempDir()
	cmd, out := child(t, "hold", dir)
	if !out.Scan() || out.Text() != "held" {
		t.Fatalf("the child says %q", out.Text())
	}
	s := NewServer(ServerOptions{Dir: dir})
	err := s.Start(ctx(t))
	if !errors.Is(err, waybill.ErrHeld) || !strings.Contains(err.Error(), strconv.Itoa(cmd.Process.Pid)) || !strings.Contains(err.Error(), dir) {
		t.Fatalf("Start beside the child: %v", err)
	}
	if strings.Contains(err.Error(), "frozen") {
		t.Fatalf("a process that runs is called frozen: %v", err)
	}
	_ = cmd.Process.Signal(syscall.SIGSTOP)
	pid := strconv.Itoa(cmd.Process.Pid)
	eventually(t, func() bool {
		err = s.Start(ctx(t))
		return strings.Contains(err.Error(), "frozen") && strings.Contains(err.Error(), "kill -KILL "+pid)
	}, func() any { return err })
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if err := s.Start(ctx(t)); err != nil {
		t.Fatalf("Start after the child's end: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestDirectoryNamedTwiceInOneProcess(t *testing.T) {
	dir := t.TempDir()
	a, b := NewServer(ServerOptions{Dir: dir}), NewServer(ServerOptions{Dir: filepath.Join(dir, ".", "")})
	if err := a.Start(ctx(t)); err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if err := b.Start(ctx(t)); !errors.Is(err, waybill.ErrHeld) || !strings.Contains(err.Error(), "this process") {
		t.Fatalf("second Start: %v", err)
	}
}

func TestServerIsSharedAndLeavesNothing(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	dir := filepath.Join(t.TempDir(), "a", "queue")
	s := NewServer(ServerOptions{Dir: dir, Listen: "127.0.0.1:0"})
	for range 3 {
		if err := s.Start(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	for path, mode := range map[string]os.FileMode{dir: 0o700, filepath.Join(dir, "jetstream"): 0o700, filepath.Join(dir, "lock"): 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
	for i := range 3 {
		nc, err := s.connect("test")
		if err != nil {
			t.Fatalf("connect with %d users: %v", 3-i, err)
		}
		nc.Close()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatalf("one Close too many: %v", err)
	}
	if _, err := s.connect("test"); err == nil {
		t.Fatal("connect after the last Close")
	}
}

// eventually waits until what it is told holds.
func eventually(t *testing.T, holds func() bool, state func() any) {
	t.Helper()
	end := time.Now().Add(20 * time.Second)
	for tick := time.NewTicker(5 * time.Millisecond); ; <-tick.C {
		if holds() {
			tick.Stop()
			return
		}
		if time.Now().After(end) {
			t.Fatalf("waited in vain; last: %v", state())
		}
	}
}
