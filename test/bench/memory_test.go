//go:build bench

package bench

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/waybill-data/waybill/internal/testenv"
)

const (
	manyFactor  = 25 // actions that pass while memory is watched, for each message drained elsewhere
	largeFactor = 5  // changes of the large action, likewise
	steps       = 5  // of the way, at which the resident set is noted
)

// manyActions watches the engine while actions pass through source, queue and target. They
// are committed while it runs.
func manyActions(t *testing.T, url string) memory {
	n := manyFactor * *scale
	m := memory{
		name:  fmt.Sprintf("%d actions through the queue", n),
		asked: 200,
		method: "`waybill run` in a process of its own, `pattern: queue` from an outbox in PostgreSQL over the embedded queue into PostgreSQL, while one session " +
			"commits actions of about 300 B; VmRSS from /proc every 20 ms, from the start to the last action at the target",
	}
	source, target := fresh(t, url, "memory_source"), fresh(t, url, "memory_target")
	testenv.Exec(t, target, makeTarget)
	install(t, source, "bench/embedded")
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Minute)
	defer cancel()
	e := startEngine(t, source, target, "capture: outbox", true)
	defer e.kill()
	emitted := make(chan error, 1)
	go func() { emitted <- emitMessages(ctx, source, n) }()
	conn := dial(t, target)
	for done := uint64(0); done < uint64(n); {
		if err := e.sleep(ctx, 250*time.Millisecond); err != nil {
			t.Fatal(err)
		}
		now, err := applied(ctx, conn)
		if err != nil {
			t.Fatal(err)
		}
		for step := uint64(len(m.at) + 1); step <= steps && now >= step*uint64(n)/steps; step++ {
			m.at = append(m.at, e.resident())
		}
		done = now
	}
	if err := <-emitted; err != nil {
		t.Fatal(err)
	}
	m.took = e.stop(t)
	m.peak = e.peak()
	expect(t, target, *scale)
	expectNewest(t, target, n)
	return m
}

// applied is how many actions the target has.
func applied(ctx context.Context, conn *pgx.Conn) (seq uint64, err error) {
	var there bool
	if err := conn.QueryRow(ctx, "select to_regclass('waybill.position') is not null").Scan(&there); err != nil || !there {
		return 0, err
	}
	err = conn.QueryRow(ctx, "select coalesce(max(seq), 0) from waybill.position where stream = 'bench/postgres'").Scan(&seq)
	return seq, err
}

// expectNewest holds that each row is as the last message about it said: the last scale
// messages name each row once.
func expectNewest(t *testing.T, url string, n int) {
	t.Helper()
	var older int
	err := dial(t, url).QueryRow(context.Background(), "select count(*) from public.customer where visits < $1", n-*scale).Scan(&older)
	if err != nil || older > 0 {
		t.Fatalf("%d rows are older than their newest message: %v", older, err)
	}
}

// largeAction watches the engine while one action passes, directly and through the queue.
func largeAction(t *testing.T, url string) []memory {
	n := largeFactor * *scale
	direct := memory{
		name: fmt.Sprintf("an action of %d changes, directly", n), asked: 300,
		method: "`waybill run --until-caught-up` in a process of its own, PostgreSQL to PostgreSQL, one transaction of as many upserts of about 300 B; VmHWM from /proc",
	}
	queued := memory{
		name: fmt.Sprintf("an action of %d changes, through the queue", n), asked: 300,
		method: "the same with `pattern: queue` and the embedded queue between the two",
	}
	for _, m := range []*memory{&direct, &queued} {
		through, stream := m == &queued, "bench/postgres"
		name := "large_direct"
		if through {
			name, stream = "large_queued", "bench/embedded"
		}
		source, target := fresh(t, url, name+"_source"), fresh(t, url, name+"_target")
		testenv.Exec(t, target, makeTarget)
		install(t, source, stream)
		// A thousand changes a call; all calls of one transaction are one action.
		testenv.Exec(t, source, fmt.Sprintf(`do $$ begin for k in 0 .. (%[1]d - 1) / 1000 loop perform waybill.emit('all.saved',
			(select jsonb_agg(c -> 0) from (select %[2]s from generate_series(k * 1000, least(k * 1000 + 999, %[1]d - 1)) i) m (c))); end loop; end $$`,
			n, messageOf("i", n)))
		settle(t, source)
		ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute)
		e := startEngine(t, source, target, "capture: outbox", through, "--until-caught-up")
		err := e.wait(ctx)
		cancel()
		e.kill()
		if err != nil {
			t.Fatal(err)
		}
		m.took, m.peak = e.took(), e.peak()
		expect(t, target, n)
		if seq, err := applied(context.Background(), dial(t, target)); err != nil || seq != 1 {
			t.Fatalf("the target has %d actions of 1: %v", seq, err)
		}
		testenv.Exec(t, url, "drop database "+name+"_source with (force)")
		testenv.Exec(t, url, "drop database "+name+"_target with (force)")
	}
	return []memory{direct, queued}
}

// largeTransaction watches the engine while one transaction passes from the log, directly and through
// the queue.
func largeTransaction(t *testing.T) []memory {
	s := startServers(t)
	all := workloads(*scale)
	w := all[len(all)-1]
	direct := memory{
		name: fmt.Sprintf("a transaction of %d rows from the log, directly", w.units), asked: 256,
		method: "`waybill run --until-caught-up` in a process of its own, `capture: changes`, between two private servers, " + w.what + "; VmHWM from /proc",
	}
	queued := memory{
		name: fmt.Sprintf("a transaction of %d rows from the log, through the queue", w.units), asked: 300,
		method: "the same with `pattern: queue` and the embedded queue between the two",
	}
	for _, m := range []*memory{&direct, &queued} {
		through := m == &queued
		p, drop := s.pair(t, w.tables, w.create)
		p.stream = "bench/postgres"
		if through {
			p.stream = "bench/embedded"
		}
		logOf(t, p)
		source := dial(t, p.source)
		for _, sql := range w.fill {
			if _, err := source.Exec(context.Background(), sql); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute)
		e := startEngine(t, p.source, p.target, "capture: changes, tables: ["+strings.Join(w.tables, ", ")+"]", through, "--until-caught-up")
		err := e.wait(ctx)
		cancel()
		e.kill()
		if err != nil {
			t.Fatal(err)
		}
		m.took, m.peak = e.took(), e.peak()
		var whole bool
		if err := dial(t, p.target).QueryRow(context.Background(), "select "+w.whole).Scan(&whole); err != nil || !whole {
			t.Fatalf("the target does not hold what the source has: %v", err)
		}
		drop()
	}
	return []memory{direct, queued}
}

func install(t *testing.T, url, stream string) {
	t.Helper()
	if err := outboxOf(url, stream).Install(context.Background(), stream); err != nil {
		t.Fatal(err)
	}
}

// engine is a `waybill run` in a process of its own, whose memory is watched.
type engine struct {
	cmd     *exec.Cmd
	started time.Time
	ended   chan struct{}
	err     error // set when ended is closed
	end     time.Time
	log     *bytes.Buffer // read when ended is closed
	watched chan struct{}

	mu       sync.Mutex
	now, top float64 // MiB
}

const engineConfig = `pipelines:
  bench:
    pattern: %[1]s
    source: {postgres: {url: %[2]q, %[5]s}}
%[3]s    target: {postgres: {url: %[4]q}}
state: {sqlite: {path: state.db}}
admin: {listen: "127.0.0.1:0"}
`

// startEngine builds the program and starts it on a pipeline "bench".
func startEngine(t *testing.T, source, target, capture string, through bool, args ...string) *engine {
	t.Helper()
	dir := t.TempDir()
	program := filepath.Join(dir, "waybill")
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", program, "../../cmd/waybill")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, text)
	}
	pattern, queue := "push", ""
	if through {
		pattern, queue = "queue", "    queue: {embedded: {dir: queue}}\n"
	}
	text := fmt.Sprintf(engineConfig, pattern, source, queue, target, capture)
	if err := os.WriteFile(filepath.Join(dir, "waybill.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	e := &engine{ended: make(chan struct{}), watched: make(chan struct{}), log: &bytes.Buffer{}}
	e.cmd = exec.CommandContext(context.WithoutCancel(t.Context()), program, append([]string{"run"}, args...)...)
	e.cmd.Dir, e.cmd.Stdout, e.cmd.Stderr = dir, e.log, e.log
	e.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := e.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	e.started = time.Now()
	go func() {
		e.err = e.cmd.Wait()
		e.end = time.Now()
		close(e.ended)
	}()
	go func() {
		defer close(e.watched)
		e.watch()
	}()
	return e
}

// watch samples what the kernel says of the process. Its own high-water mark misses nothing
// between two samples.
func (e *engine) watch() {
	for {
		select {
		case <-e.ended:
			return
		case <-time.After(20 * time.Millisecond):
		}
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", e.cmd.Process.Pid))
		if err != nil {
			continue
		}
		e.mu.Lock()
		for line := range strings.Lines(string(text)) {
			name, value, _ := strings.Cut(line, ":")
			kib, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")), 64)
			switch {
			case err != nil:
			case name == "VmRSS":
				e.now = kib / 1024
			case name == "VmHWM":
				e.top = max(e.top, kib/1024)
			}
		}
		e.mu.Unlock()
	}
}

func (e *engine) resident() float64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.now
}

func (e *engine) peak() float64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.top
}

func (e *engine) took() time.Duration { return e.end.Sub(e.started) }

// sleep waits; it is an error if the engine ends meanwhile.
func (e *engine) sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-e.ended:
		return fmt.Errorf("the engine ended: %w\n%s", e.err, e.log)
	}
}

// wait waits for the engine to end by itself.
func (e *engine) wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-e.ended:
	}
	if e.err != nil {
		return fmt.Errorf("the engine failed: %w\n%s", e.err, e.log)
	}
	return nil
}

// stop asks the engine to end, which it has to do cleanly, and returns how long it ran.
func (e *engine) stop(t *testing.T) time.Duration {
	t.Helper()
	took := time.Since(e.started)
	if err := e.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-e.ended
	if code := e.cmd.ProcessState.ExitCode(); code != 128+int(syscall.SIGTERM) {
		t.Fatalf("the engine ended with %d\n%s", code, e.log)
	}
	return took
}

func (e *engine) kill() {
	select {
	case <-e.ended:
	default:
		_ = e.cmd.Process.Kill()
		<-e.ended
	}
	<-e.watched
}
