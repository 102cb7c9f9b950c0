package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/config"
	"github.com/waybill-data/waybill/internal/state"
)

// knower is a target that can tell whether it remembers a stream, without making anything.
type knower interface {
	Knows(ctx context.Context, stream string) (bool, error)
}

// withHops takes the pipeline's streams, so that no engine is at work on them and none that was
// paused can come back to them, and gives them back afterwards: at the targets, and with a queue
// the directory that it is in. With a target it takes what belongs to that one only; with
// intoQueue only the way into the queue. Where nobody knows a stream there is nothing to take,
// and nothing is made there.
func (a *app) withHops(ctx context.Context, cfg *config.Config, p *config.Pipeline, target string, intoQueue bool, do func(*hops) error) (err error) {
	store, err := state.Open(cfg.State.SQLite.Path, a.quietLog()) //nolint:contextcheck // it bounds itself
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	h, err := newHops(p, newQueues(cfg, []*config.Pipeline{p}, a.quietLog()), store.Owner(), a.quietLog())
	if err != nil {
		return err
	}
	if target != "" {
		h.only(target)
	}
	if intoQueue && h.queue != nil {
		h.targets = nil
	}
	giveBack, err := takeQueue(ctx, h)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.close(), giveBack()) }()
	for _, t := range h.targets {
		if err := takeTarget(ctx, &t); err != nil {
			return err
		}
	}
	return do(h)
}

// takeQueue takes the queue's directory, if the queue was ever used; h has no queue afterwards if
// it was not.
func takeQueue(ctx context.Context, h *hops) (giveBack func() error, err error) {
	if h.queue == nil {
		return func() error { return nil }, nil
	}
	if _, err := os.Stat(h.server.Dir); errors.Is(err, fs.ErrNotExist) {
		h.queue = nil
		return func() error { return nil }, nil
	}
	if err := h.server.Start(ctx); err != nil {
		if errors.Is(err, waybill.ErrHeld) {
			return nil, fmt.Errorf("an engine is running it, or another pipeline in the same queue: %w; stop that engine first", err)
		}
		return nil, fmt.Errorf("take its queue: %w", err)
	}
	return h.server.Close, nil
}

func takeTarget(ctx context.Context, t *targetEnd) error {
	if k, ok := waybill.As[knower](t.writer); ok {
		if known, err := k.Knows(ctx, t.stream); err != nil {
			return fmt.Errorf("see whether an engine is running it: %w", err)
		} else if !known {
			return nil
		}
	}
	if _, err := t.writer.Resume(ctx, t.stream); err != nil {
		if errors.Is(err, waybill.ErrHeld) {
			return fmt.Errorf("an engine is running it: %w; stop that engine first", err)
		}
		return fmt.Errorf("take it at the target: %w", err)
	}
	return nil
}

// confirm asks on a terminal; only yes is yes. Elsewhere there is nobody to ask.
func (a *app) confirm(verb, question string, p *config.Pipeline) error {
	if !terminal(a.stdin) {
		return &usageError{fmt.Errorf("%s asks first, and there is no terminal to ask on; give --yes to %[1]s pipeline %s", verb, p.Name)}
	}
	fmt.Fprintf(a.stderr, "%s [y/N] ", question)
	answer, err := bufio.NewReader(a.stdin).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read the answer: %w", err)
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return errNotConfirmed
}

// errNotConfirmed: the answer was not yes.
var errNotConfirmed = errors.New("nothing was changed")
