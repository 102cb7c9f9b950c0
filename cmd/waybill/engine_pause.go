package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/waybill-data/waybill/internal/monitor"
)

// heedPauses closes and opens the gates as the state store says. Every engine on a state directory
// does, so that it does not matter which of them was asked.
func (e *engine) heedPauses(ctx context.Context) error {
	e.pausing.Lock()
	defer e.pausing.Unlock()
	paused, err := e.store.Paused(ctx)
	if err != nil {
		return err
	}
	for _, h := range e.hops() {
		yes := slices.Contains(paused, h.stream)
		if h.gate.Set(yes) {
			e.logPause(h, yes)
		}
	}
	return nil
}

func (e *engine) logPause(h *hop, paused bool) {
	if paused {
		e.app.log.Info("paused; the source or the queue keeps what is not yet taken", "stream", h.stream, "resume", "waybill resume "+h.stream)
		return
	}
	e.app.log.Info("resumed", "stream", h.stream)
}

// SetPaused is monitor.Pauser's.
func (e *engine) SetPaused(ctx context.Context, pipeline, target string, paused bool) ([]monitor.Paused, error) {
	i := slices.IndexFunc(e.workers, func(w *worker) bool { return w.pipeline.Name == pipeline })
	if i < 0 {
		return nil, fmt.Errorf("%w pipeline %s", monitor.ErrUnknown, pipeline)
	}
	streams := pauseStreams(e.workers[i].pipeline, target)
	if len(streams) == 0 {
		return nil, fmt.Errorf("%w %s/%s", monitor.ErrUnknown, pipeline, target)
	}
	did, err := e.pause(ctx, streams, paused)
	if err != nil {
		return nil, err
	}
	for i, h := range e.hopsOf(streams) {
		did[i].Settled = h.gate.Settled(ctx)
	}
	return did, nil
}

// pause remembers first: what was answered outlives a kill.
func (e *engine) pause(ctx context.Context, streams []string, paused bool) ([]monitor.Paused, error) {
	e.pausing.Lock()
	defer e.pausing.Unlock()
	if err := e.store.SetPaused(ctx, streams, paused); err != nil {
		return nil, err
	}
	var did []monitor.Paused
	for _, h := range e.hopsOf(streams) {
		changed := h.gate.Set(paused)
		if changed {
			e.logPause(h, paused)
		}
		did = append(did, monitor.Paused{Stream: h.stream, Paused: paused, Changed: changed})
	}
	return did, nil
}

func (e *engine) hopsOf(streams []string) []*hop {
	return slices.DeleteFunc(e.hops(), func(h *hop) bool { return !slices.Contains(streams, h.stream) })
}
