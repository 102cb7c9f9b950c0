package target

import (
	"fmt"
	"strings"
	"testing"

	"github.com/waybill-data/waybill"
)

const groupTables = `
	CREATE TABLE customer (id bigint PRIMARY KEY, name text, email text);
	CREATE TABLE phone (customer_id bigint REFERENCES customer, n int, v text, PRIMARY KEY (customer_id, n));
	CREATE TABLE address (id bigint PRIMARY KEY, customer_id bigint REFERENCES customer ON DELETE CASCADE, v text);
	CREATE TABLE account (id bigint PRIMARY KEY, email text UNIQUE, v text);
	CREATE TABLE node (id bigint PRIMARY KEY, up bigint REFERENCES node);
	CREATE TABLE watched (id bigint PRIMARY KEY, v text);
	CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
	CREATE TRIGGER nothing BEFORE INSERT ON watched FOR EACH ROW EXECUTE FUNCTION nothing();`

// planOf shows the groups that changes fall into: table, operation, number of changes.
func (r *targetRig) planOf(arrange bool, changes ...waybill.Change) string {
	r.t.Helper()
	p := newApplyPlan(r.w.schema)
	for i := range changes {
		table, err := r.w.schema.load(r.ctx(), r.w.link.conn, changes[i].Entity)
		if err != nil || table == nil {
			r.t.Fatalf("%s: %v", changes[i].Entity, err)
		}
		if refused := p.add(&changes[i], table, i); refused != nil {
			r.t.Fatal(refused.reason)
		}
	}
	if arrange {
		p.arrange(0)
	}
	var out []string
	for _, g := range p.groups {
		out = append(out, fmt.Sprintf("%s %s %d", g.kind.op, g.kind.table.name, len(g.items)))
	}
	return strings.Join(out, ", ")
}

func TestGroups(t *testing.T) {
	r := newTarget(t, groupTables)
	var families, deletes, mixed []waybill.Change
	for i := range 100 {
		families = append(families, tUpsert("customer", key(i), row("name", `"x"`)),
			tUpsert("phone", fmt.Sprintf(`{"customer_id":%d,"n":1}`, i), row("v", `"x"`)),
			tUpsert("phone", fmt.Sprintf(`{"n":2,"customer_id":%d}`, i), row("v", `"x"`)),
			tUpsert("address", key(i), fmt.Sprintf(`{"customer_id":%d,"v":"x"}`, i)))
		deletes = append(deletes, tDelete("phone", fmt.Sprintf(`{"customer_id":%d,"n":1}`, i)), tDelete("customer", key(i)))
		mixed = append(mixed, tUpsert("customer", key(i), row("name", `"x"`)), tUpdate("customer", key(1000+i), row("email", `"x"`)),
			tDelete("customer", key(2000+i)))
	}
	for _, c := range []struct {
		name    string
		changes []waybill.Change
		want    string
	}{
		{"families", families, "upsert customer 100, upsert phone 200, upsert address 100"},
		{"deletes", deletes, "delete phone 100, delete customer 100"},
		{"mixed, other keys", mixed, "upsert customer 100, update customer 100, delete customer 100"},
		{
			"the last one wins",
			[]waybill.Change{tUpsert("customer", key(1), row("name", 1)), tUpsert("customer", key(2), row("name", 2)), tUpsert("customer", key(1), row("name", 3))},
			"upsert customer 2",
		},
		{
			"other columns",
			[]waybill.Change{tUpsert("customer", key(1), row("name", 1)), tUpsert("customer", key(1), row("email", 2)), tUpsert("customer", key(1), row("name", 3))},
			"upsert customer 1, upsert customer 1, upsert customer 1",
		},
		{
			"columns in another order",
			[]waybill.Change{tUpsert("customer", key(1), `{"name":1,"email":2}`), tUpsert("customer", key(2), `{"email":2,"id":2,"name":1}`)},
			"upsert customer 2",
		},
		{
			"inserts are not merged",
			[]waybill.Change{tInsert("customer", key(1), `{}`), tInsert("customer", key(2), `{}`), tInsert("customer", key(1), `{}`)},
			"insert customer 2, insert customer 1",
		},
		{
			"there, gone, there",
			[]waybill.Change{tUpsert("customer", key(1), `{}`), tDelete("customer", key(1)), tUpsert("customer", key(1), `{}`), tUpsert("customer", key(2), `{}`)},
			"upsert customer 1, delete customer 1, upsert customer 2",
		},
		{
			"a key that changes",
			[]waybill.Change{tUpdate("customer", key(1), row("name", 1)), tUpdate("customer", key(1), `{"id":2}`), tUpdate("customer", key(3), row("name", 1))},
			"update customer 1, update customer 1, update customer 1",
		},
		{"the same key in the row", []waybill.Change{tUpdate("customer", key(1), row("name", 1)), tUpdate("customer", key(2), `{"id":2,"name":"x"}`)}, "update customer 2"},
		{
			"unique values keep their order",
			[]waybill.Change{tUpsert("account", key(1), row("email", 1)), tDelete("account", key(2)), tUpsert("account", key(3), row("email", 1))},
			"upsert account 1, delete account 1, upsert account 1",
		},
		{
			"deletes may free them early",
			[]waybill.Change{tDelete("account", key(2)), tUpsert("account", key(3), row("email", 1)), tDelete("account", key(4))},
			"delete account 2, upsert account 1",
		},
		{
			"columns that are not unique",
			[]waybill.Change{tUpdate("account", key(1), row("v", 1)), tUpdate("account", key(2), row("email", 1)), tUpdate("account", key(3), row("v", 1))},
			"update account 2, update account 1",
		},
		{
			"a child of a parent that is deleted",
			[]waybill.Change{tUpsert("address", key(1), row("customer_id", 1)), tDelete("customer", key(2)), tUpsert("address", key(3), row("customer_id", 2))},
			"upsert address 1, delete customer 1, upsert address 1",
		},
		{
			"own references keep their order",
			[]waybill.Change{tUpsert("node", key(1), row("up", 1)), tDelete("node", key(2)), tUpsert("node", key(3), row("up", 2))},
			"upsert node 1, delete node 1, upsert node 1",
		},
		{
			"triggers see everything in order",
			[]waybill.Change{tUpsert("watched", key(1), `{}`), tUpsert("watched", key(2), `{}`), tUpsert("customer", key(1), `{}`), tUpsert("watched", key(3), `{}`), tUpsert("watched", key(3), `{}`)},
			"upsert watched 2, upsert customer 1, upsert watched 1, upsert watched 1",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			if have := r.planOf(false, c.changes...); have != c.want {
				t.Errorf("\nhave %s\nwant %s", have, c.want)
			}
		})
	}
	reversed := append(tail(families, 3), tail(families, 0)...)
	if have, want := r.planOf(true, reversed...), "upsert customer 1, upsert address 1"; have != want {
		t.Errorf("\nhave %s\nwant %s", have, want)
	}
}

func tail(changes []waybill.Change, i int) []waybill.Change { return changes[i : i+1 : i+1] }

// Children before parents, which a source with deferred constraints may write, are put in order;
// and where constraints can be deferred, they are.
func TestOrderOfForeignKeys(t *testing.T) {
	r := newTarget(t, groupTables+`
		CREATE TABLE late_parent (id bigint PRIMARY KEY, other bigint);
		CREATE TABLE late_child (id bigint PRIMARY KEY, parent bigint REFERENCES late_parent DEFERRABLE);
		ALTER TABLE late_parent ADD FOREIGN KEY (other) REFERENCES late_child DEFERRABLE INITIALLY DEFERRED;`)
	r.write(act(tInsert("address", key(1), row("customer_id", 1)), tInsert("customer", key(1), `{}`)),
		act(tInsert("node", key(1), row("up", 2)), tInsert("node", key(2), row("up", 1))),
		act(tInsert("late_parent", key(1), row("other", 7)), tInsert("late_child", key(7), row("parent", 1))))
	r.write(act(tDelete("customer", key(1)), tDelete("address", key(1))), act(tDelete("node", key(1)), tDelete("node", key(2))))
	r.want("SELECT (SELECT count(*) FROM customer), (SELECT count(*) FROM address), (SELECT count(*) FROM node), (SELECT count(*) FROM late_child)", "0|0|0|1")
	if r.w.single > 0 {
		t.Errorf("%d batches were applied change by change", r.w.single)
	}
	// Only the commit would show this; the change at fault is found all the same.
	err := r.try(act(tInsert("late_child", key(8), row("parent", 1))), act(tInsert("late_child", key(9), row("parent", 99))), act(tInsert("late_child", key(10), row("parent", 1))))
	want := `action a7 refused at late_child {"id":9}: insert or update on table "late_child" violates foreign key constraint "late_child_parent_fkey"`
	if err == nil || err.Error() != want {
		t.Errorf("have %v\nwant %s", err, want)
	}
	// Swapped at the end of the action, which is what the source's transaction was.
	r.write(act(tInsert("late_child", key(9), row("parent", 99)), tInsert("late_parent", key(99), `{}`)))
}

// Values of a unique column that are swapped cannot be set in one statement; the batch is
// applied in source order then.
func TestSwappedUniqueValues(t *testing.T) {
	r := newTarget(t, groupTables)
	r.write(act(tUpsert("account", key(1), row("email", `"x"`)), tUpsert("account", key(2), row("email", `"y"`))))
	swap := act(tUpsert("account", key(1), row("email", "null")), tUpsert("account", key(2), row("email", `"x"`)), tUpsert("account", key(1), row("email", `"y"`)))
	r.write(act(tUpsert("account", key(3), row("email", `"z"`))), swap, act(tUpsert("account", key(4), row("email", `"w"`))))
	r.want("SELECT id, email FROM account ORDER BY 1", "1|y\n2|x\n3|z\n4|w")
	if r.w.single != 1 {
		t.Errorf("%d batches were applied change by change, want 1", r.w.single)
	}
}

// Keys that are equal to the server though they are written differently.
func TestKeysWrittenDifferently(t *testing.T) {
	r := newTarget(t, `
		CREATE COLLATION nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
		CREATE TABLE word (id text COLLATE nocase PRIMARY KEY, v text);
		CREATE TABLE num (id numeric PRIMARY KEY, v text);
		CREATE TABLE int (id int PRIMARY KEY, v text);
		CREATE TABLE padded (id char(5) PRIMARY KEY, v text);`)
	for _, c := range []struct{ table, a, b string }{
		{"word", `{"id":"Ann"}`, `{"id":"ANN"}`},
		{"num", `{"id":1}`, `{"id":1.00}`},
		{"num", `{"id":1}`, `{"id":1e0}`},
		{"int", `{"id":1}`, `{"id":" 1"}`},
		{"padded", `{"id":"a"}`, `{"id":"a  "}`},
	} {
		r.write(act(tUpsert(c.table, c.a, row("v", 1)), tDelete(c.table, c.b), tUpsert(c.table, c.a, row("v", 2)), tUpsert(c.table, c.b, row("v", 3))))
		r.want("SELECT v FROM "+c.table, "3")
		r.write(act(tUpdate(c.table, c.a, row("v", 4)), tUpdate(c.table, c.b, row("v", 5)), tUpdate(c.table, c.a, row("v", 6)), tDelete(c.table, c.a)))
		r.want("SELECT v FROM "+c.table, "")
	}
}

// A row of an update that repeats its key, or changes it, in one batch.
func TestKeyInTheRowOfAnUpdate(t *testing.T) {
	r := newTarget(t, `CREATE TABLE wide (id int PRIMARY KEY, a int, b int, c int); INSERT INTO wide (id) VALUES (1), (2);
		CREATE TABLE num (id numeric PRIMARY KEY, v text)`)
	r.write(act(tUpdate("wide", key(1), `{"a":1,"b":2,"c":3,"id":1}`), tUpdate("wide", key(2), `{"a":4,"b":5,"c":6,"id":3}`),
		tUpdate("wide", key(3), `{"a":7,"b":8,"c":9,"id":3}`)))
	r.want("SELECT * FROM wide ORDER BY id", "1|1|2|3\n3|7|8|9")
	// Of equal keys, a row keeps the digits that it was made with.
	r.write(act(tUpsert("num", `{"id":1.0}`, `{"v":"a"}`), tUpsert("num", `{"id":1}`, `{"v":"b"}`)))
	r.want("SELECT * FROM num", "1.0|b")
}
