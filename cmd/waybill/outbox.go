package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
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
	verb("sql", "Print the source-side schema", `Prints what install runs, without connecting to anything. The publication and the replication
slot of a source that is read from its log depend on the server: comments show them.`, a.outboxSQL)
	verb("install", "Apply the source-side schema and register the pipeline",
		`Creates the outbox at the source and registers the pipeline as one of its consumers; for a
source that is read from its log, the publication and the replication slot. From then on the
source keeps every action until this pipeline has it at its target. May be repeated.`, a.outboxInstall)
	var yes bool
	uninstall := verb("uninstall", "Remove the pipeline's part of the source-side schema",
		`Removes the pipeline's registration: the source no longer keeps anything for it. The schema
goes with the last pipeline, and with it the actions in it: it asks first if some of them were
not acknowledged, and always before a replication slot goes. A pipeline that an engine is
running is not uninstalled: stop the engine first.`,
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
	if !p.Source.IsSet() {
		return &usageError{fmt.Errorf("pipeline %s has no source, so there is nothing to set up; the outbox is at the pipeline that fills its queue", p.Name)}
	}
	streams := p.SourceStreams()
	if !readsLog(p) {
		streams = streams[:1] // they share one schema, which any of their readers sets up
	}
	var all installers
	for _, stream := range streams {
		reader, err := newSourceReader(p, stream, "", a.log)
		if err != nil {
			return err
		}
		installer, ok := reader.(waybill.Installer)
		if !ok {
			return &usageError{fmt.Errorf("pipeline %s: a %s source has no schema to set up", p.Name, p.Source.Kind())}
		}
		all = append(all, streamInstaller{installer, stream})
	}
	if len(all) == 1 {
		return do(all[0].Installer)
	}
	return do(all)
}

// readsLog reports whether the pipeline reads its source's log, with a slot for each stream.
func readsLog(p *config.Pipeline) bool { return p.Source.Postgres != nil && p.Source.Postgres.Log() }

// installers are those of streams that each need something of their own at the source.
type installers []streamInstaller

type streamInstaller struct {
	waybill.Installer
	stream string
}

// SQL is what each runs; paragraphs that one before has too are there once.
func (all installers) SQL() string {
	var parts []string
	for _, in := range all {
		own := strings.Split(strings.Trim(in.SQL(), "\n"), "\n\n")
		parts = append(parts, slices.DeleteFunc(own, func(p string) bool { return slices.Contains(parts, p) })...)
	}
	return strings.Join(parts, "\n\n")
}

// Install is waybill.Installer's.
func (all installers) Install(ctx context.Context, streams ...string) error {
	return all.each(streams, func(in waybill.Installer, stream string) error { return in.Install(ctx, stream) })
}

// Uninstall is waybill.Installer's.
func (all installers) Uninstall(ctx context.Context, streams ...string) error {
	return all.each(streams, func(in waybill.Installer, stream string) error { return in.Uninstall(ctx, stream) })
}

func (all installers) each(streams []string, do func(in waybill.Installer, stream string) error) error {
	var errs []error
	for _, in := range all {
		if slices.Contains(streams, in.stream) {
			errs = append(errs, do(in.Installer, in.stream))
		}
	}
	return errors.Join(errs...)
}

func (a *app) outboxSQL(_ context.Context, _ *config.Config, p *config.Pipeline, in waybill.Installer) error {
	sql := strings.TrimRight(in.SQL(), "\n") + "\n"
	r := struct {
		outboxStreams
		SQL string `json:"sql"`
	}{outboxOf(p), sql}
	return a.emit(r, func(w io.Writer) { fmt.Fprint(w, sql) })
}

// outboxStreams are a pipeline's consumers of its source.
type outboxStreams struct {
	Pipeline string   `json:"pipeline"`
	Stream   string   `json:"stream,omitempty"` // where there is one
	Streams  []string `json:"streams"`
}

func outboxOf(p *config.Pipeline) outboxStreams {
	s := outboxStreams{Pipeline: p.Name, Streams: p.SourceStreams()}
	if len(s.Streams) == 1 {
		s.Stream = s.Streams[0]
	}
	return s
}

// are is the streams as the subject of a sentence, with one of two verbs.
func (s outboxStreams) are(one, many string) string {
	if len(s.Streams) == 1 {
		return s.Streams[0] + " " + one
	}
	return strings.Join(s.Streams, ", ") + " " + many
}

// outboxDone is what install and uninstall print.
type outboxDone struct {
	outboxStreams
	Did string `json:"did"`
}

func (a *app) outboxInstall(ctx context.Context, _ *config.Config, p *config.Pipeline, in waybill.Installer) error {
	r := outboxDone{outboxOf(p), "installed"}
	if err := in.Install(ctx, r.Streams...); err != nil {
		return fmt.Errorf("pipeline %s: install outbox: %w", p.Name, err)
	}
	return a.emit(r, func(w io.Writer) {
		if readsLog(p) {
			fmt.Fprintf(w, "Publication and slot are made at the source: from now on it keeps its log for %s.\n", strings.Join(r.Streams, ", "))
			return
		}
		fmt.Fprintf(w, "The outbox is installed at the source, and %s.\n", r.are("is registered as a consumer", "are registered as consumers"))
	})
}

// waiter is a source that can tell how many actions, not acknowledged by one of the streams,
// would go with its schema.
type waiter interface {
	Waiting(ctx context.Context, streams ...string) (int64, error)
}

func (a *app) outboxUninstall(ctx context.Context, cfg *config.Config, p *config.Pipeline, in waybill.Installer, yes bool) error {
	r := outboxDone{outboxOf(p), "uninstalled"}
	err := a.withHops(ctx, cfg, p, "", true, func(*hops) error {
		if readsLog(p) && !yes {
			question := fmt.Sprintf("The source will no longer keep its log for %s: what is not carried yet is lost to it.\nUninstall it?", strings.Join(r.Streams, ", "))
			if err := a.confirm("uninstall", question, p); err != nil {
				return err
			}
		}
		if w, ok := in.(waiter); ok && !yes {
			n, err := w.Waiting(ctx, r.Streams...)
			if err != nil {
				return err
			}
			if err := a.confirmLoss(p, r.outboxStreams, n); err != nil {
				return err
			}
		}
		return in.Uninstall(ctx, r.Streams...)
	})
	if errors.Is(err, errNotConfirmed) {
		return fmt.Errorf("pipeline %s was not uninstalled: %w", p.Name, err)
	}
	if err != nil {
		return fmt.Errorf("pipeline %s: uninstall outbox: %w", p.Name, err)
	}
	return a.emit(r, func(w io.Writer) {
		if readsLog(p) {
			fmt.Fprintf(w, "The source keeps nothing for %s any more: the publication and the slot that were made for it are gone.\n", strings.Join(r.Streams, ", "))
			return
		}
		fmt.Fprintf(w, "%s of the outbox; the schema goes with the last one.\n", r.are("is no longer a consumer", "are no longer consumers"))
	})
}

// confirmLoss asks where actions would be lost.
func (a *app) confirmLoss(p *config.Pipeline, s outboxStreams, n int64) error {
	if n <= 0 {
		return nil
	}
	whom, last := s.are("has not acknowledged", "have not acknowledged"), "it is the last consumer"
	if len(s.Streams) > 1 {
		last = "they are the last consumers"
	}
	loss := fmt.Sprintf("%s that %s would go with the outbox, of which %s", plural(uint64(n), "action", "actions"), whom, last)
	if err := a.confirm("uninstall", loss+".\nUninstall it?", p); err != nil {
		if errors.Is(err, errNotConfirmed) {
			return err
		}
		return fmt.Errorf("%s: %w", loss, err)
	}
	return nil
}
