package demo

import (
	"slices"
	"testing"
	"time"
)

// TestPlan: whatever the length, the kills are there, in time, and none while the CRM is away.
func TestPlan(t *testing.T) {
	for _, total := range []time.Duration{MinFor, 4 * time.Second, 10 * time.Second, 20 * time.Second, time.Minute, MaxFor} {
		steps := plan(total)
		if !slices.IsSortedFunc(steps, func(a, b step) int { return int(a.at - b.at) }) {
			t.Errorf("%s: not in order: %+v", total, steps)
		}
		for i, s := range steps {
			if s.at <= 0 || s.at+s.length > total*95/100 {
				t.Errorf("%s: step %d at %s for %s", total, i, s.at, s.length)
			}
			if i > 0 && steps[i-1].at+steps[i-1].length > s.at {
				t.Errorf("%s: step %d at %s, while the one before still goes on", total, i, s.at)
			}
		}
		if outages := slices.DeleteFunc(slices.Clone(steps), func(s step) bool { return s.does == kill }); len(outages) != 2 {
			t.Errorf("%s: %d outages", total, len(outages))
		}
	}
	if n := kills(plan(20 * time.Second)); n != 8 {
		t.Errorf("%d kills in 20s, want 8", n)
	}
	if n := kills(plan(MaxFor)); n != maxKills {
		t.Errorf("%d kills in an hour, want %d", n, maxKills)
	}
}
