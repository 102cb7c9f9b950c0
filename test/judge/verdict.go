package judge

import (
	"context"
	"fmt"
	"strings"
)

// Verdict counts what is wrong at a target.
type Verdict struct {
	// Actions were committed at the source, Applied of them arrived at the target.
	Actions, Applied int

	Lost, Doubled, Torn, OutOfOrder, Phantom, Different int
	// Skipped are those of the Lost after which a later action of the same session arrived: the
	// others may still come.
	Skipped int
	// Examples describes some of the faults.
	Examples []string
}

// maxExamples bounds Verdict.Examples.
const maxExamples = 20

// Clean reports whether nothing is wrong.
func (v *Verdict) Clean() bool {
	return v.Lost+v.Doubled+v.Torn+v.OutOfOrder+v.Phantom+v.Different == 0
}

func (v *Verdict) String() string {
	s := fmt.Sprintf("%d actions, %d applied: lost %d (%d of them skipped), doubled %d, torn %d, out of order %d, phantom %d, different rows %d",
		v.Actions, v.Applied, v.Lost, v.Skipped, v.Doubled, v.Torn, v.OutOfOrder, v.Phantom, v.Different)
	if len(v.Examples) > 0 {
		s += "\n  " + strings.Join(v.Examples, "\n  ")
	}
	return s
}

// Prefix reports whether nothing is wrong but that what came last at the source is not there yet.
func (v *Verdict) Prefix() bool {
	return v.Skipped+v.Doubled+v.Torn+v.OutOfOrder+v.Phantom == 0
}

// Add adds what is wrong at another target of the same source.
func (v *Verdict) Add(target string, more *Verdict) {
	v.Actions = more.Actions
	v.Applied += more.Applied
	v.Lost += more.Lost
	v.Skipped += more.Skipped
	v.Doubled += more.Doubled
	v.Torn += more.Torn
	v.OutOfOrder += more.OutOfOrder
	v.Phantom += more.Phantom
	v.Different += more.Different
	for _, e := range more.Examples {
		v.Examples = append(v.Examples, target+": "+e)
	}
}

func (v *Verdict) add(count *int, format string, args ...any) {
	*count++
	if len(v.Examples) < maxExamples {
		v.Examples = append(v.Examples, fmt.Sprintf(format, args...))
	}
}

// entry is a row of the journal, or of the arrivals.
type entry struct {
	action, customer, version, session, step int64
}

// Judge compares a source and a target that is no longer written to.
func Judge(ctx context.Context, source, target *Side) (*Verdict, error) {
	sent, err := source.entries(ctx, `select action, customer_id, version, session, step from journal order by action, customer_id`)
	if err != nil {
		return nil, fmt.Errorf("read the source's journal: %w", err)
	}
	arrived, err := target.entries(ctx, `select action, customer_id, version, session, step from arrival order by n`)
	if err != nil {
		return nil, fmt.Errorf("read the arrivals: %w", err)
	}
	v := &Verdict{}
	v.deliveries(sent, arrived)
	v.order(arrived)
	var torn, journal int
	if err := target.DB.QueryRowContext(ctx, snapshotQuery).Scan(&torn, &journal); err != nil {
		return nil, fmt.Errorf("look for parts of actions: %w", err)
	}
	for range torn {
		v.add(&v.Torn, "a customer whose children are not what it says")
	}
	for _, table := range []string{"customer", "phone", "address", "journal"} {
		if err := v.compare(ctx, source, target, table); err != nil {
			return nil, fmt.Errorf("compare %s: %w", table, err)
		}
	}
	return v, nil
}

func (s *Side) entries(ctx context.Context, query string) ([]entry, error) {
	rows, err := s.DB.QueryContext(ctx, query)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []entry
	for rows.Next() {
		var e entry
		if err := rows.Scan(&e.action, &e.customer, &e.version, &e.session, &e.step); err != nil {
			return nil, err
		}
		out = append(out, e)
	}
	return out, rows.Err()
}

// deliveries counts what is lost, skipped, doubled, torn and phantom: an action's journal rows must
// all have arrived, each once, or none of them.
func (v *Verdict) deliveries(sent, arrived []entry) {
	times := map[entry]int{}
	for _, e := range arrived {
		times[e]++
	}
	parts, there := map[int64]int{}, map[int64]int{}
	doubled := map[int64]bool{}
	known := map[entry]bool{}
	first, last := map[int64]entry{}, map[int64]int64{}
	for _, e := range arrived {
		last[e.session] = max(last[e.session], e.step)
	}
	for _, e := range sent {
		known[e] = true
		first[e.action] = e
		parts[e.action]++
		if times[e] > 0 {
			there[e.action]++
		}
		if times[e] > 1 && !doubled[e.action] {
			doubled[e.action] = true
			v.add(&v.Doubled, "action %d arrived %d times", e.action, times[e])
		}
	}
	v.Actions = len(parts)
	for action, n := range parts {
		switch there[action] {
		case n:
			v.Applied++
		case 0:
			v.add(&v.Lost, "action %d never arrived", action)
			if e := first[action]; e.step < last[e.session] {
				v.add(&v.Skipped, "action %d never arrived, and a later one of its session did", action)
			}
		default:
			v.add(&v.Torn, "action %d arrived in %d of %d parts", action, there[action], n)
		}
	}
	for e := range times {
		if !known[e] {
			v.add(&v.Phantom, "action %d at version %d of customer %d arrived and is not at the source", e.action, e.version, e.customer)
		}
	}
}

// order counts first arrivals that come after a later one of the same customer or session.
func (v *Verdict) order(arrived []entry) {
	customers, sessions := map[int64]int64{}, map[int64]int64{}
	seen := map[entry]bool{}
	for _, e := range arrived {
		if seen[e] {
			continue // doubled, counted there
		}
		seen[e] = true
		switch {
		case e.version <= customers[e.customer]:
			v.add(&v.OutOfOrder, "action %d brought version %d of customer %d after version %d", e.action, e.version, e.customer, customers[e.customer])
		case e.step < sessions[e.session]:
			v.add(&v.OutOfOrder, "action %d is step %d of session %d and came after step %d", e.action, e.step, e.session, sessions[e.session])
		}
		customers[e.customer] = max(customers[e.customer], e.version)
		sessions[e.session] = max(sessions[e.session], e.step)
	}
}

var comparedColumns = map[string]string{
	"customer": "id, name, email, city, version, phones, addresses, total",
	"phone":    "id, customer_id, kind, number, version",
	"address":  "id, customer_id, street, city, note, version",
	"journal":  "action, customer_id, version, session, step",
}

// compare counts the rows that are not the same on both sides.
func (v *Verdict) compare(ctx context.Context, source, target *Side, table string) error {
	count := map[string]int{}
	for i, side := range []*Side{source, target} {
		rows, err := side.texts(ctx, "select "+comparedColumns[table]+" from "+table)
		if err != nil {
			return err
		}
		for _, r := range rows {
			count[strings.Join(r, "\x00")] += 1 - 2*i
		}
	}
	for r, n := range count {
		side := "source"
		if n < 0 {
			side = "target"
		}
		if n != 0 {
			v.add(&v.Different, "%s row is only at the %s: %.120s", table, side, strings.ReplaceAll(r, "\x00", " | "))
		}
	}
	return nil
}
