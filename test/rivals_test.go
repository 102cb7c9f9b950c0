package test

import (
	"strings"
	"testing"
	"time"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/fault"
	"github.com/waybill-data/waybill/internal/testenv"
	"github.com/waybill-data/waybill/test/judge"
)

// rival starts a second engine on the same pipeline, with a state directory of its own.
func (s *scenario) rival(faults string) *engine {
	s.t.Helper()
	return start(s.t, faults, "run", "-f", s.write("rival", s.plan()))
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
	for _, c := range combos[:2] {
		t.Run(c.String(), func(t *testing.T) {
			t.Parallel()
			s := newScenario(t, c)
			seen := s.watch()
			stop := s.background()
			one := s.run("")
			s.grows("the first engine works", one)
			two := s.rival("")
			standsBy(two)
			s.grows("the first engine goes on beside a second", one, two)
			one.signal(sigterm)
			one.want(128 + int(sigterm))
			began := time.Now()
			s.grows("the second engine goes on", two)
			if took := time.Since(began); took > 6*time.Second {
				t.Errorf("taking over from an engine that was stopped took %v", took)
			}
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

// TestZombie: an engine is frozen by SIGSTOP until its lease has run out and another one has
// taken over and written on; then it continues. In PostgreSQL it also freezes in mid-transaction
// with its rows locked; a SQLite file that is locked by a frozen process cannot be written
// by anybody.
func TestZombie(t *testing.T) {
	for _, c := range []struct {
		combo
		point string
	}{
		{combos[0], fault.AckBefore},
		{combos[0], fault.WritePosition},
		{combos[1], fault.AckBefore},
	} {
		t.Run(c.combo.String()+"/"+c.point, func(t *testing.T) {
			t.Parallel()
			s := newScenario(t, c.combo)
			seen := s.watch()
			stop := s.background()
			zombie := s.run("stop:" + c.point + ":4")
			eventually(t, "the engine is frozen", zombie.stopped)
			successor := s.rival("")
			s.grows("the successor takes over", successor)
			s.grows("the successor goes on", successor)
			zombie.signal(sigcont)
			s.grows("the successor goes on beside the zombie", successor)
			eventually(t, "the zombie moves", func() bool { return zombie.ended() || !zombie.stopped() })
			s.grows("the successor goes on beside the zombie", successor)
			stats := stop()
			zombie.signal(sigterm)
			zombie.want(128 + int(sigterm))
			successor.signal(sigterm)
			successor.want(128 + int(sigterm))
			s.catchUp("").want(0)
			s.clean(stats.Committed)
			s.unseen(seen())
		})
	}
}

// TestRefusalLosesNothing: the target refuses an action. The engine stops there with exit 1 and
// a sentence; once the cause is mended it goes on and nothing is missing.
func TestRefusalLosesNothing(t *testing.T) {
	for _, c := range combos {
		t.Run(c.String(), func(t *testing.T) {
			s := newScenario(t, c)
			seen := s.watch()
			mend := s.refuseCity()
			stats := s.load(&judge.Workload{Sessions: 1, Actions: 60, Seed: 1})
			for range 2 { // again and again
				e := s.catchUp("")
				e.want(1)
				contains(t, e.out.String(), "crm", "refused at")
			}
			if v := s.judge(); v.Lost == 0 || v.Doubled+v.Torn+v.OutOfOrder+v.Phantom > 0 {
				t.Fatalf("what follows the refused action must be missing, and nothing else be wrong: %s", v)
			}
			mend()
			s.catchUp("").want(0)
			s.clean(stats.Committed)
			s.unseen(seen())
		})
	}
}

// refuseCity makes the target refuse one of the cities that the source knows.
func (s *scenario) refuseCity() (mend func()) {
	s.t.Helper()
	if s.target.SQLite {
		s.exec(s.target, `create trigger refuse before update of city on customer when new.city = 'Köln' begin select raise(abort, 'no such city'); end`)
		return func() { s.exec(s.target, `drop trigger refuse`) }
	}
	s.exec(s.target, `alter table customer add constraint known_city check (city <> 'Köln')`)
	return func() { s.exec(s.target, `alter table customer drop constraint known_city`) }
}

// TestNothingToDo: an engine that has nothing to carry says so at once.
func TestNothingToDo(t *testing.T) {
	for _, c := range combos {
		t.Run(c.String(), func(t *testing.T) {
			s := newScenario(t, c)
			for range 2 {
				s.catchUp("").want(0)
			}
			stats := s.load(&judge.Workload{Sessions: 3, Actions: 20, Seed: 1})
			for range 2 {
				s.catchUp("").want(0)
				s.clean(stats.Committed)
			}
		})
	}
}

// TestServersCrash: the target's server dies under load and comes back, then the source's. The
// engine stays, and goes on by itself.
func TestServersCrash(t *testing.T) {
	source, target := testenv.NewCluster(t), testenv.NewCluster(t)
	s := newScenarioAt(t, combos[0], source.URL("postgres"), target.URL("postgres"))
	e := s.run("")
	stop := s.background()
	s.grows("the engine works", e)
	crash(t, target, s.target)
	s.grows("the engine goes on after the target's crash", e)
	committed := stop().Committed
	crash(t, source, s.source)
	committed += s.load(&judge.Workload{Sessions: 2, Actions: 30, Seed: 900}).Committed
	eventually(t, "the engine has everything", func() bool { return e.ended() || s.judge().Lost == 0 })
	e.signal(sigterm)
	e.want(128 + int(sigterm))
	s.catchUp("").want(0)
	s.clean(committed)
}
