package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/config"
	"github.com/waybill-data/waybill/internal/state"
)

func (a *app) newDropCommand() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "drop PIPELINE",
		Short: "Forget a pipeline: its consumer and its position",
		Long: `Removes what source and target remember of the pipeline: its registration as a consumer
and its position. The data that it carried stays. A pipeline that an engine is running is
not dropped: stop the engine first.`,
		Example:           "  waybill drop crm\n  waybill drop crm --yes",
		Args:              onePipeline,
		ValidArgsFunction: a.completeOne,
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, p, err := a.loadOne(args[0])
			if err != nil {
				return err
			}
			if !yes {
				if err := a.confirm(p); err != nil {
					return err
				}
			}
			if err := a.drop(cmd.Context(), cfg, p); err != nil {
				return fmt.Errorf("drop pipeline %s: %w", p.Name, err)
			}
			return a.emit(map[string]string{"pipeline": p.Name, "stream": p.Stream(), "did": "dropped"}, func(w io.Writer) {
				fmt.Fprintf(w, "%s is forgotten at source and target; the data stays.\n", p.Stream())
			})
		},
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}

// confirm asks on a terminal. Elsewhere there is nobody to ask.
func (a *app) confirm(p *config.Pipeline) error {
	if !terminal(a.stdin) {
		return &usageError{fmt.Errorf("drop asks first, and there is no terminal to ask on; give --yes to drop pipeline %s", p.Name)}
	}
	fmt.Fprintf(a.stderr, "The source will no longer keep actions for %s, and the target will not know how far it came.\nDrop it? [y/N] ", p.Stream())
	answer, err := bufio.NewReader(a.stdin).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read the answer: %w", err)
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return errors.New("not dropped")
}

// drop takes the stream first, so that no engine is at work on it and none that was paused
// can come back to it. The source forgets before the target: an engine started between the
// two finds itself unregistered, where the other way round it would start all over.
func (a *app) drop(ctx context.Context, cfg *config.Config, p *config.Pipeline) (err error) {
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
	if _, err := e.writer.Resume(ctx, p.Stream()); err != nil {
		if errors.Is(err, waybill.ErrHeld) {
			return fmt.Errorf("an engine is running it: %w; stop that engine first", err)
		}
		return fmt.Errorf("take it at the target: %w", err)
	}
	return errors.Join(forget(ctx, "source", e.reader, p.Stream()), forget(ctx, "target", e.writer, p.Stream()))
}

func forget(ctx context.Context, at string, part any, stream string) error {
	dropper, ok := part.(waybill.Dropper)
	if !ok {
		return nil
	}
	if err := dropper.Drop(ctx, stream); err != nil {
		return fmt.Errorf("forget %s at the %s: %w", stream, at, err)
	}
	return nil
}
