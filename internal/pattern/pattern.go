// Package pattern wires the parts of a pipeline together, a page for each pattern.
package pattern

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/pump"
)

// Parts are what a pipeline is made of.
type Parts struct {
	// In goes from the source into the queue; nil where the pipeline has no queue, or only
	// consumes.
	In *Hop
	// Out go to the targets, from the queue where there is one; none: relay only.
	Out           []*Hop
	UntilCaughtUp bool
	// Filled, if set and there is no In, blocks until what others put into the queue is in it, or
	// ctx ends: catching up goes up to there.
	Filled func(ctx context.Context)
}

// Hop is one way from a reader to a writer: a stream of its own, at a position of its own.
type Hop struct {
	Stream     string
	Reader     waybill.Reader
	Writer     waybill.Writer
	MaxActions int
	MaxBytes   int64
	MaxDelay   time.Duration
	Log        *slog.Logger
	Meter      *pump.Meter
	Gate       *pump.Gate
	// Ended, if set, is told how the hop ended (nil: stopped or caught up), once, when it
	// does: the others may go on for months.
	Ended func(error)
}

// run carries the hop to its end. It begins with before, if that is set. With untilCaughtUp the end
// is where the reader's head is when from closes; nil: at the start.
func (h *Hop) run(ctx context.Context, before func(context.Context) error, untilCaughtUp bool, from <-chan struct{}) error {
	err := pump.Run(ctx, h.Reader, h.Writer, pump.Config{
		Stream: h.Stream, MaxActions: h.MaxActions, MaxBytes: h.MaxBytes, MaxDelay: h.MaxDelay, Before: before,
		UntilCaughtUp: untilCaughtUp, From: from, Log: h.Log, Meter: h.Meter, Gate: h.Gate,
	})
	if h.Ended != nil {
		h.Ended(err)
	}
	if err != nil {
		return fmt.Errorf("hop %s: %w", h.Stream, err)
	}
	return nil
}

// each runs do for all hops at once and waits for the last. The errors are in the hops' order.
func each(hops []*Hop, do func(*Hop) error) error {
	errs := make([]error, len(hops))
	var all sync.WaitGroup
	for i, h := range hops {
		all.Go(func() { errs[i] = do(h) })
	}
	all.Wait()
	return errors.Join(errs...)
}
