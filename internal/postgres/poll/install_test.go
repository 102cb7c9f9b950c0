package poll

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/postgres/pgtest"
	"github.com/waybill-data/waybill/internal/postgres/server"
	"github.com/waybill-data/waybill/internal/postgres/target"
	"github.com/waybill-data/waybill/internal/testenv"
)

// as is the source's URL for another role.
func (s *source) as(t testing.TB, role string) string {
	t.Helper()
	cfg, err := pgx.ParseConfig(s.url)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Replace(s.url, cfg.User+":"+cfg.Password+"@", role+":other-secret@", 1)
}

// role creates a login role of the test's own.
func (s *source) role(t testing.TB, name string) string {
	t.Helper()
	x := s.session(t)
	x.exec(`create role ` + name + ` login password 'other-secret'`)
	t.Cleanup(func() {
		conn, err := pgx.Connect(context.Background(), s.url)
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close(context.Background())
		if _, err := conn.Exec(context.Background(), `drop owned by `+name+`; drop role `+name); err != nil {
			t.Error(err)
		}
	})
	return s.as(t, name)
}

// An application needs no right on any table, and with two grants can emit and nothing else.
func TestApplicationPrivileges(t *testing.T) {
	s := newSource(t)
	url := s.role(t, "source_app")
	app := &source{url: url}
	x := app.session(t)
	if _, err := x.conn.Exec(t.Context(), `select waybill.emit('x', '[]')`); server.Code(err) != insufficientPrivilege {
		t.Fatalf("emit without any grant: %v", err)
	}
	owner := s.session(t)
	owner.exec(`grant usage on schema waybill to source_app`)
	if _, err := x.conn.Exec(t.Context(), `select waybill.emit('x', '[]')`); server.Code(err) != insufficientPrivilege {
		t.Fatalf("emit with usage only: %v", err)
	}
	owner.exec(`grant execute on function waybill.emit(text, jsonb, text) to source_app`)
	x.exec(`begin`)
	want := x.emit(1, 1)
	if got := x.emit(2, 2); got != want {
		t.Fatalf("two calls of one transaction gave %s and %s", want, got)
	}
	x.exec(`commit`)
	for _, sql := range []string{
		`select from waybill.outbox`, `select from waybill.outbox_0`, `select from waybill.consumer`, `select from waybill.outbox_order`,
		`insert into waybill.outbox (changes) values ('[]')`, `insert into waybill.outbox_0 (changes) values ('[]')`,
		`delete from waybill.outbox_order`, `update waybill.outbox_control set half = 1`, `truncate waybill.outbox_0`,
		`select nextval('waybill.outbox_ord')`, `select waybill.outbox_purge()`,
	} {
		if _, err := x.conn.Exec(t.Context(), sql); server.Code(err) != insufficientPrivilege {
			t.Errorf("%s as the application: %v", sql, err)
		}
	}
	// Objects of the application's own do not take the place of those that emit means.
	x.exec(`create temp table outbox_control (half int); create temp table outbox_0 (id uuid)`)
	x.exec(`set search_path = pg_temp, public; select waybill.emit('x', '[]')`)
	o := s.reader(t, testStream)
	pgtest.Open(t, o, "")
	have, _ := pgtest.Drain(t, o, "")
	if len(have) != 2 || have[0].ID != want {
		t.Fatalf("handed on %v", ids(have))
	}
}

// A reader that does not own the outbox needs what Check says, and that is enough.
func TestReaderPrivileges(t *testing.T) {
	s := newSource(t)
	url := s.role(t, "source_reader")
	o := NewReader(Options{URL: url, Stream: testStream})
	o.side.ackEvery, o.side.purgeEvery = 0, time.Hour
	defer o.Close()
	if err := o.Open(t.Context(), ""); err == nil || waybill.Transient(err) {
		t.Fatalf("Open without privileges: %v", err)
	}
	owner := s.session(t)
	for range 3 {
		found, err := o.Check(t.Context(), testStream)
		if err != nil {
			t.Fatal(err)
		}
		fixed := false
		for _, f := range found {
			if !f.OK && !f.Warn {
				owner.exec(f.Fix)
				fixed = true
			}
		}
		if !fixed {
			break
		}
	}
	id := owner.emit(1, 1)
	pgtest.Open(t, o, "")
	have, at := pgtest.Drain(t, o, "")
	wantActions(t, have, id)
	ack(t, o, at)
	if _, err := o.purgeNow(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := o.Drop(t.Context(), testStream); err != nil {
		t.Fatal(err)
	}
}

func TestInstallAndUninstall(t *testing.T) {
	s := &source{url: testenv.Postgres(t).URL}
	o := s.reader(t, testStream)
	err := o.Open(t.Context(), "")
	if err == nil || waybill.Transient(err) || !strings.Contains(err.Error(), "waybill outbox install conformance") {
		t.Fatalf("Open without an outbox: %v", err)
	}
	if found, err := o.Check(t.Context(), testStream); err != nil || found[len(found)-1].Fix != "waybill outbox install conformance" {
		t.Fatalf("Check without an outbox: %+v, %v", found, err)
	}
	if err := o.Uninstall(t.Context(), testStream); err != nil {
		t.Fatalf("Uninstall of nothing: %v", err)
	}
	if err := o.Drop(t.Context(), testStream); err != nil {
		t.Fatalf("Drop of nothing: %v", err)
	}

	s.install(t, testStream, "other")
	s.session(t).emit(1, 1)
	s.install(t, testStream, "other")
	if n := query[int](t, s, `select count(*) from waybill.outbox`); n != 1 {
		t.Fatalf("%d rows after installing again, want 1", n)
	}
	if err := o.Uninstall(t.Context(), testStream); err != nil {
		t.Fatal(err)
	}
	if n := query[int](t, s, `select count(*) from waybill.consumer`); n != 1 {
		t.Fatalf("%d consumers after uninstalling one of two", n)
	}
	if err := o.Uninstall(t.Context(), "other"); err != nil {
		t.Fatal(err)
	}
	if query[bool](t, s, `select to_regnamespace('waybill') is not null`) {
		t.Fatal("the schema is left though nothing is in it")
	}

	// What else lives in the schema stays.
	s.install(t, testStream)
	s.session(t).exec(`create table waybill.position (stream text); insert into waybill.meta values ('target.format', '1')`)
	if err := o.Uninstall(t.Context(), testStream); err != nil {
		t.Fatal(err)
	}
	left := query[string](t, s, `select string_agg(relname, ' ' order by relname) from pg_class
where relnamespace = 'waybill'::regnamespace and relkind in ('r', 'p', 'S')`)
	if left != "meta position" {
		t.Fatalf("left in the schema: %s", left)
	}
	if n := query[int](t, s, `select count(*) from pg_proc where pronamespace = 'waybill'::regnamespace`); n != 0 {
		t.Fatalf("%d functions are left", n)
	}
}

// Who may not install or uninstall is told who may, and what Check prints is enough to install.
func TestInstallPrivileges(t *testing.T) {
	s := &source{url: testenv.Postgres(t).URL}
	url := s.role(t, "source_installer")
	o := NewReader(Options{URL: url, Stream: testStream})
	owner := s.session(t)
	err := o.Install(t.Context(), testStream)
	if err == nil || !strings.Contains(err.Error(), "grant create on database ") || !strings.Contains(err.Error(), "outbox sql conformance | psql") {
		t.Fatalf("Install without privileges: %v", err)
	}
	fix := func() string {
		t.Helper()
		found, err := o.Check(t.Context(), testStream)
		if err != nil {
			t.Fatal(err)
		}
		return found[len(found)-1].Fix
	}
	grant, _, ok := strings.Cut(fix(), "; then run waybill outbox install conformance")
	if !ok {
		t.Fatalf("Check without privileges: %s", fix())
	}

	owner.exec(`create schema waybill; create table waybill.meta (key text primary key, value text not null)`)
	if !strings.Contains(fix(), "let that role run waybill outbox install conformance") {
		t.Fatalf("Check with the schema of another: %s", fix())
	}
	owner.exec(`drop schema waybill cascade`)

	s.install(t, testStream)
	who := query[string](t, s, `select quote_ident(current_user)`)
	for what, err := range map[string]error{"Install": o.Install(t.Context(), testStream), "Uninstall": o.Uninstall(t.Context(), testStream)} {
		if err == nil || waybill.Transient(err) || !strings.Contains(err.Error(), "belongs to role ") || !strings.Contains(err.Error(), who) {
			t.Fatalf("%s of another's outbox: %v", what, err)
		}
	}
	if err := NewReader(Options{URL: s.url}).Uninstall(t.Context(), testStream); err != nil {
		t.Fatal(err)
	}

	owner.exec(grant)
	if err := o.Install(t.Context(), testStream); err != nil {
		t.Fatalf("Install with what Check printed: %v", err)
	}
	if err := o.Uninstall(t.Context(), testStream); err != nil {
		t.Fatal(err)
	}
}

// Where transactions are read-only, what Check prints mends it, whoever made them so.
func TestReadOnlySettings(t *testing.T) {
	s := newSource(t)
	url := s.role(t, "source_read_only")
	owner := s.session(t)
	owner.exec(`grant create on schema public to source_read_only`)
	database := query[string](t, s, `select quote_ident(current_database())`)
	for _, setting := range []string{
		`alter role source_read_only`, `alter role source_read_only in database ` + database, `alter database ` + database,
	} {
		owner.exec(setting + ` set default_transaction_read_only = on`)
		for part, check := range map[string]func() ([]waybill.Finding, error){
			"source": func() ([]waybill.Finding, error) {
				return NewReader(Options{URL: url}).Check(t.Context(), testStream)
			},
			"target": func() ([]waybill.Finding, error) {
				return target.NewWriter(target.Options{URL: url}).Check(t.Context(), testStream)
			},
		} {
			found, err := check()
			last := found[len(found)-1]
			if err != nil || last.OK || !strings.HasPrefix(strings.ToLower(strings.ReplaceAll(last.Fix, `"`, "")), setting) {
				t.Fatalf("%s: %s: %+v, %v", setting, part, last, err)
			}
		}
		found, err := target.NewWriter(target.Options{URL: url}).Check(t.Context(), testStream)
		if err != nil {
			t.Fatal(err)
		}
		owner.exec(found[len(found)-1].Fix)
		if found, err = target.NewWriter(target.Options{URL: url}).Check(t.Context(), testStream); err != nil || strings.Contains(found[0].What, "read-only") {
			t.Fatalf("%s: still %+v, %v", setting, found, err)
		}
	}
}

// Installing again does not wait for transactions that have emitted, nor make any wait.
func TestInstallBesideWriters(t *testing.T) {
	s := newSource(t)
	x := s.session(t)
	x.exec(`begin`)
	x.emit(1, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second) // the script's lock_timeout is 10 s
	defer cancel()
	if err := NewReader(Options{URL: s.url}).Install(ctx, testStream); err != nil {
		t.Fatal(err)
	}
	x.emit(2, 2)
	x.exec(`commit`)
}

// Another version's outbox is not touched.
func TestOtherFormat(t *testing.T) {
	s := newSource(t)
	s.session(t).exec(`update waybill.meta set value = '2' where key = 'outbox.format'`)
	o := s.reader(t, testStream)
	for what, err := range map[string]error{"Open": o.Open(t.Context(), ""), "Install": o.Install(t.Context())} {
		if err == nil || waybill.Transient(err) || !strings.Contains(err.Error(), "format") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// Rows that came with a dump from another server would send the reader astray.
func TestRowsOfAnotherServer(t *testing.T) {
	s := newSource(t)
	s.session(t).exec(`insert into waybill.outbox (xid, changes) values ('99999999', '[]')`)
	o := s.reader(t, testStream)
	pgtest.Open(t, o, "")
	if _, err := o.Next(t.Context()); err == nil || waybill.Transient(err) || !strings.Contains(err.Error(), "another server") {
		t.Fatalf("Next: %v", err)
	}
}

// Errors name what to do, are transient or not, and never hold the password.
func TestSourceErrors(t *testing.T) {
	s := newSource(t)
	var log strings.Builder
	for name, c := range map[string]struct {
		url       string
		transient bool
		want      string
	}{
		"wrong password":   {strings.Replace(s.url, "secret-of-the-test", "wrong-secret", 1), false, "check the user and the password"},
		"missing database": {s.url[:strings.LastIndex(s.url, "/")] + "/absent?sslmode=disable", false, `database "absent" does not exist`},
		"nobody there":     {"postgres://u:wrong-secret@127.0.0.1:1/x", true, "connection refused"},
		"no such host":     {"postgres://u:wrong-secret@host.invalid/x", true, "host.invalid"},
		"not a url":        {"postgres://u:wrong-secret%zz@h/x", false, "the PostgreSQL url is not understood"},
		"slash":            {"postgres://u:wrong/secret@h/x", false, "the PostgreSQL url is not understood"},
		"at":               {"postgres://u:x@wrong-secret@127.0.0.1:1/x", false, "%40"},
		"at and slash":     {"postgres://u:x@wrong/secret@127.0.0.1:1/x", false, "%40"},
		"at and question":  {"postgres://u:x@wrong?secret@127.0.0.1:1/x", false, "%40"},
		"at, several":      {"postgres://u:x@wrong-secret@127.0.0.1:1,127.0.0.1:2/x", false, "%40"},
		"several hosts":    {"postgres://u:wrong-secret@127.0.0.1:1,127.0.0.1:2/x", true, "connection refused"},
		"words":            {"host=127.0.0.1 port=1 user=u password=wrong-secret", true, "connection refused"},
		"words, at":        {"host=wrong@secret port=1 user=u", false, "%40"},
		"words, port":      {"host=127.0.0.1 port=x user=u password='wrong secret'", false, "is not understood"},
		"parameter":        {"postgres://u@127.0.0.1:1/x?password=wrong-secret&sslmode=wrong-secret", false, "is not understood"},
		"setting":          {"postgres://u:wrong-secret@h/x?sslmode=maybe", false, "sslmode"},
	} {
		o := NewReader(Options{URL: c.url, Stream: testStream, Log: slog.New(slog.NewTextHandler(&log, nil))})
		_, checkErr := o.Check(t.Context(), testStream)
		for what, err := range map[string]error{"Open": o.Open(t.Context(), ""), "Check": checkErr} {
			if err == nil || waybill.Transient(err) != c.transient || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %s: %v (transient %v), want %q (transient %v)", name, what, err, waybill.Transient(err), c.want, c.transient)
			}
			if text := err.Error() + log.String(); strings.Contains(text, "secret") || strings.Contains(text, "wrong") {
				t.Errorf("%s: %s shows the password: %s", name, what, text)
			}
			if n := strings.Count(err.Error(), "127.0.0.1:1 ("); n > 1 {
				t.Errorf("%s: %s says the same %d times: %v", name, what, n, err)
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("%s: %s: more than one line: %v", name, what, err)
			}
		}
		if err := o.Close(); err != nil {
			t.Error(err)
		}
	}
}

// A zero position where the source has seen acknowledgements: the target was wiped.
func TestTargetWiped(t *testing.T) {
	s := newSource(t)
	o := s.reader(t, testStream)
	pgtest.Open(t, o, "")
	s.emitMany(t, 3)
	_, at := pgtest.Drain(t, o, "")
	ack(t, o, at)
	_ = o.Close()
	wantGap(t, o, "")
	var gap *waybill.GapError
	if err := o.Open(t.Context(), ""); !errors.As(err, &gap) || gap.Remedy == "" || gap.Stream != testStream {
		t.Fatalf("Open: %v", err)
	}
	if err := o.Drop(t.Context(), testStream); err != nil {
		t.Fatal(err)
	}
	wantGap(t, o, at) // unregistered, and the target holds a position
	pgtest.Open(t, o, "")
}
