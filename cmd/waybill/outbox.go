package main

import (
	"context"
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
	verb := func(use, short, long string, do func(ctx context.Context, p *config.Pipeline, in waybill.Installer) error) {
		cmd.AddCommand(&cobra.Command{
			Use: use + " PIPELINE", Short: short, Long: long,
			Example: "  waybill outbox " + use + " crm",
			Args:    onePipeline, ValidArgsFunction: a.completeOne,
			RunE: func(cmd *cobra.Command, args []string) error {
				_, p, err := a.loadOne(args[0])
				if err != nil {
					return err
				}
				return a.withInstaller(p, func(in waybill.Installer) error { return do(cmd.Context(), p, in) })
			},
		})
	}
	verb("sql", "Print the source-side schema", "Prints what install runs, without connecting to anything.", a.outboxSQL)
	verb("install", "Apply the source-side schema and register the pipeline",
		`Creates the outbox at the source and registers the pipeline as one of its consumers. From
then on the source keeps every action until this pipeline has it at its target. May be
repeated.`, a.outboxInstall)
	verb("uninstall", "Remove the pipeline's part of the source-side schema",
		`Removes the pipeline's registration: the source no longer keeps anything for it. The schema
goes with the last pipeline, and with it the actions in it.`, a.outboxUninstall)
	return cmd
}

func (a *app) withInstaller(p *config.Pipeline, do func(waybill.Installer) error) error {
	reader, err := newReader(p, a.quietLog())
	if err != nil {
		return err
	}
	installer, ok := reader.(waybill.Installer)
	if !ok {
		return &usageError{fmt.Errorf("pipeline %s: a %s source has no schema to set up", p.Name, sourceKind(p))}
	}
	return do(installer)
}

func (a *app) outboxSQL(_ context.Context, p *config.Pipeline, in waybill.Installer) error {
	sql := strings.TrimRight(in.SQL(), "\n") + "\n"
	return a.emit(map[string]string{"pipeline": p.Name, "stream": p.Stream(), "sql": sql}, func(w io.Writer) { fmt.Fprint(w, sql) })
}

// outboxDone is what install and uninstall print.
type outboxDone struct {
	Pipeline string `json:"pipeline"`
	Stream   string `json:"stream"`
	Did      string `json:"did"`
}

func (a *app) outboxInstall(ctx context.Context, p *config.Pipeline, in waybill.Installer) error {
	if err := in.Install(ctx, p.Stream()); err != nil {
		return fmt.Errorf("pipeline %s: install outbox: %w", p.Name, err)
	}
	return a.emit(outboxDone{p.Name, p.Stream(), "installed"}, func(w io.Writer) {
		fmt.Fprintf(w, "The outbox is installed at the source, and %s is registered as a consumer.\n", p.Stream())
	})
}

func (a *app) outboxUninstall(ctx context.Context, p *config.Pipeline, in waybill.Installer) error {
	if err := in.Uninstall(ctx, p.Stream()); err != nil {
		return fmt.Errorf("pipeline %s: uninstall outbox: %w", p.Name, err)
	}
	return a.emit(outboxDone{p.Name, p.Stream(), "uninstalled"}, func(w io.Writer) {
		fmt.Fprintf(w, "%s is no longer a consumer of the outbox; the schema goes with the last one.\n", p.Stream())
	})
}
