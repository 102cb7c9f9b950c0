package demo

import (
	"context"
	"slices"
	"time"
)

type deed int

const (
	kill      deed = iota + 1
	locked         // nobody can write the CRM; the engine is killed with the queue full, and as that drains
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
	first := step{at: part(0.22), does: locked, length: min(part(0.34), longestOutage)}
	second := step{at: part(0.72), does: lockedOut, length: min(part(0.10), 2*time.Second)}
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
	longestOutage  = 9 * time.Second
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
	inQueueWrite                // a batch is on its way into the queue
	moments
)

// strike kills the engine, at each moment in turn, and says so.
func (s *show) strike(ctx context.Context) (what string, err error) {
	k := &s.report.Kills
	want := moment(s.aimed) % moments
	s.aimed++
	hit, err := s.striker.strike(ctx, s.now, want)
	if err != nil {
		return "", err
	}
	k.Done++
	s.gauge.killed()
	what = s.Screen.paint(red, "engine killed")
	switch {
	case hit && want == inTransaction:
		k.InTransaction++
		what += " in mid-transaction"
	case hit && want == inQueueWrite:
		k.InQueueWrite++
		what += " in mid-write to the queue"
	case hit:
		k.AfterCommit++
		what += " right after a commit"
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
	if err := s.startEngine(ctx, toQueue, toCRM, toWarehouse); err != nil {
		return err
	}
	s.survived(begun)
	after, _ := s.engine.told()
	repeats := thousands(after-before) + " repeats"
	if after-before == 1 {
		repeats = "1 repeat"
	}
	s.event("%s; back in %s; %s suppressed", what, short(time.Since(begun)), repeats)
	return nil
}

// survived notes that an engine, started at begun, went on.
func (s *show) survived(begun time.Time) {
	k := &s.report.Kills
	k.Survived++
	k.SlowestBackSeconds = max(k.SlowestBackSeconds, time.Since(begun).Seconds())
}

// outage takes the CRM from an engine that runs, kills that engine with all that waits in the
// queue, and kills the next one as it carries that over.
func (s *show) outage(ctx context.Context, d time.Duration) error {
	release, err := lockWrites(ctx, s.observer.path)
	if err != nil {
		return err
	}
	s.gauge.away.Store(true)
	s.event("%s for %s: nobody can write it; all others go on", s.Screen.paint(yellow, "CRM taken away"), short(d))
	begun := s.leave("no writes, two kills")
	if err = s.wait(ctx, d*6/10); err == nil {
		err = s.killWhileFull(ctx)
	}
	if err == nil {
		err = s.wait(ctx, time.Until(begun.Add(d)))
	}
	if err != nil {
		return joinRelease(err, release)
	}
	return s.backAgain(ctx, begun, release, func() error {
		if err := s.now.carries(ctx, toCRM); err != nil {
			return err
		}
		return s.killAndRestart(ctx)
	})
}

// killWhileFull kills the engine and with it the queue, which it runs, and looks whether
// the next one finds in the queue what was there.
func (s *show) killWhileFull(ctx context.Context) error {
	had, err := s.gauge.await(ctx, s.now, toCRM, true, anyLevel)
	if err != nil {
		return err
	}
	s.now.kill()
	s.gauge.killed()
	s.event("%s with %s actions in the queue", s.Screen.paint(red, "engine killed"), thousands(had.Actions))
	k := &s.report.Kills
	k.Done++
	k.WhileAway++
	begun := time.Now()
	if err := s.startEngine(ctx, toQueue, toWarehouse); err != nil {
		return err
	}
	s.survived(begun)
	back := time.Since(begun)
	found, err := s.gauge.await(ctx, s.now, toCRM, true, anyLevel)
	if err != nil {
		return err
	}
	q := &s.report.Queue
	q.BeforeKill, q.AfterKill = had.Actions, found.Actions
	s.event("back in %s: %s actions in the queue, read from disk", short(back), thousands(found.Actions))
	return nil
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
	s.gauge.away.Store(true)
	s.event("%s", what)
	s.event("%s for %s: nobody can open it; an engine starts without it", s.Screen.paint(yellow, "CRM locked"), short(d))
	begun := s.leave("locked, engine starting")
	if err = s.startEngine(ctx, toQueue, toWarehouse); err == nil {
		s.survived(begun)
		err = s.wait(ctx, time.Until(begun.Add(d)))
	}
	if err != nil {
		s.observer.resume()
		return joinRelease(err, release)
	}
	return s.backAgain(ctx, begun, func() error {
		defer s.observer.resume()
		return release()
	}, func() error { return s.now.carries(ctx, toCRM) })
}

func joinRelease(err error, release func() error) error {
	if e := release(); e != nil && err == nil {
		return e
	}
	return err
}

// leave begins an outage.
func (s *show) leave(what string) (begun time.Time) {
	s.workload.pace.crmAway(true)
	s.report.Outages = append(s.report.Outages, Outage{
		What: what, Written: -s.workload.written.Load(), Warehouse: -s.glancer.applied.Load(),
	})
	return time.Now()
}

// backAgain ends an outage that began when away says, does what is to be done then, and waits until what had queued is at the CRM.
func (s *show) backAgain(ctx context.Context, away time.Time, release, then func() error) error {
	o := &s.report.Outages[len(s.report.Outages)-1]
	queued, err := s.gauge.await(ctx, s.now, toCRM, true, anyLevel)
	written := s.workload.written.Load()
	o.Queued = queued
	o.Written += written
	o.Warehouse += s.glancer.applied.Load()
	s.workload.pace.crmAway(false)
	s.gauge.away.Store(false)
	s.gauge.wasAway(away)
	begun := time.Now()
	o.Seconds = begun.Sub(away).Seconds()
	if e := release(); err == nil {
		err = e
	}
	if err != nil {
		return err
	}
	s.event("%s: %s actions in the queue, %s; meanwhile %s saved, %s at the warehouse", s.Screen.paint(green, "CRM back"),
		thousands(queued.Actions), size(queued.Bytes), thousands(o.Written), thousands(o.Warehouse))
	if err := then(); err != nil {
		return err
	}
	_, err = s.gauge.await(ctx, s.now, toCRM, false, func(l level) bool {
		since := s.workload.written.Load() + clerks - written // a clerk counts after the commit
		return s.observer.applied.Load() >= written && l.Actions <= since
	})
	if err != nil {
		return err
	}
	drained := time.Since(begun)
	o.DrainedSeconds = drained.Seconds()
	s.event("%s %s after the CRM came back", s.Screen.paint(green, "queue empty"), short(drained))
	return nil
}
