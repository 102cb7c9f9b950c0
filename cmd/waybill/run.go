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
			if p := &r.Pipelines[i]; p.State == pump.Done {
				fmt.Fprintf(w, "%s: caught up; %s written\n", p.Stream, plural(p.Actions, "action", "actions"))
			}
		}
	})
}

func plural(n uint64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
