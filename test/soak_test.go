//go:build soak

package test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/waybill-data/waybill/internal/fault"
)

// soakRounds is how often each combination is killed, at random points: about half an hour.
const soakRounds = 150

// TestSoak is the kill sweep with points, passages and recoveries drawn at random. The name of a
// subtest says what was drawn.
func TestSoak(t *testing.T) {
	points := fault.Points()
	for _, c := range combos {
		for round := range soakRounds {
			point, nth := points[rand.IntN(len(points))], 1+rand.IntN(20)
			switch point {
			case fault.ResumeTaken, fault.OpenDone, fault.LeaseRenewed:
				nth = 1 // passed once a start, or every three seconds
			case fault.AckDone, fault.PurgeBefore, fault.PurgeDone:
				nth = 1 + nth%3
			}
			recovery := recoveryKills[rand.IntN(len(recoveryKills))]
			t.Run(fmt.Sprintf("%v/%d/%s-%d/%s", c, round, point, nth, recovery), func(t *testing.T) {
				t.Parallel()
				kill(t, c, point, nth, recovery)
			})
		}
	}
}
