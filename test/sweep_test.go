package test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/fault"
	"github.com/waybill-data/waybill/test/judge"
)

// firstKill is at which passage of a point the first kill comes: late enough that there is
// something to lose, early enough that it comes soon.
var firstKill = map[string]int{
	fault.ReadDone: 4, fault.WriteBegun: 4, fault.WriteData: 4, fault.WritePosition: 4,
	fault.WriteCommitted: 4, fault.AckBefore: 4, fault.AckDone: 2,
}

// recoveryKills are where the engine dies again while it recovers; the sweep takes turns.
var recoveryKills = []string{
	fault.WriteCommitted, fault.OpenDone, fault.WritePosition, fault.ResumeTaken, fault.AckBefore, fault.WriteData, fault.ReadDone,
}

// sampled are the points that the mixed combinations are killed at; what differs between
// them and the pure ones is only which connector talks to which.
var sampled = []string{fault.ReadDone, fault.WritePosition, fault.WriteCommitted, fault.AckDone}

// logPoints are those that a reader of the log passes: there is nothing to purge.
var logPoints = []string{
	fault.ResumeTaken, fault.OpenDone, fault.ReadDone, fault.WriteBegun, fault.WriteData, fault.WritePosition,
	fault.WriteCommitted, fault.AckBefore, fault.AckDone, fault.LeaseRenewed,
}

// TestKillSweep kills the engine at every durable step, and again while it recovers.
func TestKillSweep(t *testing.T) {
	turn := 0
	sweep := func(c combo, points []string, kill func(t *testing.T, c combo, point string, nth int, recovery string)) {
		for _, point := range points {
			recovery := recoveryKills[turn%len(recoveryKills)]
			turn++
			t.Run(fmt.Sprintf("%v/%s", c, point), func(t *testing.T) {
				t.Parallel()
				kill(t, c, point, max(1, firstKill[point]), recovery)
			})
		}
	}
	sweep(combos[0], fault.Points(), kill)
	sweep(combos[1], fault.Points(), kill)
	sweep(combos[2], sampled, kill)
	sweep(combos[3], sampled, kill)
	sweep(queued[0], fault.Points(), killHops)
	sweep(queued[1], sampled, killHops)
	sweep(queued[2], sampled[1:2], killHops)
	sweep(queued[3], sampled[2:], killHops)
	sweep(fanned, sampled[1:3], kill)
	sweep(logs[0], logPoints, kill)
	sweep(logs[1], sampled, kill)
	sweep(logs[2], sampled[1:3], kill)
	sweep(logs[3], sampled[1:3], killHops)
}

// kill lets the engine die at the nth passage of a point, and judges what comes of it.
func kill(t *testing.T, c combo, point string, nth int, recovery string) {
	s := newScenario(t, c)
	seen := s.watch()
	stop := s.background()
	s.run(fmt.Sprintf("kill:%s:%d", point, nth)).want(killed)
	s.recover(stop, seen, point, recovery)
}

// killHops lets an engine that only relays die at the nth passage of a point, so that it is the
// hop into the queue that does, then one that only consumes, and judges what an engine that does
// both comes to.
func killHops(t *testing.T, c combo, point string, nth int, recovery string) {
	s := newScenario(t, c)
	seen := s.watch()
	stop := s.background()
	relay, consume := s.write("state", s.plan().relay()), s.write("state", s.plan().consume())
	if point != fault.LeaseRenewed { // the queue has no lease: it is its directory's lock
		start(t, fmt.Sprintf("kill:%s:%d", point, nth), "run", "-f", relay).want(killed)
	}
	// Something is in the queue then for the other hop, but not much, and it is purged once.
	start(t, "kill:write.committed:3", "run", "-f", relay).want(killed)
	// It may all be one batch for the other hop, so that it passes each point once.
	start(t, "kill:"+point, "run", "-f", consume).want(killed)
	s.recover(stop, seen, point, recovery)
}

// recover lets the engine die again at the first passage of a point while it recovers from a kill
// at another one, all under load, and judges what the survivor makes of it.
func (s *scenario) recover(stop func() judge.Stats, seen func() judge.Sighting, point, recovery string) {
	s.t.Helper()
	// The workload goes on while the engine recovers.
	second := s.run("kill:" + recovery)
	second.want(killed)

	began := time.Now()
	before := s.arrived()
	third := s.run("")
	eventually(s.t, "the engine goes on after two kills", func() bool {
		if third.ended() {
			s.t.Fatalf("the engine ended after two kills:\n%s", third.tail())
		}
		return s.arrived().past(before, 0)
	})
	took := time.Since(began)
	eventually(s.t, "the engine carries on", func() bool { return third.ended() || s.arrived().past(before, 40) })
	stats := stop()
	third.signal(sigterm)
	third.want(128 + int(sigterm))
	s.catchUp("").want(0)

	s.clean(stats.Committed)
	s.unseen(seen())
	for _, e := range []*engine{second, third} {
		if strings.Contains(e.out.String(), waybill.ErrHeld.Error()) {
			s.t.Errorf("on the same state directory the engine waited for a lease, %v in all:\n%s", took, e.tail())
		}
	}
	s.t.Logf("%d actions, killed at %s and %s, going on after %v", stats.Committed, point, recovery, took.Round(time.Millisecond))
}

// unseen fails if the observer saw part of an action.
func (s *scenario) unseen(seen judge.Sighting) {
	s.t.Helper()
	if seen.Torn+seen.Shrunk > 0 || seen.Polls == 0 {
		s.t.Fatalf("observer: %+v", seen)
	}
}
