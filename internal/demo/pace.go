package demo

import (
	"slices"
	"sync"
	"time"
)

// pace is how long the clerks' saves take, with the CRM there and without it: the master must
// not feel the difference.
type pace struct {
	mu    sync.Mutex
	away  bool
	saves [2][]float32 // seconds; those that began without the CRM come second
}

// crmAway says from when on saves are made without the CRM.
func (p *pace) crmAway(yes bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.away = yes
}

// begin returns what to call when the save is done.
func (p *pace) begin() (done func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	began, which := time.Now(), 0
	if p.away {
		which = 1
	}
	return func() {
		took := float32(time.Since(began).Seconds())
		p.mu.Lock()
		defer p.mu.Unlock()
		p.saves[which] = append(p.saves[which], took)
	}
}

// Saves are how long saves at the master took, in seconds; 0 without any.
type Saves struct {
	Count  int     `json:"count"`
	Median float64 `json:"median_seconds"`
	P99    float64 `json:"p99_seconds"`
}

func (p *pace) told() (with, without Saves) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return summary(p.saves[0]), summary(p.saves[1])
}

func summary(seconds []float32) Saves {
	n := len(seconds)
	if n == 0 {
		return Saves{}
	}
	sorted := slices.Clone(seconds)
	slices.Sort(sorted)
	return Saves{Count: n, Median: float64(sorted[n/2]), P99: float64(sorted[n*99/100])}
}
