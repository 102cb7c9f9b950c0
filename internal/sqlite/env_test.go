package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	waybill "github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/testenv"
)

const testStream = "p/sqlite"

// patience bounds every wait.
const patience = 20 * time.Second

func TestMain(m *testing.M) {
	if task := os.Getenv(helperEnv); task != "" {
		os.Exit(help(task))
	}
	testenv.Main(m)
}

// app is the application's side of a database: database/sql and plain SQL.
type app struct {
	t    testing.TB
	path string
	*sql.DB
}

// newApp makes a database file in WAL mode.
func newApp(t testing.TB, statements ...string) *app {
	t.Helper()
	return openApp(t, filepath.Join(t.TempDir(), "app.db"), append([]string{setWAL}, statements...)...)
}

func openApp(t testing.TB, path string, statements ...string) *app {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(60000)&_pragma=foreign_keys(1)&_txlock=immediate")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	a := &app{t: t, path: path, DB: db}
	for _, s := range statements {
		a.exec(s)
	}
	return a
}

// newSource makes a database with an outbox and registers the streams.
func newSource(t testing.TB, streams ...string) *app {
	t.Helper()
	a := newApp(t)
	if err := NewOutbox(SourceOptions{Path: a.path}).Install(ctx(t), streams...); err != nil {
		t.Fatal(err)
	}
	return a
}

func ctx(t testing.TB) context.Context {
	c, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return c
}

func (a *app) exec(query string, args ...any) {
	a.t.Helper()
	if _, err := a.Exec(query, args...); err != nil {
		a.t.Fatalf("%s: %v", query, err)
	}
}

// rows reads a result as text: columns joined by |, rows by newline.
func (a *app) rows(query string, args ...any) string {
	a.t.Helper()
	rows, err := a.Query(query, args...)
	if err != nil {
		a.t.Fatalf("%s: %v", query, err)
	}
	defer rows.Close()
	cols, _ := rows.Columns()
	var lines []string
	for rows.Next() {
		to, fields := make([]any, len(cols)), make([]sql.NullString, len(cols))
		for i := range to {
			to[i] = &fields[i]
		}
		if err := rows.Scan(to...); err != nil {
			a.t.Fatal(err)
		}
		var line []string
		for _, f := range fields {
			if f.Valid {
				line = append(line, f.String)
			} else {
				line = append(line, "NULL")
			}
		}
		lines = append(lines, strings.Join(line, "|"))
	}
	if err := rows.Err(); err != nil {
		a.t.Fatal(err)
	}
	return strings.Join(lines, "\n")
}

func (a *app) want(query, want string) {
	a.t.Helper()
	if have := a.rows(query); have != want {
		a.t.Fatalf("%s\nhave %q\nwant %q", query, have, want)
	}
}

// emit commits one action of one upsert.
func (a *app) emit(id string, n int) {
	a.t.Helper()
	a.exec("INSERT INTO waybill_outbox (action, changes) VALUES (?, ?)", id, upsertText(n))
}

func upsertText(n int) string {
	return fmt.Sprintf(`[{"entity":"customer","op":"upsert","key":{"id":%d},"row":{"name":"no %[1]d"}}]`, n)
}

// reader is an Outbox in use by a test.
type reader struct {
	t testing.TB
	*Outbox
	at  waybill.Position
	seq uint64
}

func (a *app) reader(o SourceOptions) *reader {
	o.Path = a.path
	if o.Stream == "" {
		o.Stream = testStream
	}
	r := &reader{t: a.t, Outbox: NewOutbox(o)}
	a.t.Cleanup(func() { _ = r.Close() })
	return r
}

func (a *app) opened(at waybill.Position, seq uint64) *reader {
	a.t.Helper()
	r := a.reader(SourceOptions{})
	r.open(at, seq)
	return r
}

func (r *reader) open(at waybill.Position, seq uint64) {
	r.t.Helper()
	if err := r.Open(ctx(r.t), at); err != nil {
		r.t.Fatalf("Open(%q): %v", at, err)
	}
	r.at, r.seq = at, seq
}

// next reads one batch and returns the actions' IDs.
func (r *reader) next() ([]string, error) {
	r.t.Helper()
	b, err := r.Next(ctx(r.t))
	if err != nil {
		return nil, err
	}
	if b.After != r.at {
		r.t.Fatalf("batch continues from %q, want %q", b.After, r.at)
	}
	if err := b.CheckDense(testStream, r.seq); err != nil {
		r.t.Fatal(err)
	}
	ids := []string{}
	for i := range b.Actions {
		ids = append(ids, b.Actions[i].ID)
	}
	r.at, r.seq = b.Upto, b.LastSeq(r.seq)
	return ids, nil
}

// take reads until n actions are there.
func (r *reader) take(n int) []string {
	r.t.Helper()
	ids := []string{}
	for len(ids) < n {
		more, err := r.next()
		if err != nil {
			r.t.Fatalf("Next after %d of %d actions: %v", len(ids), n, err)
		}
		ids = append(ids, more...)
	}
	return ids
}

// drain reads what the source holds now.
func (r *reader) drain() []string {
	r.t.Helper()
	head, err := r.Head(ctx(r.t))
	if err != nil {
		r.t.Fatal(err)
	}
	ids := []string{}
	for !r.Reached(r.at, head) {
		ids = append(ids, r.take(0)...)
		more, err := r.next()
		if err != nil {
			r.t.Fatal(err)
		}
		ids = append(ids, more...)
	}
	return ids
}

func (r *reader) ack() {
	r.t.Helper()
	if err := r.Ack(ctx(r.t), r.at); err != nil {
		r.t.Fatal(err)
	}
}

func (r *reader) close() {
	r.t.Helper()
	if err := r.Close(); err != nil {
		r.t.Fatal(err)
	}
}

func wantErr(t testing.TB, err error, target error, parts ...string) {
	t.Helper()
	if target != nil && !errors.Is(err, target) {
		t.Fatalf("error %v, want %v", err, target)
	}
	if err == nil {
		t.Fatal("no error")
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Fatalf("error %q does not say %q", err, p)
		}
	}
}

// copyDB copies a database file with its log, as cp would while nobody writes.
func copyDB(t testing.TB, from, to string) {
	t.Helper()
	for _, suffix := range []string{"", "-wal", "-shm"} {
		data, err := os.ReadFile(from + suffix)
		if errors.Is(err, os.ErrNotExist) {
			_ = os.Remove(to + suffix)
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if suffix == "-shm" { // rebuilt from the log
			_ = os.Remove(to + suffix)
			continue
		}
		if err := os.WriteFile(to+suffix+".new", data, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(to+suffix+".new", to+suffix); err != nil {
			t.Fatal(err)
		}
	}
}
