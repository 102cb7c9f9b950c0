package wal

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/postgres/pgtest"
	"github.com/waybill-data/waybill/internal/testenv"
)

// clusterSource is a source on a server of its own.
func clusterSource(t *testing.T, major int, sql string, conf ...string) (*testenv.Cluster, *source) {
	t.Helper()
	c := testenv.NewClusterVersion(t, major, append([]string{"wal_level=logical", "fsync=off"}, conf...)...)
	s := &source{url: c.URL("postgres"), tables: []string{"public.*"}, slot: "waybill_test"}
	s.exec(t, sql)
	return c, s
}

// wantError fails unless err stops the stream and says all the words.
func wantError(t testing.TB, err error, words ...string) {
	t.Helper()
	if err == nil || waybill.Transient(err) {
		t.Fatalf("%v, want an error that stays", err)
	}
	wantWords(t, err.Error(), words...)
}

func wantWords(t testing.TB, text string, words ...string) {
	t.Helper()
	for _, w := range words {
		if !strings.Contains(text, w) {
			t.Errorf("%q does not say %q", text, w)
		}
	}
}

// findings are what Check found wrong, one a line, with what to do.
func findings(t testing.TB, o *Reader) (text string, fixes []string) {
	t.Helper()
	found, err := o.Check(t.Context(), "test/target")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range found {
		if !f.OK {
			text += f.What + " | " + f.Fix + "\n"
		}
		if !f.OK && !f.Warn {
			fixes = append(fixes, f.Fix)
		}
	}
	return text, fixes
}

// TestFork: a standby that did not receive everything was promoted. What both have goes on.
func TestFork(t *testing.T) {
	t.Parallel()
	c, s := clusterSource(t, 0, `create table c (id int primary key)`)
	o := s.open(t, "")
	s.exec(t, `insert into c values (1)`)
	_, first := pgtest.Drain(t, o, "")
	if err := o.Ack(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	_ = o.Close()
	c.Stop(t)
	standby := c.Dir + ".standby"
	if out, err := exec.CommandContext(t.Context(), "cp", "-a", c.Dir, standby).CombinedOutput(); err != nil {
		t.Fatalf("cp: %v: %s", err, out)
	}
	c.Start(t)
	pgtest.Open(t, o, first)
	s.exec(t, `insert into c values (2)`)
	_, second := pgtest.Drain(t, o, first)
	_ = o.Close()

	c.Stop(t)
	if err := errors.Join(os.RemoveAll(c.Dir), os.Rename(standby, c.Dir), os.WriteFile(c.Dir+"/standby.signal", nil, 0o644)); err != nil {
		t.Fatal(err)
	}
	c.Start(t)
	if err := o.Open(t.Context(), second); !waybill.Transient(err) {
		t.Fatalf("Open in a failover under way: %v", err)
	}
	wantError(t, s.new(nil).Open(t.Context(), second), "is a standby", "target_session_attrs=read-write")
	s.exec(t, `select pg_promote()`)
	s.exec(t, `select pg_logical_emit_message(true, 'else', repeat('x', 100000))`)
	wantGap(t, o, second, "left timeline 1 at ", "before the position", "had not received everything", "waybill drop test")
	pgtest.Open(t, o, first)
	s.exec(t, `insert into c values (3)`)
	actions, third := pgtest.Drain(t, o, first)
	wantText(t, actions, `insert public.c {"id":3} {"id":3}`)
	if p, err := decodePosition(third); err != nil || p.timeline != 2 {
		t.Errorf("%s after a promotion (%v)", third, err)
	}
}

// TestSlotLost: the server throws away log that the slot needs, while it is read and not confirmed.
func TestSlotLost(t *testing.T) {
	t.Parallel()
	testenv.EachVersion(t, func(t *testing.T, major int) {
		_, s := clusterSource(t, major, `create table c (id int primary key, v text)`, "max_slot_wal_keep_size=1MB")
		o := s.open(t, "")
		s.exec(t, `insert into c values (0)`)
		_, at := pgtest.Drain(t, o, "")
		for range 4 {
			s.exec(t, `select pg_switch_wal(); insert into c values ((select max(id) + 1 from c))`)
		}
		s.exec(t, `checkpoint`)
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		p, err := at, error(nil)
		for err == nil { // what was received before comes
			var b waybill.Batch
			if b, err = o.Next(ctx); err == nil {
				p = b.Upto
			}
		}
		if !waybill.Transient(err) {
			t.Fatalf("Next when the server ended the session: %v", err)
		}
		until(t, func() bool { r, err := o.Retained(ctx); return err == nil && r.Status == "lost" })
		wantGap(t, o, p, "gave up the log of slot waybill_test", "max_slot_wal_keep_size", "waybill drop test")
		wantGap(t, o, at, "gave up the log of slot waybill_test")
		text, fixes := findings(t, o)
		wantWords(t, text, "gave up the log of slot waybill_test")
		wantWords(t, strings.Join(fixes, "\n"), "waybill drop test and start over")
		if err := o.Drop(ctx, "test/target"); err != nil {
			t.Fatal(err)
		}
		pgtest.Open(t, o, "")
		_ = o.Close()
		if major < 18 {
			return
		}
		s.exec(t, `alter system set idle_replication_slot_timeout = '1s'`)
		s.exec(t, `select pg_reload_conf()`)
		until(t, func() bool {
			s.exec(t, `checkpoint`)
			text, _ := findings(t, o)
			return strings.Contains(text, "gave up the log of slot waybill_test (idle_replication_slot_timeout)")
		})
		wantGap(t, o, "", "gave up the log of slot waybill_test (idle_replication_slot_timeout)", "waybill drop test")
	})
}

// TestRoleNeeds: what Check says is enough, and what fails before says it too.
func TestRoleNeeds(t *testing.T) {
	s := newSource(t, `create table c (id int primary key)`)
	s.exec(t, `create role wal_reader login password 'secret-of-the-test'`)
	t.Cleanup(func() {
		testenv.Exec(t, s.url, `drop owned by wal_reader`)
		testenv.Exec(t, s.url, `drop role wal_reader`)
	})
	o := s.new(func(opts *Options) { opts.URL = strings.Replace(s.url, "//waybill:", "//wal_reader:", 1) })
	t.Cleanup(func() { _ = o.Close() })
	err := o.Open(t.Context(), "")
	wantError(t, err, "run as a superuser: ")
	text, fixes := findings(t, o)
	wantWords(t, text, "role wal_reader may not replicate | ALTER ROLE \"wal_reader\" REPLICATION;", "may not make schema waybill", `may not publish "public"."c"`)
	for range 5 {
		if len(fixes) == 0 {
			break
		}
		for _, f := range fixes {
			s.exec(t, strings.TrimPrefix(f, "run as a superuser: "))
		}
		text, fixes = findings(t, o)
	}
	if len(fixes) > 0 {
		t.Fatalf("after all that was to be done: %s", text)
	}
	pgtest.Open(t, o, "")
	s.exec(t, `insert into c values (1)`)
	actions, _ := pgtest.Drain(t, o, "")
	wantText(t, actions, `insert public.c {"id":1} {"id":1}`)
	if err := o.side.do(t.Context(), func(c *sideConn) error { return o.upkeep(t.Context(), c) }); err != nil {
		t.Errorf("upkeep: %v", err)
	}
}

// TestSlotInUse: another program reads the slot. A session of the stream's own is ended instead.
func TestSlotInUse(t *testing.T) {
	t.Parallel()
	s := newSource(t, `create table c (id int primary key)`)
	o := s.open(t, "")
	s.exec(t, `insert into c values (1)`)
	_, at := pgtest.Drain(t, o, "")

	twin := s.new(nil)
	t.Cleanup(func() { _ = twin.Close() })
	pgtest.Open(t, twin, at)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if _, err := o.Next(ctx); !waybill.Transient(err) {
		t.Fatalf("the session that was replaced: %v", err)
	}
	_ = o.Close()
	_ = twin.Close()

	cfg, err := pgx.ParseConfig(s.url)
	if err != nil {
		t.Fatal(err)
	}
	cfg.RuntimeParams["replication"] = "database"
	cfg.RuntimeParams["application_name"] = "somebody"
	other, err := pgconn.ConnectConfig(ctx, &cfg.Config)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close(context.Background())
	other.Frontend().Send(&pgproto3.Query{String: `START_REPLICATION SLOT ` + s.slot + ` LOGICAL 0/0 (proto_version '1', publication_names '` + s.slot + `')`})
	if err := other.Frontend().Flush(); err != nil {
		t.Fatal(err)
	}
	if _, err := other.ReceiveMessage(ctx); err != nil {
		t.Fatal(err)
	}
	text, _ := findings(t, o)
	wantWords(t, text, "is in use by session ", "(somebody)", "SELECT pg_terminate_backend(")
	err = o.Open(ctx, at)
	if !waybill.Transient(err) {
		t.Fatalf("a slot that somebody else reads: %v", err)
	}
	wantWords(t, err.Error(), "is in use by session ", "somebody", "SELECT pg_terminate_backend(")
	_ = other.Close(ctx)
	pgtest.Open(t, o, at)
}

// TestKeylessLeftOut: a table without a key that only a wildcard matches is not published, neither
// when the slot is made nor while it is read, so that the application can go on changing it. Check
// and the log say so. With a key it is published.
func TestKeylessLeftOut(t *testing.T) { testenv.EachVersion(t, testKeylessLeftOut) }

func testKeylessLeftOut(t *testing.T, major int) {
	s := newSourceOn(t, major, `create table c (id int primary key); create table nokey (a int, b int); create table none (id int primary key); alter table none replica identity nothing;
create table part (id int) partition by range (id); create table part_1 partition of part for values from (0) to (10); create table empty (id int) partition by range (id)`)
	left := []string{"nokey", "none", "part", "empty"}
	var log strings.Builder
	o := s.new(func(opts *Options) { opts.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	t.Cleanup(func() { _ = o.Close() })
	told := func() {
		t.Helper()
		text, fixes := findings(t, s.new(nil))
		if len(fixes) > 0 {
			t.Errorf("Check finds missing: %s", fixes)
		}
		for _, name := range left {
			wantWords(t, text, "table public."+name+" has no key and is not captured", `ALTER TABLE "public"."`+name+`" ADD PRIMARY KEY`)
		}
	}
	told()
	pgtest.Open(t, o, "")
	s.exec(t, `create table public.late (a int, b int)`)
	left = append(left, "late")
	upkeep := func() {
		t.Helper()
		if err := o.side.do(t.Context(), func(c *sideConn) error { return o.upkeep(t.Context(), c) }); err != nil {
			t.Fatal(err)
		}
	}
	upkeep()
	upkeep()
	told()
	for _, name := range left {
		if n := strings.Count(log.String(), "table=public."+name+" "); n != 1 {
			t.Errorf("%d warnings of %s:\n%s", n, name, log.String())
		}
	}
	s.exec(t, `insert into nokey values (1, 1); update nokey set b = 2; delete from nokey; insert into part values (1); update part set id = 2; insert into public.late values (1, 1); update public.late set b = 2`)

	s.exec(t, `alter table public.late add primary key (a); alter table part add primary key (id)`)
	upkeep()
	s.exec(t, `update public.late set b = 3; update part set id = 3`)
	actions, at := pgtest.Drain(t, o, "")
	wantText(t, actions, `update public.late {"a":1} {"a":1,"b":3}
update public.part {"id":2} {"id":3}`)
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	pgtest.Open(t, o, at) // what is left out does not stop it
}

// TestKeyless: PostgreSQL refuses updates of a table without a key once that is published, so Check
// warns before, and publishing one that is named says so.
func TestKeyless(t *testing.T) {
	s := newSource(t, `create table nokey (a int, b int); create table late (id int primary key deferrable);
create table part (id int) partition by range (id); create table part_1 partition of part for values from (0) to (10);
alter table part replica identity full`)
	s.tables = []string{"nokey", "public.late", "public.part"}
	text, _ := findings(t, s.new(nil))
	for _, name := range []string{"nokey", "late", "part_1"} {
		wantWords(t, text, "table public."+name+" has no key: its updates and deletes are refused at the source | ALTER TABLE \"public\".\""+name+"\" ADD PRIMARY KEY",
			`ALTER TABLE "public"."`+name+`" REPLICA IDENTITY FULL;`)
	}
	var log strings.Builder
	o := s.new(func(opts *Options) { opts.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	t.Cleanup(func() { _ = o.Close() })
	pgtest.Open(t, o, "")
	for _, name := range []string{"nokey", "late", "part_1"} {
		wantWords(t, log.String(), "refuses their updates and deletes", `\"`+name+`\"`)
	}
	s.exec(t, `insert into nokey values (1, null)`)
	conn := pgtest.Connect(t, s.url)
	for _, sql := range []string{`update nokey set b = 2`, `update late set id = 2`, `update part set id = 2`} {
		if _, err := conn.Exec(t.Context(), sql); err == nil || !strings.Contains(err.Error(), "replica identity") {
			t.Errorf("%s: %v", sql, err)
		}
	}
	s.exec(t, `alter table nokey replica identity full; update nokey set b = 2; insert into nokey values (null, null); delete from nokey where a is null`)
	actions, _ := pgtest.Drain(t, o, "")
	wantText(t, actions, `insert public.nokey {"a":1} {"a":1,"b":null}`, `update public.nokey {"a":1} {"a":1,"b":2} before {"a":1,"b":null}
insert public.nokey {"a":null,"b":null} {"a":null,"b":null}
delete public.nokey {"a":null,"b":null} {} before {"a":null,"b":null}`)
}

// TestSlotOfAnotherDatabase: names of slots are the server's, so that a pipeline of the same name
// beside another database finds its own taken. Check says that, and Drop leaves it alone.
func TestSlotOfAnotherDatabase(t *testing.T) {
	first, second := newSource(t, `create table a (id int primary key)`), newSource(t, `create table a (id int primary key)`)
	second.slot = first.slot
	o := first.new(nil)
	t.Cleanup(func() { _ = o.Close() })
	pgtest.Open(t, o, "")
	text, fixes := findings(t, second.new(nil))
	if len(fixes) != 1 {
		t.Error(fixes)
	}
	wantWords(t, text, "the server has a slot "+first.slot+" already, for its database ", "name another one under `slot` in the configuration")
	if err := second.new(nil).Open(t.Context(), ""); err == nil {
		t.Fatal("it reads from another database's slot")
	}
	wantError(t, second.new(nil).Install(t.Context(), "test/target"), "has a slot "+first.slot+" already")
	other := pgtest.Connect(t, second.url)
	if n := pgtest.Query[int](t, other, "select (select count(*) from pg_publication) + (select count(*) from waybill.slot)"); n != 0 {
		t.Errorf("%d publications and registrations are left where the slot is taken", n)
	}
	if err := second.new(nil).Drop(t.Context(), "test/target"); err != nil {
		t.Fatal(err)
	}
	conn := pgtest.Connect(t, first.url)
	if n := pgtest.Query[int](t, conn, "select count(*) from pg_replication_slots where slot_name = '"+first.slot+"'"); n != 1 {
		t.Errorf("%d slots are left", n)
	}
}
