package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"
)

// MinFor is the shortest time in which something can be shown.
const MinFor = 2 * time.Second

// MaxFor bounds the demo; its databases grow by some megabytes a minute.
const MaxFor = time.Hour

// catchUpTimeout bounds how long the engine may take for what is left at the end.
const catchUpTimeout = 20 * time.Second

// Options of a demo.
type Options struct {
	// Exe is the program to demonstrate: an absolute path.
	Exe string
	// Dir is an existing, empty directory; the databases stay there.
	Dir string
	// For is how long the clerks work, at least MinFor; the rest takes a few seconds more.
	For    time.Duration
	Screen Screen
}

// Screen is where people watch.
type Screen struct {
	// W takes lines of what happened, for good.
	W io.Writer
	// Live shows a few lines at the end that are drawn over and over; nil where nobody watches.
	Live func(lines string)
	// Width is the number of columns; it is asked for with Live only.
	Width  func() int
	Colour bool
}

// show is one demo under way.
type show struct {
	Options
	started  time.Time
	engine   *engine
	now      *process // the engine at work
	striker  *striker
	aimed    int // strikes so far
	gauge    *gauge
	workload *workload
	observer *observer // of the CRM
	glancer  *observer // of the warehouse
	report   *Report
}

// files of the demo.
func (o *Options) file(name string) string { return filepath.Join(o.Dir, name) }

// Run plays the whole demo and returns what is to be told. It has ended every process and
// goroutine when it returns. An error means that the demo itself could not run or that ctx
// ended; damage, and an engine that gave up, are in the report.
func Run(ctx context.Context, o Options) (*Report, error) {
	var report *Report
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		// Children die with the thread that started them; see engine.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		report, err = run(ctx, o)
	}()
	<-done
	return report, err
}

func run(ctx context.Context, o Options) (_ *Report, err error) {
	s := &show{Options: o, started: time.Now(), report: &Report{Dir: o.Dir, ForSeconds: o.For.Seconds()}}
	master, crm, warehouse := o.file("master.db"), o.file("crm.db"), o.file("warehouse.db")
	for path, schema := range map[string]string{master: masterSchema, crm: targetSchema, warehouse: targetSchema} {
		if err := createDB(ctx, path, schema); err != nil {
			return nil, err
		}
	}
	if s.engine, err = newEngine(o.Exe, o.Dir); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.engine.close()) }()
	if err := s.engine.runToEnd(ctx, "outbox", "install", pipeline); err != nil {
		return nil, err
	}
	s.event("customer master, queue, CRM and warehouse ready; %d clerks at work", clerks)

	db, err := openDB(master, clerks, "synchronous(NORMAL)")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	s.workload, s.gauge = newWorkload(db), newGauge(s.lacks)
	s.observer, s.glancer = &observer{path: crm, every: lookEvery}, &observer{path: warehouse, every: glanceEvery}
	s.striker = newStriker(crm, o.file("queue"))
	defer s.striker.close() // after the observer ended
	if err := s.live(ctx); err != nil {
		return nil, err
	}
	return s.report, s.conclude(ctx, master, crm, warehouse)
}

// lacks is how many actions the target of a stream has not got, by what can be seen there.
func (s *show) lacks(stream string) int64 {
	arrived := s.observer.applied.Load()
	if stream == toWarehouse {
		arrived = s.glancer.applied.Load()
	}
	return s.workload.written.Load() + clerks - arrived // a clerk counts after the commit
}

// live is the part with everything running: work, observation, kills, outages, and at the end
// the engine catching up, still watched.
func (s *show) live(ctx context.Context) error {
	all, giveUp := context.WithCancelCause(ctx) // the first failure ends everything
	defer giveUp(nil)
	working, stopWork := context.WithCancel(all)
	watching, stopWatching := context.WithCancel(all)
	defer stopWatching()
	defer stopWork()
	var work, watch sync.WaitGroup
	work.Go(func() {
		if err := s.workload.run(working); err != nil {
			giveUp(err)
		}
	})
	for _, o := range []*observer{s.observer, s.glancer} {
		watch.Go(func() {
			if err := o.run(watching); err != nil {
				giveUp(err)
			}
		})
	}
	watch.Go(func() { s.gauge.run(watching) })
	watch.Go(func() { s.draw(watching) })

	err := s.direct(all, func() { stopWork(); work.Wait() })
	stopWork()
	work.Wait()
	if err == nil {
		err = s.catchUp(all)
	}
	stopWatching()
	watch.Wait()
	if all.Err() != nil {
		return context.Cause(all)
	}
	return err
}

// direct starts the engine, plays the script, and, once the clerks went home, watches the queue
// run empty. It returns nil when the engine gave up: then that is what the demo has to show.
func (s *show) direct(ctx context.Context, goHome func()) (err error) {
	begun := time.Now()
	defer func() { s.now.stop() }()
	steps := plan(s.For)
	s.report.Kills.Planned = kills(steps)
	err = s.startEngine(ctx, toQueue, toCRM, toWarehouse)
	for _, step := range steps {
		if err == nil {
			err = s.wait(ctx, time.Until(begun.Add(step.at)))
		}
		if err == nil {
			err = s.play(ctx, step)
		}
	}
	if err == nil {
		err = s.wait(ctx, time.Until(begun.Add(s.For)))
	}
	if err == nil {
		goHome()
		err = s.runEmpty(ctx)
	}
	if isEngineError(err) && ctx.Err() == nil {
		s.report.EngineError = err.Error()
		s.event("%v", err)
		err = nil
	}
	return err
}

// runEmpty waits until both targets have what is at the master and nothing is left in the
// queue for them, by the engine's own account.
func (s *show) runEmpty(ctx context.Context) error {
	begun, written := time.Now(), s.workload.written.Load()
	arrived := func(o *observer) func(level) bool {
		return func(l level) bool { return l.Actions == 0 && o.applied.Load() >= written }
	}
	if _, err := s.gauge.await(ctx, s.now, toCRM, false, arrived(s.observer)); err != nil {
		return err
	}
	if _, err := s.gauge.await(ctx, s.now, toWarehouse, false, arrived(s.glancer)); err != nil {
		return err
	}
	s.report.Queue.RanEmpty = true
	s.event("clerks gone home; the queue was empty within %s", short(time.Since(begun)))
	return nil
}

// startEngine starts one and waits until it carries the streams.
func (s *show) startEngine(ctx context.Context, streams ...string) (err error) {
	if s.now, err = s.engine.start("run"); err != nil {
		return err
	}
	s.gauge.of(s.now)
	return s.now.carries(ctx, streams...)
}

// wait lets time pass, unless the engine ends by itself.
func (s *show) wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-s.now.over:
		return &engineError{s.now.complaint()}
	case <-ctx.Done():
		return ctx.Err()
	}
}

// catchUp runs the engine once more, to the end of what the master holds.
func (s *show) catchUp(ctx context.Context) error {
	begun := time.Now()
	within, cancel := context.WithTimeout(ctx, catchUpTimeout)
	defer cancel()
	err := s.engine.runToEnd(within, "run", "--until-caught-up")
	s.report.CatchUpSeconds = time.Since(begun).Seconds()
	if err != nil && ctx.Err() == nil {
		if s.report.EngineError == "" { // else it is the same again
			s.report.EngineError = "the engine could not catch up: " + err.Error()
			s.event("%s", s.report.EngineError)
		}
		return nil
	}
	return err
}

// conclude judges, and fills in what is known at the end.
func (s *show) conclude(ctx context.Context, master, crm, warehouse string) (err error) {
	r := s.report
	if r.Verdict, err = Judge(ctx, master, crm); err != nil {
		return err
	}
	if r.Warehouse, err = Judge(ctx, master, warehouse); err != nil {
		return err
	}
	if r.Queue.Left, err = JudgeQueue(ctx, s.file("queue"), master, crm, warehouse); err != nil {
		return err
	}
	r.Queue.Peak = s.gauge.peak(toCRM)
	r.Queue.course = s.gauge.columns(chartWidth)
	r.Saves, r.SavesWithoutCRM = s.workload.pace.told()
	r.RolledBack = s.workload.rolledBack.Load()
	r.Suppressed, r.Retries = s.engine.told()
	r.Observer = s.observer.told()
	r.WarehouseObserver = s.glancer.told()
	r.Seconds = time.Since(s.started).Seconds()
	r.Fault = r.fault()
	r.Passed = r.Fault == ""
	return nil
}

// CheckDir makes sure that dir exists and is empty, creating it where it is missing.
func CheckDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make directory %s: %w", dir, err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("read directory %s: %w", dir, err)
	}
	if len(entries) > 0 {
		return fmt.Errorf("directory %s is not empty; name a new one", dir)
	}
	return nil
}
