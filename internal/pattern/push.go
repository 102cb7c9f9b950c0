// Package pattern wires the parts of a pipeline together, a page for each pattern.
package pattern

import (
	"context"
	"log/slog"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/pump"
)

// Parts are what a pipeline is made of.
type Parts struct {
	Stream        string
	Reader        waybill.Reader
	Writer        waybill.Writer
	MaxActions    int
	MaxBytes      int64
	UntilCaughtUp bool
	Log           *slog.Logger
	Meter         *pump.Meter
}

// Push carries each change to the target as it happens: a reader, the pump, a writer. It
// blocks until ctx ends (nil), the source is caught up with (nil, if asked for), or the
// pipeline cannot go on.
func Push(ctx context.Context, p Parts) error {
	return pump.Run(ctx, p.Reader, p.Writer, pump.Config{
		Stream: p.Stream, MaxActions: p.MaxActions, MaxBytes: p.MaxBytes,
		UntilCaughtUp: p.UntilCaughtUp, Log: p.Log, Meter: p.Meter,
	})
}
