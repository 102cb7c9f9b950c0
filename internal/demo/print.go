package demo

import (
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
)

// chartWidth is the number of columns of the queue's course.
const chartWidth = 50

// Print writes the tables for people, and where the databases are if they are kept.
func (r *Report) Print(w io.Writer, colour bool) {
	s := Screen{Colour: colour}
	fmt.Fprintf(w, `
%s
%s
%s

`,
		s.paint(bold, "                                 ┌──▶  CRM"),
		s.paint(bold, "customer master  ──▶  queue  ────┤"),
		s.paint(bold, "                                 └──▶  warehouse"))
	r.printCourse(w, s)
	fmt.Fprintln(w, r.happened())
	fmt.Fprintln(w, r.found(s))
	fmt.Fprintln(w)
	r.printEnd(w, s)
}

// printCourse draws how the queue filled and drained, and what was done meanwhile.
func (r *Report) printCourse(w io.Writer, s Screen) {
	c, most := &r.Queue.course, slices.Max(append([]int64{1}, append(r.Queue.course.crm, r.Queue.course.warehouse...)...))
	for _, l := range []struct{ name, colour, chart, note string }{
		{"queued for the CRM", yellow, chart(c.crm, most), "at most " + thousands(r.Queue.Peak.Actions)},
		{"           warehouse", green, chart(c.warehouse, most), "at most " + thousands(slices.Max(append([]int64{0}, c.warehouse...)))},
		{"CRM away", yellow, marks(c.away, '━'), ""},
		{"engine killed", red, marks(c.kills, '✗'), ""},
	} {
		fmt.Fprintf(w, "%-21s %s  %s\n", l.name, s.paint(l.colour, l.chart), l.note)
	}
	fmt.Fprintln(w)
}

func marks(columns []int64, mark rune) string {
	line := make([]rune, len(columns))
	for i, n := range columns {
		line[i] = ' '
		if n > 0 {
			line[i] = mark
		}
	}
	return string(line)
}

func newTable() table.Writer {
	t := table.NewWriter()
	t.SetStyle(table.StyleRounded)
	t.Style().Format.Header = text.FormatDefault
	t.SetColumnConfigs([]table.ColumnConfig{
		{Number: 1, WidthMin: 23},
		{Number: 2, Align: text.AlignRight, AlignHeader: text.AlignRight},
	})
	return t
}

func (r *Report) happened() string {
	v := &r.Verdict
	t := newTable()
	t.AppendHeader(table.Row{"what happened", "", fmt.Sprintf("in %.1f s", r.Seconds)})
	t.AppendRow(table.Row{"actions written", thousands(v.Written), r.kinds()})
	t.AppendRow(table.Row{"saved without a CRM", thousands(r.withoutCRM()), r.unimpressed()})
	t.AppendRow(table.Row{"applied at the CRM", thousands(v.Applied), thousands(v.Changes) + " changed rows"})
	t.AppendRow(table.Row{"  and at the warehouse", thousands(r.Warehouse.Applied), "which never waited for the CRM"})
	t.AppendRow(table.Row{"redelivered, suppressed", thousands(r.Suppressed), "at-least-once would apply them twice"})
	t.AppendRow(table.Row{"rolled back", thousands(r.RolledBack), "by the application; none may arrive"})
	t.AppendRow(table.Row{"kills survived", r.Kills.Survived, r.killed()})
	t.AppendRow(table.Row{"outages survived", len(r.Outages), r.outages()})
	return t.Render()
}

func (r *Report) found(s Screen) string {
	t := newTable()
	t.SetColumnConfigs([]table.ColumnConfig{
		{Number: 1, WidthMin: 14},
		{Number: 2, Align: text.AlignRight, AlignHeader: text.AlignRight},
		{Number: 3, Align: text.AlignRight, AlignHeader: text.AlignRight},
	})
	t.AppendHeader(table.Row{"what was found", "CRM", "warehouse", "by SQL and a plain NATS client"})
	figure := func(n int64) string {
		if n != 0 {
			return s.paint(red+";"+bold, thousands(n))
		}
		return s.paint(green+";"+bold, "0")
	}
	for _, f := range r.findings() {
		t.AppendRow(table.Row{f.word, figure(f.crm), figure(f.warehouse), f.note})
	}
	l := &r.Queue.Left
	t.AppendRow(table.Row{"left in queue", figure(l.LackedByCRM), figure(l.LackedByWarehouse), "actions still on their way at the end"})
	return t.Render()
}

// ended is what there is to say of the queue.
func (r *Report) ended() string {
	o := &r.Outages[0]
	for i := range r.Outages {
		if r.Outages[i].Queued.Actions > o.Queued.Actions {
			o = &r.Outages[i]
		}
	}
	return fmt.Sprintf("The queue grew to %s actions while the CRM was away and was empty %s after it returned.",
		thousands(o.Queued.Actions), short(seconds(o.DrainedSeconds)))
}

func (r *Report) printEnd(w io.Writer, s Screen) {
	if r.Passed {
		fmt.Fprintf(w, "%s %s\n  %s\n", s.paint(green+";"+bold, "✓"), s.paint(bold, "Every action arrived: whole, in order, once."), r.ended())
	} else {
		fmt.Fprintf(w, "%s Not as promised: %s\n", s.paint(red+";"+bold, "✗"), r.Fault)
		if r.EngineError != "" && r.EngineError != r.Fault {
			fmt.Fprintf(w, "  %s\n", r.EngineError)
		}
	}
	if r.Dir != "" {
		fmt.Fprintf(w, `
Look yourself, with any SQLite shell:
  sqlite3 %[1]s
    attach '%[2]s' as master;
    select count(*) from master.journal where action not in (select action from journal);   -- lost
    select action, count(*) from arrival group by action, part having count(*) > 1;         -- doubled
    select name, phones, addresses, version from customer limit 5;
  The warehouse, the queue, the engine's configuration and its log are beside them.
`, filepath.Join(r.Dir, "crm.db"), filepath.Join(r.Dir, "master.db"))
	}
	fmt.Fprintf(w, "\nTry next:\n")
	if r.Dir == "" {
		fmt.Fprintf(w, "  waybill demo --for 1m --keep     longer, and keep the databases to look at\n")
	}
	fmt.Fprintf(w, "  waybill init                     write a waybill.yaml for your own databases\n")
	fmt.Fprintf(w, "  waybill check                    what is missing there, and what is promised\n")
}

// kinds tells the actions by what they were.
func (r *Report) kinds() string {
	var parts []string
	for _, k := range []struct{ kind, word string }{
		{created, "created"}, {saved, "saved"}, {moved, "moved"}, {deleted, "deleted"}, {recreated, "re-created"},
	} {
		parts = append(parts, fmt.Sprintf("%s %s", thousands(r.Verdict.Kinds[k.kind]), k.word))
	}
	return strings.Join(parts[:3], " · ") + "\n" + strings.Join(parts[3:], " · ")
}

func (r *Report) withoutCRM() (n int64) {
	for i := range r.Outages {
		n += r.Outages[i].Written
	}
	return n
}

// unimpressed compares the saves with and without the CRM.
func (r *Report) unimpressed() string {
	with, without := &r.Saves, &r.SavesWithoutCRM
	return fmt.Sprintf("nobody waited: a save took %s (median),\nwith the CRM there %s", fine(without.Median), fine(with.Median))
}

func (r *Report) killed() string {
	k := &r.Kills
	var lines []string
	if k.Survived < k.Done {
		lines = append(lines, fmt.Sprintf("of %d", k.Done))
	}
	for _, d := range []struct {
		n    int
		when string
	}{
		{k.InTransaction, "in mid-transaction at the CRM"},
		{k.AfterCommit, "right after a commit there"},
		{k.InQueueWrite, "in mid-write to the queue"},
	} {
		if d.n > 0 {
			lines = append(lines, fmt.Sprintf("%d %s", d.n, d.when))
		}
	}
	if k.WhileAway > 0 {
		lines = append(lines, fmt.Sprintf("%d with %s actions in the queue", k.WhileAway, thousands(r.Queue.BeforeKill)))
	}
	if k.Survived > 0 {
		lines = append(lines, "back at work within "+short(seconds(k.SlowestBackSeconds)))
	}
	return strings.Join(lines, "\n")
}

func (r *Report) outages() string {
	var lines []string
	for i := range r.Outages {
		o := &r.Outages[i]
		lines = append(lines, fmt.Sprintf("%.1f s: %s", o.Seconds, o.What),
			fmt.Sprintf("  queue grew to %s actions, %s", thousands(o.Queued.Actions), size(o.Queued.Bytes)),
			"  "+o.drained())
	}
	return strings.Join(lines, "\n")
}

func (o *Outage) drained() string {
	if o.DrainedSeconds == 0 {
		return "and was not empty again"
	}
	return fmt.Sprintf("empty %s after the CRM was back", short(seconds(o.DrainedSeconds)))
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
