package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	waybill "github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/fault"
)

// helperEnv makes the test binary another process of a test: "TASK PATH PATH …".
const helperEnv = "WAYBILL_SQLITE_HELPER"

// Exit codes of helpers.
const (
	exitFenced = 7
	exitFailed = 8
)

// help is what a helper process does.
func help(task string) int {
	f := strings.Split(task, "\n")
	var err error
	switch f[0] {
	case "carry":
		err = carry(f[1], f[2])
	case "journal":
		err = keepJournal(f[1])
	}
	switch {
	case errors.Is(err, waybill.ErrFenced):
		return exitFenced
	case err != nil:
		fmt.Fprintln(os.Stderr, err)
		return exitFailed
	}
	return 0
}

// carry is the smallest engine there can be: it carries what the source holds.
func carry(source, target string) (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	r := NewOutbox(SourceOptions{Path: source, Stream: testStream, MaxActions: 4})
	w := NewWriter(TargetOptions{Path: target, Owner: "me", Lease: 20 * time.Millisecond})
	defer func() { err = errors.Join(err, r.Close(), w.Close()) }()
	at, err := w.Resume(ctx, testStream)
	if err != nil {
		return err
	}
	if err := r.Open(ctx, at); err != nil {
		return err
	}
	head, err := r.Head(ctx)
	if err != nil {
		return err
	}
	for !r.Reached(at, head) {
		b, err := r.Next(ctx)
		if err != nil {
			return err
		}
		if err := w.Write(ctx, b); err != nil {
			return err
		}
		at = b.Upto
		if err := r.Ack(ctx, at); err != nil {
			return err
		}
		for !w.renewalDue() { // so that every batch renews the lease
			runtime.Gosched()
		}
	}
	return nil
}

// keepJournal writes into a journal until somebody else has the stream.
func keepJournal(path string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	w := NewWriter(TargetOptions{Path: path, Owner: "zombie", Lease: 200 * time.Millisecond})
	defer w.Close()
	if _, err := w.Resume(ctx, testStream); err != nil {
		return err
	}
	for seq := uint64(0); ; seq++ {
		b := waybill.Batch{After: place(seq), Upto: place(seq + 1), Actions: []waybill.Action{{
			ID: fmt.Sprint(seq), Seq: seq + 1,
			Changes: waybill.ChangeList{insert("journal", fmt.Sprintf(`{"n":%d}`, seq+1), `{"worker":"zombie"}`)},
		}}}
		if err := w.Write(ctx, b); err != nil {
			return err
		}
	}
}

// TestProcesses are the tests that need engines of their own, which can be killed and broken.
func TestProcesses(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "faults.test")
	out, err := exec.CommandContext(t.Context(), "go", "test", "-c", "-tags", "faults", "-o", binary, ".").CombinedOutput()
	if err != nil {
		t.Fatalf("build with faults: %v\n%s", err, out)
	}
	f := faults{binary}
	t.Run("killed anywhere", f.killedAnywhere)
	t.Run("breakages with kills", f.breakagesWithKills)
	t.Run("breakages in tests", f.breakagesInTests)
	t.Run("zombie", f.zombie)
	t.Run("zombie in a transaction", f.zombieInTransaction)
}

// faults is this package's test binary, built so that it can be killed and broken.
type faults struct{ binary string }

// helper prepares a process; spec is for WAYBILL_FAULTS.
func (f faults) helper(t *testing.T, spec string, task ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), f.binary)
	cmd.Env = append(os.Environ(), helperEnv+"="+strings.Join(task, "\n"), "WAYBILL_FAULTS="+spec)
	return cmd
}

// delivery is a source with actions and a target that notices whatever goes wrong: every
// action inserts its number in two tables, and a trigger writes down in which order.
type delivery struct {
	t              *testing.T
	engine         faults
	source, target *app
	actions        int
}

func newDelivery(t *testing.T, f faults) *delivery {
	d := &delivery{t: t, engine: f, source: newSource(t, testStream), target: newApp(t,
		"CREATE TABLE l (n integer PRIMARY KEY)", "CREATE TABLE r (n integer PRIMARY KEY)", "CREATE TABLE seen (k integer PRIMARY KEY, n integer)",
		"CREATE TRIGGER see AFTER INSERT ON l BEGIN INSERT INTO seen (n) VALUES (new.n); END")}
	d.emit(25)
	return d
}

func (d *delivery) emit(n int) {
	d.t.Helper()
	tx := d.source.begin(d.t)
	for range n {
		d.actions++
		key := fmt.Sprintf(`{"n":%d}`, d.actions)
		tx.id = fmt.Sprintf("action-%d", d.actions)
		tx.Emit(d.t, insert("l", key, "{}"))
		tx.Emit(d.t, insert("r", key, "{}"))
	}
	tx.Commit(d.t)
}

// run starts an engine and says how it ended: "", "killed" or what it printed.
func (d *delivery) run(spec string) string {
	d.t.Helper()
	cmd := d.engine.helper(d.t, spec, "carry", d.source.path, d.target.path)
	out, err := cmd.CombinedOutput()
	if s, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && s.Signaled() && s.Signal() == syscall.SIGKILL {
		return "killed"
	}
	if err != nil {
		return err.Error() + ": " + string(out)
	}
	return ""
}

// torn says what is wrong with the target at any time, lost what is missing at the end. Plain
// SQL that shares nothing with the engine.
func (d *delivery) torn() string {
	switch {
	case d.target.rows("SELECT group_concat(n) FROM l") != d.target.rows("SELECT group_concat(n) FROM r"):
		return "half of an action is there"
	case d.target.rows("SELECT count(*) FROM (SELECT n, lag(n) OVER (ORDER BY k) AS before FROM seen) WHERE n <> before + 1") != "0":
		return "actions are out of order"
	case d.target.rows("SELECT count(*) - count(DISTINCT n) FROM seen") != "0":
		return "an action took effect twice"
	}
	return ""
}

func (d *delivery) lost() string {
	if have, want := d.target.rows("SELECT count(*), max(n) FROM l"), fmt.Sprintf("%d|%[1]d", d.actions); have != want {
		return fmt.Sprintf("actions are lost: %s, want %s", have, want)
	}
	return ""
}

// sqlitePoints are the kill points that this package passes.
var sqlitePoints = []string{
	fault.ResumeTaken, fault.OpenDone, fault.WriteBegun, fault.WriteData, fault.WritePosition, fault.WriteCommitted,
	fault.AckDone, fault.PurgeBefore, fault.PurgeDone, fault.LeaseRenewed,
}

// killedAnywhere kills the engine at each durable step, and its successor there again.
func (f faults) killedAnywhere(t *testing.T) {
	for _, point := range sqlitePoints {
		t.Run(point, func(t *testing.T) {
			d := newDelivery(t, f)
			for i, spec := range []string{"kill:" + point, "kill:" + point, "kill:" + point + ":2", ""} {
				how := d.run(spec)
				if how != "" && how != "killed" || i == 0 && how != "killed" {
					t.Fatalf("run %d with %q ended with %q", i+1, spec, how)
				}
				if wrong := d.torn(); wrong != "" {
					t.Fatalf("after run %d with %q: %s", i+1, spec, wrong)
				}
				d.emit(2)
			}
			if how := d.run(""); how != "" {
				t.Fatal(how)
			}
			if wrong := d.torn() + d.lost(); wrong != "" {
				t.Fatal(wrong)
			}
		})
	}
}

// breakagesWithKills: the judge above notices what a broken writer does when it is killed.
func (f faults) breakagesWithKills(t *testing.T) {
	for breakage, point := range map[string]string{
		fault.PositionApart: fault.WritePosition,
		fault.PositionFirst: fault.WriteData,
		fault.SplitAction:   fault.WriteData,
	} {
		d := newDelivery(t, f)
		spec := "break:" + breakage + ",kill:" + point + ":2"
		if how := d.run(spec); how != "killed" {
			t.Fatalf("run with %q ended with %q", spec, how)
		}
		wrong := d.torn()
		wrong += d.run("break:"+breakage) + d.torn() + d.lost()
		if wrong == "" {
			t.Errorf("%s went unnoticed", breakage)
		}
		t.Logf("%s: %s", breakage, wrong)
	}
}

// breakagesInTests: a test fails under each breakage, and passes without it.
func (f faults) breakagesInTests(t *testing.T) {
	for _, c := range []struct{ breakage, test string }{
		{fault.NoFence, "TestWriterConformance/the_same_owner_takes_over_at_once"},
		{fault.NoFence, "TestWriterConformance/position_changed_behind_the_back"},
		{fault.RetryUnknown, "TestUnknownCommit/it_was_done$"},
		{fault.PurgeUnacked, "TestReaderConformance/every_consumer_holds_back_the_purge"},
		{fault.IgnoreIdentity, "TestReaderConformance/gap:_position_of_another_source"},
		{fault.IgnoreIdentity, "TestReaderConformance/gap:_source_restored_from_a_backup"},
		{fault.IgnoreIdentity, "TestCopiedFile"},
		{fault.NoFlush, "TestFlush"},
		{fault.SplitAction, "TestWriterConformance/no_observer_sees_part_of_an_action"},
		{"", "TestWriterConformance/(the_same_owner_takes_over_at_once|position_changed_behind_the_back|no_observer_sees_part_of_an_action)"},
		{"", "TestReaderConformance/(every_consumer_holds_back_the_purge|gap:_.*)"},
		{"", "TestUnknownCommit|TestCopiedFile|TestFlush"},
	} {
		cmd := exec.CommandContext(t.Context(), f.binary, "-test.run", c.test, "-test.v")
		cmd.Env = append(os.Environ(), "WAYBILL_FAULTS=break:"+c.breakage)
		out, err := cmd.CombinedOutput()
		if !strings.Contains(string(out), "=== RUN") {
			t.Fatalf("no test is called %s", c.test)
		}
		if caught := err != nil; caught != (c.breakage != "") {
			t.Errorf("%q in %s: caught %v\n%s", c.breakage, c.test, caught, out)
		}
	}
}

// zombie: an engine is frozen, another takes its stream, and the first goes on.
func (f faults) zombie(t *testing.T) {
	for _, point := range []string{fault.WriteCommitted, fault.ResumeTaken} {
		t.Run(point, func(t *testing.T) {
			a := newApp(t, "CREATE TABLE journal (n integer PRIMARY KEY, worker text)")
			frozen := f.helper(t, "stop:"+point, "journal", a.path)
			if err := frozen.Start(); err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- frozen.Wait() }()
			waitFor(t, func() bool { return isFrozen(frozen.Process.Pid) })
			y := NewWriter(TargetOptions{Path: a.path, Owner: "successor"})
			defer y.Close()
			var at waybill.Position
			waitFor(t, func() bool {
				var err error
				at, err = y.Resume(ctx(t), testStream)
				if err != nil && !errors.Is(err, waybill.ErrHeld) {
					t.Fatal(err)
				}
				return err == nil
			})
			var seq uint64
			if at != "" {
				seq = 1
			}
			x := &target{t: t, Writer: y, seq: seq}
			for range 3 {
				x.write(insert("journal", fmt.Sprintf(`{"n":%d}`, x.seq+1), `{"worker":"successor"}`))
			}
			_ = frozen.Process.Signal(syscall.SIGCONT)
			<-ended
			if code := frozen.ProcessState.ExitCode(); code != exitFenced {
				t.Fatalf("the zombie ended with %d, want %d", code, exitFenced)
			}
			a.want("SELECT count(*), count(*) FILTER (WHERE worker = 'zombie') FROM journal", fmt.Sprintf("%d|%d", seq+3, seq))
			x.write(insert("journal", `{"n":99}`, `{"worker":"successor"}`))
		})
	}
}

// zombieInTransaction: frozen while it holds SQLite's write lock, an engine keeps its
// successor waiting, and no more than that.
func (f faults) zombieInTransaction(t *testing.T) {
	a := newApp(t, "CREATE TABLE journal (n integer PRIMARY KEY, worker text)")
	frozen := f.helper(t, "stop:"+fault.WritePosition+":2", "journal", a.path)
	if err := frozen.Start(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { return isFrozen(frozen.Process.Pid) })
	y := NewWriter(TargetOptions{Path: a.path, Owner: "successor"})
	defer y.Close()
	short, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	if _, err := y.Resume(short, testStream); err == nil {
		t.Fatal("took the stream over while its holder has the write lock")
	}
	a.want("SELECT count(*) FROM journal", "1")
	_ = frozen.Process.Kill()
	_ = frozen.Wait()
	waitFor(t, func() bool { at, err := y.Resume(ctx(t), testStream); return err == nil && at == place(1) })
	x := &target{t: t, Writer: y, seq: 1}
	x.write(insert("journal", `{"n":2}`, `{"worker":"successor"}`))
	a.want("SELECT * FROM journal", "1|zombie\n2|successor")
}

// isFrozen reports whether the process was stopped.
func isFrozen(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, after, _ := strings.Cut(string(stat), ") ")
	return err == nil && strings.HasPrefix(after, "T")
}
