package target

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/conformance"
)

// planTables make every reason why changes may not change places: unique values, foreign keys
// that restrict, cascade and set null, references to the own table, triggers that see the
// order, keys that are equal though their bytes differ, columns that must be there.
const planTables = `
	CREATE SCHEMA %[1]s; SET search_path = %[1]s;
	CREATE TABLE parent (id bigint PRIMARY KEY, name text, tag text UNIQUE, code int);
	CREATE UNIQUE INDEX ON parent (code) WHERE code > 1;
	CREATE TABLE child (id bigint PRIMARY KEY, parent_id bigint REFERENCES parent ON DELETE CASCADE ON UPDATE CASCADE, v text DEFAULT 'fresh', w text);
	CREATE TABLE kid (parent_id bigint REFERENCES parent, n numeric, v text, PRIMARY KEY (parent_id, n));
	CREATE TABLE grandchild (id bigint PRIMARY KEY, child_id bigint REFERENCES child ON DELETE SET NULL, tag text REFERENCES parent (tag) ON UPDATE CASCADE);
	CREATE TABLE node (id bigint PRIMARY KEY, up bigint REFERENCES node ON DELETE CASCADE, v text);
	CREATE TABLE required (id text PRIMARY KEY, v text NOT NULL, w text);
	CREATE TABLE late (id bigint PRIMARY KEY, tag text UNIQUE DEFERRABLE, v text);
	CREATE TABLE log (n bigserial PRIMARY KEY, what text);
	CREATE TABLE watched (id bigint PRIMARY KEY, v text);
	CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		INSERT INTO %[1]s.log (what) VALUES (format('%%s %%s %%s', TG_OP, coalesce(OLD.id, NEW.id), (SELECT count(*) FROM %[1]s.parent))); RETURN NULL; END $$;
	CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON watched FOR EACH ROW EXECUTE FUNCTION note();`

var planEntities = []struct{ name, columns, order string }{
	{"parent", "name,tag,code", "id"},
	{"child", "parent_id,v,w", "id"},
	{"kid", "v", "parent_id, n"},
	{"grandchild", "child_id,tag", "id"},
	{"node", "up,v", "id"},
	{"required", "v,w", "id"},
	{"late", "tag,v", "id"},
	{"watched", "v", "id"},
}

func drawPlanChange(t *rapid.T) waybill.Change {
	e := planEntities[rapid.IntRange(0, len(planEntities)-1).Draw(t, "entity")]
	op := rapid.SampledFrom([]waybill.Op{waybill.Upsert, waybill.Upsert, waybill.Insert, waybill.Update, waybill.Delete, waybill.Truncate}).Draw(t, "op")
	id := func(name string) int { return rapid.IntRange(0, 3).Draw(t, name) }
	var columns []string
	key := fmt.Sprintf(`{"id":%d}`, id("id"))
	switch e.name {
	case "kid":
		key = fmt.Sprintf(`{"parent_id":%d,"n":%s}`, id("id"), rapid.SampledFrom([]string{"1", "1.0", "2", "1e0"}).Draw(t, "n"))
	case "required":
		key = fmt.Sprintf(`{"id":"%d"}`, id("id"))
	}
	switch op {
	case waybill.Delete:
		return tDelete(e.name, key)
	case waybill.Truncate: // of one parent's rows, or of those with some other value, or of all
		by, _, _ := strings.Cut(e.columns, ",")
		v := fmt.Sprint(id("by"))
		if e.name == "kid" {
			by = "parent_id"
		} else if by != "parent_id" && by != "child_id" && by != "up" {
			v = `"` + v + `"`
		}
		if key = fmt.Sprintf(`{%q:%s}`, by, v); rapid.IntRange(0, 7).Draw(t, "all") == 0 {
			key = "{}"
		}
		return conformance.Change(op, e.name, key, "")
	}
	for c := range strings.SplitSeq(e.columns, ",") {
		if rapid.Bool().Draw(t, c) {
			v := fmt.Sprint(id("v"))
			if rapid.IntRange(0, 5).Draw(t, "null") == 0 {
				v = "null"
			} else if c != "parent_id" && c != "child_id" && c != "up" && c != "code" {
				v = `"` + v + `"`
			}
			columns = append(columns, fmt.Sprintf(`%q:%s`, c, v))
		}
	}
	if op == waybill.Update && e.name != "kid" && e.name != "required" && rapid.IntRange(0, 7).Draw(t, "rekey") == 0 {
		columns = append(columns, fmt.Sprintf(`"id":%d`, id("new id")))
	}
	return waybill.Change{Entity: e.name, Op: op, Key: tUpsert(e.name, key, "").Key, Row: tUpsert(e.name, "{}", "{"+strings.Join(columns, ",")+"}").Row}
}

// Random changes in one batch have the outcome that they have one by one: the same rows, the
// same calls of triggers, or the same refusal.
func TestSetBasedEqualsOneByOne(t *testing.T) {
	in := func(schema string) func(*Options) { return func(o *Options) { o.Schema = schema } }
	one := newTarget(t, fmt.Sprintf(planTables, "one"), in("one"))
	all := &targetRig{t: t, db: one.db}
	one.exec(fmt.Sprintf(planTables, "many"))
	all.w = all.writer(in("many"))
	at, err := all.w.Resume(all.ctx(), "other/target")
	if err != nil {
		t.Fatal(err)
	}
	all.at = at
	changes, batches := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		for _, schema := range []string{"one", "many"} {
			one.exec(fmt.Sprintf("TRUNCATE %[1]s.parent, %[1]s.child, %[1]s.kid, %[1]s.grandchild, %[1]s.node, %[1]s.required, %[1]s.late, %[1]s.log, %[1]s.watched", schema))
		}
		for range rapid.IntRange(1, 3).Draw(t, "batches") {
			actions := [][]waybill.Change{nil}
			var bad *waybill.Change
			for range rapid.IntRange(1, 40).Draw(t, "changes") {
				c := drawPlanChange(t)
				var refusal *waybill.Refusal
				switch err := one.try(act(c)); {
				case errors.As(err, &refusal):
					bad = &c // left out, but for one at the end
					continue
				case err != nil:
					t.Fatal(err)
				}
				bad = nil
				if rapid.Bool().Draw(t, "new action") {
					actions = append(actions, nil)
				}
				actions[len(actions)-1] = append(actions[len(actions)-1], c)
				changes++
			}
			batches++
			if bad != nil {
				batches++
				err := all.try(append(slices.Clip(actions), act(*bad))...)
				var refusal *waybill.Refusal
				if !errors.As(err, &refusal) || refusal.Seq != all.seq+uint64(len(actions))+1 {
					t.Fatalf("have %v, want a refusal of action %d: %v %s", err, all.seq+uint64(len(actions))+1, bad.Op, bad.Row)
				}
			}
			if err := all.try(actions...); err != nil {
				t.Fatalf("refused together, not one by one: %v", err)
			}
			for _, e := range append(planEntities, struct{ name, columns, order string }{"log", "what", "n"}) {
				sql := "SELECT " + strings.TrimPrefix(strings.ReplaceAll(e.order+","+e.columns, "n,what", "what"), " ") + " FROM %s." + e.name + " ORDER BY " + e.order
				if have, want := all.rows(fmt.Sprintf(sql, "many")), one.rows(fmt.Sprintf(sql, "one")); have != want {
					t.Fatalf("%s together:\n%s\none by one:\n%s", e.name, have, want)
				}
			}
		}
	})
	t.Logf("%d changes in %d batches, %d of which had to be applied one by one", changes, batches, all.w.single)
}
