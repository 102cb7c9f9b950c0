package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/waybill-data/waybill/internal/monitor"
	"github.com/waybill-data/waybill/internal/pump"
)

func (a *app) newRunCommand() *cobra.Command {
	var untilCaughtUp bool
	cmd := &cobra.Command{
		Use:   "run [PIPELINE…]",
		Short: "Run pipelines until stopped",
		Long: `Runs the pipelines of the configuration, or those named, until it is stopped by SIGINT,
SIGTERM or SIGHUP; a second signal ends it at once. Either is safe at any moment.

A pipeline that cannot go on (a gap, a refusal, a wrong password) stops, and the others go
on, as do the other targets of the same pipeline; hosts that do not answer are tried again.
Exit 1 when no pipeline is left.`,
		Example: `  waybill run
  waybill run crm --until-caught-up     end when what the source holds now is at the target
  waybill run --log-format json`,
		ValidArgsFunction: a.completePipelines,
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, picked, err := a.load(args)
			if err != nil {
				return err
			}
			limitMemory(picked)
			e := &engine{app: a, untilCaughtUp: untilCaughtUp}
			return e.run(cmd.Context(), cfg, picked)
		},
	}
	cmd.Flags().BoolVar(&untilCaughtUp, "until-caught-up", false, "end with 0 once everything that the source holds at the start is durable at the target")
	return cmd
}

// runResult is what run prints with -o json when it ends.
type runResult struct {
	Exit      int             `json:"exit"`
	Error     string          `json:"error,omitempty"`
	Pipelines []pump.Status   `json:"pipelines"` // their hops
	Queues    []monitor.Queue `json:"queues,omitempty"`
}

func (e *engine) report(outcome error) error {
	r := runResult{Exit: exitCode(outcome), Queues: e.gauges.last()}
	if outcome != nil {
		r.Error = outcome.Error()
	}
	for _, h := range e.hops() {
		r.Pipelines = append(r.Pipelines, h.meter.Snapshot())
	}
	return e.app.emit(r, func(w io.Writer) {
		for i := range r.Pipelines {
			p := &r.Pipelines[i]
			written := plural(p.Actions, "action", "actions")
			switch {
			case p.State == pump.Done:
				fmt.Fprintf(w, "%s: caught up; %s written\n", p.Stream, written)
			case p.State == pump.Stopped && e.untilCaughtUp:
				fmt.Fprintf(w, "%s: stopped before it had caught up, %s; %s written\n", p.Stream, whyStopped(p, r.Pipelines), written)
			}
		}
	})
}

// whyStopped says what ended a hop that is not at fault itself: the hop that empties its queue.
func whyStopped(p *pump.Status, all []pump.Status) string {
	for i := range all {
		switch o := &all[i]; {
		case o.Pipeline != p.Pipeline || o.State != pump.Failed:
		case o.Paused:
			return fmt.Sprintf("because %s is paused and the queue could run full", o.Stream)
		default:
			return fmt.Sprintf("because %s failed and the queue could run full", o.Stream)
		}
	}
	return "because the run was ended"
}

func plural(n uint64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
