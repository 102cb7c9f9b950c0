package target

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/conformance"
)

// facts marks changes as captured from a table with columns id, v and w.
func facts(changes ...waybill.Change) []waybill.Change {
	schema := &waybill.Schema{System: "postgres", Columns: []waybill.SchemaColumn{{Name: "id"}, {Name: "v"}, {Name: "w"}}, Key: []string{"id"}}
	for i := range changes {
		changes[i].Schema = schema
	}
	return changes
}

const factTable = "CREATE TABLE f (id int PRIMARY KEY, v text, w int);"

func TestFactsWin(t *testing.T) {
	var log bytes.Buffer
	r := newTarget(t, factTable+"INSERT INTO f VALUES (1, 'foreign', 9), (7, 'x', 7)", func(o *Options) {
		o.Log = slog.New(slog.NewTextHandler(&log, nil))
	})
	steps := []struct {
		changes []waybill.Change
		rows    string
		total   uint64
	}{
		{facts(tInsert("f", `{"id":1}`, `{"v":"a","w":1}`), tInsert("f", `{"id":2}`, `{"v":"b","w":2}`)), "1|a|1\n2|b|2\n7|x|7", 1},
		{facts(tUpdate("f", `{"id":3}`, `{"id":3,"v":"c","w":3}`)), "1|a|1\n2|b|2\n3|c|3\n7|x|7", 2},
		{facts(tUpdate("f", `{"id":4}`, `{"v":"d"}`), tDelete("f", `{"id":5}`)), "1|a|1\n2|b|2\n3|c|3\n7|x|7", 4},
		{
			facts(tUpdate("f", `{"id":6}`, `{"id":8,"v":"h","w":8}`), tUpdate("f", `{"id":7}`, `{"id":9,"v":"i","w":9}`)),
			"1|a|1\n2|b|2\n3|c|3\n8|h|8\n9|i|9", 5,
		},
		{facts(tInsert("f", `{"id":10}`, `{"v":"j","w":0}`), tUpdate("f", `{"id":10}`, `{"w":1}`), tDelete("f", `{"id":10}`),
			tInsert("f", `{"id":10}`, `{"v":"k","w":2}`), tDelete("f", `{"id":8}`), tDelete("f", `{"id":9}`)), "1|a|1\n2|b|2\n3|c|3\n10|k|2", 5},
	}
	for i, s := range steps {
		for j := range lenientBatches * (i % 2) { // before every other step the writer expects none
			r.write(act(tUpsert("f", key(100+j), `{"v":"z"}`)), act(tDelete("f", key(100+j))))
		}
		r.write(s.changes)
		r.want("SELECT * FROM f ORDER BY id", s.rows)
		if n := r.w.ForeignWrites(); n != s.total {
			t.Fatalf("step %d: %d foreign writes, want %d", i, n, s.total)
		}
	}
	r.want("SELECT foreign_writes, seq = applied FROM waybill.position", "5|t")
	if text := log.String(); strings.Count(text, "somebody else") != 1 || !strings.Contains(text, `public.f`) || !strings.Contains(text, `{\"id\" : 1}`) {
		t.Errorf("the log says\n%s", text)
	}
	other := r.writer(func(o *Options) { o.Owner = "x" })
	if err := r.w.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := other.Resume(r.ctx(), targetStream); err != nil || other.ForeignWrites() != 5 {
		t.Errorf("another writer reads %d foreign writes, %v", other.ForeignWrites(), err)
	}
}

// What an application wrote stays strict, also beside facts and while foreign writes are expected.
func TestGivenStaysStrict(t *testing.T) {
	r := newTarget(t, factTable+"INSERT INTO f VALUES (1, 'foreign', 9)")
	r.write(facts(tInsert("f", key(1), `{"v":"a","w":1}`)))
	r.refused(append(facts(tDelete("f", key(5))), tUpdate("f", key(4), `{"v":"x"}`))...)
	r.refused(tInsert("f", key(1), `{"v":"x"}`))
	r.write(act(tDelete("f", key(77))))
	if n := r.w.ForeignWrites(); n != 1 {
		t.Errorf("%d foreign writes, want 1", n)
	}
}

// Of swapped values nothing is foreign, and a foreign row in their way is overwritten all the same.
func TestFactsSwap(t *testing.T) {
	r := newTarget(t, "CREATE TABLE f (id int PRIMARY KEY, v text UNIQUE, w int); INSERT INTO f VALUES (1, 'a', 0), (2, 'b', 0), (4, 'x', 0)")
	swap := func() []waybill.Change {
		return facts(tUpdate("f", key(1), `{"v":"c"}`), tUpdate("f", key(2), `{"v":"a"}`), tUpdate("f", key(1), `{"v":"b"}`))
	}
	r.write(swap())
	r.want("SELECT * FROM f ORDER BY id", "1|b|0\n2|a|0\n4|x|0")
	r.write(facts(tInsert("f", key(4), `{"v":"y","w":4}`), tUpdate("f", key(1), `{"v":"c"}`), tUpdate("f", key(2), `{"v":"b"}`), tUpdate("f", key(1), `{"v":"a"}`)))
	r.want("SELECT * FROM f ORDER BY id", "1|a|0\n2|b|0\n4|y|4")
	if n := r.w.ForeignWrites(); n != 1 {
		t.Errorf("%d foreign writes, want 1", n)
	}
}

func TestFactsPartitioned(t *testing.T) {
	r := newTarget(t, `CREATE TABLE f (id int PRIMARY KEY, v text, w int) PARTITION BY RANGE (id);
		CREATE TABLE f1 PARTITION OF f DEFAULT; INSERT INTO f VALUES (1, 'x', 0)`)
	r.write(facts(tInsert("f", key(1), `{"v":"a","w":1}`), tDelete("f", key(2))))
	r.want("SELECT * FROM f", "1|a|1")
	if n := r.w.ForeignWrites(); n != 2 {
		t.Errorf("%d foreign writes, want 2", n)
	}
}

func TestTruncate(t *testing.T) {
	r := newTarget(t, factTable+"CREATE TABLE child (id int PRIMARY KEY, f int REFERENCES f); CREATE TABLE keyless (v int)")
	truncate := func(entity string) waybill.Change { return waybill.Change{Entity: entity, Op: waybill.Truncate} }
	r.write(act(tInsert("f", key(1), `{"v":"a"}`), tInsert("child", key(1), `{"f":1}`), tInsert("keyless", `{"v":1}`, `{}`)))
	r.write(act(tInsert("f", key(2), `{"v":"b"}`), truncate("f"), truncate("child"), truncate("keyless"),
		tInsert("f", key(2), `{"v":"c"}`), tInsert("child", key(3), `{"f":2}`)))
	r.want("SELECT id, v, (SELECT string_agg(id::text, ',') FROM child), (SELECT count(*) FROM keyless) FROM f", "2|c|3|0")
	if refused := r.refused(truncate("f")); refused.Entity != "f" {
		t.Errorf("%v", refused)
	}
	r.refused(truncate("nowhere"))
}

// TestRowsOfNulls: a table without a key may hold rows of nothing, also several.
func TestRowsOfNulls(t *testing.T) {
	r := newTarget(t, "", defining)
	s := conformance.Schema("public.n", nil, "a integer", "b text")
	none, one := `{"a":null,"b":null}`, `{"a":1,"b":null}`
	r.write(act(conformance.Captured(s, waybill.Insert, none, none), conformance.Captured(s, waybill.Insert, one, one), conformance.Captured(s, waybill.Insert, none, none)),
		act(conformance.Captured(s, waybill.Insert, none, none)))
	r.want("SELECT * FROM n ORDER BY a", "1|NULL\nNULL|NULL\nNULL|NULL\nNULL|NULL")
	r.want("SELECT foreign_writes FROM waybill.position", "0")
}

func TestEmptyActionsAreFiltered(t *testing.T) {
	r := newTarget(t, factTable)
	r.write(act(tInsert("f", key(1), `{"v":"a"}`)), act(), act())
	r.want("SELECT seq, applied, filtered FROM waybill.position", "3|1|2")
}

func TestFormatOneIsBroughtUp(t *testing.T) {
	r := newTarget(t, factTable)
	r.write(act(tInsert("f", key(1), `{"v":"a"}`)))
	r.exec("ALTER TABLE waybill.position DROP COLUMN foreign_writes; UPDATE waybill.meta SET value = '1' WHERE key = 'target.format'")
	r.resume()
	r.write(facts(tInsert("f", key(1), `{"v":"b","w":1}`)))
	r.want("SELECT foreign_writes, (SELECT value FROM waybill.meta WHERE key = 'target.format') FROM waybill.position", "1|2")
}
