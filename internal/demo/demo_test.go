package demo_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/waybill-data/waybill/internal/demo"
)

var (
	dir   string // of the programs
	sound = sync.OnceValues(func() (string, error) { return build("waybill") })
	// faulty can be broken on purpose.
	faulty = sync.OnceValues(func() (string, error) { return build("waybill-faults", "-tags=faults") })
)

func TestMain(m *testing.M) {
	os.Exit(func() int {
		var err error
		if dir, err = os.MkdirTemp("", "demo-test-"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		return m.Run()
	}())
}

func build(name string, flags ...string) (string, error) {
	exe := filepath.Join(dir, name)
	args := append([]string{"build", "-o", exe}, flags...)
	out, err := exec.Command("go", append(args, "github.com/waybill-data/waybill/cmd/waybill")...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build %s: %w: %s", name, err, out)
	}
	return exe, nil
}

// player is a demo that was started.
type player struct {
	*exec.Cmd
	out bytes.Buffer
	err *watched
}

// watched keeps what is written and tells who waits for a text.
type watched struct {
	mu   sync.Mutex
	text bytes.Buffer
	more chan struct{}
}

func (w *watched) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text.Write(p)
	select {
	case w.more <- struct{}{}:
	default:
	}
	return len(p), nil
}

func (w *watched) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

func (w *watched) await(t *testing.T, text string) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for !strings.Contains(w.String(), text) {
		select {
		case <-w.more:
		case <-deadline:
			t.Fatalf("no %q in:\n%s", text, w)
		}
	}
}

// play starts a demo whose temporary files, and nothing else, are in tmp.
func play(t *testing.T, exe func() (string, error), tmp, faults string, args ...string) *player {
	t.Helper()
	path, err := exe()
	if err != nil {
		t.Fatal(err)
	}
	p := &player{Cmd: exec.Command(path, append([]string{"demo", "-o", "json"}, args...)...), err: &watched{more: make(chan struct{}, 1)}}
	p.Env = append(os.Environ(), "TMPDIR="+tmp, "WAYBILL_FAULTS="+faults)
	p.Stdout, p.Stderr = &p.out, p.err
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Process.Kill() })
	return p
}

// end waits for the demo and checks its exit code.
func (p *player) end(t *testing.T, code int) demo.Report {
	t.Helper()
	err := p.Wait()
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if got := p.ProcessState.ExitCode(); got != code {
		t.Fatalf("exit %d, want %d; stderr:\n%s\nstdout:\n%s", got, code, p.err, &p.out)
	}
	var r demo.Report
	if err := json.Unmarshal(p.out.Bytes(), &r); err != nil {
		t.Fatalf("stdout is not one JSON object: %v:\n%s", err, &p.out)
	}
	return r
}

func TestDemo(t *testing.T) {
	t.Parallel()
	tmp, kept := t.TempDir(), filepath.Join(t.TempDir(), "kept")
	p := play(t, sound, tmp, "", "--for", "4s", "--dir", kept)
	r := p.end(t, 0)
	switch {
	case !r.Passed || r.Fault != "" || r.Differences() != 0 || r.EngineError != "":
		t.Errorf("it did not pass: %+v", r)
	case r.Verdict.Written < 200 || r.Verdict.Applied != r.Verdict.Written:
		t.Errorf("%d actions were written, %d applied", r.Verdict.Written, r.Verdict.Applied)
	case r.Kills.Planned != 4 || r.Kills.Survived != 4:
		t.Errorf("kills: %+v", r.Kills)
	case runtime.GOOS == "linux" && r.Kills.InTransaction+r.Kills.AfterCommit+r.Kills.InQueueWrite == 0:
		t.Errorf("no kill struck where it was aimed: %+v", r.Kills)
	case r.Suppressed == 0:
		t.Error("nothing was redelivered and suppressed")
	case len(r.Outages) != 2 || r.Outages[0].Queued.Actions == 0 || r.Outages[0].Queued.Bytes == 0 || r.Outages[0].DrainedSeconds == 0:
		t.Errorf("outages: %+v", r.Outages)
	case r.Queue.Peak.Actions < r.Outages[0].Queued.Actions || r.Queue.AfterKill < r.Queue.BeforeKill || !r.Queue.RanEmpty || !r.Queue.Left.Newest:
		t.Errorf("queue: %+v", r.Queue)
	case r.Warehouse.Applied != r.Verdict.Written:
		t.Errorf("%d actions arrived at the warehouse", r.Warehouse.Applied)
	case r.Observer.Fresh < 10 || r.Observer.Torn != 0 || r.WarehouseObserver.Fresh == 0:
		t.Errorf("observers: %+v, %+v", r.Observer, r.WarehouseObserver)
	case r.RolledBack == 0:
		t.Error("nothing was rolled back")
	case r.Dir != kept:
		t.Errorf("kept in %s, said %s", kept, r.Dir)
	}
	v, err := demo.Judge(t.Context(), filepath.Join(kept, "master.db"), filepath.Join(kept, "crm.db"))
	if err != nil || v.Differences() != 0 || v.Written != r.Verdict.Written {
		t.Errorf("judged again: %+v, %v", v, err)
	}
	for _, say := range []string{"clerks at work", "engine killed", "CRM taken away", "CRM locked", "CRM back"} {
		if !strings.Contains(p.err.String(), say) {
			t.Errorf("no %q in the progress:\n%s", say, p.err)
		}
	}
	empty(t, tmp)

	again := play(t, sound, tmp, "", "--dir", kept)
	again.end(t, 2)
}

// TestBreakages: a demo that finds nothing wrong with a broken engine would be worth nothing.
func TestBreakages(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		fault, length string
		found         func(r *demo.Report) int64
	}{
		{"ack-early", "8s", func(r *demo.Report) int64 { return r.Verdict.Lost() }},
		// what comes twice may be refused, and all that follows is then missing
		{"position-apart", "8s", func(r *demo.Report) int64 { return r.Verdict.Doubled + r.Verdict.Lost() }},
		{"position-first", "8s", func(r *demo.Report) int64 { return r.Verdict.Lost() }},
		{"split-action", "8s", func(r *demo.Report) int64 { return r.Verdict.Torn() + r.Observer.Torn }},
		// what the warehouse has is gone before the CRM is back
		{"purge-unacked", "4s", func(r *demo.Report) int64 { return r.Verdict.LostActions - r.Warehouse.LostActions }},
	} {
		t.Run(tc.fault, func(t *testing.T) {
			tmp := t.TempDir()
			r := play(t, faulty, tmp, "break:"+tc.fault, "--for", tc.length).end(t, 3)
			if r.Passed || tc.found(&r) == 0 {
				t.Errorf("found %s: %+v", r.Fault, r)
			}
			if filepath.Dir(r.Dir) != tmp {
				t.Errorf("what failed is kept in %q, not below %s", r.Dir, tmp)
			}
			if v, err := demo.Judge(t.Context(), filepath.Join(r.Dir, "master.db"), filepath.Join(r.Dir, "crm.db")); err != nil || v.Differences() != r.Verdict.Differences() {
				t.Errorf("judged again: %+v, %v", v, err)
			}
		})
	}
}

// TestInterrupt: Ctrl-C ends it with all its processes and leaves nothing behind.
func TestInterrupt(t *testing.T) {
	t.Parallel()
	tmp := t.TempDir()
	p := play(t, sound, tmp, "", "--for", "1m")
	p.err.await(t, "engine killed")
	if err := p.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	_ = p.Wait()
	if code := p.ProcessState.ExitCode(); code != 130 {
		t.Errorf("exit %d, want 130:\n%s", code, p.err)
	}
	gone(t, tmp)
	empty(t, tmp)
}

// TestKilled: not even SIGKILL leaves an engine running.
func TestKilled(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("LOUD SKIP: only Linux kills the children of a killed parent")
	}
	t.Parallel()
	tmp := t.TempDir()
	p := play(t, sound, tmp, "", "--for", "1m")
	p.err.await(t, "engine killed")
	if len(engines(t, tmp)) == 0 {
		t.Error("no engine runs") // or the test would prove nothing
	}
	if err := p.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = p.Wait()
	gone(t, tmp)
}

// engines lists the processes that were started with a configuration below tmp.
func engines(t *testing.T, tmp string) []string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, f := range files {
		if b, err := os.ReadFile(f); err == nil && bytes.Contains(b, []byte("\x00--config\x00"+tmp)) {
			found = append(found, f)
		}
	}
	return found
}

func gone(t *testing.T, tmp string) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for len(engines(t, tmp)) > 0 {
		select {
		case <-time.After(5 * time.Millisecond):
		case <-deadline:
			t.Fatalf("still running: %v", engines(t, tmp))
		}
	}
}

func empty(t *testing.T, tmp string) {
	t.Helper()
	if left, err := os.ReadDir(tmp); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}
