package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/waybill-data/waybill/internal/config"
	"github.com/waybill-data/waybill/internal/monitor"
	"github.com/waybill-data/waybill/internal/pump"
	"github.com/waybill-data/waybill/internal/state"
)

const (
	// stoppingNotice is how often a stop that takes long says what it waits for.
	stoppingNotice = 10 * time.Second
	// chores is how often an engine looks at what others may have changed.
	chores = time.Second
)

// engine supervises pipelines: each runs in a goroutine of its own, and one that fails stops
// only itself.
type engine struct {
	app           *app
	untilCaughtUp bool
	store         *state.Store
	queues        *queues
	gauges        gauges
	workers       []*worker
	pausing       sync.Mutex // held from reading or writing what is paused to having done it
}

// worker is one pipeline at work.
type worker struct {
	pipeline *config.Pipeline
	hops     []*hop
}

// hop is one stream of a pipeline. err may be read once it ended.
type hop struct {
	stream string
	meter  *pump.Meter
	gate   *pump.Gate
	err    error
	done   chan struct{} // closed when it ended
}

func newWorker(p *config.Pipeline) *worker {
	w := &worker{pipeline: p}
	add := func(stream, target string) {
		w.hops = append(w.hops, &hop{stream: stream, meter: pump.NewMeter(p.Name, target), gate: pump.NewGate(), done: make(chan struct{})})
	}
	if p.Queue.IsSet() && p.Source.IsSet() {
		add(p.QueueStream(), p.Queue.Kind())
	}
	for i := range p.Targets {
		add(p.StreamTo(&p.Targets[i]), p.Targets[i].Name)
	}
	return w
}

// hops are those of all pipelines, in order.
func (e *engine) hops() []*hop {
	var all []*hop
	for _, w := range e.workers {
		all = append(all, w.hops...)
	}
	return all
}

// run returns nil when all pipelines caught up; otherwise what ended it: the signal, or the
// failures of the pipelines.
func (e *engine) run(ctx context.Context, cfg *config.Config, picked []*config.Pipeline) (err error) {
	for _, p := range picked {
		e.workers = append(e.workers, newWorker(p))
	}
	if e.store, err = state.Open(cfg.State.SQLite.Path, e.app.log); err != nil { //nolint:contextcheck // it bounds itself
		return err
	}
	defer func() { err = errors.Join(err, e.store.Close()) }()
	if err := e.heedPauses(ctx); err != nil {
		return err
	}
	e.queues = newQueues(cfg, picked, e.app.log)
	e.gauges = newGauges(e)
	address := &addressFile{cfg: cfg, log: e.app.log}
	admin, err := e.newMonitor(cfg, address)
	if err != nil {
		return &usageError{err}
	}
	defer address.leave()

	side, endSide := context.WithCancel(context.WithoutCancel(ctx)) // outlives the pipelines
	var aside sync.WaitGroup
	aside.Go(func() {
		if err := admin.Run(side); err != nil {
			e.app.log.Error("going on without status and metrics", "error", err)
		}
	})
	aside.Go(func() { e.doChores(side, address) })
	for _, g := range e.gauges {
		aside.Go(func() { g.run(side) })
	}
	if e.untilCaughtUp {
		aside.Go(func() { e.showProgress(side) })
	}
	e.work(ctx)
	endSide()
	aside.Wait()

	outcome := e.outcome(ctx)
	return errors.Join(outcome, e.report(outcome))
}

func (e *engine) newMonitor(cfg *config.Config, address *addressFile) (*monitor.Server, error) {
	var meters []monitor.Meter
	for _, h := range e.hops() {
		meters = append(meters, h.meter)
	}
	p := versionInfo()
	return monitor.New(monitor.Options{
		Opened: func(addr string) { address.opened(addr, e.store.Locked()) },
		Listen: cfg.Admin.Listen, Token: cfg.Admin.Token, Meters: meters, Queues: e.gauges, Pauser: e,
		Engine: e.store.ID(), Version: p.Version, Commit: p.Commit, Log: e.app.log,
	})
}

// doChores takes over what an engine on the same state directory leaves behind, and heeds what was
// paused there, until ctx ends.
func (e *engine) doChores(ctx context.Context, address *addressFile) {
	tick := time.NewTicker(chores)
	defer tick.Stop()
	said := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		locked, err := e.store.TryLock() //nolint:contextcheck // it bounds itself
		if locked {
			address.ours()
		}
		if err = errors.Join(err, e.heedPauses(ctx)); err == nil {
			said = ""
		} else if err.Error() != said && ctx.Err() == nil {
			said = err.Error()
			e.app.log.Warn("the state store does not answer; what is paused there is not heeded", "error", err)
		}
	}
}

// work runs the pipelines until the last one ended.
func (e *engine) work(ctx context.Context) {
	var all sync.WaitGroup
	for _, w := range e.workers {
		all.Go(func() { e.one(ctx, w) })
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		all.Wait()
	}()
	select {
	case <-ended:
		return
	case <-ctx.Done():
		e.app.log.Info("stopping", "cause", context.Cause(ctx))
	}
	tick := time.NewTicker(stoppingNotice)
	defer tick.Stop()
	for {
		select {
		case <-ended:
			return
		case <-tick.C:
			e.app.log.Warn("still stopping: a write is under way; a second signal ends it at once, and loses nothing")
		}
	}
}

// name is what people call a hop: the pipeline, where it is the only one.
func (w *worker) name(h *hop) string {
	if len(w.hops) == 1 {
		return "pipeline " + w.pipeline.Name
	}
	return "pipeline " + h.stream
}

// ended notes and logs how a hop ended.
func (w *worker) ended(ctx context.Context, h *hop, err error, log *slog.Logger) {
	h.err = err
	defer close(h.done)
	s := h.meter.Snapshot()
	switch {
	case err != nil:
		// Logged here, where others may go on for months, and returned at the end.
		log.Error("pipeline stopped", "stream", s.Stream, "seq", s.Seq, "error", err)
	case ctx.Err() != nil || s.State == pump.Stopped:
		log.Info("pipeline stopped", "stream", s.Stream, "seq", s.Seq, "actions", s.Actions)
	default:
		log.Info("pipeline caught up", "stream", s.Stream, "seq", s.Seq, "actions", s.Actions)
	}
}

// outcome is nil if all pipelines did what they were asked for.
func (e *engine) outcome(ctx context.Context) error {
	var failed []string
	for _, w := range e.workers {
		for _, h := range w.hops {
			if h.err != nil {
				failed = append(failed, fmt.Sprintf("%s stopped: %v", w.name(h), h.err))
			}
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if len(failed) > 0 {
		return errors.New(strings.Join(failed, "\n"))
	}
	return nil
}
