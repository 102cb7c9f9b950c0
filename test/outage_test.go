package test

import (
	"slices"
	"testing"
	"time"

	"github.com/waybill-data/waybill/internal/testenv"
	"github.com/waybill-data/waybill/test/judge"
)

// TestRefusalLosesNothing: the target refuses an action. The engine stops there with exit 1 and
// a sentence; once the cause is mended it goes on and nothing is missing.
func TestRefusalLosesNothing(t *testing.T) {
	for _, c := range append(slices.Clone(combos), queued[0], queued[3], fanned) {
		t.Run(c.String(), func(t *testing.T) {
			t.Parallel()
			s := newScenario(t, c)
			seen := s.watch()
			mend := s.refuseCity()
			stats := s.load(&judge.Workload{Sessions: 1, Actions: 60, Seed: 1})
			for range 2 { // again and again
				e := s.catchUp("")
				e.want(1)
				contains(t, e.out.String(), "crm", "refused at")
			}
			if v := s.judgeAt(s.targets[0]); v.Lost == 0 || !v.Prefix() {
				t.Fatalf("what follows the refused action must be missing, and nothing else be wrong: %s", v)
			}
			if c.second != "" {
				if v := s.judgeAt(s.targets[1]); !v.Clean() {
					t.Fatalf("a target waited for another one: %s", v)
				}
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
	for _, c := range append(slices.Concat(combos, queued), fanned) {
		t.Run(c.String(), func(t *testing.T) {
			t.Parallel()
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
	t.Parallel()
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

// TestServersKilled: the same where the log is read, all the servers' processes are killed at once, and
// the source answers a commit before it is on disk: what it forgets must not be at the target.
func TestServersKilled(t *testing.T) {
	t.Parallel()
	source := testenv.NewCluster(t, "wal_level=logical", "synchronous_commit=off", "fsync=off")
	target := testenv.NewCluster(t, "fsync=off")
	s := newScenarioAt(t, logs[0], source.URL("postgres"), target.URL("postgres"))
	seen := s.watch()
	stop := s.workloads(&judge.Workload{Sessions: 2, Actions: 40, Pause: 2 * time.Millisecond, Unplugged: true})
	e := s.run("")
	s.grows("the engine works", e)
	blackout(t, target)
	reconnect(s.target)
	s.grows("the engine goes on after the target was killed", e)
	blackout(t, source)
	reconnect(s.source)
	s.grows("the engine goes on after the source was killed", e)
	stats := stop()
	e.signal(sigterm)
	e.want(128 + int(sigterm))
	s.catchUp("").want(0)
	if v := s.judge(); !v.Clean() || v.Actions == 0 {
		t.Fatalf("%+v; %s", stats, v)
	}
	s.unseen(seen())
	t.Logf("%+v, %d of them at the source in the end", stats, s.judge().Actions)
}
