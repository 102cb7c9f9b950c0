package demo

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
)

// Report is what the demo did and found.
type Report struct {
	Passed     bool    `json:"passed"`
	Fault      string  `json:"fault,omitempty"` // why it did not pass
	ForSeconds float64 `json:"for_seconds"`
	Seconds    float64 `json:"seconds"`       // all told
	Dir        string  `json:"dir,omitempty"` // where the databases are; empty if they are not kept

	RolledBack int64 `json:"rolled_back"` // transactions that were written and rolled back
	// Suppressed: deliveries that the source had no acknowledgement for when an engine started,
	// and that the target's position showed to be applied.
	Suppressed     uint64   `json:"redelivered_and_suppressed"`
	Retries        int      `json:"retries"` // attempts that failed and were made again
	Kills          Kills    `json:"kills"`
	Outages        []Outage `json:"outages"`
	CatchUpSeconds float64  `json:"catch_up_seconds"`
	Observer       Observer `json:"observer"`
	Verdict        Verdict  `json:"verdict"`
	EngineError    string   `json:"engine_error,omitempty"` // it gave up by itself
}

// Kills of the engine by SIGKILL.
type Kills struct {
	Planned  int `json:"planned"`
	Done     int `json:"done"`
	Survived int `json:"survived"` // a new engine went on
	// InTransaction struck, for certain, while a write transaction was open at the CRM, and
	// AfterCommit when one had been committed and nothing else had happened.
	InTransaction      int     `json:"in_transaction"`
	AfterCommit        int     `json:"after_commit"`
	WhileAway          int     `json:"while_away"`           // struck during an outage
	SlowestBackSeconds float64 `json:"slowest_back_seconds"` // from the restart to carrying again
}

// Outage of the CRM.
type Outage struct {
	What           string  `json:"what"`
	Seconds        float64 `json:"seconds"`
	Backlog        int64   `json:"backlog"` // actions waiting when it ended
	DrainedSeconds float64 `json:"drained_seconds"`
}

// Observer is what was seen at the CRM while it was written.
type Observer struct {
	Looks int64 `json:"looks"`
	Fresh int64 `json:"looks_with_news"`
	Full  int64 `json:"looks_at_everything"`
	Torn  int64 `json:"looks_that_saw_a_torn_action"`
}

// Differences is the damage in the databases and what the observer saw of it.
func (r *Report) Differences() int64 { return r.Verdict.Differences() + r.Observer.Torn }

// fault is why the demo did not pass; empty if it did.
func (r *Report) fault() string {
	v := &r.Verdict
	switch {
	case r.Differences() > 0:
		return "found " + r.damage()
	case r.EngineError != "":
		return r.EngineError
	case v.Written == 0 || v.Applied != v.Written:
		return fmt.Sprintf("%d actions were written and %d applied", v.Written, v.Applied)
	case r.Kills.Survived < r.Kills.Planned:
		return fmt.Sprintf("%d of %d kills were done and survived", r.Kills.Survived, r.Kills.Planned)
	case len(r.Outages) < 2:
		return fmt.Sprintf("%d of 2 outages took place", len(r.Outages))
	case r.Observer.Fresh == 0:
		return "the observer saw nothing"
	}
	return ""
}

// damage lists what was found, by its words.
func (r *Report) damage() string {
	v := &r.Verdict
	var parts []string
	for _, d := range []struct {
		n    int64
		word string
	}{
		{v.Lost(), "lost"}, {v.Doubled, "doubled"}, {v.Torn() + r.Observer.Torn, "torn"}, {v.OutOfOrder, "out of order"}, {v.Different + v.Invented, "different"},
	} {
		if d.n > 0 {
			parts = append(parts, thousands(d.n)+" "+d.word)
		}
	}
	return strings.Join(parts, ", ")
}

// Print writes the table for people, and where the databases are if they are kept.
func (r *Report) Print(w io.Writer, colour bool) {
	s := Screen{Colour: colour}
	v := &r.Verdict
	fmt.Fprintf(w, "\n%s\n\n", s.paint(bold, "customer master  ──▶  waybill  ──▶  CRM"))
	t := table.NewWriter()
	t.SetStyle(table.StyleRounded)
	t.Style().Format.Header = text.FormatDefault
	t.SetColumnConfigs([]table.ColumnConfig{{Number: 2, Align: text.AlignRight, AlignHeader: text.AlignRight}})
	t.AppendHeader(table.Row{"what happened", "", fmt.Sprintf("in %.1f s", r.Seconds)})
	t.AppendRow(table.Row{"actions written", thousands(v.Written), r.kinds()})
	t.AppendRow(table.Row{"applied at the CRM", thousands(v.Applied), thousands(v.Changes) + " changed rows"})
	t.AppendRow(table.Row{"redelivered, suppressed", thousands(r.Suppressed), "at-least-once would apply them twice"})
	t.AppendRow(table.Row{"rolled back", thousands(r.RolledBack), "by the application; none may arrive"})
	t.AppendRow(table.Row{"kills survived", r.Kills.Survived, r.killed()})
	t.AppendRow(table.Row{"outages survived", len(r.Outages), r.outages()})
	t.AppendSeparator()
	t.AppendRow(table.Row{s.paint(bold, "what was found"), "", "by plain SQL over both"})
	t.AppendSeparator()
	row := func(name string, n int64, note string) {
		figure := s.paint(green+";"+bold, "0")
		if n != 0 {
			figure = s.paint(red+";"+bold, thousands(n))
		}
		t.AppendRow(table.Row{name, figure, note})
	}
	row("lost", v.Lost(), fmt.Sprintf("of %s actions and %s rows", thousands(v.Written), thousands(v.Rows)))
	row("doubled", v.Doubled, "actions that arrived more than once")
	row("torn", v.Torn()+r.Observer.Torn, fmt.Sprintf("in %s looks at the CRM meanwhile", thousands(r.Observer.Looks)))
	row("out of order", v.OutOfOrder, "actions that arrived after a later one")
	row("different", v.Different+v.Invented, "values, or rows of rolled back actions")
	fmt.Fprintln(w, t.Render())
	fmt.Fprintln(w)
	r.printEnd(w, s)
}

func (r *Report) printEnd(w io.Writer, s Screen) {
	if r.Passed {
		fmt.Fprintf(w, "%s Every action arrived: whole, in order, once.\n", s.paint(green+";"+bold, "✓"))
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
  %[3]s
`, filepath.Join(r.Dir, "crm.db"), filepath.Join(r.Dir, "master.db"), "The engine's configuration and log are beside them.")
	}
	fmt.Fprintf(w, "\nTry next:\n")
	if r.Dir == "" {
		fmt.Fprintf(w, "  waybill demo --for 1m --keep     longer, and keep both databases to look at\n")
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

func (r *Report) killed() string {
	k := &r.Kills
	var lines []string
	if k.Survived < k.Done {
		lines = append(lines, fmt.Sprintf("of %d", k.Done))
	}
	if k.InTransaction > 0 {
		lines = append(lines, fmt.Sprintf("%d in the middle of a transaction", k.InTransaction))
	}
	if k.AfterCommit > 0 {
		lines = append(lines, fmt.Sprintf("%d right after a commit", k.AfterCommit))
	}
	if k.WhileAway > 0 {
		lines = append(lines, fmt.Sprintf("%d while the CRM was away", k.WhileAway))
	}
	if k.Survived > 0 {
		lines = append(lines, "back at work within "+short(time.Duration(k.SlowestBackSeconds*float64(time.Second))))
	}
	return strings.Join(lines, "\n")
}

func (r *Report) outages() string {
	var lines []string
	for _, o := range r.Outages {
		lines = append(lines, fmt.Sprintf("%.1f s %s\n  %s waited, arrived within %s", o.Seconds, o.What,
			thousands(o.Backlog), short(time.Duration(o.DrainedSeconds*float64(time.Second)))))
	}
	return strings.Join(lines, "\n")
}
