package demo

import (
	"context"
	"fmt"
	"slices"
	"time"
)

type deed int

const (
	kill      deed = iota + 1
	locked         // nobody can write the CRM, and the engine is killed before and after that ends
	lockedOut      // nobody can open the CRM, and the engine is killed as that begins
)

// step is one thing that the director does.
type step struct {
	at     time.Duration // since the clerks began; later if the steps before took longer
	does   deed
	length time.Duration // of an outage
}

// plan spreads a kill over every two and a half seconds and puts two outages between them.
func plan(total time.Duration) []step {
	part := func(share float64) time.Duration { return time.Duration(share * float64(total)) }
	first := step{at: part(0.26), does: locked, length: min(part(0.28), 5600*time.Millisecond)}
	second := step{at: part(0.70), does: lockedOut, length: min(part(0.10), 2*time.Second)}
	steps := []step{first, second}
	lone := min(max(int(total/(2500*time.Millisecond)), 4), maxKills) - killsInOutages
	// Quiet is when kills are due: before, between and after the outages, and short of the end.
	quiet := []struct{ from, to time.Duration }{
		{part(0.05), first.at}, {first.at + first.length + part(0.02), second.at}, {second.at + second.length + part(0.03), part(0.95)},
	}
	var sum time.Duration
	for _, q := range quiet {
		sum += q.to - q.from
	}
	for i := range lone {
		at := sum * time.Duration(2*i+1) / time.Duration(2*lone) // of the quiet time
		for _, q := range quiet {
			if at < q.to-q.from {
				steps = append(steps, step{at: q.from + at, does: kill})
				break
			}
			at -= q.to - q.from
		}
	}
	slices.SortFunc(steps, func(a, b step) int { return int(a.at - b.at) })
	return steps
}

const (
	maxKills       = 200
	killsInOutages = 3
	drainTimeout   = 20 * time.Second // for what waited during an outage
)

// kills counts those of a plan.
func kills(steps []step) int {
	n := killsInOutages
	for i := range steps {
		if steps[i].does == kill {
			n++
		}
	}
	return n
}

func (s *show) play(ctx context.Context, step step) error {
	switch step.does {
	case kill:
		return s.killAndRestart(ctx)
	case locked:
		return s.outage(ctx, step.length)
	default:
		return s.outageAtStart(ctx, step.length)
	}
}

// moment is when a kill strikes.
type moment int

const (
	afterCommit   moment = iota // a write transaction was committed at the CRM, and nothing more
	inTransaction               // one is open
)

// strike kills the engine, at either moment in turn, and says so.
func (s *show) strike(ctx context.Context) (what string, err error) {
	k := &s.report.Kills
	want := moment(s.aimed % 2)
	s.aimed++
	hit, err := s.striker.strike(ctx, s.now, want)
	if err != nil {
		return "", err
	}
	k.Done++
	what = s.Screen.paint(red, "engine killed")
	switch {
	case hit && want == inTransaction:
		k.InTransaction++
		what += " mid-transaction"
	case hit:
		k.AfterCommit++
		what += " after a commit"
	}
	return what, nil
}

func (s *show) killAndRestart(ctx context.Context) error {
	what, err := s.strike(ctx)
	if err != nil {
		return err
	}
	begun := time.Now()
	before, _ := s.engine.told()
	if err := s.startEngine(ctx); err != nil {
		return err
	}
	back := time.Since(begun)
	k := &s.report.Kills
	k.Survived++
	k.SlowestBackSeconds = max(k.SlowestBackSeconds, back.Seconds())
	after, _ := s.engine.told()
	repeats := thousands(after-before) + " repeats"
	if after-before == 1 {
		repeats = "1 repeat"
	}
	s.event("%s; back in %s; %s suppressed", what, short(back), repeats)
	return nil
}

// outage takes the CRM from an engine that runs, kills that engine with all that waits in its
// hands, and kills the next one as it carries that over.
func (s *show) outage(ctx context.Context, d time.Duration) error {
	release, err := lockWrites(ctx, s.observer.path)
	if err != nil {
		return err
	}
	s.event("%s: nobody can write it for %s", s.Screen.paint(yellow, "CRM taken away"), short(d))
	if err = s.wait(ctx, d*9/10); err == nil {
		s.now.kill()
		s.report.Kills.Done++
		s.report.Kills.WhileAway++
		s.event("%s while the CRM is away", s.Screen.paint(red, "engine killed"))
		s.now, err = s.engine.start("run")
	}
	if err == nil {
		err = s.wait(ctx, d/10)
	}
	if err != nil {
		return joinRelease(err, release)
	}
	return s.backAgain(ctx, "no writes, then two kills", d, func() error {
		if err := release(); err != nil {
			return err
		}
		if err := s.now.carries(ctx); err != nil {
			return err
		}
		s.report.Kills.Survived++
		return s.killAndRestart(ctx)
	})
}

// outageAtStart takes the CRM from an engine that is about to start.
func (s *show) outageAtStart(ctx context.Context, d time.Duration) error {
	what, err := s.strike(ctx)
	if err != nil {
		return err
	}
	if err := s.observer.pause(); err != nil {
		s.observer.resume()
		return err
	}
	release, err := lockOut(ctx, s.observer.path)
	if err != nil {
		s.observer.resume()
		return err
	}
	s.event("%s, %s: nobody can open it for %s", what, s.Screen.paint(yellow, "CRM locked"), short(d))
	if s.now, err = s.engine.start("run"); err == nil {
		err = s.wait(ctx, d)
	}
	if err != nil {
		s.observer.resume()
		return joinRelease(err, release)
	}
	err = s.backAgain(ctx, "locked, engine starting", d, func() error {
		defer s.observer.resume()
		return release()
	})
	if err != nil {
		return err
	}
	if err := s.now.carries(ctx); err != nil {
		return err
	}
	s.report.Kills.Survived++
	return nil
}

func joinRelease(err error, release func() error) error {
	if e := release(); e != nil && err == nil {
		return e
	}
	return err
}

// backAgain ends an outage and waits until what was written during it is at the CRM.
func (s *show) backAgain(ctx context.Context, what string, d time.Duration, release func() error) error {
	written := s.workload.written.Load()
	backlog := max(0, written-s.observer.applied.Load())
	begun := time.Now()
	if err := release(); err != nil {
		return err
	}
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	timer := time.NewTimer(drainTimeout)
	defer timer.Stop()
	for s.observer.applied.Load() < written {
		select {
		case <-tick.C:
		case <-s.now.exited:
			return &engineError{s.now.complaint()}
		case <-timer.C:
			return &engineError{fmt.Sprintf("what waited did not arrive within %s", drainTimeout)}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	drained := time.Since(begun)
	s.report.Outages = append(s.report.Outages, Outage{What: what, Seconds: d.Seconds(), Backlog: backlog, DrainedSeconds: drained.Seconds()})
	s.event("%s: %s waiting actions arrived within %s", s.Screen.paint(green, "CRM back"), thousands(backlog), short(drained))
	return nil
}
