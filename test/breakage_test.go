package test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/waybill-data/waybill/internal/fault"
	"github.com/waybill-data/waybill/internal/testenv"
	"github.com/waybill-data/waybill/test/judge"
)

// breakage is a scenario that shows what a switch breaks. It runs twice: as it is, and then there
// must be no complaint; and with the switch, and then there must be one.
type breakage struct {
	name   string
	combos []combo
	// run returns the complaint, empty if all is well. broken goes into WAYBILL_FAULTS.
	run func(s *scenario, broken string) string
}

var (
	pure         = combos[:2]
	fromPostgres = combos[2:3]
	toPostgres   = combos[3:4]
	fromLog      = logs[:1]
	pureOrLog    = slices.Concat(pure, fromLog)
)

var breakages = []breakage{
	{fault.AckEarly, pureOrLog, func(s *scenario, broken string) string {
		mend := s.refuseCity()
		s.load(&judge.Workload{Sessions: 1, Actions: 60, Seed: 1})
		if complaint := s.catchUp(broken).unless(1); complaint != "" {
			return complaint
		}
		mend()
		return s.finish("")
	}},
	{fault.PositionApart, pureOrLog, func(s *scenario, broken string) string {
		s.load(&judge.Workload{Sessions: 2, Actions: 20, Seed: 1, Upserts: true})
		if complaint := s.run(faults(broken, "kill:write.position:2")).unless(killed); complaint != "" {
			return complaint
		}
		return s.finish("")
	}},
	{fault.PositionFirst, pureOrLog, func(s *scenario, broken string) string {
		s.load(&judge.Workload{Sessions: 2, Actions: 20, Seed: 1, Upserts: true})
		if complaint := s.run(faults(broken, "kill:write.data:2")).unless(killed); complaint != "" {
			return complaint
		}
		return s.finish("")
	}},
	{fault.SkipOnError, pureOrLog, func(s *scenario, broken string) string {
		mend := s.refuseCity()
		s.load(&judge.Workload{Sessions: 1, Actions: 60, Seed: 1})
		s.catchUp(broken).end()
		mend()
		return s.finish("")
	}},
	{fault.SplitAction, pureOrLog, func(s *scenario, broken string) string {
		s.load(&judge.Workload{Sessions: 2, Actions: 20, Seed: 1})
		if complaint := s.run(faults(broken, "kill:write.position:2")).unless(killed); complaint != "" {
			return complaint
		}
		if v := s.judge(); v.Torn > 0 {
			return v.String()
		}
		return s.finish("")
	}},
	{fault.NoFence, pureOrLog, zombieWrites},
	{fault.OrderByID, fromPostgres, func(s *scenario, broken string) string {
		one, two := s.byHand(1), s.byHand(2)
		one.touch(7, 1) // emits first …
		two.touch(5, 1)
		two.commit()
		one.touch(5, 2) // … touches what two has committed, and commits last
		one.commit()
		return s.finish(broken)
	}},
	{fault.CursorByID, fromPostgres, func(s *scenario, broken string) string {
		one, two := s.byHand(1), s.byHand(2)
		one.touch(7, 1)
		two.touch(5, 1)
		two.commit()
		if complaint := s.catchUp(broken).unless(0); complaint != "" {
			return complaint
		}
		one.commit()
		return s.finish(broken)
	}},
	{fault.RetryUnknown, slices.Concat(toPostgres, fromLog), func(s *scenario, broken string) string {
		s.load(&judge.Workload{Sessions: 2, Actions: 30, Seed: 1, Upserts: true})
		proxy, url := forget(s.t, s.targets[0].url, 3)
		forgetful := s.plan()
		forgetful.target = fmt.Sprintf(`postgres: {url: %q}`, url)
		s.config = s.write("state", forgetful)
		complaint := s.finish(broken)
		if proxy.lost.Load() == 0 {
			s.t.Fatal("no answer was lost")
		}
		return complaint
	}},
	{fault.PurgeUnacked, pure, func(s *scenario, broken string) string {
		stats := s.load(&judge.Workload{Sessions: 2, Actions: 20, Seed: 1})
		fast, complaint := s.beside("fast"), ""
		if s.combo.source == postgres {
			complaint = start(s.t, faults(broken, "kill:purge.before:4"), "run", "-f", fast).unless(killed)
		} else {
			complaint = start(s.t, broken, "run", "-f", fast, "--until-caught-up").unless(0)
		}
		if stats.Committed == 0 {
			s.t.Fatal("nothing was written")
		}
		if complaint != "" {
			return complaint
		}
		return s.finish("")
	}},
	{fault.NoFlush, fromPostgres, unflushed},
	{fault.IgnoreIdentity, pureOrLog, func(s *scenario, broken string) string {
		other := newScenario(s.t, s.combo)
		s.ledger(1, 10)
		other.ledger(101, 20)
		s.catchUp("").want(0)
		stranger := *s
		swapped := s.plan()
		swapped.source = other.from
		stranger.config = s.write("state", swapped)
		e := stranger.catchUp(broken)
		code := e.end()
		if complaint := s.finish(""); complaint != "" {
			return complaint
		}
		// Later looks notice it too, before or after the first batch. It must not get that far.
		if code != 1 || !strings.Contains(e.out.String(), "gap in stream") || strings.Contains(e.out.String(), "msg=carrying") {
			return fmt.Sprintf("opened another source and ended with %d: %s", code, e.tail())
		}
		return ""
	}},
}

// TestBreakagesAreCaught switches every breakage on.
func TestBreakagesAreCaught(t *testing.T) {
	for _, name := range fault.Switches() {
		if !slices.ContainsFunc(breakages, func(b breakage) bool { return b.name == name }) {
			t.Errorf("no scenario breaks %s", name)
		}
	}
	for _, b := range slices.Concat(breakages, queueBreakages) {
		for _, c := range b.combos {
			t.Run(b.name+"/"+c.String(), func(t *testing.T) {
				t.Parallel()
				if complaint := b.run(newScenario(t, c), ""); complaint != "" {
					t.Fatalf("without the breakage: %s", complaint)
				}
				complaint := b.run(newScenario(t, c), "break:"+b.name)
				if complaint == "" {
					t.Fatal("the breakage was not noticed")
				}
				first, _, _ := strings.Cut(complaint, "\n")
				t.Logf("noticed: %s", first)
			})
		}
	}
}

// faults joins two lists of faults.
func faults(a, b string) string { return strings.Trim(a+","+b, ",") }

// finish catches up and lets the judge complain.
func (s *scenario) finish(faults string) string {
	s.t.Helper()
	e := s.catchUp(faults)
	code := e.end()
	if v := s.judge(); !v.Clean() {
		return v.String()
	}
	if code != 0 {
		return fmt.Sprintf("exit %d: %s", code, e.tail())
	}
	return ""
}

// unless waits for the process and complains where it did not end like this. A broken engine may stop
// before it gets to where it is to be killed, or later.
func (e *engine) unless(code int) (complaint string) {
	e.t.Helper()
	if got := e.end(); got != code {
		return fmt.Sprintf("ended with %d, not %d: %s", got, code, e.tail())
	}
	return ""
}

// beside configures another pipeline from the same source to a target of its own.
func (s *scenario) beside(pipeline string) (config string) {
	s.t.Helper()
	other := s.plan()
	other.name, other.target = pipeline, s.newTarget(pipeline, s.combo.target, "").yaml
	config = s.write(pipeline, other)
	start(s.t, "", "outbox", "install", pipeline, "-f", config).want(0)
	return config
}

// zombieWrites freezes the engine until another one has taken over, and lets it go on. To take
// over at once the other one is given the frozen one's state directory, its lock removed.
func zombieWrites(s *scenario, broken string) string {
	s.ledger(1, 40)
	if s.combo.capture != polled {
		s.exec(s.source, `create table ledger as select pg_current_wal_lsn() as end_lsn`)
	}
	zombie := s.run(faults(broken, "stop:ack.before:2"))
	eventually(s.t, "the engine is frozen", zombie.stopped)
	if s.combo.capture != polled {
		// The zombie must have something to write when its session is gone.
		eventually(s.t, "the server has sent everything", func() bool {
			return s.number(s.source, `select count(*) from pg_stat_replication r join pg_replication_slots s on s.active_pid = r.pid
				where s.database = current_database() and r.sent_lsn >= (select end_lsn from ledger)`) > 0
		})
	}
	if !s.target.SQLite {
		// The sums of the accounts would stop a zombie, too; here the fence stands alone.
		s.exec(s.target, `alter table waybill.position drop constraint position_check`)
	}
	s.unlock()
	successor := s.run("")
	s.grows("the successor takes over", successor)
	eventually(s.t, "the successor has everything", func() bool { return s.judge().Lost == 0 })
	zombie.signal(sigcont)
	eventually(s.t, "the zombie has tried to write", func() bool {
		return zombie.ended() || s.judge().Doubled > 0 || strings.Contains(zombie.out.String(), "standing by")
	})
	zombie.kill()
	successor.kill()
	return s.finish("")
}

// unflushed crashes a source whose last commit was not on disk when the engine could see it.
func unflushed(s *scenario, broken string) string {
	cluster := testenv.NewCluster(s.t, "synchronous_commit=off", "wal_writer_delay=10s", "wal_writer_flush_after=0")
	s = newScenarioAt(s.t, s.combo, cluster.URL("postgres"), "")
	s.load(&judge.Workload{Sessions: 1, Actions: 10, Seed: 1})
	s.catchUp("").want(0)
	e := s.run(faults(broken, "kill:write.committed"))
	s.carries(e) // so that the crash comes before the server writes its log by itself
	s.load(&judge.Workload{Sessions: 1, Actions: 1, Seed: 3})
	if complaint := e.unless(killed); complaint != "" {
		return complaint
	}
	crash(s.t, cluster, s.source)
	return s.finish("")
}
