package pattern

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/waybill-data/waybill"
)

// atOnce is how many times its bounds In writes at once: a write into a queue costs its syncs and
// files whatever it holds, and nobody sees its batches.
const atOnce = 4

// Queue carries each action into a queue, and from there to each target. The hops share nothing
// but the queue, so none waits for another, and one that fails stops only itself. Without In it
// consumes only, without Out it relays only. It blocks as Push does.
//
// Until caught up, In goes to the source's head while the others run, and each of these goes on to
// the queue's head as of when In ended, however it ended. When one of them fails, In is
// cancelled: the queue may be full, or become so, for want of that one.
func Queue(ctx context.Context, p Parts) error {
	known := consumersOf(p.Out).register
	inCtx, cancelIn := context.WithCancel(ctx)
	defer cancelIn()
	filled := make(chan struct{}) // In ended
	var in error
	var filling sync.WaitGroup
	filling.Go(func() {
		defer close(filled)
		if p.In != nil {
			h := *p.In
			h.MaxActions *= atOnce
			h.MaxBytes *= atOnce / 2
			in = h.run(inCtx, known, p.UntilCaughtUp, nil)
		} else if p.UntilCaughtUp && p.Filled != nil {
			p.Filled(inCtx)
		}
	})
	out := each(p.Out, func(h *Hop) error {
		err := h.run(ctx, known, p.UntilCaughtUp, filled)
		if err != nil && p.UntilCaughtUp {
			cancelIn()
		}
		return err
	})
	filling.Wait()
	return errors.Join(in, out)
}

// registrar is a reader that can make its consumer known before it is opened.
type registrar interface {
	// Register makes the consumer known, so that what it lacks is kept for it. Doing it again
	// changes nothing.
	Register(ctx context.Context) error
}

// consumers are those of one queue. No hop begins before all of them are known: the queue could
// forget what one of them has before another, whose target does not answer yet, said that it wants
// the same.
type consumers struct {
	mu      sync.Mutex
	unknown []registrar
}

func consumersOf(hops []*Hop) *consumers {
	c := &consumers{}
	for _, h := range hops {
		if r, ok := waybill.As[registrar](h.Reader); ok {
			c.unknown = append(c.unknown, r)
		}
	}
	return c
}

func (c *consumers) register(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.unknown) > 0 {
		if err := c.unknown[0].Register(ctx); err != nil {
			return fmt.Errorf("register the consumers of the queue: %w", err)
		}
		c.unknown = c.unknown[1:]
	}
	return nil
}
