package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/config"
	"github.com/waybill-data/waybill/internal/state"
)

// knower is a target that can tell whether it remembers a stream, without making anything.
type knower interface {
	Knows(ctx context.Context, stream string) (bool, error)
}

// withStream takes the pipeline's stream at the target, so that no engine is at work on it and
// none that was paused can come back to it, and gives it back afterwards. Where the target
// does not know the stream there is nothing to take, and nothing is made there.
func (a *app) withStream(ctx context.Context, cfg *config.Config, p *config.Pipeline, do func(ends) error) (err error) {
	store, err := state.Open(cfg.State.SQLite.Path, a.quietLog()) //nolint:contextcheck // it bounds itself
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	e, err := newEnds(p, store.Owner(), a.quietLog())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.reader.Close(), e.writer.Close()) }()
	known := true
	if k, ok := e.writer.(knower); ok {
		if known, err = k.Knows(ctx, p.StreamTo(&p.Targets[0])); err != nil {
			return fmt.Errorf("see whether an engine is running it: %w", err)
		}
	}
	if known {
		if _, err := e.writer.Resume(ctx, p.StreamTo(&p.Targets[0])); err != nil {
			if errors.Is(err, waybill.ErrHeld) {
				return fmt.Errorf("an engine is running it: %w; stop that engine first", err)
			}
			return fmt.Errorf("take it at the target: %w", err)
		}
	}
	return do(e)
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
