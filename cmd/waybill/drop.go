package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/config"
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
				question := fmt.Sprintf("The source will no longer keep actions for %s, and the target will not know how far it came.\nDrop it?", p.StreamTo(&p.Targets[0]))
				if err := a.confirm("drop", question, p); err != nil {
					return fmt.Errorf("pipeline %s was not dropped: %w", p.Name, err)
				}
			}
			if err := a.drop(cmd.Context(), cfg, p); err != nil {
				return fmt.Errorf("drop pipeline %s: %w", p.Name, err)
			}
			return a.emit(map[string]string{"pipeline": p.Name, "stream": p.StreamTo(&p.Targets[0]), "did": "dropped"}, func(w io.Writer) {
				fmt.Fprintf(w, "%s is forgotten at source and target; the data stays.\n", p.StreamTo(&p.Targets[0]))
			})
		},
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}

// drop takes the stream first. The source forgets before the target: an engine started between
// the two finds itself unregistered, where the other way round it would start all over.
func (a *app) drop(ctx context.Context, cfg *config.Config, p *config.Pipeline) error {
	return a.withStream(ctx, cfg, p, func(e ends) error {
		return errors.Join(forget(ctx, "source", e.reader, p.StreamTo(&p.Targets[0])), forget(ctx, "target", e.writer, p.StreamTo(&p.Targets[0])))
	})
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
