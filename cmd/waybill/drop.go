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

func (a *app) newDropCommand() *cobra.Command {
	var (
		yes    bool
		target string
	)
	cmd := &cobra.Command{
		Use:   "drop PIPELINE",
		Short: "Forget a pipeline: its consumers and its positions",
		Long: `Removes what source, queue and targets remember of the pipeline: its registrations as a
consumer, its replication slots and its positions. With --target it forgets one target, before
that goes from the configuration. The data that was carried stays; what the pipeline put into a
queue goes, unless another pipeline takes its actions from there, which has to be dropped
first. A pipeline that an engine is running is not dropped, nor one in a queue that an engine
has open: stop the engine first.`,
		Example:           "  waybill drop crm\n  waybill drop crm --yes\n  waybill drop crm --target warehouse",
		Args:              onePipeline,
		ValidArgsFunction: a.completeOne,
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, p, err := a.loadOne(args[0])
			if err != nil {
				return err
			}
			if target != "" && !hasTarget(p, target) {
				return &usageError{fmt.Errorf("pipeline %s has no target %q; it has %s", p.Name, target, targetNames(p))}
			}
			return a.dropAsked(cmd.Context(), cfg, p, target, yes)
		},
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	cmd.Flags().StringVar(&target, "target", "", "forget only the target of this `NAME`")
	_ = cmd.RegisterFlagCompletionFunc("target", a.completeTarget) // it fails only for a flag that is not there
	return cmd
}

func hasTarget(p *config.Pipeline, name string) bool {
	return slices.ContainsFunc(p.Targets, func(t config.Target) bool { return t.Name == name })
}

func targetNames(p *config.Pipeline) string {
	names := make([]string, 0, len(p.Targets))
	for i := range p.Targets {
		names = append(names, p.Targets[i].Name)
	}
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// dropped is what drop prints.
type dropped struct {
	Pipeline string   `json:"pipeline"`
	Stream   string   `json:"stream,omitempty"` // where there is one
	Streams  []string `json:"streams"`
	Did      string   `json:"did"`
}

func (a *app) dropAsked(ctx context.Context, cfg *config.Config, p *config.Pipeline, target string, yes bool) error {
	r := dropped{Pipeline: p.Name, Did: "dropped"}
	for i := range p.Targets {
		if t := &p.Targets[i]; target == "" || t.Name == target {
			r.Streams = append(r.Streams, p.StreamTo(t))
		}
	}
	if target == "" && p.Queue.IsSet() && p.Source.IsSet() {
		r.Streams = slices.Insert(r.Streams, 0, p.QueueStream())
	}
	if len(r.Streams) == 1 {
		r.Stream = r.Streams[0]
	}
	streams := strings.Join(r.Streams, ", ")
	if !yes {
		keeper := "source"
		if p.Queue.IsSet() {
			keeper = "source and the queue"
		}
		question := fmt.Sprintf("The %s will no longer keep actions for %s, and the target will not know how far it came.\nDrop it?", keeper, streams)
		if err := a.confirm("drop", question, p); err != nil {
			return fmt.Errorf("pipeline %s was not dropped: %w", p.Name, err)
		}
	}
	if err := a.drop(ctx, cfg, p, target); err != nil {
		return fmt.Errorf("drop pipeline %s: %w", p.Name, err)
	}
	return a.emit(r, func(w io.Writer) {
		verb, places := "is", "source and target"
		if len(r.Streams) > 1 {
			verb = "are"
		}
		if p.Queue.IsSet() {
			places = "source, queue and target"
		}
		fmt.Fprintf(w, "%s %s forgotten at %s; the data stays.\n", streams, verb, places)
	})
}

// drop takes the streams first. What keeps actions forgets before what holds the position: an
// engine started between the two finds itself unregistered, where the other way round it would
// start all over.
func (a *app) drop(ctx context.Context, cfg *config.Config, p *config.Pipeline, target string) error {
	return a.withHops(ctx, cfg, p, target, false, func(h *hops) error {
		if h.queue != nil && h.intoIt != nil {
			if err := othersTake(ctx, h); err != nil {
				return err
			}
		}
		var errs []error
		for _, s := range h.sources {
			errs = append(errs, forget(ctx, "source", s.reader, s.stream))
		}
		if h.queue != nil {
			for _, t := range h.targets {
				errs = append(errs, forget(ctx, "queue", t.reader, t.stream))
			}
			if h.intoIt != nil { // what is there goes, and with it the position
				errs = append(errs, forget(ctx, "queue", h.intoIt, p.QueueStream()))
			}
		}
		for _, t := range h.targets {
			errs = append(errs, forget(ctx, "target", t.writer, t.stream))
		}
		return errors.Join(errs...)
	})
}

// othersTake refuses where another pipeline takes the actions of this one from the queue: they
// would be lost to it.
func othersTake(ctx context.Context, h *hops) error {
	consumers, err := h.queue.ReadBy(ctx, h.pipeline.Name)
	if err != nil {
		return err
	}
	own := h.streams()
	others := slices.DeleteFunc(consumers, func(c string) bool { return slices.Contains(own, c) })
	if len(others) == 0 {
		return nil
	}
	return fmt.Errorf("its actions in the queue are also taken by %s, which would lose them; drop that first (a pipeline or target that is in the configuration no more goes back in for it)", strings.Join(others, ", "))
}

func forget(ctx context.Context, at string, part any, stream string) error {
	dropper, ok := waybill.As[waybill.Dropper](part)
	if !ok {
		return nil
	}
	if err := dropper.Drop(ctx, stream); err != nil {
		return fmt.Errorf("forget %s at the %s: %w", stream, at, err)
	}
	return nil
}
