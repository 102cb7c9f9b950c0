//go:build soak

package test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/waybill-data/waybill/internal/fault"
	"github.com/waybill-data/waybill/internal/testenv"
	"github.com/waybill-data/waybill/test/judge"
)

const (
	// soakRounds is how often each combination is killed, at random points: about an hour.
	soakRounds = 150
	// outage is for how long a target is down.
	outage = time.Hour
)

// TestSoak is the kill sweep with points, passages and recoveries drawn at random. The name of a
// subtest says what was drawn.
func TestSoak(t *testing.T) {
	points := fault.Points()
	for _, c := range append(slices.Concat(combos, queued), fanned) {
		for round := range soakRounds {
			point, nth := points[rand.IntN(len(points))], 1+rand.IntN(20)
			switch point {
			case fault.ResumeTaken, fault.OpenDone, fault.LeaseRenewed:
				nth = 1 // passed once a start, or every three seconds
			case fault.AckDone, fault.PurgeBefore, fault.PurgeDone:
				nth = 1 + nth%3
			}
			die := kill
			if c.queue && rand.IntN(2) == 0 {
				die = killHops
			}
			recovery := recoveryKills[rand.IntN(len(recoveryKills))]
			t.Run(fmt.Sprintf("%v/%d/%s-%d/%s", c, round, point, nth, recovery), func(t *testing.T) {
				t.Parallel()
				die(t, c, point, nth, recovery)
			})
		}
	}
}

// TestTargetDownForAnHour: the queue fills for an hour under load, the other target goes on, and
// when the target is back it gets everything.
func TestTargetDownForAnHour(t *testing.T) {
	t.Parallel()
	cluster := testenv.NewCluster(t)
	s := newScenarioAt(t, combo{source: postgres, queue: true, target: postgres, second: sqlite}, "", cluster.URL("postgres"))
	seen := s.watch()
	stop := s.workloads(&judge.Workload{Sessions: 2, Actions: 400, Pause: 50 * time.Millisecond})
	e := s.run("")
	s.grows("the engine works", e)
	cluster.Kill(t)
	reconnect(s.target)
	other := s.targets[1]
	for down := time.Now(); time.Since(down) < outage; {
		before := s.arrivedAt(other)
		eventually(t, "the other target goes on", func() bool { return e.ended() || s.arrivedAt(other) > before+100 })
	}
	cluster.Start(t)
	s.grows("the engine goes on after the outage", e)
	stats := stop()
	e.signal(sigterm)
	e.want(128 + int(sigterm))
	s.catchUp("").want(0)
	s.clean(stats.Committed)
	s.unseen(seen())
}
