package test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/waybill-data/waybill/internal/testenv"
)

// TestLogOutages: what passes by itself. Three engines run through it all and go on each time, without
// anybody's help: one carries tables, one tables through the queue, one the outbox.
func TestLogOutages(t *testing.T) {
	t.Parallel()
	source := testenv.NewCluster(t, "fsync=off", "wal_level=logical", "logical_decoding_work_mem=64kB")
	target := testenv.NewCluster(t, "fsync=off") // killed are processes, not machines
	o := &outages{t: t, source: source, target: target}
	for _, kind := range []laneKind{laneChanges, laneQueue, laneOutbox} {
		o.lanes = append(o.lanes, o.lane(kind))
	}
	o.eachGoesOn("a locked row, a statement that is cancelled, a session that is ended",
		(*lane).holds, (*lane).write, (*lane).seesLock, (*lane).cancels, (*lane).ends, (*lane).release)
	o.eachGoesOn("a full disk", o.fullDisk()...)
	o.eachGoesOn("a slot in use", (*lane).usurps, (*lane).write,
		func(l *lane) {
			l.says("the slot", "trying again", "slot "+l.slot, "is in use by session", "SELECT pg_terminate_backend(")
		}, (*lane).release)
	o.eachGoesOn("a connection to the source that is cut in mid-transaction", (*lane).cut)
	o.eachGoesOn("a target that is restarted", func(*lane) { target.Stop(t) }, (*lane).write,
		func(l *lane) { l.says("the target", "trying again", "write to the target") }, func(*lane) { target.Start(t) }, (*lane).write)
	for _, c := range []*testenv.Cluster{target, source} {
		for _, l := range o.lanes {
			l.write()
		}
		blackout(t, c)
		o.eachGoesOn("a server that was killed", (*lane).write)
	}
	for _, l := range o.lanes {
		l.stops()
		l.catchUp()
		l.same()
	}
}

// outages are two servers with lanes between them.
type outages struct {
	t              testing.TB
	source, target *testenv.Cluster
	lanes          []*lane
}

// lane makes a lane that runs, with a role of its own for the engine: the timeouts of that role are
// not for the engine.
func (o *outages) lane(kind laneKind) *lane {
	o.t.Helper()
	for _, c := range []*testenv.Cluster{o.source, o.target} {
		testenv.Exec(o.t, c.URL("postgres"), "create database "+string(kind))
		testenv.Exec(o.t, c.URL("postgres"), fmt.Sprintf(`create role engine_%[1]s superuser login password 'secret-of-the-test';
			alter role engine_%[1]s set statement_timeout = '300ms'; alter role engine_%[1]s set lock_timeout = '300ms';
			alter role engine_%[1]s set idle_in_transaction_session_timeout = '300ms'`, kind))
	}
	l := newLane(o.t, kind, o.source.URL(string(kind)), o.target.URL(string(kind)))
	l.from = strings.Replace(l.source, "//waybill:", "//engine_"+string(kind)+":", 1)
	l.to = strings.Replace(l.target, "//waybill:", "//engine_"+string(kind)+":", 1)
	l.at(l.target, laneTables)
	l.install()
	l.write()
	l.starts()
	l.becomesSame("the beginning")
	return l
}

// eachGoesOn takes all lanes through the steps, after which nothing is missing.
func (o *outages) eachGoesOn(what string, steps ...func(l *lane)) {
	o.t.Helper()
	for _, step := range steps {
		for _, l := range o.lanes {
			step(l)
		}
	}
	for _, l := range o.lanes {
		l.becomesSame(what)
	}
}

// holds opens a transaction that keeps the first customer locked at the target until it is released.
func (l *lane) holds() {
	l.t.Helper()
	conn, err := pgx.Connect(context.Background(), l.target)
	if err == nil {
		_, err = conn.Exec(context.Background(), `begin; update customer set city = city where id = 1`)
	}
	if err != nil {
		l.t.Fatal(err)
	}
	l.letGo = func() { _ = conn.Close(context.Background()) }
	l.t.Cleanup(l.letGo)
}

func (l *lane) release() { l.letGo() }

// seesLock: the engine waits longer than the timeouts of its role and its own patience, and says for whom.
func (l *lane) seesLock() {
	l.t.Helper()
	l.says("the lock", "waiting for a lock at the target", "crm/postgres", "customer", "SELECT pg_terminate_backend(")
}

// cancels the statement that waits, as a timeout does, and ends does so with its session; both in
// mid-transaction.
func (l *lane) cancels() {
	l.t.Helper()
	l.hits("pg_cancel_backend(pid)")
	l.says("what was cancelled", "trying again", "public.customer", "SQLSTATE 57014", "statement_timeout")
}

func (l *lane) ends() {
	l.t.Helper()
	l.hits("pg_terminate_backend(pid)")
	l.says("what was cut", "trying again", "nothing was written", "SQLSTATE 57P01")
}

// hits does something to the session that writes to the target, once it waits for the lock.
func (l *lane) hits(how string) {
	l.t.Helper()
	eventually(l.t, "the write waits for the lock", func() bool {
		n, err := value(l.target, fmt.Sprintf(`select count(%s)::text from pg_stat_activity
			where application_name = 'waybill target' and datname = current_database() and wait_event_type = 'Lock'`, how))
		return l.e.ended() || err == nil && n == "1"
	})
}

// usurps starts the engine while another session reads its slot, until that is released.
func (l *lane) usurps() {
	l.t.Helper()
	l.stops()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	config, err := pgconn.ParseConfig(l.source)
	if err != nil {
		l.t.Fatal(err)
	}
	config.RuntimeParams["replication"] = "database"
	conn, err := pgconn.ConnectConfig(ctx, config)
	if err != nil {
		l.t.Fatal(err)
	}
	l.letGo = func() { _ = conn.Close(context.Background()) }
	l.t.Cleanup(l.letGo)
	conn.Frontend().Send(&pgproto3.Query{String: fmt.Sprintf(
		`START_REPLICATION SLOT %s LOGICAL 0/0 (proto_version '1', publication_names '%[1]s')`, l.slot)})
	if err := conn.Frontend().Flush(); err != nil {
		l.t.Fatal(err)
	}
	for {
		m, err := conn.ReceiveMessage(ctx)
		if err != nil {
			l.t.Fatal(err)
		}
		if failed, ok := m.(*pgproto3.ErrorResponse); ok {
			l.t.Fatal(failed.Message)
		}
		if _, ok := m.(*pgproto3.CopyBothResponse); ok {
			break
		}
	}
	l.starts()
}

// cut ends the session that reads the log while a large transaction is open.
func (l *lane) cut() {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, l.source)
	if err != nil {
		l.t.Fatal(err)
	}
	defer conn.Close(ctx)
	l.rows++
	for _, sql := range []string{
		"begin", l.action(l.rows) + l.fat(), `select pg_terminate_backend(active_pid) from pg_replication_slots where slot_name = '` + l.slot + `'`,
		l.action(-l.rows), "commit",
	} {
		if _, err := conn.PgConn().Exec(ctx, sql).ReadAll(); err != nil {
			l.t.Fatal(err)
		}
	}
	l.says("what was cut", "trying again", "read the source's log", "SQLSTATE 57P01")
}

// fat is the SQL of changes of a few hundred kilobytes.
func (l *lane) fat() string {
	l.rows++
	sql := fmt.Sprintf(`insert into phone select %d * 1000 + g, 1, repeat(md5(g::text), 59) from generate_series(1, 200) g;`, l.rows)
	if l.kind == laneOutbox {
		sql += fmt.Sprintf(`select waybill.emit('fat', (select jsonb_agg(jsonb_build_object('entity', 'phone', 'op', 'insert',
			'key', jsonb_build_object('id', id), 'row', jsonb_build_object('customer_id', customer_id, 'number', number)) order by id)
			from phone where id / 1000 = %d));`, l.rows)
	}
	return sql
}

// fullDisk are the steps that move the target's tables to a small disk, fill that, and make room again.
func (o *outages) fullDisk() []func(l *lane) {
	o.t.Helper()
	dir := filepath.Join(o.t.TempDir(), "small")
	for _, d := range []string{filepath.Dir(filepath.Dir(dir)), filepath.Dir(dir), dir} {
		if err := errors.Join(os.MkdirAll(d, 0o755), os.Chmod(d, 0o755)); err != nil { // the server's user has to get in
			o.t.Fatal(err)
		}
	}
	if err := syscall.Mount("none", dir, "tmpfs", 0, "size=16m"); err != nil {
		fmt.Fprintf(os.Stderr, "NOT TESTED: a full disk, because no file system can be mounted here: %v\n", err)
		return nil
	}
	o.t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	info, err := os.Stat(o.target.Dir)
	if err != nil {
		o.t.Fatal(err)
	}
	owner := info.Sys().(*syscall.Stat_t)
	if err := os.Chown(dir, int(owner.Uid), int(owner.Gid)); err != nil {
		o.t.Fatal(err)
	}
	testenv.Exec(o.t, o.target.URL("postgres"), fmt.Sprintf("create tablespace small location '%s'", dir))
	ballast := filepath.Join(dir, "ballast")
	return []func(l *lane){
		func(l *lane) { l.at(l.target, "alter table phone set tablespace small") },
		func(*lane) { fill(o.t, ballast) },
		func(l *lane) { l.at(l.source, "begin;"+l.fat()+"commit") },
		func(l *lane) { l.says("the disk", "trying again", "public.phone", "SQLSTATE 53100", "free space") },
		func(*lane) {
			if err := os.Remove(ballast); err != nil && !errors.Is(err, os.ErrNotExist) {
				o.t.Fatal(err)
			}
		},
	}
}

// fill makes a file that takes all the room there is.
func fill(t testing.TB, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	block := make([]byte, 1<<12)
	for err == nil {
		_, err = f.Write(block)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
}
