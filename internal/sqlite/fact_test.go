package sqlite

import (
	"testing"

	waybill "github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/conformance"
)

// TestForeignWrites: captured changes bring the target to what the source holds, and count what they
// did not expect there.
func TestForeignWrites(t *testing.T) {
	a := newApp(t, "CREATE TABLE t (id integer PRIMARY KEY, v text, w text)", "INSERT INTO t VALUES (1, 'theirs', 'theirs')")
	x := a.writer(TargetOptions{})
	s := conformance.Schema("public.t", []string{"id"}, "id integer not null", "v text", "w text")
	counted := func(want uint64) {
		t.Helper()
		if have := x.ForeignWrites(); have != want {
			t.Fatalf("%d foreign writes, want %d", have, want)
		}
	}
	x.write(conformance.Captured(s, waybill.Insert, `{"id":1}`, `{"id":1,"v":"ours","w":null}`))
	a.want("SELECT * FROM t", "1|ours|NULL")
	counted(1)
	x.write(conformance.Captured(s, waybill.Update, `{"id":2}`, `{"id":2,"v":"b","w":"b"}`)) // whole: makes the row
	x.write(conformance.Captured(s, waybill.Update, `{"id":3}`, `{"v":"c"}`))                // not whole: nothing
	x.write(conformance.Captured(s, waybill.Delete, `{"id":9}`, ``))
	a.want("SELECT * FROM t", "1|ours|NULL\n2|b|b")
	counted(4)
	x.write(conformance.Captured(s, waybill.Update, `{"id":2}`, `{"id":5,"v":"b"}`), conformance.Captured(s, waybill.Delete, `{"id":1}`, ``))
	a.want("SELECT * FROM t", "5|b|b")
	x.refused(update("t", `{"id":77}`, `{"v":"x"}`))
	x.refused(insert("t", `{"id":5}`, `{"v":"x"}`))
	counted(4)
	a.want("SELECT foreign_writes FROM waybill_position", "4")

	_ = x.Close()
	again := a.writer(TargetOptions{})
	if have := again.ForeignWrites(); have != 4 {
		t.Fatalf("%d after taking the stream again", have)
	}
}

// TestForeignWritesMigration: a target of a version that did not count them.
func TestForeignWritesMigration(t *testing.T) {
	a := newApp(t, "CREATE TABLE t (id integer PRIMARY KEY)")
	_ = a.writer(TargetOptions{}).Close()
	a.exec("ALTER TABLE waybill_position DROP COLUMN foreign_writes")
	x := a.writer(TargetOptions{})
	x.write(conformance.Captured(conformance.Schema("t", []string{"id"}, "id integer"), waybill.Delete, `{"id":1}`, ``))
	a.want("SELECT foreign_writes FROM waybill_position", "1")
}

// TestKeyIsSetWhereItMoves: to set a column, be it to what it holds, makes SQLite look for the rows
// that refer to it: all of a child table without an index.
func TestKeyIsSetWhereItMoves(t *testing.T) {
	a := newApp(t, "CREATE TABLE t (id integer PRIMARY KEY, v text)", "CREATE TABLE k (id integer PRIMARY KEY)", "CREATE TABLE sets (id)",
		"CREATE TRIGGER s AFTER UPDATE OF id ON t BEGIN INSERT INTO sets VALUES (new.id); END")
	x := a.writer(TargetOptions{})
	s := conformance.Schema("public.t", []string{"id"}, "id integer not null", "v text")
	x.write(conformance.Captured(s, waybill.Insert, `{"id":1}`, `{"id":1,"v":"a"}`))
	x.write(conformance.Captured(s, waybill.Update, `{"id":1}`, `{"id":1,"v":"b"}`), conformance.Captured(s, waybill.Update, `{"id":1}`, `{"id":2,"v":"c"}`),
		conformance.Captured(s, waybill.Update, `{"id":2}`, `{"v":"d","id":2}`), update("t", `{"id":2}`, `{"id":2,"v":"e"}`), update("t", `{"id":2}`, `{"id":3,"v":"f"}`))
	a.want("SELECT * FROM t", "3|f")
	a.want("SELECT * FROM sets", "2\n3")
	k := conformance.Schema("public.k", []string{"id"}, "id integer not null")
	x.write(conformance.Captured(k, waybill.Insert, `{"id":1}`, `{"id":1}`), conformance.Captured(k, waybill.Update, `{"id":1}`, `{"id":1}`),
		conformance.Captured(k, waybill.Update, `{"id":1}`, `{"id":2}`))
	a.want("SELECT * FROM k", "2")
}

// TestKeylessRows: equal rows are told apart by number only.
func TestKeylessRows(t *testing.T) {
	a := newApp(t, "CREATE TABLE t (v text, w text)")
	x := a.writer(TargetOptions{})
	s := conformance.Schema("public.t", nil, "v text", "w text")
	row := `{"v":"a","w":"b"}`
	x.write(conformance.Captured(s, waybill.Insert, row, row), conformance.Captured(s, waybill.Insert, row, row), conformance.Captured(s, waybill.Insert, row, row))
	x.write(conformance.Captured(s, waybill.Delete, row, ``), conformance.Captured(s, waybill.Update, row, `{"v":"c","w":"b"}`))
	a.want("SELECT * FROM t ORDER BY v", "a|b\nc|b")
	if x.ForeignWrites() != 0 {
		t.Fatal("counted what is usual")
	}
}

// TestTruncate: in any order, those that refer to others first.
func TestTruncate(t *testing.T) {
	a := newApp(t, "CREATE TABLE p (id integer PRIMARY KEY)", "CREATE TABLE c (id integer PRIMARY KEY, p REFERENCES p ON DELETE RESTRICT)",
		"CREATE TABLE z (id integer PRIMARY KEY)", "INSERT INTO p VALUES (1)", "INSERT INTO c VALUES (1, 1)", "INSERT INTO z VALUES (1)")
	x := a.writer(TargetOptions{})
	truncate := func(entity string) waybill.Change {
		return waybill.Change{Entity: entity, Op: waybill.Truncate, Schema: conformance.Schema(entity, []string{"id"}, "id integer")}
	}
	x.write(truncate("public.p"), truncate("public.z"), truncate("public.c"), insert("p", `{"id":2}`, `{}`))
	a.want("SELECT (SELECT group_concat(id) FROM p), (SELECT count(*) FROM c), (SELECT count(*) FROM z)", "2|0|0")
}

// TestFiltered: what a mapping has emptied counts as such.
func TestFiltered(t *testing.T) {
	a := newApp(t)
	x := a.writer(TargetOptions{})
	b := waybill.Batch{After: x.pos, Upto: "x", Actions: []waybill.Action{{ID: "1", Seq: 1}, {ID: "2", Seq: 2, Changes: waybill.ChangeList{}}}}
	if err := x.Write(ctx(t), b); err != nil {
		t.Fatal(err)
	}
	a.want("SELECT seq, applied, filtered FROM waybill_position", "2|0|2")
}

// TestNativeMalformed: values that are not of their encoding are refused, by the column's name.
func TestNativeMalformed(t *testing.T) {
	a := newApp(t, "CREATE TABLE t (id integer PRIMARY KEY, v text)")
	x := a.writer(TargetOptions{})
	c := insert("t", `{"id":1}`, `{}`)
	c.Row = waybill.Row{{Name: "v", Value: waybill.Value{Form: waybill.Native, Raw: []byte("?"), Encoding: coded("text")}}}
	if r := x.refused(c); r.Reason != "column v: the source's value cannot be taken: not of this encoding" {
		t.Fatal(r)
	}
}
