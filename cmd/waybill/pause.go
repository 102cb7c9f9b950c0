package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/waybill-data/waybill/internal/config"
	"github.com/waybill-data/waybill/internal/monitor"
	"github.com/waybill-data/waybill/internal/state"
)

func (a *app) newPauseCommand() *cobra.Command {
	return a.pauseCommand(true, &cobra.Command{
		Use:   "pause PIPELINE[/TARGET]",
		Short: "Pause a pipeline, or the way to one target",
		Long: `Stops writing at every hop of the pipeline, or at the one that is named: PIPELINE/TARGET, or
PIPELINE/embedded for the way from the source into the queue. A write under way ends first.
Everything else goes on: the source, or the queue, keeps what is not yet taken.

It is remembered in the state store: a pipeline stays paused when its engine starts anew, until
it is resumed. Without an engine it is written down for the next one.`,
		Example: "  waybill pause crm\n  waybill pause crm/warehouse      the queue goes on filling for it",
	})
}

func (a *app) newResumeCommand() *cobra.Command {
	return a.pauseCommand(false, &cobra.Command{
		Use:     "resume PIPELINE[/TARGET]",
		Short:   "Let a paused pipeline, or one of its hops, go on",
		Long:    "Lets every hop of the pipeline go on, or the one that is named. It begins where it stood.",
		Example: "  waybill resume crm\n  waybill resume crm/warehouse",
	})
}

func (a *app) pauseCommand(paused bool, cmd *cobra.Command) *cobra.Command {
	var target string
	cmd.Args, cmd.ValidArgsFunction = onePipeline, a.completeOne
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		name, part, slash := strings.Cut(args[0], "/")
		if slash && target != "" && part != target || slash && part == "" {
			return &usageError{fmt.Errorf("name one target: %s PIPELINE/TARGET, or --target TARGET", cmd.CommandPath())}
		}
		if !slash {
			part = target
		}
		cfg, p, err := a.loadOne(name)
		if err != nil {
			return err
		}
		if len(pauseStreams(p, part)) == 0 {
			return &usageError{fmt.Errorf("pipeline %s has no target %q; it has %s", p.Name, part, strings.Join(pauseNames(p), ", "))}
		}
		r, err := a.setPaused(cmd.Context(), cfg, p, part, paused)
		if err != nil {
			return fmt.Errorf("%s %s: %w", cmd.Name(), args[0], err)
		}
		return a.emit(r, func(w io.Writer) { printPaused(w, r) })
	}
	cmd.Flags().StringVar(&target, "target", "", "only the way to the target of this `NAME`; embedded is the way into the queue")
	_ = cmd.RegisterFlagCompletionFunc("target", a.completeTarget) // it fails only for a flag that is not there
	return cmd
}

// pauseNames are what the hops of p are called behind its name.
func pauseNames(p *config.Pipeline) []string {
	var names []string
	for _, h := range newWorker(p).hops {
		names = append(names, strings.TrimPrefix(h.stream, p.Name+"/"))
	}
	return names
}

// pauseStreams are the streams that a pause of the target takes in, all for none; empty: p has
// no such target.
func pauseStreams(p *config.Pipeline, target string) []string {
	var streams []string
	for _, name := range pauseNames(p) {
		if target == "" || name == target {
			streams = append(streams, p.Name+"/"+name)
		}
	}
	return streams
}

// pauseResult is what pause and resume print.
type pauseResult struct {
	Pipeline string           `json:"pipeline"`
	Did      string           `json:"did"` // paused, resumed
	Streams  []monitor.Paused `json:"streams"`
	// Engine: an engine answered, and did it. Otherwise it was written down; Later then says who
	// will heed it.
	Engine bool   `json:"engine"`
	Later  string `json:"later,omitempty"`
}

func (a *app) setPaused(ctx context.Context, cfg *config.Config, p *config.Pipeline, target string, paused bool) (*pauseResult, error) {
	r := &pauseResult{Pipeline: p.Name, Did: "resumed", Engine: true}
	path := "/resume"
	if paused {
		r.Did, path = "paused", "/pause"
	}
	var err error
	if cfg.Admin.Listen, err = (&addressFile{cfg: cfg}).read(); err == nil {
		var answer monitor.PauseReport
		err = ask(ctx, cfg.Admin, http.MethodPost, path, monitor.PauseRequest{Pipeline: p.Name, Target: target}, &answer, func() bool { return answer.Waybill != "" })
		r.Streams = answer.Streams
	}
	if errors.Is(err, errNoEngine) {
		return a.writeDown(ctx, cfg, r, pauseStreams(p, target), paused)
	}
	return r, err
}

// writeDown leaves it to the state store.
func (a *app) writeDown(ctx context.Context, cfg *config.Config, r *pauseResult, streams []string, paused bool) (_ *pauseResult, err error) {
	store, err := state.Open(cfg.State.SQLite.Path, a.quietLog()) //nolint:contextcheck // it bounds itself
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	before, err := store.Paused(ctx)
	if err != nil {
		return nil, err
	}
	if err := store.SetPaused(ctx, streams, paused); err != nil {
		return nil, err
	}
	r.Engine, r.Later = false, "no engine runs; the next one heeds it"
	if !store.Locked() {
		r.Later = "an engine uses " + cfg.State.SQLite.Path + " and does not answer at admin.listen; it heeds it within seconds"
	}
	for _, s := range streams {
		r.Streams = append(r.Streams, monitor.Paused{Stream: s, Paused: paused, Changed: slices.Contains(before, s) != paused, Settled: store.Locked()})
	}
	return r, nil
}

func printPaused(w io.Writer, r *pauseResult) {
	for _, s := range r.Streams {
		switch {
		case !s.Changed && s.Paused:
			fmt.Fprintf(w, "%s was paused already", s.Stream)
		case !s.Changed:
			fmt.Fprintf(w, "%s was not paused", s.Stream)
		case !s.Settled && r.Engine:
			fmt.Fprintf(w, "%s pauses as soon as the write under way ends", s.Stream)
		default:
			fmt.Fprintf(w, "%s is %s", s.Stream, r.Did)
		}
		fmt.Fprintln(w)
	}
	if r.Later != "" {
		fmt.Fprintln(w, r.Later)
	}
}
