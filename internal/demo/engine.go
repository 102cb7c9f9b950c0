package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	pipeline     = "customers"
	queueStream  = "demo"           // JetStream's
	startTimeout = 20 * time.Second // until the engine says that it carries
	stopTimeout  = 10 * time.Second // for a clean stop, then it is killed
)

// The streams: from the master into the queue, and from there to each target.
const (
	toQueue     = pipeline + "/embedded"
	toCRM       = pipeline + "/crm"
	toWarehouse = pipeline + "/warehouse"
)

// engine starts the program under demonstration: as processes of its own, as a user would.
// start and its kin must be called from one goroutine that is locked to its thread: the kernel
// kills the children when that thread ends, and it must not end before them.
type engine struct {
	exe, dir, config string
	log              io.WriteCloser // what all engines say, for people who look later

	mu         sync.Mutex
	suppressed uint64 // summed over all starts
	retries    int    // attempts that failed and were made again
}

// newEngine writes the configuration; it starts nothing.
func newEngine(exe, dir string) (*engine, error) {
	e := &engine{exe: exe, dir: dir, config: filepath.Join(dir, "waybill.yaml")}
	text := fmt.Sprintf(`# The demo's pipeline: from the customer master's outbox into a queue, and from there to a
# CRM and a warehouse, each at its own pace.
pipelines:
  %s:
    pattern: queue
    source: {sqlite: {path: %s, capture: outbox}}
    queue: {embedded: {dir: %s, stream: %s}}
    targets:
      crm: {sqlite: {path: %s}}
      warehouse: {sqlite: {path: %s}}
state: {sqlite: {path: %s}}
admin: {listen: "127.0.0.1:0"}
`, pipeline, yamlText(e.file("master.db")), yamlText(e.file("queue")), queueStream, yamlText(e.file("crm.db")), yamlText(e.file("warehouse.db")),
		yamlText(e.file("engine", "state.db")))
	if err := os.WriteFile(e.config, []byte(text), 0o600); err != nil {
		return nil, fmt.Errorf("write the demo's configuration: %w", err)
	}
	log, err := os.OpenFile(e.file("engine.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the engine's log: %w", err)
	}
	e.log = log
	return e, nil
}

func (e *engine) file(name ...string) string {
	return filepath.Join(append([]string{e.dir}, name...)...)
}

// yamlText quotes s; a dollar would stand for a variable.
func yamlText(s string) string {
	b, _ := json.Marshal(s) // a string cannot fail
	return strings.ReplaceAll(string(b), "$", "$$")
}

// process is one engine at work.
type process struct {
	cmd    *exec.Cmd
	exited chan struct{} // closed when it has ended and was waited for
	err    error         // how, once exited
	over   chan struct{} // closed when it has ended or given up a stream for good
	ends   sync.Once     // closes over
	news   chan struct{} // has something when it may carry more than before

	engine   *engine
	mu       sync.Mutex
	said     []byte          // the line being written
	carrying map[string]bool // the streams that it has taken
	admin    string          // where it answers, once it does
	last     string          // what it complained of last
}

// start starts the program with the arguments given.
func (e *engine) start(args ...string) (*process, error) {
	p := &process{engine: e, exited: make(chan struct{}), over: make(chan struct{}), news: make(chan struct{}, 1), carrying: map[string]bool{}}
	p.cmd = exec.Command(e.exe, append([]string{"--config", e.config, "--log-format", "json"}, args...)...) //nolint:gosec,noctx // this very program; stopped by stop
	p.cmd.Stderr = p
	p.cmd.SysProcAttr = childAttr()
	p.cmd.WaitDelay = time.Second
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the engine: %w", err)
	}
	go func() {
		defer p.isOver()
		defer close(p.exited)
		p.err = p.cmd.Wait()
	}()
	return p, nil
}

// runToEnd starts the program and waits for its end. The error says what it complained of.
func (e *engine) runToEnd(ctx context.Context, args ...string) error {
	p, err := e.start(args...)
	if err != nil {
		return err
	}
	select {
	case <-p.exited:
	case <-ctx.Done():
		p.stop()
		return fmt.Errorf("waybill %s: %w", strings.Join(args, " "), ctx.Err())
	}
	if p.err != nil {
		return fmt.Errorf("waybill %s: %w: %s", strings.Join(args, " "), p.err, p.complaint())
	}
	return nil
}

// carries waits until the engine has taken the streams.
func (p *process) carries(ctx context.Context, streams ...string) error {
	timer := time.NewTimer(startTimeout)
	defer timer.Stop()
	for {
		missing := p.lacks(streams)
		if len(missing) == 0 {
			return nil
		}
		select {
		case <-p.news:
		case <-p.over:
			return &engineError{p.complaint()}
		case <-timer.C:
			return &engineError{fmt.Sprintf("it did not take %s within %s: %s", strings.Join(missing, ", "), startTimeout, p.complaint())}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (p *process) lacks(streams []string) (missing []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range streams {
		if !p.carrying[s] {
			missing = append(missing, s)
		}
	}
	return missing
}

// answersAt is the address of its status; empty as long as it has none.
func (p *process) answersAt() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.admin
}

// engineError: the engine ended by itself, or does not do its work.
type engineError struct{ why string }

func (e *engineError) Error() string { return "the engine gave up: " + e.why }

func (p *process) isOver() { p.ends.Do(func() { close(p.over) }) }

func (p *process) pid() int { return p.cmd.Process.Pid }

// dead reports whether the process has ended.
func (p *process) dead() bool {
	select {
	case <-p.exited:
		return true
	default:
		return false
	}
}

// kill sends SIGKILL and waits.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // an error means that it has ended already
	<-p.exited
}

// stop asks for a clean stop, and kills what does not heed it.
func (p *process) stop() {
	if p == nil {
		return
	}
	_ = p.cmd.Process.Signal(syscall.SIGCONT) // it may be frozen; an error means that it has ended already
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	timer := time.NewTimer(stopTimeout)
	defer timer.Stop()
	select {
	case <-p.exited:
	case <-timer.C:
		p.kill()
	}
}

// Write takes what the engine says on stderr: JSON log lines, and plain ones at its end.
func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, _ = p.engine.log.Write(b) // for people who look later; a full disk shows elsewhere
	p.said = append(p.said, b...)
	for {
		line, rest, ok := bytes.Cut(p.said, []byte("\n"))
		if !ok {
			return len(b), nil
		}
		p.hear(line)
		p.said = rest
	}
}

// hear understands one line. What the engine says of suppressed deliveries is when it takes
// a stream.
func (p *process) hear(line []byte) {
	var said struct {
		Level      string  `json:"level"`
		Msg        string  `json:"msg"`
		Error      string  `json:"error"`
		Stream     string  `json:"stream"`
		Suppressed *uint64 `json:"suppressed"`
		Listen     string  `json:"listen"`
	}
	if json.Unmarshal(line, &said) != nil {
		p.last = strings.TrimPrefix(string(line), "waybill: ")
		return
	}
	switch {
	case said.Suppressed != nil:
		p.engine.add(*said.Suppressed, 0)
		p.carrying[said.Stream] = true
		select {
		case p.news <- struct{}{}:
		default:
		}
	case said.Msg == "admin address open":
		p.admin = said.Listen
	case said.Msg == "trying again":
		p.engine.add(0, 1)
	}
	if said.Error != "" {
		p.last = said.Error
	}
	if said.Level == "ERROR" && said.Stream != "" { // the other streams go on
		p.isOver()
	}
}

func (p *process) complaint() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.last == "" {
		return "it gave no reason"
	}
	return p.last
}

func (e *engine) add(suppressed uint64, retries int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.suppressed += suppressed
	e.retries += retries
}

func (e *engine) told() (suppressed uint64, retries int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.suppressed, e.retries
}

func (e *engine) close() error { return e.log.Close() }

// isEngineError tells an engine that failed from a demo that failed.
func isEngineError(err error) bool {
	var e *engineError
	return errors.As(err, &e)
}
