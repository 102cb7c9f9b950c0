package test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/waybill-data/waybill/internal/testenv"
)

// lane is a pipeline "crm" that reads the log of a PostgreSQL database and writes to another one.
// What both hold is compared in SQL.
type lane struct {
	t              testing.TB
	kind           laneKind
	source, target string // URLs of their owner
	from, to       string // URLs of the pipeline, where it has a role of its own
	dir, slot      string
	tables         []string
	beside         string // configuration beside source and target
	rows           int
	e              *engine
	mark           int    // what was printed before is of no interest
	letGo          func() // ends what another session holds
}

type laneKind string

const (
	laneChanges laneKind = "changes" // of tables
	laneQueue   laneKind = "queue"   // the same, through the queue
	laneOutbox  laneKind = "outbox"
)

// hush is what all values hold that no message may tell.
const hush = "hush-hush"

const laneTables = `create table customer (id int primary key, name text, city varchar(40));
	create table phone (id int primary key, customer_id int not null references customer, number text)`

// newLane makes the tables at the source, which is on a server that the test gives.
func newLane(t testing.TB, kind laneKind, source, target string) *lane {
	t.Helper()
	l := &lane{t: t, kind: kind, source: source, target: target, dir: t.TempDir(), tables: []string{"public.customer", "public.phone"}}
	config, err := pgx.ParseConfig(source)
	if err != nil {
		t.Fatal(err)
	}
	l.slot = "w_" + config.Database
	testenv.Exec(t, source, laneTables)
	return l
}

// config writes the configuration.
func (l *lane) config() string {
	l.t.Helper()
	from, to := l.source, l.target
	if l.from != "" {
		from = l.from
	}
	if l.to != "" {
		to = l.to
	}
	pattern, queue := "push", ""
	capture := "capture: changes, tables: [" + strings.Join(l.tables, ", ") + "]"
	switch l.kind {
	case laneQueue:
		pattern, queue = "queue", fmt.Sprintf("    queue: {embedded: {dir: %q}}\n", filepath.Join(l.dir, "queue"))
	case laneOutbox:
		capture = "capture: outbox, outbox: {read: wal}"
	}
	text := fmt.Sprintf("pipelines:\n  crm:\n    pattern: %s\n%s    source: {postgres: {url: %q, slot: %s, %s}}\n    target: {postgres: {url: %q}}\n%s",
		pattern, queue, from, l.slot, capture, to, l.beside)
	text += fmt.Sprintf("state: {sqlite: {path: %q}}\nadmin: {listen: \"127.0.0.1:0\"}\n", filepath.Join(l.dir, "state.db"))
	path := filepath.Join(l.dir, "waybill.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		l.t.Fatal(err)
	}
	return path
}

// does runs a command to its end, which must be like this, and returns what it printed.
func (l *lane) does(code int, args ...string) string {
	l.t.Helper()
	e := start(l.t, "", append(args, "-f", l.config())...)
	e.want(code)
	l.discreet(e)
	return e.out.String()
}

func (l *lane) install() { l.t.Helper(); l.does(0, "outbox", "install", "crm") }
func (l *lane) catchUp() { l.t.Helper(); l.does(0, "run", "--until-caught-up") }

// discreet fails if a process told a value or a password.
func (l *lane) discreet(e *engine) {
	l.t.Helper()
	for _, secret := range []string{hush, "secret-of-the-test"} {
		if strings.Contains(e.out.String(), secret) {
			l.t.Fatalf("waybill %s told %q:\n%s", e.args, secret, e.tail())
		}
	}
}

// starts runs the pipeline beside the test.
func (l *lane) starts() {
	l.t.Helper()
	l.e, l.mark = start(l.t, "", "run", "-f", l.config()), 0
}

// write commits an action at the source: a new customer with a phone, and a change of the first one.
func (l *lane) write() {
	l.t.Helper()
	l.rows++
	testenv.Exec(l.t, l.source, fmt.Sprintf("begin; %s commit", l.action(l.rows)))
}

// action is the SQL of an action without its transaction.
func (l *lane) action(id int) string {
	value := fmt.Sprintf("%s %d", hush, id)
	sql := fmt.Sprintf(`insert into customer values (%[1]d, '%[2]s', 'a');
		insert into phone values (%[1]d, %[1]d, '%[2]s');
		update customer set name = '%[2]s' where id = 1;`, id, value)
	if l.kind == laneOutbox {
		sql += fmt.Sprintf(`select waybill.emit('customer', '[
			{"entity": "customer", "op": "insert", "key": {"id": %[1]d}, "row": {"name": "%[2]s", "city": "a"}},
			{"entity": "phone", "op": "insert", "key": {"id": %[1]d}, "row": {"customer_id": %[1]d, "number": "%[2]s"}},
			{"entity": "customer", "op": "update", "key": {"id": 1}, "row": {"name": "%[2]s"}}]');`, id, value)
	}
	return sql
}

// at runs SQL at one end.
func (l *lane) at(url, sql string) {
	l.t.Helper()
	testenv.Exec(l.t, url, sql)
}

// value is the one value that a query returns; an error is one of a server that is down.
func value(url, sql string) (text string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return "", err
	}
	defer conn.Close(ctx)
	return text, conn.QueryRow(ctx, sql).Scan(&text)
}

// differs tells of the first table in which the ends differ. Tables beside the lane's own ones are
// given with it.
func (l *lane) differs() string {
	for _, table := range l.tables {
		sql := fmt.Sprintf(`select count(*) || ' rows: ' || coalesce(string_agg(r::text, '; ' order by r::text), '') from %s r`, table)
		want, err := value(l.source, sql)
		have, targetErr := value(l.target, sql)
		if err != nil || targetErr != nil || want != have {
			return fmt.Sprintf("%s: %v %v\nsource %s\ntarget %s", table, err, targetErr, want, have)
		}
	}
	return ""
}

// same fails unless both ends hold the same rows.
func (l *lane) same() {
	l.t.Helper()
	if d := l.differs(); d != "" {
		l.t.Fatal(d)
	}
}

// becomesSame waits until both ends hold the same rows, while the engine runs.
func (l *lane) becomesSame(what string) {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for d := l.differs(); d != ""; d = l.differs() {
		if l.e.ended() {
			l.t.Fatalf("%s: %s: the engine ended:\n%s", l.kind, what, l.e.tail())
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			l.t.Fatalf("%s: %s: waited in vain: %s\n%s", l.kind, what, d, l.e.tail())
		}
	}
	l.mark = len(l.e.out.String())
}

// says waits until the engine has printed all parts in one line, since both ends were the same last.
func (l *lane) says(what string, parts ...string) {
	l.t.Helper()
	said := func() bool {
		for line := range strings.Lines(l.e.out.String()[l.mark:]) {
			all := true
			for _, p := range parts {
				all = all && strings.Contains(line, p)
			}
			if all {
				return true
			}
		}
		return false
	}
	eventually(l.t, fmt.Sprintf("%s: the engine says %q of %s", l.kind, parts, what), func() bool { return l.e.ended() || said() })
	if !said() {
		l.t.Fatalf("%s: %s: %q is not in:\n%s", l.kind, what, parts, l.e.tail())
	}
}

// stops ends the engine as a user does; it must have run until now.
func (l *lane) stops() {
	l.t.Helper()
	l.e.signal(sigterm)
	l.e.want(128 + int(sigterm))
	l.discreet(l.e)
}
