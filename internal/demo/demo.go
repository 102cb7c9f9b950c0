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
	// Live shows one line at the end that is drawn over and over; nil where nobody watches.
	Live func(line string)
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
	workload *workload
	observer *observer
	report   *Report
}

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
	master, crm := filepath.Join(o.Dir, "master.db"), filepath.Join(o.Dir, "crm.db")
	if err := createDB(ctx, master, masterSchema); err != nil {
		return nil, err
	}
	if err := createDB(ctx, crm, crmSchema); err != nil {
		return nil, err
	}
	if s.engine, err = newEngine(o.Exe, o.Dir); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.engine.close()) }()
	if err := s.engine.runToEnd(ctx, "outbox", "install", pipeline); err != nil {
		return nil, err
	}
	s.event("customer master and CRM ready, outbox installed; %d clerks at work", clerks)

	db, err := openDB(master, clerks, "synchronous(NORMAL)")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	s.workload, s.observer, s.striker = newWorkload(db), &observer{path: crm}, newStriker(crm)
	defer s.striker.close() // after the observer ended
	if err := s.live(ctx); err != nil {
		return nil, err
	}
	verdict, err := Judge(ctx, master, crm)
	if err != nil {
		return nil, err
	}
	s.conclude(verdict)
	return s.report, nil
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
	watch.Go(func() {
		if err := s.observer.run(watching); err != nil {
			giveUp(err)
		}
	})
	watch.Go(func() { s.draw(watching) })

	err := s.direct(all)
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

// direct starts the engine and plays the script. It returns nil when the engine gave up:
// then that is what the demo has to show.
func (s *show) direct(ctx context.Context) (err error) {
	begun := time.Now()
	defer func() { s.now.stop() }()
	steps := plan(s.For)
	s.report.Kills.Planned = kills(steps)
	err = s.startEngine(ctx)
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
	if isEngineError(err) && ctx.Err() == nil {
		s.report.EngineError = err.Error()
		s.event("%v", err)
		err = nil
	}
	return err
}

func (s *show) startEngine(ctx context.Context) (err error) {
	if s.now, err = s.engine.start("run"); err != nil {
		return err
	}
	return s.now.carries(ctx)
}

// wait lets time pass, unless the engine ends by itself.
func (s *show) wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-s.now.exited:
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

// conclude fills in what is known at the end.
func (s *show) conclude(v Verdict) {
	r := s.report
	r.Verdict = v
	r.RolledBack = s.workload.rolledBack.Load()
	var suppressed uint64
	suppressed, r.Retries = s.engine.told()
	r.Suppressed = suppressed
	r.Observer = Observer{
		Looks: s.observer.looks.Load(), Fresh: s.observer.fresh.Load(), Full: s.observer.full.Load(), Torn: s.observer.torn.Load(),
	}
	r.Seconds = time.Since(s.started).Seconds()
	r.Fault = r.fault()
	r.Passed = r.Fault == ""
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
