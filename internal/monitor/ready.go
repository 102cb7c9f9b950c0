package monitor

import (
	"fmt"
	"time"

	"github.com/waybill-data/waybill/internal/pump"
)

// NotReady lists why data does not progress, a clause for each hop that does not; none
// means ready. Stall is how long standing still is forgiven.
func NotReady(all []pump.Status, now time.Time, stall time.Duration) []string {
	hops := map[string]int{}
	for i := range all {
		hops[all[i].Pipeline]++
	}
	var reasons []string
	for i := range all {
		p := &all[i]
		name := p.Pipeline
		if hops[name] > 1 {
			name = p.Stream
		}
		if why := notReady(p, now, stall); why != "" {
			reasons = append(reasons, fmt.Sprintf("pipeline %s: %s", name, why))
		}
	}
	return reasons
}

func notReady(p *pump.Status, now time.Time, stall time.Duration) string {
	because := ""
	if p.Error != "" {
		because = ": " + p.Error
	}
	switch p.State {
	case pump.Done, pump.Standby, pump.Paused:
		return ""
	case pump.Failed:
		return "failed" + because
	case pump.Stopped:
		return "stopped"
	case pump.Starting:
		return "not connected yet" + because
	case pump.Running: // judged below
	case pump.Waiting:
		if neverConnected(p) {
			return "not connected yet" + because
		}
		if d := now.Sub(p.Since); d > stall {
			return fmt.Sprintf("has been trying again for %s%s", d.Round(time.Second), because)
		}
	}
	still := now.Sub(p.LastProgress)
	if p.Backlog > 0 && p.LagSeconds > stall.Seconds() && still > stall {
		return fmt.Sprintf("%d actions wait at the source and nothing was written for %s%s", p.Backlog, still.Round(time.Second), because)
	}
	return ""
}

// neverConnected: the source was not seen once, neither its head nor its backlog nor a batch.
func neverConnected(p *pump.Status) bool {
	return p.Batches == 0 && p.Backlog < 0 && !p.CaughtUp
}
