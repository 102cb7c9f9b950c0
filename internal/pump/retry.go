package pump

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/failsafe-go/failsafe-go"
	"github.com/failsafe-go/failsafe-go/retrypolicy"

	"github.com/waybill-data/waybill"
)

// Retry paces attempts: the nth waits a random time up to Min·2ⁿ, at most Max ("full
// jitter"). There is no last attempt; the context ends it.
type Retry struct {
	Min, Max time.Duration // defaults 100 ms, 15 s
	// Held is how long UntilCaughtUp waits for another engine's lease to end, default 15 s.
	Held time.Duration
}

func (r Retry) withDefaults() Retry {
	if r.Min == 0 {
		r.Min = 100 * time.Millisecond
	}
	if r.Max == 0 {
		r.Max = 15 * time.Second
	}
	if r.Held == 0 {
		r.Held = 15 * time.Second
	}
	return r
}

func (r Retry) delay(attempt int) time.Duration {
	top := r.Max
	if attempt < 16 {
		top = min(r.Max, r.Min<<attempt)
	}
	return r.Min/4 + rand.N(top) //nolint:gosec // spreads load, guards nothing
}

// retrier runs one operation until it succeeds or fails for good.
type retrier struct {
	pace  Retry
	meter *Meter
	log   *slog.Logger
	again func(error) bool
}

// soon says which errors are worth another look within a second, for as long as it takes: what
// is given up is taken soon, and room is used soon.
func soon(err error) bool { return errors.Is(err, waybill.ErrHeld) || errors.Is(err, waybill.ErrFull) }

func (t *retrier) delay(e failsafe.ExecutionAttempt[any]) time.Duration {
	pace := t.pace
	if soon(e.LastError()) {
		pace.Max = min(pace.Max, time.Second)
	}
	return pace.delay(e.Attempts() - 1)
}

// level of a log line about another attempt: standing by is said once, being held back now
// and then, everything else each time.
func (t *retrier) level(err error, attempt int) slog.Level {
	switch {
	case errors.Is(err, waybill.ErrHeld) && attempt > 1:
		return slog.LevelDebug
	case errors.Is(err, waybill.ErrFull) && !t.meter.remind():
		return slog.LevelDebug
	}
	return slog.LevelWarn
}

func (t *retrier) do(ctx context.Context, doing string, op func(context.Context) error) error {
	policy := retrypolicy.NewBuilder[any]().
		HandleIf(func(_ any, err error) bool { return t.again(err) }).
		WithMaxRetries(-1).
		WithDelayFunc(t.delay).
		OnRetryScheduled(func(e failsafe.ExecutionScheduledEvent[any]) {
			t.meter.retrying(doing, e.LastError())
			t.log.Log(ctx, t.level(e.LastError(), e.Attempts()), "trying again", "doing", doing, "attempt", e.Attempts(),
				"for", e.ElapsedTime().Round(time.Second), "in", e.Delay.Round(time.Millisecond), "error", e.LastError())
		}).
		Build()
	err := failsafe.With(policy).WithContext(ctx).Run(func() error { return op(ctx) })
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("%s: %w", doing, ctx.Err())
	}
	t.meter.recovered(doing)
	return err
}

const reading = "read from the source"

// retryReader reopens a reader that failed for a moment, after the last batch handed on.
type retryReader struct {
	waybill.Reader
	retrier
	last   waybill.Position
	broken bool
}

func newRetryReader(r waybill.Reader, c Config) *retryReader {
	t := retrier{pace: c.Retry, meter: c.Meter, log: c.Log.With("stream", c.Stream), again: waybill.Transient}
	return &retryReader{Reader: r, retrier: t}
}

func (r *retryReader) Open(ctx context.Context, after waybill.Position) error {
	r.last, r.broken = after, false
	return r.do(ctx, "open the source", func(ctx context.Context) error { return r.Reader.Open(ctx, after) })
}

func (r *retryReader) Next(ctx context.Context) (b waybill.Batch, err error) {
	err = r.do(ctx, reading, func(ctx context.Context) error {
		if r.broken {
			_ = r.Reader.Close() // it failed already; what matters is opening it again
			if err := r.Reader.Open(ctx, r.last); err != nil {
				return err
			}
			r.broken = false
			r.meter.recovered(reading)
		}
		b, err = r.Reader.Next(ctx)
		r.broken = waybill.Transient(err)
		return err
	})
	if err == nil {
		r.last = b.Upto
	}
	return b, err
}

func (r *retryReader) Head(ctx context.Context) (p waybill.Position, err error) {
	err = r.do(ctx, "ask the source for its head", func(ctx context.Context) error {
		p, err = r.Reader.Head(ctx)
		return err
	})
	return p, err
}

// retryWriter writes the same batch again after a transient error, stands by while another
// engine has the stream, and lets a write that began end when the context ends.
type retryWriter struct {
	waybill.Writer
	retrier
	stream  string
	before  func(context.Context) error
	gate    *Gate
	patient bool // waits for as long as it takes: for another engine's end, for a closed gate
	held    time.Duration
	grace   time.Duration
}

func newRetryWriter(w waybill.Writer, c Config) *retryWriter {
	t := retrier{pace: c.Retry, meter: c.Meter, log: c.Log.With("stream", c.Stream), again: waybill.Transient}
	return &retryWriter{
		Writer: w, retrier: t, stream: c.Stream, before: c.Before, gate: c.Gate, patient: !c.UntilCaughtUp, held: c.Retry.Held, grace: c.Grace,
	}
}

func (w *retryWriter) Resume(ctx context.Context, stream string) (p waybill.Position, err error) {
	started := time.Now()
	t := w.retrier
	t.again = func(err error) bool {
		if errors.Is(err, waybill.ErrHeld) {
			w.meter.SetState(Standby, err)
			return w.patient || time.Since(started) < w.held
		}
		return waybill.Transient(err)
	}
	err = t.do(ctx, "take the stream at the target", func(ctx context.Context) error {
		if w.before != nil {
			if err := w.before(ctx); err != nil {
				return err
			}
		}
		p, err = w.Writer.Resume(ctx, stream)
		return err
	})
	return p, err
}

func (w *retryWriter) Write(ctx context.Context, b waybill.Batch) error {
	tried := false
	return w.do(ctx, "write to the target", func(ctx context.Context) error {
		if tried && ctx.Err() != nil {
			return ctx.Err()
		}
		tried = true
		// Before each attempt: a target that is worked on is paused, and does not answer either.
		if err := w.gate.enter(ctx, w.stream, w.patient); err != nil {
			return err
		}
		defer w.gate.leave()
		ctx, done := graceful(ctx, w.grace)
		defer done()
		return w.Writer.Write(ctx, b)
	})
}

// graceful returns a context that ends a while after ctx does.
func graceful(ctx context.Context, grace time.Duration) (context.Context, context.CancelFunc) {
	late, cancel := context.WithCancel(context.WithoutCancel(ctx))
	timer := make(chan *time.Timer, 1)
	stop := context.AfterFunc(ctx, func() { timer <- time.AfterFunc(grace, cancel) })
	return late, func() {
		if !stop() {
			(<-timer).Stop()
		}
		cancel()
	}
}
