package pump

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/waybill-data/waybill"
)

// Config is what one run of the pump needs beside its two ends.
type Config struct {
	// Stream is the name under which source and target know the pipeline.
	Stream string
	// MaxActions and MaxBytes bound the batch that is written in one step and, twice, what
	// is read ahead. One action may exceed MaxBytes.
	MaxActions int
	MaxBytes   int64
	// MaxDelay is how long actions wait for others to share their batch where they come in a rush.
	MaxDelay time.Duration
	// Before, if set, runs each time before the stream is taken; it is tried again as taking is.
	Before func(context.Context) error
	// UntilCaughtUp ends the run once what the source held at its start is written; with From,
	// what it held when that was closed.
	UntilCaughtUp bool
	From          <-chan struct{}
	// Grace is how long a write may go on after the context ended.
	Grace time.Duration
	// Sample is how often the source is asked for its head and backlog, at least; it is asked at once
	// when the gate turns, and soon when all that was waiting is written.
	Sample time.Duration
	// Retry paces the attempts after a transient error.
	Retry Retry
	Log   *slog.Logger
	Meter *Meter
	// Gate pauses the run; nil: it cannot be paused.
	Gate *Gate
}

func (c Config) withDefaults() Config {
	if c.MaxActions == 0 {
		c.MaxActions = 1000
	}
	if c.MaxBytes == 0 {
		c.MaxBytes = 4 << 20
	}
	if c.Grace == 0 {
		c.Grace = 10 * time.Second
	}
	if c.Sample == 0 {
		c.Sample = 5 * time.Second
	}
	c.Retry = c.Retry.withDefaults()
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Meter == nil {
		c.Meter = NewMeter(c.Stream, "")
	}
	return c
}

// Run carries the stream until ctx ends (nil), the source is caught up with (nil, under
// UntilCaughtUp), or the stream cannot go on (the error). It closes both ends.
func Run(ctx context.Context, r waybill.Reader, w waybill.Writer, c Config) (err error) {
	c = c.withDefaults()
	c.Meter.watch(c.Gate)
	defer func() {
		err = c.Meter.finish(ctx, err)
	}()
	reader, writer := stack(r, w, c)
	p := &pump{Config: c, r: reader, w: writer}
	p.backlog, _ = waybill.As[waybill.Backlog](r)
	p.resumed, _ = waybill.As[waybill.Resumed](r)
	p.numbered, _ = waybill.As[waybill.Numbered](w)
	p.retainer, _ = waybill.As[waybill.Retainer](r)
	p.foreign, _ = waybill.As[waybill.ForeignWrites](w)
	defer func() {
		err = errors.Join(err, writer.Close())
	}()
	for doubted := false; ; {
		before := c.Meter.Snapshot().Actions
		err := p.session(ctx)
		doubted = doubted && c.Meter.Snapshot().Actions == before
		switch {
		case ctx.Err() != nil:
			return err
		case errors.Is(err, waybill.ErrFenced) && !c.UntilCaughtUp:
			c.Meter.SetState(Standby, err)
			c.Log.Warn("another engine took the stream; standing by", "stream", c.Stream)
		case errors.Is(err, waybill.ErrGap) && p.opened && !doubted:
			// To a worker that was overtaken, what another one carried and the source then
			// forgot looks like a loss. The target knows.
			doubted = true
			c.Log.Warn("asking the target whether another engine carried on", "stream", c.Stream, "because", err)
		default:
			return err
		}
	}
}

type pump struct {
	Config
	r        waybill.Reader
	w        waybill.Writer
	backlog  waybill.Backlog
	resumed  waybill.Resumed
	numbered waybill.Numbered
	retainer waybill.Retainer
	foreign  waybill.ForeignWrites
	opened   bool // the session got as far as an open reader
}

// session runs from taking the stream to losing it.
func (p *pump) session(ctx context.Context) (err error) {
	p.opened = false
	pos, err := p.w.Resume(ctx, p.Stream)
	if err != nil {
		return fmt.Errorf("take stream %s at the target: %w", p.Stream, err)
	}
	if err := p.r.Open(ctx, pos); err != nil {
		return fmt.Errorf("open stream %s at the source: %w", p.Stream, err)
	}
	defer func() {
		err = errors.Join(err, p.r.Close())
	}()
	p.opened = true
	if p.numbered != nil {
		p.Meter.resumedAt(p.numbered.Seq())
	}
	if p.resumed != nil {
		p.Meter.suppressed(p.resumed.Suppressed())
	}
	if p.foreign != nil {
		p.Meter.foreign(p.foreign.ForeignWrites())
	}
	p.Meter.SetState(Running, nil)
	p.Log.Info("carrying", "stream", p.Stream, "suppressed", p.Meter.Snapshot().Suppressed)
	if pos != "" {
		if err := p.ack(ctx, pos); err != nil {
			return err
		}
	}
	return p.carry(ctx, pos)
}

// carry reads ahead in one goroutine, samples in another, looks for the end in a third and
// writes in its own.
func (p *pump) carry(ctx context.Context, pos waybill.Position) (err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	q := newQueue(p.MaxActions, p.MaxBytes)
	var others sync.WaitGroup
	defer func() {
		cancel(nil)
		others.Wait()
	}()
	others.Go(func() { q.fail(p.fetch(ctx, q)) })
	others.Go(func() { p.sample(ctx) })
	if p.retainer != nil {
		others.Go(func() { p.sampleSlot(ctx) })
	}
	var end goal
	if p.UntilCaughtUp {
		others.Go(func() {
			if err := p.aim(ctx, &end, q); err != nil {
				cancel(err)
			}
		})
	}
	for linger := time.Duration(0); ; {
		b, more, err := q.take(ctx, linger, func() bool { return end.reached(p.r, pos) })
		if err != nil {
			return whyEnded(ctx, err)
		}
		if !more {
			return nil
		}
		if err := p.write(ctx, b); err != nil {
			return whyEnded(ctx, err)
		}
		if p.foreign != nil {
			p.Meter.foreign(p.foreign.ForeignWrites())
		}
		pos = b.Upto
		if err := p.ack(ctx, pos); err != nil {
			return err
		}
		if linger = 0; len(b.Actions) >= rush {
			linger = p.MaxDelay
		}
	}
}

// rush is how many actions gather during one write where they come in a rush: faster than single
// writes are worth what each costs, on both sides, whatever is in it.
const rush = 64

// whyEnded is what ended ctx, if that is where err comes from.
func whyEnded(ctx context.Context, err error) error {
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

func (p *pump) fetch(ctx context.Context, q *queue) error {
	for {
		b, err := p.r.Next(ctx)
		if err != nil {
			return err
		}
		if err := q.put(ctx, b); err != nil {
			return err
		}
	}
}

// goal is where UntilCaughtUp ends, once that is known.
type goal struct {
	head atomic.Pointer[waybill.Position]
}

func (g *goal) reached(r waybill.Reader, pos waybill.Position) bool {
	head := g.head.Load()
	return head != nil && r.Reached(pos, *head)
}

// aim sets the goal once it is time to.
func (p *pump) aim(ctx context.Context, end *goal, q *queue) error {
	if p.From != nil {
		select {
		case <-ctx.Done():
			return nil
		case <-p.From:
		}
	}
	head, err := p.r.Head(ctx)
	if err != nil {
		return fmt.Errorf("read the head of stream %s: %w", p.Stream, err)
	}
	end.head.Store(&head)
	q.wake()
	return nil
}

// write writes b. When the target refuses an action, those before it are written first,
// so that the position stands right before the action that stops the stream. What the
// writer says of an action on its own is final.
func (p *pump) write(ctx context.Context, b waybill.Batch) error {
	err := p.w.Write(ctx, b)
	var refusal *waybill.Refusal
	if !errors.As(err, &refusal) || len(b.Actions) < 2 {
		if err != nil {
			p.Meter.lacking(&b)
		}
		return err
	}
	cut := 1
	for i := range b.Actions {
		if b.Actions[i].Seq == refusal.Seq {
			cut = max(i, 1)
		}
	}
	head, tail, ok := b.Cut(cut)
	if !ok {
		p.Meter.lacking(&b)
		return err
	}
	if err := p.write(ctx, head); err != nil {
		return err
	}
	if err := p.ack(ctx, head.Upto); err != nil {
		return err
	}
	return p.write(ctx, tail)
}

// ack tells the source. A passing failure is logged: a later acknowledgement covers it.
func (p *pump) ack(ctx context.Context, pos waybill.Position) error {
	err := p.r.Ack(ctx, pos)
	if err == nil || ctx.Err() != nil {
		return nil //nolint:nilerr // a stop; the next start acknowledges
	}
	if waybill.Transient(err) {
		p.Log.Warn("acknowledgement failed; the next one covers it", "stream", p.Stream, "error", err)
		return nil
	}
	return fmt.Errorf("acknowledge stream %s at the source: %w", p.Stream, err)
}

// sampleParts is how often per Sample the sampler wakes, to see whether what it counted is outdated.
const sampleParts = 5

// sample keeps the meter's view of the source fresh until ctx ends. A failure is not
// reported here: the fetching side meets it too.
func (p *pump) sample(ctx context.Context) {
	most := int64(0)
	if b, ok := p.backlog.(waybill.Bounded); ok {
		most = b.BacklogBound()
	}
	tick := time.NewTicker(max(p.Sample/sampleParts, 1))
	defer tick.Stop()
	blind := uncounted{reached: time.Now()}
	for {
		turned := p.Gate.turning()
		pos, written := p.Meter.position()
		asked := time.Now()
		if head, err := p.r.Head(ctx); err == nil && p.backlog != nil {
			p.Meter.caughtUp(p.r.Reached(pos, head))
		} else if err == nil {
			blind.head, blind.asked = head, asked
			blind.look(p, false)
		}
		if p.backlog != nil {
			if n, oldest, err := p.backlog.Backlog(ctx, pos); err == nil {
				p.Meter.waiting(n, most, oldest, written)
			}
		}
		if !p.sampleAgain(ctx, tick.C, turned, &blind) {
			return
		}
	}
}

// sampleAgain waits until it is time to: Sample has passed, what was counted is all written, or the
// gate turned. It is false once ctx ended.
func (p *pump) sampleAgain(ctx context.Context, tick <-chan time.Time, turned <-chan struct{}, blind *uncounted) bool {
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return false
		case <-turned:
			return true
		case <-tick:
			blind.look(p, true)
			if n >= sampleParts || p.Meter.outdated() {
				return true
			}
		}
	}
}
