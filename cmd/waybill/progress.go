package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/waybill-data/waybill/internal/pump"
)

const (
	redraw = 500 * time.Millisecond // of the line on a terminal
	remind = 10 * time.Second       // between log lines elsewhere
)

// showProgress shows how far the pipelines are until ctx ends: one line drawn over and over
// on a terminal, a log line now and then elsewhere.
func (e *engine) showProgress(ctx context.Context) {
	every, screen := remind, e.app.stderr
	if screen.watched() {
		every = redraw
		defer screen.show("")
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if screen.watched() {
			screen.show(e.progressLine())
			continue
		}
		for _, h := range e.hops() {
			if s := h.meter.Snapshot(); s.State == pump.Running || s.State == pump.Waiting {
				e.app.log.Info("progress", "pipeline", s.Pipeline, "stream", s.Stream, "actions", s.Actions, "per_second", int(s.Rate), "waiting", s.Backlog)
			}
		}
	}
}

func (e *engine) progressLine() string {
	hops := e.hops()
	parts := make([]string, 0, len(hops))
	for _, h := range hops {
		s := h.meter.Snapshot()
		name := s.Pipeline
		if len(hops) > len(e.workers) {
			name = s.Stream
		}
		part := fmt.Sprintf("%s %s, %d written", name, s.State, s.Actions)
		if s.State == pump.Running {
			part += fmt.Sprintf(" at %.0f/s", s.Rate)
			if s.Backlog > 0 {
				part += fmt.Sprintf(", about %d to go", s.Backlog)
			}
		}
		parts = append(parts, part)
	}
	line := []rune(strings.Join(parts, " · "))
	if len(line) > 110 { // a line that wraps cannot be drawn over
		line = append(line[:109], '…')
	}
	return string(line)
}
