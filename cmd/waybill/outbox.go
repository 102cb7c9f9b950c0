package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/config"
)

func (a *app) newOutboxCommand() *cobra.Command {
	cmd := group(&cobra.Command{
		Use:   "outbox",
		Short: "Print, install or remove the source-side schema",
		Example: `  waybill outbox sql crm > outbox.sql     review what install would run
  waybill outbox install crm
  waybill outbox uninstall crm`,
	})
	verb := func(use, short, long string, do outboxVerb) *cobra.Command {
		verb := &cobra.Command{
			Use: use + " PIPELINE", Short: short, Long: long,
			Example: "  waybill outbox " + use + " crm",
			Args:    onePipeline, ValidArgsFunction: a.completeOne,
			RunE: func(cmd *cobra.Command, args []string) error {
				cfg, p, err := a.loadOne(args[0])
				if err != nil {
					return err
				}
				return a.withInstaller(p, func(in waybill.Installer) error { return do(cmd.Context(), cfg, p, in) })
			},
		}
		cmd.AddCommand(verb)
		return verb
	}
	verb("sql", "Print the source-side schema", "Prints what install runs, without connecting to anything.", a.outboxSQL)
	verb("install", "Apply the source-side schema and register the pipeline",
		`Creates the outbox at the source and registers the pipeline as one of its consumers. From
then on the source keeps every action until this pipeline has it at its target. May be
repeated.`, a.outboxInstall)
	var yes bool
	uninstall := verb("uninstall", "Remove the pipeline's part of the source-side schema",
		`Removes the pipeline's registration: the source no longer keeps anything for it. The schema
goes with the last pipeline, and with it the actions in it: it asks first if some of them were
not acknowledged. A pipeline that an engine is running is not uninstalled: stop the engine
first.`,
		func(ctx context.Context, cfg *config.Config, p *config.Pipeline, in waybill.Installer) error {
			return a.outboxUninstall(ctx, cfg, p, in, yes)
		})
	uninstall.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	uninstall.Example += "\n  waybill outbox uninstall crm --yes"
	return cmd
}

// outboxVerb is what one of the subcommands does.
type outboxVerb func(ctx context.Context, cfg *config.Config, p *config.Pipeline, in waybill.Installer) error

func (a *app) withInstaller(p *config.Pipeline, do func(waybill.Installer) error) error {
	reader, err := newSourceReader(p, p.SourceStreams()[0], a.quietLog())
	if err != nil {
		return err
	}
	installer, ok := reader.(waybill.Installer)
	if !ok {
		return &usageError{fmt.Errorf("pipeline %s: a %s source has no schema to set up", p.Name, p.Source.Kind())}
	}
	return do(installer)
}

func (a *app) outboxSQL(_ context.Context, _ *config.Config, p *config.Pipeline, in waybill.Installer) error {
	sql := strings.TrimRight(in.SQL(), "\n") + "\n"
	return a.emit(map[string]string{"pipeline": p.Name, "stream": p.StreamTo(&p.Targets[0]), "sql": sql}, func(w io.Writer) { fmt.Fprint(w, sql) })
}

// outboxDone is what install and uninstall print.
type outboxDone struct {
	Pipeline string `json:"pipeline"`
	Stream   string `json:"stream"`
	Did      string `json:"did"`
}

func (a *app) outboxInstall(ctx context.Context, _ *config.Config, p *config.Pipeline, in waybill.Installer) error {
	if err := in.Install(ctx, p.StreamTo(&p.Targets[0])); err != nil {
		return fmt.Errorf("pipeline %s: install outbox: %w", p.Name, err)
	}
	return a.emit(outboxDone{p.Name, p.StreamTo(&p.Targets[0]), "installed"}, func(w io.Writer) {
		fmt.Fprintf(w, "The outbox is installed at the source, and %s is registered as a consumer.\n", p.StreamTo(&p.Targets[0]))
	})
}

// waiter is a source that can tell how many actions, not acknowledged by the stream, would go
// with its schema.
type waiter interface {
	Waiting(ctx context.Context, stream string) (int64, error)
}

func (a *app) outboxUninstall(ctx context.Context, cfg *config.Config, p *config.Pipeline, in waybill.Installer, yes bool) error {
	err := a.withStream(ctx, cfg, p, func(ends) error {
		if w, ok := in.(waiter); ok && !yes {
			n, err := w.Waiting(ctx, p.StreamTo(&p.Targets[0]))
			if err != nil {
				return err
			}
			if err := a.confirmLoss(p, n); err != nil {
				return err
			}
		}
		return in.Uninstall(ctx, p.StreamTo(&p.Targets[0]))
	})
	if errors.Is(err, errNotConfirmed) {
		return fmt.Errorf("pipeline %s was not uninstalled: %w", p.Name, err)
	}
	if err != nil {
		return fmt.Errorf("pipeline %s: uninstall outbox: %w", p.Name, err)
	}
	return a.emit(outboxDone{p.Name, p.StreamTo(&p.Targets[0]), "uninstalled"}, func(w io.Writer) {
		fmt.Fprintf(w, "%s is no longer a consumer of the outbox; the schema goes with the last one.\n", p.StreamTo(&p.Targets[0]))
	})
}

// confirmLoss asks where actions would be lost.
func (a *app) confirmLoss(p *config.Pipeline, n int64) error {
	if n <= 0 {
		return nil
	}
	loss := fmt.Sprintf("%s that %s has not acknowledged would go with the outbox, of which it is the last consumer",
		plural(uint64(n), "action", "actions"), p.StreamTo(&p.Targets[0]))
	if err := a.confirm("uninstall", loss+".\nUninstall it?", p); err != nil {
		if errors.Is(err, errNotConfirmed) {
			return err
		}
		return fmt.Errorf("%s: %w", loss, err)
	}
	return nil
}
