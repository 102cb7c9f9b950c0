package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/waybill-data/waybill/internal/config"
	"github.com/waybill-data/waybill/internal/monitor"
	"github.com/waybill-data/waybill/internal/pattern"
	"github.com/waybill-data/waybill/internal/pump"
	"github.com/waybill-data/waybill/internal/state"
)

// stoppingNotice is how often a stop that takes long says what it waits for.
const stoppingNotice = 10 * time.Second

func (a *app) newRunCommand() *cobra.Command {
	var untilCaughtUp bool
	cmd := &cobra.Command{
		Use:   "run [PIPELINE…]",
		Short: "Run pipelines until stopped",
		Long: `Runs the pipelines of the configuration, or those named, until it is stopped by SIGINT,
SIGTERM or SIGHUP; a second signal ends it at once. Either is safe at any moment.

A pipeline that cannot go on (a gap, a refusal, a wrong password) stops, and the others go
on; hosts that do not answer are tried again. Exit 1 when no pipeline is left.`,
		Example: `  waybill run
  waybill run crm --until-caught-up     end when what the source holds now is at the target
  waybill run --log-format json`,
		ValidArgsFunction: a.completePipelines,
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, picked, err := a.load(args)
			if err != nil {
				return err
			}
			e := &engine{app: a, untilCaughtUp: untilCaughtUp}
			return e.run(cmd.Context(), cfg, picked)
		},
	}
	cmd.Flags().BoolVar(&untilCaughtUp, "until-caught-up", false, "end with 0 once everything that the source holds at the start is durable at the target")
	return cmd
}

// engine supervises pipelines: each runs in a goroutine of its own, and one that fails stops
// only itself.
type engine struct {
	app           *app
	untilCaughtUp bool
	store         *state.Store
	workers       []*worker
}

// worker is one pipeline at work. err may be read once it ended.
type worker struct {
	pipeline *config.Pipeline
	meter    *pump.Meter
	err      error
}

// run returns nil when all pipelines caught up; otherwise what ended it: the signal, or the
// failures of the pipelines.
func (e *engine) run(ctx context.Context, cfg *config.Config, picked []*config.Pipeline) (err error) {
	for _, p := range picked {
		e.workers = append(e.workers, &worker{pipeline: p, meter: pump.NewMeter(p.Name, p.Targets[0].Name)})
	}
	if e.store, err = state.Open(cfg.State.SQLite.Path, e.app.log); err != nil { //nolint:contextcheck // it bounds itself
		return err
	}
	defer func() { err = errors.Join(err, e.store.Close()) }()
	address := addressFile{cfg: cfg, log: e.app.log}
	if e.store.Locked() {
		defer address.remove()
	}
	admin, err := e.newMonitor(cfg, address)
	if err != nil {
		return &usageError{err}
	}

	side, endSide := context.WithCancel(context.WithoutCancel(ctx)) // outlives the pipelines
	var aside sync.WaitGroup
	aside.Go(func() {
		if err := admin.Run(side); err != nil {
			e.app.log.Error("going on without status and metrics", "error", err)
		}
	})
	if e.untilCaughtUp {
		aside.Go(func() { e.showProgress(side) })
	}
	e.work(ctx)
	endSide()
	aside.Wait()

	outcome := e.outcome(ctx)
	return errors.Join(outcome, e.report(outcome))
}

func (e *engine) newMonitor(cfg *config.Config, address addressFile) (*monitor.Server, error) {
	meters := make([]monitor.Meter, 0, len(e.workers))
	for _, w := range e.workers {
		meters = append(meters, w.meter)
	}
	p := versionInfo()
	var opened func(string)
	if e.store.Locked() { // an engine that stands by leaves the other's address alone
		opened = address.write
	}
	return monitor.New(monitor.Options{
		Opened: opened,
		Listen: cfg.Admin.Listen, Token: cfg.Admin.Token, Meters: meters,
		Engine: e.store.ID(), Version: p.Version, Commit: p.Commit, Log: e.app.log,
	})
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

func (e *engine) one(ctx context.Context, w *worker) {
	log := e.app.log.With("pipeline", w.pipeline.Name)
	both, err := newEnds(w.pipeline, e.store.Owner(), e.app.log)
	if err != nil {
		w.err = err
		w.meter.SetState(pump.Failed, err)
	} else {
		w.err = pattern.Push(ctx, pattern.Parts{
			Stream: w.pipeline.StreamTo(&w.pipeline.Targets[0]), Reader: both.reader, Writer: both.writer,
			MaxActions: w.pipeline.Batch.MaxActions, MaxBytes: w.pipeline.Batch.MaxBytes,
			UntilCaughtUp: e.untilCaughtUp, Log: log, Meter: w.meter,
		})
	}
	s := w.meter.Snapshot()
	switch {
	case w.err != nil:
		// Logged here, where others may go on for months, and returned at the end.
		log.Error("pipeline stopped", "stream", s.Stream, "seq", s.Seq, "error", w.err)
	case ctx.Err() != nil:
		log.Info("pipeline stopped", "stream", s.Stream, "seq", s.Seq, "actions", s.Actions)
	default:
		log.Info("pipeline caught up", "stream", s.Stream, "seq", s.Seq, "actions", s.Actions)
	}
}

// outcome is nil if all pipelines did what they were asked for.
func (e *engine) outcome(ctx context.Context) error {
	var failed []string
	for _, w := range e.workers {
		if w.err != nil {
			failed = append(failed, fmt.Sprintf("pipeline %s stopped: %v", w.pipeline.Name, w.err))
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

// runResult is what run prints with -o json when it ends.
type runResult struct {
	Exit      int           `json:"exit"`
	Error     string        `json:"error,omitempty"`
	Pipelines []pump.Status `json:"pipelines"`
}

func (e *engine) report(outcome error) error {
	r := runResult{Exit: exitCode(outcome)}
	if outcome != nil {
		r.Error = outcome.Error()
	}
	for _, w := range e.workers {
		r.Pipelines = append(r.Pipelines, w.meter.Snapshot())
	}
	return e.app.emit(r, func(w io.Writer) {
		for i := range r.Pipelines {
			if p := &r.Pipelines[i]; p.State == pump.Done {
				fmt.Fprintf(w, "%s: caught up; %s written\n", p.Stream, plural(p.Actions, "action", "actions"))
			}
		}
	})
}

func plural(n uint64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
