package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	waybill "github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/conformance"
)

// target is a Writer in use by a test.
type target struct {
	t testing.TB
	*Writer
	seq uint64
}

func (a *app) writer(o TargetOptions) *target {
	a.t.Helper()
	o.Path = a.path
	x := &target{t: a.t, Writer: NewWriter(o)}
	a.t.Cleanup(func() { _ = x.Close() })
	if _, err := x.Resume(ctx(a.t), testStream); err != nil {
		a.t.Fatal(err)
	}
	return x
}

func place(seq uint64) waybill.Position {
	if seq == 0 {
		return ""
	}
	return waybill.Position(fmt.Sprintf(`{"v":1,"seq":%d}`, seq))
}

// batch makes the batch that follows, an action of each list.
func (x *target) batch(actions ...[]waybill.Change) waybill.Batch {
	b := waybill.Batch{After: place(x.seq), Upto: place(x.seq + uint64(len(actions)))}
	for i, changes := range actions {
		seq := x.seq + uint64(i) + 1
		b.Actions = append(b.Actions, waybill.Action{ID: fmt.Sprintf("action-%d", seq), Seq: seq, Changes: waybill.ChangeList(changes)})
	}
	return b
}

func (x *target) try(actions ...[]waybill.Change) error {
	x.t.Helper()
	b := x.batch(actions...)
	err := x.Write(ctx(x.t), b)
	if err == nil {
		x.seq = b.LastSeq(x.seq)
	}
	return err
}

func (x *target) write(changes ...waybill.Change) {
	x.t.Helper()
	if err := x.try(changes); err != nil {
		x.t.Fatal(err)
	}
}

func insert(entity, key, row string) waybill.Change {
	return conformance.Change(waybill.Insert, entity, key, row)
}

func update(entity, key, row string) waybill.Change {
	return conformance.Change(waybill.Update, entity, key, row)
}

func upsert(entity, key, row string) waybill.Change {
	return conformance.Change(waybill.Upsert, entity, key, row)
}

func remove(entity, key string) waybill.Change {
	return conformance.Change(waybill.Delete, entity, key, "")
}

// TestRefusals has the exact sentence of everything that a target refuses.
func TestRefusals(t *testing.T) {
	tables := []string{
		`CREATE TABLE customer (id integer PRIMARY KEY, name text NOT NULL, email text UNIQUE, age integer CHECK (age >= 0), photo blob, balance numeric)`,
		`CREATE TABLE phone (customer_id integer REFERENCES customer (id), kind text, number text, PRIMARY KEY (customer_id, kind)) WITHOUT ROWID`,
		`CREATE TABLE late (id integer PRIMARY KEY, customer_id integer REFERENCES customer (id) DEFERRABLE INITIALLY DEFERRED)`,
		`CREATE TABLE strict (id integer PRIMARY KEY, n integer, s text) STRICT`,
		`CREATE TABLE keyless (id integer, name text)`,
		`CREATE TABLE guarded (id integer PRIMARY KEY, v text)`,
		`CREATE TRIGGER guard BEFORE INSERT ON guarded BEGIN
  SELECT CASE new.v WHEN 'literal' THEN RAISE(ABORT, 'that''s not allowed') WHEN 'made up' THEN RAISE(ABORT, 'no ' || new.v)
    WHEN 'ignore' THEN RAISE(IGNORE) WHEN 'rollback' THEN RAISE(ROLLBACK, 'all gone') END; END`,
		`CREATE VIEW names AS SELECT id, name FROM customer`,
		`CREATE TABLE "two words" ("a ""b""" integer, UNIQUE ("a ""b"""))`,
		`INSERT INTO customer (id, name, email) VALUES (1, 'one', 'x'), (2, 'two', 'y')`,
		`INSERT INTO phone VALUES (1, 'home', '5')`,
		`INSERT INTO keyless VALUES (1, 'a'), (1, 'b'), (2, 'c')`,
	}
	for _, c := range []struct {
		change waybill.Change
		want   string // after "action action-1 refused at "
	}{
		{insert("customer", `{"id":1}`, `{"name":"secret"}`), `customer {"id":1}: a row with this key exists already; use upsert where the row may exist`},
		{insert("customer", `{"id":3}`, `{"name":"secret","email":"x"}`), `customer {"id":3}: another row has the same values: UNIQUE constraint failed: customer.email`},
		{upsert("customer", `{"id":2}`, `{"name":"secret","email":"x"}`), `customer {"id":2}: another row has the same values: UNIQUE constraint failed: customer.email`},
		{update("customer", `{"id":2}`, `{"id":1}`), `customer {"id":2}: a row with the new key exists already`},
		{update("customer", `{"id":9}`, `{"name":"secret"}`), `customer {"id":9}: there is no row with this key to update; use upsert where the row may be missing`},
		{insert("customer", `{"id":3}`, `{"email":"secret"}`), `customer {"id":3}: a value is missing: NOT NULL constraint failed: customer.name; carry the column, or give it a default`},
		{update("customer", `{"id":1}`, `{"age":-5}`), `customer {"id":1}: CHECK constraint failed: age >= 0`},
		{upsert("customer", `{"id":1}`, `{"fax":"secret"}`), `customer {"id":1}: table customer has no column fax; ALTER TABLE "customer" ADD COLUMN "fax"`},
		{upsert("crm.customer", `{"id":"seven"}`, `{"name":"secret"}`), `crm.customer {"id":"seven"}: the INTEGER PRIMARY KEY of table customer takes integers only`},
		{upsert("customer", `{"id":1}`, `{"name":"a","Name":"b"}`), `customer {"id":1}: column name stands there twice, in upper and lower case`},
		{upsert("customer", `{"id":1}`, `{"photo":"not base 64!"}`), `customer {"id":1}: column photo (BLOB): the string is neither base64 nor \x and hexadecimal digits`},
		{upsert("customer", `{"id":1}`, `{"balance":12345678901234567.89}`), `customer {"id":1}: column balance (NUMERIC): SQLite cannot hold the number exactly in a numeric column; declare the column TEXT`},
		{upsert("customer", `{"id":1}`, `{"balance":"007"}`), `customer {"id":1}: column balance (NUMERIC): SQLite would read the text as a number and store it changed; declare the column TEXT`},
		{insert("phone", `{"customer_id":77,"kind":"home"}`, `{"number":"secret"}`), `phone {"customer_id":77,"kind":"home"}: a foreign key between table phone and another would point to a row that does not exist; carry the referenced row in the same action or before it`},
		{remove("customer", `{"id":1}`), `customer {"id":1}: other rows still refer to it by a foreign key to table customer; delete those in the same action or before it, or declare ON DELETE CASCADE`},
		{upsert("strict", `{"id":1}`, `{"n":"secret"}`), `strict {"id":1}: cannot store TEXT value in INTEGER column strict.n`},
		{upsert("strict", `{"id":1}`, `{"n":1.5}`), `strict {"id":1}: cannot store REAL value in INTEGER column strict.n`},
		{upsert("keyless", `{"id":1}`, `{"name":"secret"}`), `keyless {"id":1}: table keyless has no primary key or unique index on (id), which an upsert needs; CREATE UNIQUE INDEX "waybill_keyless_key" ON "keyless" ("id")`},
		{update("keyless", `{"id":1}`, `{"name":"secret"}`), `keyless {"id":1}: the key matches 2 rows of table keyless; name the columns that identify a row, and add a unique index on them to keyless`},
		{remove("keyless", `{"id":1}`), `keyless {"id":1}: the key matches 2 rows of table keyless; name the columns that identify a row, and add a unique index on them to keyless`},
		{insert("keyless", `{"id":2}`, `{"name":"secret"}`), `keyless {"id":2}: a row with this key exists already; use upsert where the row may exist`},
		{insert("guarded", `{"id":1}`, `{"v":"literal"}`), `guarded {"id":1}: a trigger of table guarded refuses it: that's not allowed`},
		{insert("guarded", `{"id":1}`, `{"v":"made up"}`), `guarded {"id":1}: a trigger of table guarded refuses it`},
		{insert("guarded", `{"id":1}`, `{"v":"ignore"}`), `guarded {"id":1}: a trigger of table guarded skipped the row`},
		{upsert("guarded", `{"id":1}`, `{"v":"ignore"}`), `guarded {"id":1}: a trigger of table guarded skipped the row`},
		{insert("guarded", `{"id":1}`, `{"v":"rollback"}`), `guarded {"id":1}: a trigger of table guarded refuses it: all gone`},
		{upsert("names", `{"id":1}`, `{"name":"secret"}`), `names {"id":1}: names at the target is a view, not an ordinary table`},
		{upsert("nosuch", `{"id":1}`, `{"name":"secret"}`), `nosuch {"id":1}: the target has no table nosuch; create it`},
		{remove("nosuch", `{"id":1}`), `nosuch {"id":1}: the target has no table nosuch; create it`},
		{upsert("waybill_position", `{"stream":"x"}`, `{"epoch":1}`), `waybill_position {"stream":"x"}: table waybill_position does not belong to the data`},
		{upsert("two words", `{"a \"b\"":1}`, `{"c":1}`), `two words {"a \"b\"":1}: table two words has no column c; ALTER TABLE "two words" ADD COLUMN "c"`},
	} {
		a := newApp(t, tables...)
		x := a.writer(TargetOptions{})
		err := x.try([]waybill.Change{insert("customer", `{"id":100}`, `{"name":"first"}`), c.change})
		want := "action action-1 refused at " + c.want
		var refusal *waybill.Refusal
		if !errors.As(err, &refusal) || err.Error() != want {
			t.Errorf("have %v\nwant %s", err, want)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("the refusal shows a value: %v", err)
		}
		a.want("SELECT count(*), (SELECT seq FROM waybill_position) FROM customer", "2|0")
		x.write(insert("customer", `{"id":100}`, `{"name":"first"}`)) // the stream goes on
		_ = x.Close()
		_ = a.Close()
	}
}

// TestApplySpecialTables: what upserts meet beside plain tables.
func TestApplySpecialTables(t *testing.T) {
	a := newApp(t,
		`CREATE TABLE gen (id integer PRIMARY KEY, a integer, twice integer AS (a * 2) STORED, thrice integer AS (a * 3))`,
		`CREATE TABLE needy (id integer PRIMARY KEY, name text NOT NULL, age integer CHECK (age > 0), note text)`,
		`CREATE TABLE sly (id integer PRIMARY KEY ON CONFLICT REPLACE, u text UNIQUE ON CONFLICT IGNORE, n text NOT NULL ON CONFLICT ROLLBACK)`,
		`CREATE TABLE mixed (Name text COLLATE NOCASE, kind text, v, UNIQUE (kind, Name))`,
		`CREATE TABLE sub (a text, b text, v text)`, `CREATE UNIQUE INDEX part ON sub (a) WHERE b IS NOT NULL`, `CREATE UNIQUE INDEX expr ON sub (lower(b))`,
		`INSERT INTO needy VALUES (1, 'one', 5, NULL)`, `INSERT INTO sly VALUES (1, 'u', 'n')`)
	x := a.writer(TargetOptions{})
	x.write(insert("gen", `{"id":1}`, `{"a":5,"twice":99,"thrice":null}`), update("gen", `{"id":1}`, `{"a":6,"twice":99}`), upsert("gen", `{"id":1}`, `{"twice":1}`))
	a.want("SELECT * FROM gen", "1|6|12|18")
	// An upsert changes what it carries, even where it could not insert.
	x.write(upsert("needy", `{"id":1}`, `{"note":"n"}`))
	a.want("SELECT * FROM needy", "1|one|5|n")
	wantErr(t, x.try([]waybill.Change{upsert("needy", `{"id":2}`, `{"note":"n"}`)}), nil, "NOT NULL constraint failed: needy.name")
	// The table's own conflict clauses remove nothing, skip nothing and roll nothing back.
	wantErr(t, x.try([]waybill.Change{insert("sly", `{"id":1}`, `{"u":"v","n":"n"}`)}), nil, "a row with this key exists already")
	wantErr(t, x.try([]waybill.Change{insert("sly", `{"id":2}`, `{"u":"u","n":"n"}`)}), nil, "UNIQUE constraint failed: sly.u")
	wantErr(t, x.try([]waybill.Change{insert("sly", `{"id":2}`, `{"u":"w","n":null}`)}), nil, "NOT NULL constraint failed: sly.n")
	wantErr(t, x.try([]waybill.Change{update("sly", `{"id":1}`, `{"n":null}`)}), nil, "NOT NULL constraint failed: sly.n")
	a.want("SELECT * FROM sly", "1|u|n")
	// Names in any case, keys in any order, the key's collation.
	x.write(upsert("MIXED", `{"KIND":"k","name":"a"}`, `{"V":1}`), upsert("mixed", `{"name":"A","kind":"k"}`, `{"v":{"x":[1, 2]}}`))
	a.want("SELECT * FROM mixed", `a|k|{"x":[1, 2]}`)
	for _, key := range []string{`{"a":"1"}`, `{"b":"1"}`} { // partial and expression indexes identify nothing
		wantErr(t, x.try([]waybill.Change{upsert("sub", key, `{"v":"v"}`)}), nil, "table sub has no primary key or unique index on")
	}
	x.write(insert("sub", `{"a":"1"}`, `{"v":"v"}`))
	// A schema that changes between two batches.
	a.exec("ALTER TABLE sub ADD COLUMN w text")
	a.exec("CREATE UNIQUE INDEX whole ON sub (a)")
	x.write(upsert("sub", `{"a":"1"}`, `{"v":"x","w":"y"}`))
	a.want("SELECT a, v, w FROM sub", "1|x|y")
	a.exec("DROP TABLE sub")
	wantErr(t, x.try([]waybill.Change{upsert("sub", `{"a":"1"}`, `{"v":"x","w":"y"}`)}), nil, "the target has no table sub")
}

// TestManyShapes: more shapes of change than plans are kept.
func TestManyShapes(t *testing.T) {
	cols := ""
	for i := range 3 * maxShapes {
		cols += fmt.Sprintf(", c%d integer", i)
	}
	a := newApp(t, "CREATE TABLE wide (id integer PRIMARY KEY"+cols+")")
	x := a.writer(TargetOptions{})
	var all []waybill.Change
	for range 2 {
		for i := range 3 * maxShapes {
			all = append(all, upsert("wide", `{"id":1}`, fmt.Sprintf(`{"c%d":%d}`, i, i)))
		}
	}
	x.write(all...)
	a.want(fmt.Sprintf("SELECT c0, c%d FROM wide", 3*maxShapes-1), fmt.Sprintf("0|%d", 3*maxShapes-1))
	if n := len(x.plans.plans["wide"].ops[waybill.Upsert]); n > maxShapes {
		t.Fatalf("%d plans kept", n)
	}
}

// TestDiskFull: nothing is changed, and the same batch goes through once there is room.
func TestDiskFull(t *testing.T) {
	a := newApp(t, "CREATE TABLE note (id integer PRIMARY KEY, text text)")
	x := a.writer(TargetOptions{})
	x.write(insert("note", `{"id":1}`, `{}`))
	pages := a.rows("PRAGMA page_count")
	if err := x.c.script(context.Background(), "PRAGMA max_page_count = "+pages); err != nil {
		t.Fatal(err)
	}
	b := x.batch([]waybill.Change{insert("note", `{"id":2}`, `{}`), insert("note", `{"id":3}`, fmt.Sprintf(`{"text":%q}`, strings.Repeat("x", 1<<20)))})
	for range 2 {
		err := x.Write(ctx(t), b)
		if !waybill.Transient(err) {
			t.Fatalf("a full disk is not transient: %v", err)
		}
		wantErr(t, err, nil, "make room on its disk", a.path)
		a.want("SELECT count(*), (SELECT seq FROM waybill_position) FROM note", "1|1")
	}
	if err := x.c.script(context.Background(), "PRAGMA max_page_count = 1000000"); err != nil {
		t.Fatal(err)
	}
	if err := x.Write(ctx(t), b); err != nil {
		t.Fatal(err)
	}
	a.want("SELECT count(*), (SELECT seq FROM waybill_position) FROM note", "3|2")
}

var errLost = errors.New("no answer")

// TestUnknownCommit: the answer to a commit is lost, in every way it may have gone.
func TestUnknownCommit(t *testing.T) {
	type outcome struct {
		name   string
		commit func(t *testing.T, a *app, c *conn) error
		check  func(t *testing.T, err error)
		rows   string // after the batch was written again, if the error was transient
	}
	failed := func(*testing.T, *app, *conn) error { return errLost }
	done := func(t *testing.T, _ *app, c *conn) error {
		if err := c.commit(); err != nil {
			t.Fatal(err)
		}
		return errLost
	}
	for _, o := range []outcome{
		{"it was done", done, func(t *testing.T, err error) {
			if err != nil {
				t.Fatal(err)
			}
		}, "1"},
		{"it was not done", failed, func(t *testing.T, err error) {
			if !waybill.Transient(err) || !errors.Is(err, errLost) {
				t.Fatalf("%v, want a transient error", err)
			}
		}, "1"},
		{"it was done, and another engine took over", func(t *testing.T, a *app, c *conn) error {
			err := done(t, a, c)
			a.writer(TargetOptions{Owner: "me"})
			return err
		}, func(t *testing.T, err error) { wantErr(t, err, waybill.ErrFenced) }, "1"},
		{"it was not done, and another engine took over", func(t *testing.T, a *app, c *conn) error {
			c.rollback()
			a.writer(TargetOptions{Owner: "me"})
			return errLost
		}, func(t *testing.T, err error) { wantErr(t, err, waybill.ErrFenced) }, "0"},
		{"it was done, and the stream was dropped", func(t *testing.T, a *app, c *conn) error {
			err := done(t, a, c)
			a.exec("DELETE FROM waybill_position")
			return err
		}, func(t *testing.T, err error) { wantErr(t, err, waybill.ErrGap) }, "1"},
	} {
		t.Run(o.name, func(t *testing.T) {
			a := newApp(t, "CREATE TABLE journal (n integer PRIMARY KEY)")
			x := a.writer(TargetOptions{Owner: "me"})
			x.commit = func(c *conn) error { return o.commit(t, a, c) }
			b := x.batch([]waybill.Change{insert("journal", `{"n":1}`, `{}`)})
			err := x.Write(ctx(t), b)
			o.check(t, err)
			x.commit = (*conn).commit
			if waybill.Transient(err) {
				if err := x.Write(ctx(t), b); err != nil {
					t.Fatalf("the same batch again: %v", err)
				}
			}
			a.want("SELECT count(*) FROM journal", o.rows)
			if err == nil || waybill.Transient(err) {
				x.seq = 1
				x.write(insert("journal", `{"n":2}`, `{}`))
			}
		})
	}
}

// TestUnknownCommitUnreadable: the file cannot be read right after the commit; the answer
// is found when it can be.
func TestUnknownCommitUnreadable(t *testing.T) {
	for _, done := range []bool{true, false} {
		a := newApp(t, "CREATE TABLE journal (n integer PRIMARY KEY)")
		x := a.writer(TargetOptions{})
		x.commit = func(c *conn) error {
			if done {
				if err := c.commit(); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.Rename(a.path, a.path+".away"); err != nil {
				t.Fatal(err)
			}
			return errLost
		}
		b := x.batch([]waybill.Change{insert("journal", `{"n":1}`, `{}`)})
		wantErr(t, x.Write(ctx(t), b), nil, "does not exist")
		if err := os.Rename(a.path+".away", a.path); err != nil {
			t.Fatal(err)
		}
		x.commit = (*conn).commit
		if err := x.Write(ctx(t), b); err != nil {
			t.Fatalf("the same batch again: %v", err)
		}
		a.want("SELECT count(*), (SELECT seq FROM waybill_position) FROM journal", "1|1")
	}
}

// TestReplacedUnderWriter: nothing is written into a file that nobody can see any more.
func TestReplacedUnderWriter(t *testing.T) {
	a := newApp(t, "CREATE TABLE journal (n integer PRIMARY KEY)")
	x := a.writer(TargetOptions{})
	x.write(insert("journal", `{"n":1}`, `{}`))
	a.exec("PRAGMA wal_checkpoint(TRUNCATE)")
	if err := exchange(a.path); err != nil {
		t.Fatal(err)
	}
	err := x.try([]waybill.Change{insert("journal", `{"n":2}`, `{}`)})
	wantErr(t, err, waybill.ErrGap, "was removed or replaced while it was in use")
	// Between the look before and the commit.
	y := newApp(t, "CREATE TABLE journal (n integer PRIMARY KEY)").writer(TargetOptions{})
	y.commit = func(c *conn) error { return errors.Join(c.commit(), exchange(y.opt.Path)) }
	wantErr(t, y.try([]waybill.Change{insert("journal", `{"n":2}`, `{}`)}), waybill.ErrGap)
}

// TestLocked: the application holds the write lock; nothing is changed, and it may be tried
// again.
func TestLocked(t *testing.T) {
	a := newApp(t, "CREATE TABLE journal (n integer PRIMARY KEY)")
	x := a.writer(TargetOptions{})
	if err := x.c.script(context.Background(), "PRAGMA busy_timeout = 50"); err != nil {
		t.Fatal(err)
	}
	tx, err := a.Begin()
	if err != nil {
		t.Fatal(err)
	}
	err = x.try([]waybill.Change{insert("journal", `{"n":1}`, `{}`)})
	if !waybill.Transient(err) {
		t.Fatalf("%v, want a transient error", err)
	}
	wantErr(t, err, nil, "another connection holds the lock")
	short, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if err := x.Write(short, x.batch([]waybill.Change{insert("journal", `{"n":1}`, `{}`)})); !waybill.Transient(err) && !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	x.write(insert("journal", `{"n":1}`, `{}`))
}

// TestReadOnlyTarget: the message says which file it is and what to do.
func TestReadOnlyTarget(t *testing.T) {
	a := newApp(t, "CREATE TABLE journal (n integer PRIMARY KEY)")
	x := a.writer(TargetOptions{})
	x.write(insert("journal", `{"n":1}`, `{}`))
	// Permissions mean nothing to root; SQLite's error is the same.
	if err := x.c.script(context.Background(), "PRAGMA query_only = on"); err != nil {
		t.Fatal(err)
	}
	err := x.try([]waybill.Change{insert("journal", `{"n":2}`, `{}`)})
	wantErr(t, err, nil, "write to SQLite database "+a.path+": ", "readonly database", "; make the file, its directory and its file system writable for this user, then start again")
	if waybill.Transient(err) {
		t.Error("it is transient")
	}
}

// TestRollbackJournal: a target without write-ahead logging, where a reader blocks commits.
func TestRollbackJournal(t *testing.T) {
	a := newApp(t, "PRAGMA journal_mode=DELETE", "CREATE TABLE journal (n integer PRIMARY KEY)")
	x := a.writer(TargetOptions{})
	x.write(insert("journal", `{"n":1}`, `{}`))
	if err := x.c.script(context.Background(), "PRAGMA busy_timeout = 50"); err != nil {
		t.Fatal(err)
	}
	conn, err := a.Conn(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	read := func(q string) {
		if _, err := conn.ExecContext(context.Background(), q); err != nil {
			t.Fatal(err)
		}
	}
	read("BEGIN")
	var n int
	if err := conn.QueryRowContext(context.Background(), "SELECT count(*) FROM journal").Scan(&n); err != nil {
		t.Fatal(err)
	}
	if err := x.try([]waybill.Change{insert("journal", `{"n":2}`, `{}`)}); !waybill.Transient(err) {
		t.Fatalf("%v, want a transient error", err)
	}
	read("COMMIT")
	x.write(insert("journal", `{"n":2}`, `{}`))
}

func TestWriterErrors(t *testing.T) {
	a := newApp(t, "CREATE TABLE journal (n integer PRIMARY KEY)")
	w := NewWriter(TargetOptions{Path: a.path + ".missing"})
	_, err := w.Resume(ctx(t), testStream)
	wantErr(t, err, nil, "does not exist: correct the path, or create the database first")
	if waybill.Transient(err) {
		t.Fatal("transient")
	}
	wantErr(t, w.Write(ctx(t), waybill.Batch{}), nil, "no stream was taken")
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	x := a.writer(TargetOptions{})
	wantErr(t, x.Write(ctx(t), waybill.Batch{After: "elsewhere", Upto: "x"}), waybill.ErrGap)
	a.exec("DROP TABLE waybill_position")
	wantErr(t, x.try([]waybill.Change{}), waybill.ErrGap, "the target has lost its table waybill_position")
	a.exec("UPDATE waybill_meta SET value = '7' WHERE key = 'target_format'")
	_, err = x.Resume(ctx(t), testStream)
	wantErr(t, err, nil, "it has target_format 7, this version of waybill knows 1: upgrade waybill")
}

// TestTargetSettings: what commits rely on is set on the connection that commits.
func TestTargetSettings(t *testing.T) {
	x := newApp(t).writer(TargetOptions{})
	for pragma, want := range map[string]int64{"synchronous": 3, "foreign_keys": 1} {
		if n, err := x.c.number(context.Background(), "PRAGMA "+pragma); err != nil || n != want {
			t.Errorf("%s is %d, %v", pragma, n, err)
		}
	}
}
