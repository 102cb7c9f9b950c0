package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/waybill-data/waybill/internal/config"
)

// misplacedRules finds what of p's mapping could have no effect, or not the one that it says.
func misplacedRules(file string, p *config.Pipeline) (faults config.Faults) {
	taken := map[string]string{} // the entity that is written to a table, by target and the table's name there
	for i := range p.Mapping {
		r := &p.Mapping[i]
		at := func(place config.Place, field, message string) {
			place.Path += field
			faults = append(faults, place.Fault(file, message))
		}
		if s := p.Source.Postgres; s != nil && s.Capture == "changes" && !strings.Contains(r.Entity, ".") {
			at(r.Place, "", "is the name of no table, so that nothing would come of it; with capture: changes they are named SCHEMA.TABLE (public."+r.Entity+")")
		}
		if len(p.Targets) == 0 {
			for _, field := range writerFields(p, r) {
				at(r.Place, "."+field, "acts where a pipeline writes to a target, and this one has none; say it at the pipeline that takes the actions from the queue")
			}
			continue
		}
		for _, child := range append([]config.Child{{To: r.TargetTable(), Place: r.Place}}, r.Children...) {
			for j := range p.Targets {
				to := child.To
				name := p.Targets[j].Name + "\x00" + tableAt(&p.Targets[j], to)
				if other := taken[name]; other != "" && other != to { // the same name is a fault of the mapping
					at(child.Place, "", fmt.Sprintf("%s and %s are the same table at %s; give one of them another name with to", other, to, describeTarget(&p.Targets[j])))
				}
				taken[name] = to
			}
		}
	}
	return faults
}

// writerFields are those of r that act after a queue.
func writerFields(p *config.Pipeline, r *config.Rule) (fields []string) {
	for _, f := range []struct {
		name string
		said bool
	}{
		{"to", r.To != ""},
		{"columns", len(r.Columns) > 0},
		{"set", len(r.Set) > 0},
		{"children", len(r.Children) > 0},
		{"create", r.Create != p.Create},
		{"evolve", r.Evolve != p.Evolve},
	} {
		if f.said {
			fields = append(fields, f.name)
		}
	}
	return fields
}

// tableAt tells entities apart that are different tables at the target.
func tableAt(t *config.Target, entity string) string {
	schema, table, named := strings.Cut(entity, ".")
	if !named {
		schema, table = "public", entity
	}
	switch {
	case t.SQLite != nil:
		return strings.ToLower(table)
	case t.Postgres != nil && t.Postgres.Schema != "":
		return table
	}
	return schema + "." + table
}

func describeTarget(t *config.Target) string {
	if t.SQLite != nil {
		return "a SQLite target, which has no schemas and does not tell upper from lower case"
	}
	return "a target whose schema is " + t.Postgres.Schema
}

// checkRules tells what the source has to see to, or to have, so that p's mapping does what it says.
func checkRules(p *config.Pipeline) (found []finding) {
	warn := func(what, fix string) {
		found = append(found, finding{At: "configuration", State: stateWarning, What: what, Fix: fix})
	}
	pg := p.Source.Postgres
	changes := pg != nil && pg.Capture == "changes"
	for i := range p.Mapping {
		r := &p.Mapping[i]
		if changes && !slices.ContainsFunc(pg.Tables, func(pattern string) bool { return like(pattern, r.Entity) }) {
			warn(fmt.Sprintf("mapping: no table under tables is named %s, so that nothing comes of what is said of it", r.Entity),
				"see whether the name is right, or add it to tables")
		}
		if r.Where != nil && !changes { // of a log the source's reader tells
			warn(fmt.Sprintf("mapping: where of %s judges by the row that a change carries, and refuses one that leaves out a column which it asks for", r.Entity),
				"have the application write full rows of it to the outbox")
		}
	}
	return found
}

// like tells whether a name is of a pattern, in which * stands for any letters.
func like(pattern, name string) bool {
	ok, err := regexp.MatchString("^(?s:"+strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, ".*")+")$", name)
	return err == nil && ok
}
