package test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/test/judge"
)

// rival starts another engine on the same pipeline, with a state directory, which the first
// has if it is called "state".
func (s *scenario) rival(state string) *engine {
	s.t.Helper()
	return start(s.t, "", "run", "-f", s.write(state, s.plan()))
}

// carries waits until the engine has taken all its streams.
func (s *scenario) carries(e *engine) {
	s.t.Helper()
	streams := len(s.targets)
	if s.combo.queue {
		streams++
	}
	eventually(s.t, "the engine has taken its streams", func() bool {
		if e.ended() {
			s.t.Fatalf("an engine ended:\n%s", e.tail())
		}
		return strings.Count(e.out.String(), "msg=carrying") >= streams
	})
}

// grows waits until more has arrived at every target than there is now.
func (s *scenario) grows(what string, alive ...*engine) {
	s.t.Helper()
	before := s.arrived()
	eventually(s.t, what, func() bool {
		for _, e := range alive {
			if e.ended() {
				s.t.Fatalf("%s: an engine ended:\n%s", what, e.tail())
			}
		}
		return s.arrived().past(before, 0)
	})
}

// standsBy waits until the engine has said that another one has the stream.
func standsBy(e *engine) {
	e.t.Helper()
	eventually(e.t, "the engine stands by", func() bool {
		return strings.Contains(e.out.String(), waybill.ErrHeld.Error())
	})
}

// TestTwoEngines: two engines on one pipeline. One works, the other stands by; when the one is
// stopped the other goes on, and back.
func TestTwoEngines(t *testing.T) {
	for _, c := range []combo{combos[0], combos[1], queued[0], queued[1], fanned, logs[0]} {
		t.Run(c.String(), func(t *testing.T) {
			t.Parallel()
			s := newScenario(t, c)
			seen := s.watch()
			stop := s.background()
			one := s.run("")
			s.grows("the first engine works", one)
			two := s.rival("rival")
			standsBy(two)
			s.grows("the first engine goes on beside a second", one, two)
			if n := s.leases(one); n != len(s.targets) {
				t.Errorf("the first engine has %d leases", n)
			}
			one.signal(sigterm)
			one.want(128 + int(sigterm))
			if n := s.leases(one); n != 0 {
				t.Errorf("an engine that was stopped left %d leases to run out", n)
			}
			s.grows("the second engine goes on", two)
			one = s.run("")
			standsBy(one)
			s.grows("the second engine goes on beside the first", one, two)
			stats := stop()
			for _, e := range []*engine{one, two} {
				e.signal(sigterm)
				e.want(128 + int(sigterm))
			}
			s.catchUp("").want(0)
			s.clean(stats.Committed)
			s.unseen(seen())
		})
	}
}

// leases counts the targets at which an engine has the lease.
func (s *scenario) leases(e *engine) (n int) {
	s.t.Helper()
	for _, t := range s.targets {
		query := fmt.Sprintf(`select count(*) from waybill.lease where pid = %d`, e.cmd.Process.Pid)
		if t.side.SQLite {
			query = fmt.Sprintf(`select count(*) from waybill_lease where holder like '%%process %d on %%'`, e.cmd.Process.Pid)
		}
		n += s.number(t.side, query)
	}
	return n
}

// takeoverBound is how long it may take from an engine's death until another one goes on, on a machine
// that has time for it.
const takeoverBound = 15 * time.Second

// overloaded reports whether there is so much else to do here that times say nothing.
func overloaded() bool {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return false
	}
	load, err := strconv.ParseFloat(strings.Fields(string(text))[0], 64)
	return err == nil && load > 3*float64(runtime.NumCPU())
}

// fall is how an engine falls out while another one stands by.
type fall struct {
	combo
	fault string // it is killed or frozen by
	state string // the other one's state directory; the first has "state"
	// gone: the other one can go on only when the frozen process is gone.
	gone bool
	says string // by the other one: what it waits for, or what it did
}

// endedBackend is what an engine says that ends a transaction of one that is frozen.
const endedBackend = "ended the former holder's session"

func (f *fall) name() string {
	return f.combo.String() + "/" + strings.ReplaceAll(f.fault, ":", "-") + "/" + f.state
}

var falls = []fall{
	{combo: combos[0], fault: "kill:write.data:4", state: "rival"},
	{combo: combos[0], fault: "stop:ack.before:4", state: "rival"},
	{combo: combos[0], fault: "stop:write.data:4", state: "rival", says: endedBackend},
	{combo: combos[0], fault: "stop:write.position:4", state: "rival", says: endedBackend},
	{combo: combos[0], fault: "stop:write.position:4", state: "state", says: endedBackend},
	{combo: combos[1], fault: "kill:write.data:4", state: "rival"},
	{combo: combos[1], fault: "kill:write.position:4", state: "state"},
	{combo: combos[1], fault: "stop:ack.before:4", state: "rival"},
	// A SQLite file that a frozen process has locked cannot be written by anybody.
	{combo: combos[1], fault: "stop:write.position:4", state: "rival", gone: true, says: "database is locked"},

	// A queue's directory belongs to one process, frozen or not.
	{combo: queued[0], fault: "kill:write.data:9", state: "rival"},
	{combo: queued[0], fault: "kill:write.position:9", state: "state"},
	{combo: queued[1], fault: "kill:write.committed:9", state: "rival"},
	{combo: queued[0], fault: "stop:write.position:9", state: "rival", gone: true, says: "frozen"},
	{combo: queued[1], fault: "stop:write.position:9", state: "state", gone: true, says: "frozen"},
	{combo: queued[3], fault: "stop:ack.before:9", state: "rival", gone: true, says: "frozen"},
	{combo: fanned, fault: "kill:write.data:9", state: "rival"},

	// The server keeps a slot for a reader that is frozen, until somebody ends its session.
	{combo: logs[0], fault: "kill:write.data:4", state: "rival"},
	{combo: logs[0], fault: "stop:ack.before:4", state: "rival"},
	{combo: logs[1], fault: "stop:write.position:4", state: "state", says: endedBackend},
	{combo: logs[3], fault: "stop:write.position:9", state: "rival", gone: true, says: "frozen"},
}

// TestTakeover: an engine dies, or is frozen by SIGSTOP and wakes up much later, while another
// one stands by. That one goes on within the bound, as soon as it can. The first one, when it
// wakes, does no harm and says what happened.
func TestTakeover(t *testing.T) {
	for _, f := range falls {
		t.Run(f.name(), func(t *testing.T) {
			t.Parallel()
			f.run(newScenario(t, f.combo))
		})
	}
}

// says reports whether an engine with that state directory says so, in its log or its status.
func (s *scenario) says(e *engine, state, what string) bool {
	s.t.Helper()
	if strings.Contains(e.out.String(), what) {
		return true
	}
	if state == "state" {
		return false // there the address is the other one's
	}
	status := start(s.t, "", "status", "-f", s.write(state, s.plan()))
	return status.end() == 0 && strings.Contains(status.out.String(), what)
}

func (f *fall) run(s *scenario) {
	seen := s.watch()
	first := s.run(f.fault)
	s.carries(first)
	second := s.rival(f.state)
	standsBy(second)
	stop := s.background()
	eventually(s.t, "the first engine falls out", func() bool { return first.ended() || first.stopped() })
	began := time.Now()
	if f.gone {
		eventually(s.t, "the second engine says what it waits for", func() bool { return s.says(second, f.state, f.says) })
		before := s.arrived() // by now what was on its way to a server when the first one froze is there
		if s.combo.queue {
			eventually(s.t, "the second engine names the process", func() bool {
				return s.says(second, f.state, "process "+itoa(first.cmd.Process.Pid)+" ")
			})
		}
		if now := s.arrived(); !slices.Equal(now, before) {
			s.t.Errorf("something arrived before the first engine was gone: %v after %v", now, before)
		}
		first.kill()
		began = time.Now()
	}
	s.grows("the second engine takes over", second)
	took := time.Since(began)
	if took > takeoverBound && !overloaded() {
		s.t.Errorf("taking over took %v", took)
	}
	if !f.gone {
		contains(s.t, second.out.String(), f.says)
	}
	s.t.Logf("took over after %v", took.Round(time.Millisecond))
	s.grows("the second engine goes on", second)
	if !first.ended() {
		if !first.stopped() {
			s.t.Error("the first engine woke up too early to prove anything")
		}
		first.signal(sigcont)
		eventually(s.t, "the first engine says what happened", func() bool {
			text := first.out.String()
			return strings.Contains(text, "another engine took the stream") || strings.Contains(text, "asking the target whether another engine carried on")
		})
		s.grows("the second engine goes on beside the first", second, first)
		first.signal(sigterm)
		first.want(128 + int(sigterm))
	}
	stats := stop()
	second.signal(sigterm)
	second.want(128 + int(sigterm))
	s.catchUp("").want(0)
	s.clean(stats.Committed)
	s.unseen(seen())
}

// TestIdleTakeover: an engine is frozen while nothing happens. When it wakes up, still with nothing to
// do, it finds its session at the source gone. It must not take the slot back from its successor.
func TestIdleTakeover(t *testing.T) {
	t.Parallel()
	s := newScenario(t, logs[0])
	zombie := s.run("")
	s.carries(zombie)
	committed := s.load(&judge.Workload{Sessions: 1, Actions: 10, Seed: 1}).Committed
	eventually(t, "everything is there", func() bool { return zombie.ended() || s.judge().Lost == 0 })
	zombie.signal(syscall.SIGSTOP)
	eventually(t, "the engine is frozen", zombie.stopped)
	s.exec(s.target, `update waybill.lease set expires_at = now()`)
	successor := s.rival("rival")
	s.carries(successor)
	zombie.signal(sigcont)
	standsBy(zombie)
	committed += s.load(&judge.Workload{Sessions: 1, Actions: 10, Seed: 2}).Committed
	eventually(t, "the successor goes on", func() bool { return zombie.ended() || successor.ended() || s.judge().Lost == 0 })
	if text := successor.out.String(); strings.Contains(text, "57P01") {
		t.Errorf("the zombie disturbed its successor:\n%s", text)
	}
	for _, e := range []*engine{zombie, successor} {
		e.signal(sigterm)
		e.want(128 + int(sigterm))
	}
	s.clean(committed)
}

// unlock lets another engine with the same state directory take over from one that is frozen at once.
func (s *scenario) unlock() {
	s.t.Helper()
	if err := os.Remove(filepath.Join(s.dir, "state", "state.db.lock")); err != nil {
		s.t.Fatal(err)
	}
}
