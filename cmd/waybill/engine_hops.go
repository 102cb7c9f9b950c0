package main

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/config"
	"github.com/waybill-data/waybill/internal/jetstream"
	"github.com/waybill-data/waybill/internal/pattern"
	"github.com/waybill-data/waybill/internal/pump"
)

const (
	// heldPatience is how long --until-caught-up waits for another engine's queue directory.
	heldPatience = 15 * time.Second
	// heldPause lies between two attempts to take it.
	heldPause = time.Second
)

// one runs a pipeline to its end. Its queue's directory is what it takes first and gives back
// last: whoever has that has the pipeline.
func (e *engine) one(ctx context.Context, w *worker) {
	log := e.app.log.With("pipeline", w.pipeline.Name)
	owner := e.store.Owner()
	all, err := newHops(w.pipeline, e.queues, owner, e.app.log)
	if err == nil && all.server != nil {
		err = e.takeDirectory(ctx, w, all.server, log)
	}
	if err != nil {
		for _, h := range w.hops {
			if ctx.Err() != nil {
				err = nil
				h.meter.SetState(pump.Stopped, nil)
			} else {
				h.meter.SetState(pump.Failed, err)
			}
			w.ended(ctx, h, err, log)
		}
		return
	}
	if all.server == nil {
		_ = pattern.Push(ctx, e.parts(ctx, w, all, owner, log)) // each hop told how it ended
		return
	}
	gauge := e.gauges[queueKey{all.server.Dir, all.queue.Stream}]
	gauge.begin()
	_ = pattern.Queue(ctx, e.parts(ctx, w, all, owner, log)) // likewise
	gauge.end(ctx)
	if err := all.server.Close(); err != nil {
		log.Error("the queue did not close", "error", err)
	}
}

// takeDirectory starts the queue's server, standing by while another process has its directory.
func (e *engine) takeDirectory(ctx context.Context, w *worker, server *jetstream.Server, log *slog.Logger) error {
	began, said := time.Now(), ""
	for {
		err := server.Start(ctx)
		switch {
		case err == nil:
			for _, h := range w.hops {
				h.meter.SetState(pump.Starting, nil)
			}
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, waybill.ErrHeld):
			if e.untilCaughtUp && time.Since(began) > heldPatience {
				return err
			}
			w.waitIn(pump.Standby, err)
		case waybill.Transient(err):
			w.waitIn(pump.Waiting, err)
		default:
			return err
		}
		if err.Error() != said { // who has it, or what it does, may change
			said = err.Error()
			log.Warn("the queue cannot be opened yet; trying again", "error", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(heldPause):
		}
	}
}

func (w *worker) waitIn(s pump.State, err error) {
	for _, h := range w.hops {
		h.meter.SetState(s, err)
	}
}

// parts puts the connectors and what the engine keeps of each hop together.
func (e *engine) parts(ctx context.Context, w *worker, all *hops, owner string, log *slog.Logger) pattern.Parts {
	batch := w.pipeline.Batch
	part := func(h *hop, r waybill.Reader, to waybill.Writer) *pattern.Hop {
		return &pattern.Hop{
			Stream: h.stream, Reader: r, Writer: to, MaxActions: batch.MaxActions, MaxBytes: batch.MaxBytes, MaxDelay: batch.MaxDelay,
			Log: log, Meter: h.meter, Gate: h.gate, Ended: func(err error) { w.ended(ctx, h, err, log) },
		}
	}
	p, rest := pattern.Parts{UntilCaughtUp: e.untilCaughtUp}, w.hops
	if all.intoIt != nil {
		p.In, rest = part(rest[0], all.sources[0].reader, all.intoIt), rest[1:]
	}
	if e.untilCaughtUp && all.server != nil && p.In == nil {
		p.Filled = func(ctx context.Context) { e.filled(ctx, w.pipeline.Queue.Embedded) }
	}
	for i, t := range all.targets {
		p.Out = append(p.Out, part(rest[i], t.reader, e.owned(w, t, owner, log)))
	}
	return p
}

// filled blocks until the pipelines of this run that write what q reads have ended, or ctx has.
func (e *engine) filled(ctx context.Context, q *config.EmbeddedQueue) {
	for _, w := range e.workers {
		other := w.pipeline.Queue.Embedded
		if !w.pipeline.Source.IsSet() || other == nil || other.Dir != q.Dir || other.Stream != q.Stream || q.Subject != "" && q.Subject != w.pipeline.Name {
			continue
		}
		select {
		case <-w.hops[0].done:
		case <-ctx.Done():
		}
	}
}

// owned is t's writer, which was made for owner, for whoever the engine is at the time: one that
// stands by on the state directory of another becomes its heir when that ends.
func (e *engine) owned(w *worker, t targetEnd, owner string, log *slog.Logger) waybill.Writer {
	return &ownedWriter{
		Writer: t.writer, owner: owner,
		now: func() string {
			if _, err := e.store.TryLock(); err != nil {
				log.Debug("the state's lock cannot be taken", "error", err)
			}
			return e.store.Owner()
		},
		build: func(owner string) (waybill.Writer, error) {
			m, err := newMapping(w.pipeline)
			if err != nil {
				return nil, err
			}
			return newMappedWriter(w.pipeline, t.target, m, owner, log)
		},
	}
}

// ownedWriter is a target's writer that is built anew when the engine's owner id changes. The
// writer may depend on its id only from one Resume to the next.
type ownedWriter struct {
	waybill.Writer
	owner string // of Writer
	now   func() string
	build func(owner string) (waybill.Writer, error)
}

// Resume is waybill.Writer's.
func (w *ownedWriter) Resume(ctx context.Context, stream string) (waybill.Position, error) {
	if owner := w.now(); owner != w.owner {
		next, err := w.build(owner)
		if err != nil {
			return "", err
		}
		if err := w.Writer.Close(); err != nil {
			return "", err
		}
		w.Writer, w.owner = next, owner
	}
	return w.Writer.Resume(ctx, stream)
}

// ForeignWrites is waybill.ForeignWrites'. A writer that does not count them has none.
func (w *ownedWriter) ForeignWrites() uint64 {
	if f, ok := waybill.As[waybill.ForeignWrites](w.Writer); ok {
		return f.ForeignWrites()
	}
	return 0
}

// Seq is waybill.Numbered's.
func (w *ownedWriter) Seq() uint64 {
	if n, ok := waybill.As[waybill.Numbered](w.Writer); ok {
		return n.Seq()
	}
	return 0
}
