package demo

import (
	"fmt"
	"strings"
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
	Suppressed uint64   `json:"redelivered_and_suppressed"`
	Retries    int      `json:"retries"` // attempts that failed and were made again
	Kills      Kills    `json:"kills"`
	Outages    []Outage `json:"outages"`
	Queue      Queue    `json:"queue"`
	// Saves are the clerks' with the CRM there; SavesWithoutCRM those during its outages.
	Saves             Saves    `json:"saves"`
	SavesWithoutCRM   Saves    `json:"saves_without_crm"`
	CatchUpSeconds    float64  `json:"catch_up_seconds"`
	Observer          Observer `json:"observer"`           // of the CRM
	WarehouseObserver Observer `json:"warehouse_observer"` // which looks less often
	Verdict           Verdict  `json:"verdict"`            // on the CRM
	Warehouse         Verdict  `json:"warehouse"`
	EngineError       string   `json:"engine_error,omitempty"` // it gave up by itself
}

// Queue is what was seen of the queue between the master and the targets.
type Queue struct {
	Peak       level `json:"peak"`        // that waited for the CRM
	BeforeKill int64 `json:"before_kill"` // actions that waited for the CRM when the engine was killed with the queue full
	AfterKill  int64 `json:"after_kill"`  // that the next engine found; the clerks went on meanwhile
	RanEmpty   bool  `json:"ran_empty"`   // at the end, by the engine's account
	Left       Left  `json:"left"`        // at the end, by the judge's

	course course
}

// Kills of the engine by SIGKILL.
type Kills struct {
	Planned  int `json:"planned"`
	Done     int `json:"done"`
	Survived int `json:"survived"` // a new engine went on
	// InTransaction struck, for certain, while a write transaction was open at the CRM,
	// AfterCommit when one had been committed and nothing else had happened, and
	// InQueueWrite while a batch was on its way into the queue.
	InTransaction      int     `json:"in_transaction"`
	AfterCommit        int     `json:"after_commit"`
	InQueueWrite       int     `json:"in_queue_write"`
	WhileAway          int     `json:"while_away"`           // struck during an outage, with the queue full
	SlowestBackSeconds float64 `json:"slowest_back_seconds"` // from the restart to carrying again
}

// Outage of the CRM.
type Outage struct {
	What           string  `json:"what"`
	Seconds        float64 `json:"seconds"`
	Written        int64   `json:"written"`         // actions that the clerks saved meanwhile
	Warehouse      int64   `json:"warehouse"`       // actions that arrived at the warehouse meanwhile
	Queued         level   `json:"queued"`          // for the CRM, when it ended
	DrainedSeconds float64 `json:"drained_seconds"` // from its end until all of that was at the CRM
}

// Observer is what was seen at a target while it was written.
type Observer struct {
	Looks int64 `json:"looks"`
	Fresh int64 `json:"looks_with_news"`
	Full  int64 `json:"looks_at_everything"`
	Torn  int64 `json:"looks_that_saw_a_torn_action"`
}

// Differences is the damage in the databases, what the observers saw of it, and what is wrong in the queue.
func (r *Report) Differences() int64 {
	return r.Verdict.Differences() + r.Warehouse.Differences() + r.Observer.Torn + r.WarehouseObserver.Torn + r.Queue.Left.Foreign
}

// fault is why the demo did not pass; empty if it did.
func (r *Report) fault() string {
	v, w, q := &r.Verdict, &r.Warehouse, &r.Queue
	switch {
	case r.Differences() > 0:
		return "found " + r.damage()
	case r.EngineError != "":
		return r.EngineError
	case v.Written == 0 || v.Applied != v.Written || w.Applied != v.Written:
		return fmt.Sprintf("%d actions were written, %d applied at the CRM and %d at the warehouse", v.Written, v.Applied, w.Applied)
	case q.AfterKill < q.BeforeKill:
		return fmt.Sprintf("the queue held %d actions when the engine was killed, and %d when the next one opened it", q.BeforeKill, q.AfterKill)
	case !q.RanEmpty || q.Left.LackedByCRM+q.Left.LackedByWarehouse > 0:
		return fmt.Sprintf("the queue did not run empty: it holds %d actions that the CRM lacks, and %d that the warehouse lacks",
			q.Left.LackedByCRM, q.Left.LackedByWarehouse)
	case !q.Left.Newest:
		return "the last message of the queue is not the last action of the master"
	case r.Kills.Survived < r.Kills.Planned:
		return fmt.Sprintf("%d of %d kills were done and survived", r.Kills.Survived, r.Kills.Planned)
	case len(r.Outages) < 2:
		return fmt.Sprintf("%d of 2 outages took place", len(r.Outages))
	case r.Observer.Fresh == 0 || r.WarehouseObserver.Fresh == 0:
		return "the observers saw nothing"
	}
	return r.stalled()
}

// stalled tells where somebody waited for the CRM while it was away.
func (r *Report) stalled() string {
	var all Outage
	for i := range r.Outages {
		o := &r.Outages[i]
		all.Written, all.Warehouse, all.Queued.Actions = all.Written+o.Written, all.Warehouse+o.Warehouse, all.Queued.Actions+o.Queued.Actions
	}
	switch {
	case all.Written == 0:
		return "nothing was saved at the master while the CRM was away"
	case all.Queued.Actions == 0:
		return "nothing queued while the CRM was away"
	case all.Warehouse == 0:
		return "nothing arrived at the warehouse while the CRM was away"
	}
	return ""
}

// damage lists what was found, by its words.
func (r *Report) damage() string {
	var parts []string
	for _, d := range r.findings() {
		if n := d.crm + d.warehouse; n > 0 {
			parts = append(parts, thousands(n)+" "+d.word)
		}
	}
	if n := r.Queue.Left.Foreign; n > 0 {
		parts = append(parts, thousands(n)+" in the queue that are not the master's")
	}
	return strings.Join(parts, ", ")
}

// finding is one kind of damage at either target.
type finding struct {
	word           string
	crm, warehouse int64
	note           string
}

func (r *Report) findings() []finding {
	v, w := &r.Verdict, &r.Warehouse
	return []finding{
		{"lost", v.Lost(), w.Lost(), fmt.Sprintf("of %s actions and %s rows", thousands(v.Written), thousands(v.Rows))},
		{"doubled", v.Doubled, w.Doubled, "actions that arrived more than once"},
		{
			"torn", v.Torn() + r.Observer.Torn, w.Torn() + r.WarehouseObserver.Torn,
			fmt.Sprintf("in %s looks at both meanwhile", thousands(r.Observer.Looks+r.WarehouseObserver.Looks)),
		},
		{"out of order", v.OutOfOrder, w.OutOfOrder, "actions that arrived after a later one"},
		{"different", v.Different + v.Invented, w.Different + w.Invented, "values, or rows of rolled back actions"},
	}
}
