package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/config"
	"github.com/waybill-data/waybill/internal/pattern"
)

const (
	checkTimeout  = 10 * time.Second // for each end of a pipeline
	checkParallel = 8                // pipelines looked at together
)

func (a *app) newCheckCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check [PIPELINE…]",
		Short: "Check every prerequisite and print what each pipeline promises",
		Long: `Validates the configuration, connects to both ends of each pipeline, and checks what it
needs there. What is missing is printed with the statement that fixes it. Then comes the
promise: what the pipeline guarantees, and why.

Nothing is changed. Exit 1 if something is missing, 2 if the configuration is at fault.`,
		Example:           "  waybill check\n  waybill check crm -o json",
		ValidArgsFunction: a.completePipelines,
		RunE: func(cmd *cobra.Command, args []string) error {
			_, picked, err := a.load(args)
			if err != nil {
				return err
			}
			return a.check(cmd.Context(), picked)
		},
	}
}

// checkResult is what check prints.
type checkResult struct {
	OK        bool            `json:"ok"`
	Pipelines []pipelineCheck `json:"pipelines"`
}

type pipelineCheck struct {
	Pipeline string            `json:"pipeline"`
	Pattern  string            `json:"pattern"`
	Stream   string            `json:"stream"`
	Source   string            `json:"source"`
	Target   string            `json:"target"`
	OK       bool              `json:"ok"`
	Findings []finding         `json:"findings"`
	Promise  []pattern.Verdict `json:"promise"`
}

type finding struct {
	At    string `json:"at"`    // source | target
	State string `json:"state"` // ok | warning | missing
	What  string `json:"what"`
	Fix   string `json:"fix,omitempty"`
}

func (a *app) check(ctx context.Context, picked []*config.Pipeline) error {
	result := checkResult{OK: true, Pipelines: make([]pipelineCheck, len(picked))}
	var g errgroup.Group
	g.SetLimit(checkParallel)
	for i := range picked {
		g.Go(func() error {
			result.Pipelines[i] = a.checkPipeline(ctx, picked[i])
			return nil
		})
	}
	_ = g.Wait() // none returns an error: what goes wrong is a finding
	if err := ctx.Err(); err != nil {
		return err
	}
	var wrong []string
	for i := range result.Pipelines {
		if !result.Pipelines[i].OK {
			wrong = append(wrong, result.Pipelines[i].Pipeline)
		}
	}
	result.OK = len(wrong) == 0
	err := a.emit(result, func(w io.Writer) {
		p := printer{w: w, colour: terminal(a.stdout)}
		for i := range result.Pipelines {
			p.check(&result.Pipelines[i])
		}
	})
	if err == nil && !result.OK {
		err = fmt.Errorf("not ready to run: %s", strings.Join(wrong, ", "))
	}
	return err
}

// quietLog is for verbs that tell what they find by other means.
func (a *app) quietLog() *slog.Logger {
	if a.verbose {
		return a.log
	}
	return slog.New(slog.DiscardHandler)
}

func (a *app) checkPipeline(ctx context.Context, p *config.Pipeline) pipelineCheck {
	c := pipelineCheck{
		Pipeline: p.Name, Pattern: p.Pattern, Stream: p.StreamTo(&p.Targets[0]), Source: p.Source.Kind(), Target: p.Targets[0].Kind(),
		OK: true, Findings: []finding{},
	}
	e, err := newEnds(p, "", a.quietLog())
	if err != nil {
		c.OK = false
		c.Findings = append(c.Findings, finding{At: "configuration", State: stateMissing, What: err.Error()})
		return c
	}
	c.look(ctx, "source", e.reader)
	c.look(ctx, "target", e.writer)
	for i := range c.Findings {
		c.Findings[i].Fix = a.completeFix(c.Findings[i].Fix, p)
	}
	c.Promise = pattern.Promise(e.reader, e.writer)
	return c
}

// completeFix gives a fix that is a command of this program what the connector cannot know.
func (a *app) completeFix(fix string, p *config.Pipeline) string {
	if fix != "waybill outbox install" {
		return fix
	}
	fix += " " + p.Name
	if a.configFile != defaultConfig {
		fix += " -f " + a.configFile
	}
	return fix
}

// The states of a finding.
const (
	stateOK      = "ok"
	stateWarning = "warning"
	stateMissing = "missing"
)

// look asks one end for its findings; not getting an answer is a finding too.
func (c *pipelineCheck) look(ctx context.Context, at string, part io.Closer) {
	checker, ok := part.(waybill.Checker)
	if !ok { // saying nothing could pass for good news
		c.Findings = append(c.Findings, finding{At: at, State: stateWarning, What: "this connector cannot check its prerequisites"})
		return
	}
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	found, err := checker.Check(ctx, c.Stream)
	if err = errors.Join(err, part.Close()); err != nil {
		what := strings.TrimPrefix(err.Error(), at+": ")
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			what = fmt.Sprintf("no answer within %s: %s", checkTimeout, what)
		}
		found = append(found, waybill.Finding{What: what})
	}
	for _, f := range found {
		state := stateMissing
		switch {
		case f.OK:
			state = stateOK
		case f.Warn:
			state = stateWarning
		default:
			c.OK = false
		}
		c.Findings = append(c.Findings, finding{At: at, State: state, What: f.What, Fix: f.Fix})
	}
}
