package test

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/waybill-data/waybill/internal/testenv"
	"github.com/waybill-data/waybill/test/judge"
)

// TestUnplugged pulls one plug after the other under load: the target's server, the source's, and
// then everything at once, as when the machine dies. What is in the queue goes on to where it can.
func TestUnplugged(t *testing.T) {
	t.Parallel()
	source, target := testenv.NewCluster(t), testenv.NewCluster(t)
	s := newScenarioAt(t, combo{source: postgres, queue: true, target: postgres, second: sqlite}, source.URL("postgres"), target.URL("postgres"))
	seen := s.watch()
	stop := s.workloads(&judge.Workload{Sessions: 2, Actions: 40, Pause: 5 * time.Millisecond, Unplugged: true})
	e := s.run("")
	s.grows("the engine works", e)

	target.Kill(t)
	other := s.targets[1]
	before := s.arrivedAt(other)
	eventually(t, "the queue and the other target go on while a target is down", func() bool {
		return e.ended() || s.arrivedAt(other) > before+60
	})
	target.Start(t)
	reconnect(s.target)
	s.grows("the engine goes on after the target's outage", e)

	source.Kill(t)
	eventually(t, "the engine notices that the source is down", func() bool {
		return e.ended() || strings.Contains(e.out.String(), "source")
	})
	source.Start(t)
	reconnect(s.source)
	s.grows("the engine goes on after the source's outage", e)

	for range 2 {
		e.kill()
		blackout(t, source, target)
		reconnect(s.source)
		reconnect(s.target)
		e = s.run("")
		s.grows("the engine goes on after everything was killed", e)
	}
	stats := stop()
	e.signal(sigterm)
	e.want(128 + int(sigterm))
	s.catchUp("").want(0)
	if v := s.judge(); !v.Clean() || v.Actions < stats.Committed || v.Actions > stats.Committed+stats.Unknown {
		t.Fatalf("%+v; %s", stats, v)
	}
	s.unseen(seen())
	t.Logf("%+v", stats)
}

// blackout kills the servers with all their processes, none of which gets to do anything more,
// and starts them again.
func blackout(t testing.TB, clusters ...*testenv.Cluster) {
	t.Helper()
	var doomed []int
	for _, c := range clusters {
		text, err := os.ReadFile(filepath.Join(c.Dir, "postmaster.pid"))
		if err != nil {
			t.Fatal(err)
		}
		first, _, _ := strings.Cut(string(text), "\n")
		pid, err := strconv.Atoi(first)
		if err != nil {
			t.Fatal(err)
		}
		// The first one stops first, so that the list of its children does not grow.
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		doomed = append(append(doomed, children(pid)...), pid)
	}
	for _, pid := range doomed {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	for _, c := range clusters {
		c.Kill(t) // collects what is dead
		eventually(t, "the server's processes are gone", func() bool {
			return !slices.ContainsFunc(doomed, running)
		})
		c.Start(t)
	}
}

// children are the processes whose parent is pid.
func children(pid int) (found []int) {
	dirs, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range dirs {
		fields := stat(path)
		if len(fields) > 1 && fields[1] == itoa(pid) {
			child, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			found = append(found, child)
		}
	}
	return found
}

// running reports whether a process is there and not only waits to be collected.
func running(pid int) bool {
	fields := stat("/proc/" + itoa(pid) + "/stat")
	return len(fields) > 0 && fields[0] != "Z" && fields[0] != "X"
}

// stat is what follows the name in a process's stat file: state, parent, …
func stat(path string) []string {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	return strings.Fields(rest)
}

// reconnect drops the connections that a side has pooled.
func reconnect(side *judge.Side) {
	side.DB.SetMaxIdleConns(-1)
	side.DB.SetMaxIdleConns(2)
}
