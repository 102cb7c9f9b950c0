package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
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
		Long: `Validates the configuration, connects to the source and the targets of each pipeline, looks
at the directory of its queue, and checks what it needs there. What is missing is printed
with the statement that fixes it. Then comes the promise: what the pipeline guarantees, and
why.

Nothing is changed. Exit 1 if something is missing, 2 if the configuration is at fault.`,
		Example:           "  waybill check\n  waybill check crm -o json",
		ValidArgsFunction: a.completePipelines,
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, picked, err := a.load(args)
			if err != nil {
				return err
			}
			return a.check(cmd.Context(), cfg, picked)
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
	Stream   string            `json:"stream,omitempty"` // that of the only target, or of the queue without a target
	Streams  []string          `json:"streams"`          // of every hop
	Source   string            `json:"source,omitempty"`
	Queue    string            `json:"queue,omitempty"`
	Target   string            `json:"target,omitempty"` // the kinds
	OK       bool              `json:"ok"`
	Findings []finding         `json:"findings"`
	Promise  []pattern.Verdict `json:"promise"` // what holds for every target
	Targets  []targetCheck     `json:"targets"`
}

// targetCheck is what is promised on all hops to one target.
type targetCheck struct {
	Target  string            `json:"target"`
	Kind    string            `json:"kind"`
	Stream  string            `json:"stream"`
	Promise []pattern.Verdict `json:"promise"`
}

type finding struct {
	At     string `json:"at"`               // configuration | source | queue | target
	Target string `json:"target,omitempty"` // its name, where it was given one
	State  string `json:"state"`            // ok | warning | missing
	What   string `json:"what"`
	Fix    string `json:"fix,omitempty"`
}

func (a *app) check(ctx context.Context, cfg *config.Config, picked []*config.Pipeline) error {
	q := newQueues(cfg, picked, a.quietLog())
	result := checkResult{OK: true, Pipelines: make([]pipelineCheck, len(picked))}
	var g errgroup.Group
	g.SetLimit(checkParallel)
	for i := range picked {
		g.Go(func() error {
			result.Pipelines[i] = a.checkPipeline(ctx, cfg, picked[i], q)
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

func (a *app) checkPipeline(ctx context.Context, cfg *config.Config, p *config.Pipeline, q *queues) pipelineCheck {
	c := pipelineCheck{
		Pipeline: p.Name, Pattern: p.Pattern, Source: p.Source.Kind(), Queue: p.Queue.Kind(), Target: targetKinds(p),
		OK: true, Streams: []string{}, Findings: []finding{}, Targets: []targetCheck{},
	}
	h, err := newHops(p, q, "", a.quietLog())
	if err != nil {
		c.OK = false
		c.Findings = append(c.Findings, finding{At: "configuration", State: stateMissing, What: err.Error()})
		return c
	}
	c.Streams = h.streams()
	c.Findings = append(c.Findings, checkRules(p)...)
	for _, s := range h.sources {
		c.look(ctx, finding{At: "source"}, s.stream, s.reader)
	}
	if h.queue != nil {
		c.look(ctx, finding{At: "queue"}, p.QueueStream(), h.queue)
		c.Findings = append(c.Findings, checkNeighbours(cfg, p)...)
	}
	for _, t := range h.targets {
		c.look(ctx, finding{At: "target", Target: givenName(p, t.target)}, t.stream, t.writer)
	}
	for i := range c.Findings {
		c.Findings[i].Fix = a.completeFix(c.Findings[i].Fix, p)
	}
	c.promise(h)
	return c
}

// promise works out what holds on all hops: to each target, or as far as the queue.
func (c *pipelineCheck) promise(h *hops) {
	if len(c.Streams) == 1 {
		c.Stream = c.Streams[0]
	}
	into := []any{}
	if h.intoIt != nil {
		into = append(into, h.sources[0].reader, h.intoIt)
	}
	var all []any
	for _, t := range h.targets {
		parts := slices.Concat(into, []any{t.reader, t.writer})
		c.Targets = append(c.Targets, targetCheck{t.target.Name, t.target.Kind(), t.stream, pattern.Promise(parts...)})
		all = append(all, parts...)
	}
	if len(h.targets) == 1 {
		c.Stream = h.targets[0].stream
	}
	if len(h.targets) == 0 {
		all = into
	}
	c.Promise = pattern.Promise(all...)
	for i := range c.Promise { // several targets say the same
		c.Promise[i].Reasons = unique(c.Promise[i].Reasons)
	}
}

// unique leaves the first of those that are equal.
func unique(all []string) []string {
	var once []string
	for _, s := range all {
		if !slices.Contains(once, s) {
			once = append(once, s)
		}
	}
	return once
}

// givenName is the target's name where the user chose one.
func givenName(p *config.Pipeline, t *config.Target) string {
	if len(p.Targets) == 1 && t.Name == t.Kind() {
		return ""
	}
	return t.Name
}

// targetKinds are the targets' kinds, with their names where the user chose them.
func targetKinds(p *config.Pipeline) string {
	kinds := make([]string, 0, len(p.Targets))
	for i := range p.Targets {
		t := &p.Targets[i]
		if name := givenName(p, t); name != "" {
			kinds = append(kinds, fmt.Sprintf("%s (%s)", name, t.Kind()))
		} else {
			kinds = append(kinds, t.Kind())
		}
	}
	return strings.Join(kinds, ", ")
}

// checkNeighbours tells what this configuration's other pipelines leave to be wished for in the
// queue that p shares with them. All of it may be meant so.
func checkNeighbours(cfg *config.Config, p *config.Pipeline) []finding {
	q := p.Queue.Embedded
	var readers, writers []string
	for i := range cfg.Pipelines {
		o := &cfg.Pipelines[i]
		e := o.Queue.Embedded
		if e == nil || e.Dir != q.Dir || e.Stream != q.Stream {
			continue
		}
		if len(o.Targets) > 0 && (e.Subject == p.Name || e.Subject == "") {
			readers = append(readers, o.Name)
		}
		if o.Source.IsSet() {
			writers = append(writers, o.Name)
		}
	}
	warn := func(what, fix string) []finding {
		return []finding{{At: "queue", State: stateWarning, What: what, Fix: fix}}
	}
	switch {
	case p.Source.IsSet() && len(readers) == 0:
		return warn("no pipeline of this configuration takes the actions of "+p.Name+" from the queue: they stay there, and when max_bytes are reached the source is held back",
			"add a pipeline with this queue and a target")
	case !p.Source.IsSet() && q.Subject != "" && !slices.Contains(writers, q.Subject) && q.Listen == "":
		return warn("no pipeline of this configuration puts actions of "+q.Subject+" into the queue: only those that it holds already are carried",
			"see whether the name under subject is right, or set listen, so that others can put actions there")
	case !p.Source.IsSet() && q.Subject == "" && q.Listen == "":
		return warn("no pipeline of this configuration puts actions into the queue: only those that it holds already are carried",
			"add a pipeline with a source and this queue, or set listen, so that others can put actions there")
	}
	return nil
}

// completeFix gives a fix that is a command of this program what the connector cannot know.
func (a *app) completeFix(fix string, p *config.Pipeline) string {
	switch fix {
	case "waybill outbox install":
		fix += " " + p.Name
	case "waybill outbox install " + p.Name:
	default:
		return fix
	}
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

// look asks one part for its findings; not getting an answer is a finding too. What another part
// at the same place found is not repeated.
func (c *pipelineCheck) look(ctx context.Context, at finding, stream string, part any) {
	add := func(state, what, fix string) {
		f := at
		f.State, f.What, f.Fix = state, what, fix
		if !slices.Contains(c.Findings, f) {
			c.Findings = append(c.Findings, f)
		}
	}
	checker, ok := waybill.As[waybill.Checker](part)
	if !ok { // saying nothing could pass for good news
		add(stateWarning, "this connector cannot check its prerequisites", "")
		return
	}
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	found, err := checker.Check(ctx, stream)
	if closer, ok := part.(io.Closer); ok {
		err = errors.Join(err, closer.Close())
	}
	if err != nil {
		what := strings.TrimPrefix(err.Error(), at.At+": ")
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
		add(state, f.What, f.Fix)
	}
}
