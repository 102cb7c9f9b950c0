package target

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/testenv"
)

var updateTarget = flag.Bool("update-target", false, "write testdata/target-schema.golden")

// The tables at a target are an interface: people read them, newer versions migrate them.
func TestTargetSchemaGolden(t *testing.T) {
	r := newTarget(t, "")
	have := r.rows(`SELECT format('%s.%s %s%s%s', c.relname, a.attname, format_type(a.atttypid, a.atttypmod),
			CASE WHEN a.attnotnull THEN ' not null' ELSE '' END, coalesce(' default ' || pg_get_expr(d.adbin, d.adrelid), ''))
		FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
		WHERE c.relnamespace = 'waybill'::regnamespace AND c.relkind = 'r' ORDER BY c.relname, a.attnum`) + "\n" +
		r.rows(`SELECT format('%s %s', conrelid::regclass, pg_get_constraintdef(oid)) FROM pg_constraint
			WHERE connamespace = 'waybill'::regnamespace ORDER BY 1`) + "\n" +
		r.rows(`SELECT format('meta %s = %s', key, value) FROM waybill.meta ORDER BY 1`) + "\n"
	const golden = "testdata/target-schema.golden"
	if *updateTarget {
		if err := os.WriteFile(golden, []byte(have), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), have); diff != "" {
		t.Errorf("the schema differs from %s; a change needs a new format and a migration:\n%s", golden, diff)
	}
}

func TestTargetSchemaIsCreatedOnceByMany(t *testing.T) {
	db := testenv.Postgres(t)
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			w := NewWriter(Options{URL: db.URL})
			if _, err := w.Resume(context.Background(), fmt.Sprintf("p%d/target", i)); err != nil {
				t.Errorf("Resume: %v", err)
			}
			if err := w.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		})
	}
	all.Wait()
}

func TestNewerFormatIsRefused(t *testing.T) {
	r := newTarget(t, "")
	_ = r.w.Close()
	r.exec("UPDATE waybill.meta SET value = '3' WHERE key = 'target.format'")
	_, err := r.w.Resume(r.ctx(), targetStream)
	want := "schema waybill at the target has format 3, written by a newer waybill; this one knows format 2: run the newer version"
	if err == nil || err.Error() != want || waybill.Transient(err) {
		t.Errorf("have %v\nwant %s", err, want)
	}
}

// newClerk makes a role without privileges and a rig whose database it may connect to.
func newClerk(t *testing.T, sql string) (*targetRig, string) {
	db := testenv.Postgres(t)
	role := "clerk_" + db.Name
	testenv.Exec(t, db.URL, fmt.Sprintf("SET search_path = public; CREATE ROLE %s LOGIN PASSWORD 'x'; %s", role, strings.ReplaceAll(sql, "clerk", role)))
	t.Cleanup(func() { testenv.Exec(t, db.URL, fmt.Sprintf("DROP OWNED BY %[1]s; DROP ROLE %[1]s", role)) })
	r := &targetRig{t: t, db: db}
	r.w = r.writer(func(o *Options) { o.URL = strings.Replace(db.URL, "waybill:secret-of-the-test", role+":x", 1) })
	return r, role
}

func TestMissingPrivilegesAndTheirRemedies(t *testing.T) {
	r, role := newClerk(t, "")
	resume := func(want string) {
		t.Helper()
		_, err := r.w.Resume(r.ctx(), targetStream)
		if want = strings.ReplaceAll(want, "clerk", role); err == nil || err.Error() != want || waybill.Transient(err) {
			t.Errorf("\nhave %v\nwant %s", err, want)
		}
	}
	last := func(want string) string {
		_, fix, _ := strings.Cut(want, "run as a superuser or the owner: ")
		return strings.ReplaceAll(fix, "clerk", role)
	}
	want := `create schema waybill at the target: permission denied for database ` + r.db.Name + `; run as a superuser or the owner: CREATE SCHEMA waybill AUTHORIZATION "clerk";`
	resume(want)
	r.exec("CREATE SCHEMA waybill")
	want = `create schema waybill at the target: permission denied for schema waybill; run as a superuser or the owner: GRANT USAGE, CREATE ON SCHEMA waybill TO "clerk";`
	resume(want)
	r.exec(targetSQL) // created by somebody else
	want = `read waybill.meta at the target: permission denied for schema waybill; run as a superuser or the owner: GRANT USAGE ON SCHEMA waybill TO "clerk"; ` +
		`GRANT SELECT, INSERT, UPDATE, DELETE ON waybill.meta, waybill.position, waybill.lease TO "clerk";`
	resume(want)
	r.exec(last(want))
	r.resume()
	r.write(act())
}

func TestDropOfAStreamThatIsHeld(t *testing.T) {
	r := newTarget(t, "")
	other := r.writer()
	if err := other.Drop(r.ctx(), targetStream); !errors.Is(err, waybill.ErrHeld) {
		t.Errorf("Drop of a stream that another engine holds: %v", err)
	}
	if err := r.w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := other.Drop(r.ctx(), targetStream); err != nil {
		t.Errorf("Drop: %v", err)
	}
	r.want("SELECT count(*) FROM waybill.position", "0")
	if err := NewWriter(Options{URL: testenv.Postgres(t).URL}).Drop(r.ctx(), targetStream); err != nil {
		t.Errorf("Drop where nothing ever was: %v", err)
	}
}

// The lease outlives its length while the worker lives, survives the loss of the renewing
// connection, and a worker whose lease ran out and was not taken goes on.
func TestLeaseIsRenewed(t *testing.T) {
	r := newTarget(t, "", func(o *Options) { o.Lease = 600 * time.Millisecond; o.Owner = "engine-one" })
	other := r.writer(func(o *Options) { o.Owner = "engine-two" })
	held := func() {
		t.Helper()
		_, err := other.Resume(r.ctx(), targetStream)
		if !errors.Is(err, waybill.ErrHeld) || !strings.Contains(err.Error(), "engine-one") {
			t.Fatalf("Resume: %v", err)
		}
	}
	renewals := func() {
		t.Helper()
		before := r.rows("SELECT expires_at FROM waybill.lease")
		for range 2 {
			r.await("SELECT expires_at > '"+before+"' AND expires_at > clock_timestamp() FROM waybill.lease", "t")
			before = r.rows("SELECT expires_at FROM waybill.lease")
		}
	}
	renewals()
	held()
	r.rows("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'waybill lease' AND datname = current_database()")
	renewals()
	held()
	r.w.stopRenewal()
	r.exec("UPDATE waybill.lease SET expires_at = clock_timestamp() - interval '1 hour'")
	r.write(act())
	r.w.startRenewal()
	renewals()
	held()
}

// synchronous_commit=off at the server would lose what was acknowledged.
func TestCommitsAreFlushed(t *testing.T) {
	for set, want := range map[string]string{"off": "on", "local": "on", "on": "on", "remote_apply": "remote_apply"} {
		db := testenv.Postgres(t)
		testenv.Exec(t, db.URL, fmt.Sprintf("ALTER DATABASE %s SET synchronous_commit = %s", db.Name, set))
		l, err := openLink(context.Background(), db.URL)
		if err != nil {
			t.Fatal(err)
		}
		var have string
		if err := l.conn.QueryRow(context.Background(), "SHOW synchronous_commit").Scan(&have); err != nil || have != want {
			t.Errorf("synchronous_commit %s becomes %s, want %s (%v)", set, have, want, err)
		}
		l.close()
	}
}

// Tables may change under a running engine.
func TestTablesThatChange(t *testing.T) {
	r := newTarget(t, "CREATE TABLE item (id int PRIMARY KEY, v text, n int)")
	write := func(row string) { t.Helper(); r.write(act(tUpsert("item", key(1), row))) }
	write(`{"v":"a"}`)
	r.exec("ALTER TABLE item ADD COLUMN added text")
	write(`{"v":"b","added":"new"}`)
	r.exec("ALTER TABLE item ALTER COLUMN n TYPE bigint")
	write(`{"v":"b","n":5000000000}`)
	r.exec("ALTER TABLE item ALTER COLUMN v TYPE int USING 1, ALTER COLUMN n TYPE text")
	write(`{"v":2,"n":"text"}`)
	r.exec("ALTER TABLE item DROP COLUMN added, ADD COLUMN added int")
	write(`{"v":2,"n":"text","added":3}`)
	r.exec("ALTER TABLE item DROP CONSTRAINT item_pkey")
	if refusal := r.refused(tUpsert("item", key(1), `{"v":3}`)); !strings.Contains(refusal.Reason, "no primary key") {
		t.Errorf("have %v", refusal)
	}
	r.exec("ALTER TABLE item ADD PRIMARY KEY (id)")
	write(`{"v":3}`)
	r.exec("DROP TABLE item; CREATE TABLE item (id text PRIMARY KEY, v jsonb)")
	write(`{"v":{"a":1}}`)
	r.exec("ALTER TABLE item ADD COLUMN must text; UPDATE item SET must = 'x'; ALTER TABLE item ALTER COLUMN must SET NOT NULL")
	write(`{"v":2}`)
	r.want("SELECT * FROM item", `1|2|x`)
	r.exec("DROP TABLE item")
	if refusal := r.refused(tUpsert("item", key(1), `{"v":3}`)); refusal.Reason != "table public.item does not exist" {
		t.Errorf("have %v", refusal)
	}
}

// An upsert that carries some columns changes those of a row that is there, even if they could
// not make a new row.
func TestPartialUpserts(t *testing.T) {
	r := newTarget(t, `
		CREATE TABLE item (id int PRIMARY KEY, name text NOT NULL, v text, made int GENERATED ALWAYS AS (id * 2) STORED);
		CREATE TABLE numbered (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v text);
		CREATE TABLE late (id int, v text, w text DEFAULT 'd', PRIMARY KEY (id) DEFERRABLE);
		INSERT INTO item VALUES (1, 'one')`)
	r.write(act(tUpsert("item", key(1), `{"v":"a","made":77}`), tUpsert("item", key(2), `{"name":"two","v":"b"}`)))
	r.want("SELECT * FROM item ORDER BY id", "1|one|a|2\n2|two|b|4")
	if refusal := r.refused(tUpsert("item", key(3), `{"v":"a"}`)); !strings.Contains(refusal.Reason, `null value in column "name"`) {
		t.Errorf("have %v", refusal)
	}
	r.write(act(tInsert("numbered", key(40), `{"v":"a"}`), tUpsert("numbered", key(41), `{"v":"b"}`), tUpsert("numbered", key(40), `{"v":"c"}`)))
	r.want("SELECT * FROM numbered ORDER BY id", "40|c\n41|b")
	r.write(act(tUpsert("late", key(1), `{"v":"a","w":"x"}`), tUpsert("late", key(1), `{"v":"b"}`), tUpsert("late", key(2), `{}`), tUpsert("late", key(2), `{}`)))
	r.want("SELECT * FROM late ORDER BY id", "1|b|x\n2|NULL|d")
}

func TestEntitiesAndSchemas(t *testing.T) {
	r := newTarget(t, `CREATE SCHEMA crm; CREATE SCHEMA other; CREATE TABLE item (id int PRIMARY KEY); CREATE TABLE crm.item (id int PRIMARY KEY);
		CREATE TABLE other.item (id int PRIMARY KEY); CREATE TABLE other."a.b" (id int PRIMARY KEY)`)
	r.write(act(tInsert("item", key(1), `{}`), tInsert("crm.item", key(2), `{}`), tInsert("public.item", key(3), `{}`)))
	_ = r.w.Close()
	r.w = r.writer(func(o *Options) { o.Schema = "other" })
	r.resume()
	r.write(act(tInsert("item", key(1), `{}`), tInsert("crm.item", key(2), `{}`), tInsert("x.a.b", key(3), `{}`)))
	r.want(`SELECT (SELECT array_agg(id) FROM item), (SELECT array_agg(id) FROM crm.item), (SELECT array_agg(id) FROM other.item), (SELECT array_agg(id) FROM other."a.b")`,
		"{1,3}|{2}|{1,2}|{3}")
}

func TestTargetCheck(t *testing.T) {
	tables := `
		CREATE SCHEMA shop; GRANT USAGE ON SCHEMA shop TO clerk; CREATE TABLE shop.item (id int PRIMARY KEY); CREATE TABLE shop.loose (id int);
		CREATE TABLE shop.secret (id int PRIMARY KEY); CREATE TABLE shop.late (id int PRIMARY KEY DEFERRABLE);
		GRANT ALL ON shop.item, shop.loose, shop.late TO clerk`
	r, role := newClerk(t, tables)
	check := func(want string) {
		t.Helper()
		findings, err := r.w.Check(r.ctx(), targetStream)
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, f := range findings {
			line := map[[2]bool]string{{true, false}: "ok", {false, true}: "warn", {false, false}: "bad"}[[2]bool{f.OK, f.Warn}] + ": " + f.What
			if f.Fix != "" {
				line += " -> " + f.Fix
			}
			out = append(out, strings.NewReplacer(role, "clerk", r.db.Name, "DB").Replace(line))
		}
		if diff := cmp.Diff(strings.Split(strings.TrimSpace(want), "\n"), out[1:]); diff != "" {
			t.Errorf("%s\n%s", out[0], diff)
		}
	}
	check(`
bad: the role may not create or use schema waybill, where the position is kept -> CREATE SCHEMA waybill AUTHORIZATION "clerk";
warn: schema public has no tables -> create the tables that the entities are written to`)
	r.w.opts.Define = func(string) (create, evolve bool) { return true, true }
	r.exec(fmt.Sprintf("GRANT CREATE ON SCHEMA public TO %s", role))
	check(`
bad: the role may not create or use schema waybill, where the position is kept -> CREATE SCHEMA waybill AUTHORIZATION "clerk";
ok: schema public has no tables yet: they are made as rows come`)
	r.w.opts.Define = nil
	r.exec(fmt.Sprintf("CREATE SCHEMA waybill AUTHORIZATION %s", role))
	r.w.opts.Schema = "shop"
	check(`
ok: schema waybill, where the position is kept, will be created
ok: 3 tables of schema shop can be written to
warn: the role may not write to shop.secret -> GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE "shop"."secret" TO "clerk";
warn: without a primary key or unique constraint only op insert can be applied to shop.loose -> ALTER TABLE "shop"."loose" ADD PRIMARY KEY (…);
warn: op upsert takes two statements instead of one at shop.late, whose primary key is deferrable -> declare the primary key NOT DEFERRABLE`)
	r.resume()
	r.w.opts.Schema = "nosuch"
	host, _ := os.Hostname()
	check(fmt.Sprintf(`
ok: schema waybill is there, format 2
ok: an engine on host %s, process %d, carries the stream now
bad: schema nosuch does not exist -> CREATE SCHEMA "nosuch"; and in it the tables that the entities are written to`, host, os.Getpid()))
}

func TestTargetCannotBeReached(t *testing.T) {
	db := testenv.Postgres(t)
	for _, c := range []struct {
		from, to  string
		transient bool
	}{{"secret-of-the-test", "wrong", false}, {"/" + db.Name, "/nosuch", false}, {"127.0.0.1:", "127.0.0.1:1", true}} {
		url := strings.Replace(db.URL, c.from, c.to, 1)
		if c.transient {
			url = "postgres://u:hidden@127.0.0.1:1/x"
		}
		w := NewWriter(Options{URL: url})
		_, err := w.Resume(context.Background(), targetStream)
		_, cerr := w.Check(context.Background(), targetStream)
		for _, err := range []error{err, cerr} {
			if err == nil || waybill.Transient(err) != c.transient || strings.Contains(err.Error(), "hidden") || strings.Contains(err.Error(), "secret-of") {
				t.Errorf("%s: %v", c.to, err)
			}
		}
	}
}

// A batch that one plan does not hold, with a table that shows up late.
func TestBatchOfSeveralPlans(t *testing.T) {
	r := newTarget(t, "CREATE TABLE item (id int PRIMARY KEY, n int CHECK (n < 100)); CREATE TABLE rare (id int PRIMARY KEY)")
	var changes []waybill.Change
	for i := range 2*planChanges + 100 {
		changes = append(changes, tUpsert("item", key(i%20000), row("n", i%100)))
	}
	bad := slices.Concat(changes, act(tInsert("rare", key(1), `{}`), tInsert("rare", key(1), `{}`)))
	if refusal := r.refused(bad...); refusal.Error() != `action a1 refused at rare {"id":1}: a row with this key exists already; use op upsert where the row may exist` {
		t.Errorf("have %v", refusal)
	}
	r.want("SELECT count(*) FROM item", "0")
	r.write(changes[:10], append(changes, tInsert("rare", key(1), `{}`)), nil)
	r.want("SELECT count(*), sum(n), (SELECT count(*) FROM rare) FROM item", "20000|"+r.rows("SELECT sum(n) FROM (SELECT DISTINCT ON (i % 20000) i % 100 AS n FROM generate_series(0, 32867) i ORDER BY i % 20000, i DESC) x")+"|1")
}
