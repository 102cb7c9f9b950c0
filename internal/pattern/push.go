package pattern

import "context"

// Push carries each change to the targets as it happens: for each target a reader, the pump, a
// writer, and none waits for another. It blocks until the last hop ended: by ctx (nil), by
// having caught up with the source (nil, if asked for), or because it cannot go on. A hop that
// fails stops only itself.
func Push(ctx context.Context, p Parts) error {
	return each(p.Out, func(h *Hop) error { return h.run(ctx, nil, p.UntilCaughtUp, nil) })
}
