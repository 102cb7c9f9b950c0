package target

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/conformance"
	"github.com/waybill-data/waybill/internal/fault"
)

func defining(o *Options) {
	o.Define = func(string) (create, evolve bool) { return true, true }
}

// fails writes one action and wants a permanent error that is not about the action.
func (r *targetRig) fails(want string, changes ...waybill.Change) {
	r.t.Helper()
	err := r.try(changes)
	var refused *waybill.Refusal
	if err == nil || errors.As(err, &refused) || waybill.Transient(err) || !strings.Contains(err.Error(), want) {
		r.t.Fatalf("Write: %v, want a permanent error with %q", err, want)
	}
}

const columnsOf = `SELECT string_agg(a.attname || ' ' || format_type(a.atttypid, a.atttypmod) || CASE WHEN a.attnotnull THEN ' not null' ELSE '' END, ', ' ORDER BY a.attnum)
	FROM pg_attribute a WHERE a.attrelid = '%s'::regclass AND a.attnum > 0`

const constraintsOf = `SELECT string_agg(pg_get_constraintdef(oid), '; ' ORDER BY contype, conname) FROM pg_constraint WHERE conrelid = '%s'::regclass`

func TestCreate(t *testing.T) {
	r := newTarget(t, `CREATE TYPE mood AS ENUM ('sad'); CREATE DOMAIN email AS text`, defining)
	parent := conformance.Schema(`sales.Order "x"`, []string{"id", "select"}, "id bigint not null", "select character varying(20) not null",
		"Mixed numeric(10,2)", "at timestamp(3) with time zone", "m mood", "e email", "tags text[]", "code text not null")
	parent.Unique = [][]string{{"code"}}
	parent.Columns[4].Base, parent.Columns[5].Base = "text", "text"
	child := conformance.Schema("line", []string{"n"}, "n integer not null", "o bigint", "s character varying(20)", "up integer", "gone integer")
	child.Foreign = []waybill.ForeignKey{
		{Columns: []string{"o", "s"}, Entity: parent.Entity, References: []string{"id", "select"}},
		{Columns: []string{"up"}, Entity: "line", References: []string{"n"}},
		{Columns: []string{"gone"}, Entity: "elsewhere", References: []string{"id"}},
		{Columns: []string{"s"}, Entity: parent.Entity, References: []string{"Mixed"}},
	}
	r.write(act(
		conformance.Captured(parent, waybill.Insert, `{"id":1,"select":"a"}`,
			`{"id":1,"select":"a","Mixed":1.25,"at":"2026-01-31T12:00:00.123Z","m":"sad","e":"x@y","tags":["a"],"code":"c"}`),
		conformance.Captured(child, waybill.Insert, `{"n":2}`, `{"n":2,"o":1,"s":"a","up":1}`),
		conformance.Captured(child, waybill.Insert, `{"n":1}`, `{"n":1,"gone":7}`)))
	r.want(`SELECT id, "select", "Mixed", at, m, e, tags, code FROM sales."Order ""x"""`, "1|a|1.25|2026-01-31 12:00:00.123+00|sad|x@y|{a}|c")
	r.want(fmt.Sprintf(columnsOf, `sales."Order ""x"""`), `id bigint not null, select character varying(20) not null, Mixed numeric(10,2), `+
		`at timestamp(3) with time zone, m mood, e email, tags text[], code text not null`)
	r.want(fmt.Sprintf(constraintsOf, "public.line"), `FOREIGN KEY (o, s) REFERENCES sales."Order ""x"""(id, "select") DEFERRABLE; `+
		`FOREIGN KEY (up) REFERENCES line(n) DEFERRABLE; PRIMARY KEY (n)`)
	r.want(fmt.Sprintf(constraintsOf, `sales."Order ""x"""`), `PRIMARY KEY (id, "select"); UNIQUE (code)`)

	for _, s := range []*waybill.Schema{conformance.Schema("waybill.x", []string{"id"}, "id integer"), conformance.Schema("pg_x.y", []string{"id"}, "id integer")} {
		if x := r.refused(conformance.Captured(s, waybill.Insert, key(1), key(1))); !strings.Contains(x.Reason, "belongs to") {
			t.Fatal(x)
		}
	}
	if x := r.refused(tInsert("nowhere", key(1), `{}`)); x.Remedy != "create it, or set the target's schema" {
		t.Fatal(x)
	}
}

func TestCreateOff(t *testing.T) {
	r := newTarget(t, `CREATE TABLE t (id integer PRIMARY KEY)`)
	s := conformance.Schema("t", []string{"id"}, "id integer", "v text")
	r.refused(conformance.Captured(conformance.Schema("nowhere", []string{"id"}, "id integer"), waybill.Insert, key(1), key(1)))
	if x := r.refused(conformance.Captured(s, waybill.Insert, key(1), `{"v":"a"}`)); !strings.Contains(x.Reason, "column") {
		t.Fatal(x)
	}
}

// TestCreateMissingTypes: named, with what to do; and nothing of a type's name is taken for more.
func TestCreateMissingTypes(t *testing.T) {
	r := newTarget(t, ``, defining)
	for _, typ := range []string{"mood", "sales.mood", "integer); DROP TABLE waybill.position; --", "integer -- x", "integer, b text", `nosuch(1)`} {
		s := conformance.Schema("t", []string{"id"}, "id integer not null")
		s.Columns = append(s.Columns, waybill.SchemaColumn{Name: "v", Type: typ})
		r.fails("column v has type "+typ+" at the source, which the target does not have; create the type", conformance.Captured(s, waybill.Insert, key(1), key(1)))
	}
	r.want("SELECT count(*) FROM pg_class WHERE relname = 't'", "0")
	r.exec("CREATE TYPE mood AS ENUM ('sad')")
	r.write(act(conformance.Captured(conformance.Schema("t", []string{"id"}, "id integer", "v mood"), waybill.Insert, key(1), `{"v":"sad"}`)))
	r.want("SELECT * FROM t", "1|sad")
}

func TestCreateForOtherSystems(t *testing.T) {
	r := newTarget(t, ``, defining)
	lite := conformance.Schema("lite", []string{"id"}, "id INTEGER not null", "a VARCHAR(20)", "b BLOB", "c REAL", "d DECIMAL(10,2)", "e BOOLEAN", "f DATETIME", "g ")
	lite.System = "sqlite"
	other := conformance.Schema("other", []string{"id"}, "id bigint not null", "v jsonb")
	other.System = ""
	r.write(act(conformance.Captured(lite, waybill.Insert, key(1), `{"b":"3q2+7w==","e":1,"g":5}`), conformance.Captured(other, waybill.Insert, key(1), `{"v":{"a":1}}`)))
	r.want(fmt.Sprintf(columnsOf, "lite"), "id bigint not null, a text, b bytea, c double precision, d numeric, e boolean, f text, g text")
	r.want("SELECT b, e, g FROM lite", `\xdeadbeef|t|5`)
	r.want("SELECT v FROM other", `{"a": 1}`)
}

func TestEvolve(t *testing.T) {
	r := newTarget(t, ``, defining)
	v1 := conformance.Schema("t", []string{"id"}, "id integer not null", "name character varying(10)")
	v2 := conformance.Schema("t", []string{"id"}, "id integer not null", "name character varying(10)", "Born date not null", "select integer")
	batch := [][]waybill.Change{
		act(conformance.Captured(v1, waybill.Insert, key(1), `{"id":1,"name":"a"}`)),
		act(conformance.Captured(v2, waybill.Insert, key(2), `{"id":2,"name":"b","Born":"2026-01-31","select":null}`)),
	}
	// Refused, so that the same schemas come again in the same order.
	if err := r.try(append(batch, act(conformance.Captured(v2, waybill.Insert, key(3), `{"name":"longer than ten"}`)))...); err == nil {
		t.Fatal("it was taken")
	}
	r.write(batch...)
	r.want("SELECT * FROM t ORDER BY id", "1|a|NULL|NULL\n2|b|2026-01-31|NULL")
	r.want(fmt.Sprintf(columnsOf, "t"), "id integer not null, name character varying(10), Born date, select integer")

	gone := conformance.Schema("t", []string{"id"}, "id integer not null", "name character varying(10)", "select integer")
	r.fails(`the source has no column Born any more, dropped or renamed; ALTER TABLE "public"."t" DROP COLUMN "Born"`, conformance.Captured(gone, waybill.Insert, key(3), key(3)))
	wide := conformance.Schema("t", []string{"id"}, "id bigint not null", "name character varying(10)", "Born date", "select integer")
	r.fails("column id (integer) cannot hold every value of the source's type bigint", conformance.Captured(wide, waybill.Insert, key(3), key(3)))
	short := conformance.Schema("t", []string{"id"}, "id integer not null", "name character varying(5)", "Born date", "select integer")
	r.fails("changed the type of column name from character varying(10) to character varying(5)", conformance.Captured(short, waybill.Insert, key(3), key(3)))

	// Once the target follows, the stream goes on.
	r.exec(`ALTER TABLE t DROP COLUMN "Born"; ALTER TABLE t ALTER COLUMN id TYPE bigint`)
	r.write(act(conformance.Captured(gone, waybill.Insert, key(3), key(3))))
	wide.Columns = slices.Delete(wide.Columns, 2, 3)
	r.write(act(conformance.Captured(wide, waybill.Insert, `{"id":9000000000}`, `{}`)))
}

// TestEvolveRenamed: a writer that has not seen the former definition tells a column that may have
// been renamed by what the target has and the source has not.
func TestEvolveRenamed(t *testing.T) {
	r := newTarget(t, `CREATE TABLE t (id integer PRIMARY KEY, name text, made timestamptz DEFAULT now(), twice integer GENERATED ALWAYS AS (id * 2) STORED);
		INSERT INTO t VALUES (1, 'a')`, defining)
	s := conformance.Schema("t", []string{"id"}, "id integer not null", "label text")
	c := conformance.Captured(s, waybill.Insert, key(2), `{"id":2,"label":"b"}`)
	r.fails(`the source has a column label that it lacks, and it has a column name that the source lacks: it may have been renamed there; `+
		`ALTER TABLE "public"."t" RENAME COLUMN "name" TO "label"; or, if it is another: ALTER TABLE "public"."t" ADD COLUMN IF NOT EXISTS "label" text; then`, c)
	r.want("SELECT id, name FROM t", "1|a")
	r.exec(`ALTER TABLE t RENAME COLUMN name TO label`)
	r.write(act(c))
	r.want("SELECT id, label FROM t ORDER BY id", "1|a\n2|b")
	// Columns that fill themselves are the target's own.
	more := conformance.Schema("t", []string{"id"}, "id integer not null", "label text", "more text")
	r.write(act(conformance.Captured(more, waybill.Insert, key(3), `{"id":3,"label":"c","more":"d"}`)))
	r.want("SELECT id, more FROM t WHERE id = 3", "3|d")
}

// TestDefineAgain: a definition that was committed by a worker that died after it is found as it is.
func TestDefineAgain(t *testing.T) {
	r := newTarget(t, ``, defining)
	s := conformance.Schema("t", []string{"id"}, "id integer not null", "v text")
	c := conformance.Captured(s, waybill.Insert, key(1), `{"v":"a"}`)
	e := &refusedError{refusedChange: &refusedChange{}, in: &c}
	for range 2 {
		if _, err := r.w.define(r.ctx(), e); err != nil {
			t.Fatal(err)
		}
	}
	_ = r.w.Close()
	r.w = r.writer(defining)
	r.resume()
	r.write(act(c))
	r.want("SELECT * FROM t", "1|a")

	// A worker that was overtaken defines nothing.
	stale := r.w
	stale.stopRenewal()
	r.exec("UPDATE waybill.position SET epoch = epoch + 1")
	c = conformance.Captured(conformance.Schema("u", []string{"id"}, "id integer not null"), waybill.Insert, key(1), key(1))
	if err := r.try(act(c)); !errors.Is(err, waybill.ErrFenced) {
		t.Fatalf("%v, want ErrFenced", err)
	}
	r.want("SELECT count(*) FROM pg_class WHERE relname = 'u'", "0")
}

// TestDefineByMany: several streams that need one table at once.
func TestDefineByMany(t *testing.T) {
	r := newTarget(t, ``, defining)
	s := conformance.Schema("many.t", []string{"id"}, "id integer not null", "v text")
	var wg sync.WaitGroup
	errs := make([]error, 4)
	for i := range errs {
		w := r.writer(defining)
		if _, err := w.Resume(r.ctx(), fmt.Sprintf("stream/%d", i)); err != nil {
			t.Fatal(err)
		}
		ctx := r.ctx()
		wg.Go(func() {
			errs[i] = w.Write(ctx, waybill.Batch{Upto: "x", Actions: []waybill.Action{
				{ID: "1", Seq: 1, Changes: waybill.ChangeList{conformance.Captured(s, waybill.Insert, key(i), `{"v":"a"}`)}},
			}})
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	r.want("SELECT count(*) FROM many.t", "4")
}

func TestDefineNotAllowed(t *testing.T) {
	r := newTarget(t, `CREATE TABLE t (id integer PRIMARY KEY); CREATE MATERIALIZED VIEW m AS SELECT 1`, defining)
	r.fails("something else has its name", conformance.Captured(conformance.Schema("m", []string{"id"}, "id integer"), waybill.Insert, key(1), key(1)))
	r.fails("it cannot be made like the source's", conformance.Captured(conformance.Schema("j", []string{"v"}, "v json"), waybill.Insert, `{"v":1}`, `{"v":1}`))
}

func TestColumnTypes(t *testing.T) {
	for _, c := range []struct {
		from, to   string
		all, known bool
	}{
		{"bigint", "integer", false, true},
		{"integer", "bigint", true, true},
		{"integer", "numeric(10,0)", true, true},
		{"bigint", "numeric(10,0)", false, true},
		{"bigint", "double precision", false, true},
		{"integer", "text", false, false},
		{"numeric", "numeric(10,2)", false, true},
		{"numeric(10,2)", "numeric", true, true},
		{"numeric(10,2)", "numeric(12,4)", true, true},
		{"numeric(10,2)", "numeric(10,4)", false, true},
		{"numeric(10,2)", "numeric(12,1)", false, true},
		{"numeric(9)", "bigint", true, true},
		{"numeric", "integer", false, true},
		{"numeric", "double precision", false, true},
		{"double precision", "real", false, true},
		{"real", "double precision", true, true},
		{"character varying(200)", "character varying(50)", false, true},
		{"character varying(50)", "character varying(200)", true, true},
		{"character varying(50)", "text", true, true},
		{"text", "character varying(50)", false, true},
		{"character(5)", "character varying(5)", true, true},
		{"timestamp(6) with time zone", "timestamp(3) with time zone", false, true},
		{"timestamp without time zone", "timestamp(6) without time zone", true, true},
		{"timestamp without time zone", "date", false, true},
		{"bit(8)", "bit(9)", false, true},
		{"integer[]", "bigint[]", true, true},
		{"bigint[]", "integer[]", false, true},
		{"bigint[]", "integer", false, false},
		{"mood", "mood", true, true},
		{"uuid", "text", false, false},
	} {
		from, to := sourceColType(&waybill.SchemaColumn{Type: c.from}), sourceColType(&waybill.SchemaColumn{Type: c.to})
		if all, known := from.holds(to); all != c.all || known != c.known {
			t.Errorf("%s in %s: %t, %t", c.from, c.to, all, known)
		}
	}
}

// TestNarrowColumns: the target's own types, as the catalog shows them.
func TestNarrowColumns(t *testing.T) {
	r := newTarget(t, `CREATE DOMAIN small AS integer; CREATE TABLE t (id integer PRIMARY KEY, d small, n numeric(10,2), v varchar(50), a integer[], ts timestamp(3), b bit(8))`, defining)
	for _, c := range []string{"d bigint", "n numeric(12,4)", "v character varying(51)", "v text", "a bigint[]", "ts timestamp without time zone", "b bit(9)"} {
		name, _, _ := strings.Cut(c, " ")
		r.fails("column "+name, conformance.Captured(conformance.Schema("t", []string{"id"}, "id integer", c), waybill.Insert, key(1), key(1)))
	}
	s := conformance.Schema("t", []string{"id"}, "id integer", "d integer", "n numeric(9,1)", "v character varying(50)", "a smallint[]", "ts timestamp(2) without time zone", "b bit(8)")
	r.write(act(conformance.Captured(s, waybill.Insert, key(1), key(1))))
}

func TestCheckCreate(t *testing.T) {
	r := newTarget(t, ``, defining)
	look := func(schema string) string {
		t.Helper()
		w := r.writer(defining, func(o *Options) { o.Schema = schema })
		findings, err := w.Check(r.ctx(), "other/stream")
		if err != nil {
			t.Fatal(err)
		}
		var bad []string
		for _, f := range findings {
			if !f.OK {
				bad = append(bad, fmt.Sprint(f.Warn, " ", f.What, " ", f.Fix))
			}
		}
		return strings.Join(bad, "\n")
	}
	if said := look("nosuch"); !strings.Contains(said, "true schema nosuch does not exist; it is made") {
		t.Fatal(said)
	}
	if said := look("public"); strings.Contains(said, "may not create") {
		t.Fatal(said)
	}
	if said := look("pg_toast"); !strings.Contains(said, "belongs to the server") {
		t.Fatal(said)
	}
}

// TestDefineThenLost: the session dies after the definition is committed and before the data is; the
// same batch goes through afterwards.
func TestDefineThenLost(t *testing.T) {
	r := newTarget(t, ``, defining)
	s := conformance.Schema("t", []string{"id"}, "id integer not null", "v text")
	killed := false
	r.w.halt = func(step string) {
		if step != fault.WriteBegun || killed {
			return
		}
		killed = true
		r.want("SELECT count(*) FROM t", "0")
		r.exec(fmt.Sprintf("SELECT pg_terminate_backend(%d)", r.w.link.conn.PgConn().PID()))
	}
	c := conformance.Captured(s, waybill.Insert, key(1), `{"v":"a"}`)
	if err := r.try(act(c)); !waybill.Transient(err) {
		t.Fatalf("Write: %v, want a transient error", err)
	}
	if !killed {
		t.Fatal("the session was not ended")
	}
	r.write(act(c))
	r.want("SELECT * FROM t", "1|a")
}

// TestCreateTwoTargets: two targets share the schemas of one source, and each makes its own tables.
func TestCreateTwoTargets(t *testing.T) {
	s := conformance.Schema("t", []string{"id"}, "id integer not null", "Order text")
	var wg sync.WaitGroup
	for _, schema := range []string{"public", "Other"} {
		r := newTarget(t, ``, defining, func(o *Options) { o.Schema = schema })
		b := r.batch(act(conformance.Captured(s, waybill.Insert, key(1), `{"Order":"a"}`)))
		ctx := r.ctx()
		var err error
		wg.Go(func() { err = r.w.Write(ctx, b) })
		t.Cleanup(func() {
			if err != nil {
				t.Errorf("target %s: %v", schema, err)
			}
			r.want(fmt.Sprintf(`SELECT * FROM %q.t`, schema), "1|a")
		})
	}
	wg.Wait()
}

// TestDefineDescribed: rows without a schema have their table made where its types are known.
func TestDefineDescribed(t *testing.T) {
	describe := func(c *waybill.Change) (*waybill.Schema, string) {
		s := conformance.Schema(c.Entity, []string{"id"}, "id int8", "born date")
		if _, odd := c.Row.Get("odd"); odd || c.Entity == "other" {
			return s, "name the type"
		}
		return s, ""
	}
	r := newTarget(t, "", defining, func(o *Options) { o.Describe = describe })
	r.write(act(tDelete("person", key(1))), act(tUpsert("person", key(1), `{"born":"1970-01-01"}`)))
	r.want("SELECT id, born FROM person", "1|1970-01-01")
	r.exec("ALTER TABLE person DROP COLUMN born")
	r.write(act(tUpsert("person", key(1), `{"born":"1980-01-01"}`)))
	r.want("SELECT id, born FROM person", "1|1980-01-01")
	if e := r.refused(tUpsert("person", key(1), `{"odd":1}`)); e.Remedy != `ALTER TABLE "public"."person" ADD COLUMN "odd" …; or name the type` {
		t.Error(e)
	}
	if e := r.refused(tInsert("other", key(1), `{}`)); e.Remedy != "create it, or set the target's schema; or name the type" {
		t.Error(e)
	}
	if e := r.refused(tInsert("person", key(1), `{}`)); strings.Contains(e.Remedy, "type") {
		t.Error(e)
	}
}
