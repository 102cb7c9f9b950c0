package main

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"

	"github.com/waybill-data/waybill/internal/config"
	"github.com/waybill-data/waybill/internal/monitor"
	"github.com/waybill-data/waybill/internal/pump"
)

func (a *app) newStatusCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "status [PIPELINE…]",
		Short:             "Show what the running engine is doing",
		Long:              "Asks the engine that runs with this configuration, at admin.listen, for position, lag and rates.",
		Example:           "  waybill status\n  waybill status crm -o json",
		ValidArgsFunction: a.completePipelines,
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, picked, err := a.load(args)
			if err != nil {
				return err
			}
			if cfg.Admin.Listen, err = (&addressFile{cfg: cfg}).read(); err != nil {
				return err
			}
			report := &monitor.Report{}
			if err := ask(cmd.Context(), cfg.Admin, http.MethodGet, "/status", nil, report, func() bool { return report.Waybill != "" }); err != nil {
				return err
			}
			if err := foreign(report, cfg, picked); err != nil {
				return err
			}
			if err := narrow(report, args); err != nil {
				return err
			}
			return a.emit(report, func(w io.Writer) { printStatus(w, report, time.Now()) })
		},
	}
}

// foreign refuses the answer of an engine that runs none of what was asked about: it was started
// with another configuration.
func foreign(r *monitor.Report, cfg *config.Config, picked []*config.Pipeline) error {
	var asked, runs []string
	for _, p := range picked {
		asked = append(asked, p.Name)
	}
	for i := range r.Pipelines {
		name := r.Pipelines[i].Pipeline
		if slices.Contains(asked, name) {
			return nil
		}
		if !slices.Contains(runs, name) {
			runs = append(runs, name)
		}
	}
	for i := range cfg.Pipelines {
		if slices.Contains(runs, cfg.Pipelines[i].Name) { // it is ours, and runs others of the file
			return fmt.Errorf("the running engine does not run %s; it runs %s", strings.Join(asked, ", "), strings.Join(runs, ", "))
		}
	}
	return fmt.Errorf("the engine at %s runs another configuration: none of the pipelines of %s (%s), but %s; "+
		"give one of the two another admin.listen", dialable(cfg.Admin.Listen), cfg.File, strings.Join(asked, ", "), strings.Join(runs, ", "))
}

// narrow keeps the named pipelines. One that the engine does not run is an error: showing
// nothing for it could pass for good news.
func narrow(r *monitor.Report, names []string) error {
	if len(names) == 0 {
		return nil
	}
	var absent []string
	for _, name := range names {
		if !slices.ContainsFunc(r.Pipelines, func(p pump.Status) bool { return p.Pipeline == name }) {
			absent = append(absent, name)
		}
	}
	if len(absent) > 0 {
		return fmt.Errorf("the running engine does not run %s", strings.Join(absent, ", "))
	}
	r.Pipelines = slices.DeleteFunc(r.Pipelines, func(p pump.Status) bool { return !slices.Contains(names, p.Pipeline) })
	r.Queues = slices.DeleteFunc(r.Queues, func(q monitor.Queue) bool {
		return !slices.ContainsFunc(q.Pipelines, func(name string) bool { return slices.Contains(names, name) })
	})
	return nil
}

func printStatus(w io.Writer, r *monitor.Report, now time.Time) {
	t := newTable(w, 4, 11)
	t.AppendHeader(table.Row{"pipeline", "target", "state", "for", "seq", "waiting", "lag", "actions/s", "p50", "p99", "retries"})
	for i := range r.Pipelines {
		p := &r.Pipelines[i]
		waiting, lag := "?", "?"
		if p.Backlog >= 0 {
			waiting, lag = fmt.Sprint(p.Backlog), seconds(p.LagSeconds)
		}
		if p.AtLeast {
			waiting += "+"
		}
		p50, p99 := "-", "-"
		if p.Actions > 0 {
			p50, p99 = seconds(p.P50), seconds(p.P99)
		}
		seq := "-"
		if p.Seq > 0 {
			seq = fmt.Sprint(p.Seq)
		}
		t.AppendRow(table.Row{
			p.Pipeline, p.Target, stateText(p), now.Sub(p.Since).Round(time.Second), seq, waiting, lag,
			fmt.Sprintf("%.1f", p.Rate), p50, p99, p.Retries,
		})
	}
	t.Render()
	for i := range r.Pipelines {
		printLog(w, &r.Pipelines[i])
	}
	for i := range r.Queues {
		printQueue(w, &r.Queues[i])
	}
	hops := map[string]int{}
	for i := range r.Pipelines {
		hops[r.Pipelines[i].Pipeline]++
	}
	for i := range r.Pipelines {
		p := &r.Pipelines[i]
		name := p.Stream
		if hops[p.Pipeline] == 1 {
			name = p.Pipeline
		}
		if p.Error != "" {
			fmt.Fprintf(w, "\n%s: %s\n", name, p.Error)
		}
	}
}

// stateText is the state, and that it will be another soon.
func stateText(p *pump.Status) string {
	if p.Paused && p.State != pump.Paused {
		return string(p.State) + ", to pause"
	}
	return string(p.State)
}

// printLog tells what the source keeps for a hop, and what was remarkable at its target.
func printLog(w io.Writer, p *pump.Status) {
	if s := p.Slot; s != nil {
		alarm := ""
		switch {
		case s.Alarm && s.Limit > 0 && s.Retained > s.Limit:
			alarm = fmt.Sprintf("; ALARM: more than max_slot_bytes (%s)", size(uint64(s.Limit)))
		case s.Alarm:
			alarm = "; ALARM: the source threw away log that was not read"
		}
		fmt.Fprintf(w, "\nslot %s of %s: %s, %s retained, %s unconfirmed%s\n", s.Name, p.Stream, s.Status, size(uint64(max(0, s.Retained))), size(uint64(max(0, s.Unconfirmed))), alarm)
	}
	if p.Filtered > 0 {
		fmt.Fprintf(w, "%s: nothing was left to apply of %s\n", p.Stream, plural(p.Filtered, "action", "actions"))
	}
	if p.ForeignWrites > 0 {
		fmt.Fprintf(w, "%s: %s found the target other than the stream had left it: somebody else writes there\n", p.Stream, plural(p.ForeignWrites, "change", "changes"))
	}
}

func printQueue(w io.Writer, q *monitor.Queue) {
	fmt.Fprintf(w, "\nqueue %s in %s: ", q.Queue, q.Dir)
	if !q.Known {
		fmt.Fprintf(w, "not known: %s\n", q.Error)
		return
	}
	fmt.Fprintf(w, "%s, %s of %s (%.0f%%), the oldest %s\n", plural(q.Messages, "message", "messages"), size(q.Bytes), size(q.MaxBytes), q.UsedPercent, seconds(q.OldestSeconds))
	if q.Full {
		fmt.Fprintf(w, "full, what follows is held back: %s\n", q.Why)
	}
	if len(q.Consumers) == 0 {
		return
	}
	t := newTable(w, 2, 5)
	t.AppendHeader(table.Row{"consumer", "lacks", "bytes", "oldest", "actions/s"})
	for _, c := range q.Consumers {
		name := c.Consumer
		if c.Paused {
			name += " (paused)"
		}
		t.AppendRow(table.Row{name, c.Depth, size(c.Bytes), seconds(c.OldestSeconds), fmt.Sprintf("%.1f", c.Rate)})
	}
	t.Render()
}

// newTable has numbers in the columns first to last.
func newTable(w io.Writer, first, last int) table.Writer {
	t := table.NewWriter()
	t.SetOutputMirror(w)
	t.SetStyle(table.StyleLight)
	t.Style().Options = table.OptionsNoBordersAndSeparators
	var columns []table.ColumnConfig
	for n := first; n <= last; n++ {
		columns = append(columns, table.ColumnConfig{Number: n, Align: text.AlignRight, AlignHeader: text.AlignRight})
	}
	t.SetColumnConfigs(columns)
	return t
}

// size is about bytes, exact where a unit fits.
func size(bytes uint64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	n, i := float64(bytes), 0
	for n >= 1023.5 && i < len(units)-1 && (n >= 1024 || i > 0) { // 1023.9 KiB would be written 1024 KiB
		n, i = n/1024, i+1
	}
	if i == 0 || n >= 100 || n == float64(int64(n)) {
		return fmt.Sprintf("%.0f %s", n, units[i])
	}
	return fmt.Sprintf("%.1f %s", n, units[i])
}

func seconds(s float64) string {
	d := time.Duration(s * float64(time.Second))
	if d < time.Second {
		return d.Round(10 * time.Microsecond).String()
	}
	return d.Round(100 * time.Millisecond).String()
}
