package test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience bounds every wait for a process: far beyond what any takes, on a machine that is busy with
// twenty other things, too.
const patience = 2 * time.Minute

// engine is one process of the program.
type engine struct {
	t    testing.TB
	args string
	cmd  *exec.Cmd
	out  *output
	done chan struct{}
}

// output collects what a process prints; it may be read meanwhile.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// start starts the program with faults (see package fault). It is killed when the test ends.
func start(t testing.TB, faults string, args ...string) *engine {
	t.Helper()
	e := &engine{t: t, args: strings.Join(args, " "), out: &output{}, done: make(chan struct{})}
	e.cmd = exec.Command(program(t), args...)
	e.cmd.Env = append(os.Environ(), "WAYBILL_FAULTS="+faults)
	e.cmd.Stdout, e.cmd.Stderr = e.out, e.out
	e.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := e.cmd.Start(); err != nil {
		t.Fatalf("start waybill: %v", err)
	}
	go func() {
		defer close(e.done)
		_ = e.cmd.Wait()
	}()
	t.Cleanup(e.kill)
	return e
}

func (e *engine) kill() {
	_ = e.cmd.Process.Kill()
	<-e.done
}

func (e *engine) signal(s syscall.Signal) {
	e.t.Helper()
	if err := e.cmd.Process.Signal(s); err != nil {
		e.t.Fatalf("signal %v: %v", s, err)
	}
}

// end waits for the process and returns its exit code, or minus the signal that killed it.
func (e *engine) end() int {
	e.t.Helper()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	select {
	case <-e.done:
	case <-limit.C:
		_ = e.cmd.Process.Signal(syscall.SIGQUIT) // where it hangs
		select {
		case <-e.done:
		case <-time.After(patience):
		}
		e.t.Fatalf("waybill %s did not end within %v:\n%s", e.args, patience, e.out.String())
	}
	status := e.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if status.Signaled() {
		return -int(status.Signal())
	}
	return status.ExitStatus()
}

func (e *engine) ended() bool {
	select {
	case <-e.done:
		return true
	default:
		return false
	}
}

// want waits for the process and fails unless it ended like this.
func (e *engine) want(code int) {
	e.t.Helper()
	if got := e.end(); got != code {
		e.t.Fatalf("waybill %s ended with %d, want %d:\n%s", e.args, got, code, e.tail())
	}
}

// tail is the end of what was printed.
func (e *engine) tail() string {
	s := e.out.String()
	if len(s) > 4000 {
		s = "…" + s[len(s)-4000:]
	}
	return s
}

// killed is the exit code of a process that SIGKILL ended.
const killed = -int(syscall.SIGKILL)

const (
	sigterm = syscall.SIGTERM
	sigcont = syscall.SIGCONT
)

// contains fails unless the text has all the parts.
func contains(t testing.TB, text string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(text, p) {
			t.Fatalf("%q is not in:\n%s", p, text)
		}
	}
}

// stopped reports whether the process is stopped by SIGSTOP, as the kernel says.
func (e *engine) stopped() bool {
	fields := stat("/proc/" + itoa(e.cmd.Process.Pid) + "/stat")
	return len(fields) > 0 && fields[0] == "T"
}

// eventually waits for a condition, looking every few milliseconds.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("waited %v in vain: %s", patience, what)
		}
	}
}
