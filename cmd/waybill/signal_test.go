package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/waybill-data/waybill/internal/pump"
)

// stubbornMain is a program that does not stop when it is asked to.
func stubbornMain() {
	ctx, stop := untilSignal(context.Background())
	defer stop()
	fmt.Println("running")
	<-ctx.Done()
	fmt.Println(endedBy(ctx))
	select {}
}

// meetDefaults lets children meet signals with the default action. Tests may run in the
// background or under nohup, and what this process ignores its children would ignore too.
func meetDefaults(t *testing.T) {
	t.Helper()
	caught := make(chan os.Signal, 1)
	signal.Notify(caught, syscall.SIGHUP, syscall.SIGINT)
	t.Cleanup(func() { signal.Stop(caught) })
}

// TestSecondSignalKills: the first signal asks, the second does not.
func TestSecondSignalKills(t *testing.T) {
	meetDefaults(t)
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		ctx, cancel := context.WithTimeout(t.Context(), patience) // kills it if nothing else does
		defer cancel()
		cmd := exec.CommandContext(ctx, "stubborn")
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for _, want := range []string{"running", "stopped by SIG"} {
			if !lines.Scan() || !strings.HasPrefix(lines.Text(), want) {
				t.Fatalf("%q, want %s", lines.Text(), want)
			}
			if err := cmd.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
		}
		var exit *exec.ExitError
		if err := cmd.Wait(); !errors.As(err, &exit) {
			t.Fatalf("ended with %v", err)
		}
		if status, ok := exit.Sys().(syscall.WaitStatus); !ok || !status.Signaled() || status.Signal() != sig {
			t.Errorf("after the second %v: %v", sig, exit)
		}
	}
}

func TestExitCodes(t *testing.T) {
	for err, want := range map[error]int{
		nil:                           0,
		errors.New("x"):               1,
		&usageError{errors.New("x")}:  2,
		&signalError{syscall.SIGINT}:  130,
		&signalError{syscall.SIGTERM}: 143,
		errors.Join(&signalError{15}): 143,
		fmt.Errorf("x: %w", &usageError{errors.New("y")}): 2,
	} {
		if got := exitCode(err); got != want {
			t.Errorf("%v: %d, want %d", err, got, want)
		}
	}
}

// TestRunEndsBySignal: an engine that is asked to stop does so cleanly, and says by what.
func TestRunEndsBySignal(t *testing.T) {
	dir := t.TempDir()
	yaml := `
pipelines:
  crm:
    pattern: push
    source: {postgres: {url: "postgres://nobody:x@127.0.0.1:1/db", capture: outbox}}
    target: {sqlite: {path: target.db}}
admin: {listen: "127.0.0.1:0"}
`
	if err := os.WriteFile(filepath.Join(dir, "waybill.yaml"), []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := query(t.Context(), filepath.Join(dir, "target.db"), []string{"create table t(x)"}); err != nil {
		t.Fatal(err)
	}
	meetDefaults(t)
	for sig, want := range map[syscall.Signal]int{syscall.SIGINT: 130, syscall.SIGTERM: 143, syscall.SIGHUP: 129} {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		cmd := exec.CommandContext(ctx, "waybill", "run", "-o", "json")
		cmd.Dir = dir
		var stdout strings.Builder
		cmd.Stdout = &stdout
		logs, err := cmd.StderrPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(logs)
		for lines.Scan() && !strings.Contains(lines.Text(), "trying again") {
			continue
		}
		if err := cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		rest, _ := io.ReadAll(logs)
		_ = cmd.Wait()
		if got := cmd.ProcessState.ExitCode(); got != want {
			t.Errorf("%v: exit %d, want %d\n%s", sig, got, want, rest)
		}
		var result runResult
		if err := json.Unmarshal([]byte(stdout.String()), &result); err != nil || result.Exit != want || len(result.Pipelines) != 1 || result.Pipelines[0].State != pump.Stopped {
			t.Errorf("%v: %v\n%s", sig, err, stdout.String())
		}
	}
}
