package conformance

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/waybill-data/waybill"
)

// Target is an SQL database of its own.
type Target struct {
	// New makes a writer, not yet resumed, for the worker that owner names (the id of its
	// state directory; empty: none).
	New func(t testing.TB, owner string) waybill.Writer
	// DB is the same database by another way. The suite creates tables in it (in portable
	// SQL, without a schema), fills and reads them.
	DB *sql.DB
	// Prefix stands before the names of Waybill's own tables: "waybill." or "waybill_".
	Prefix string

	// Expire makes every lease look as if it had run out. Nil leaves out the rule.
	Expire func(t testing.TB)
}

// stream is what the writer suite calls its stream.
const stream = "conformance/target"

type writerRule struct {
	name string
	test func(t *testing.T, x *target)
}

// TestWriter runs the writer suite; newTarget is called once for every rule.
func TestWriter(t *testing.T, newTarget func(t *testing.T) Target) {
	for _, rules := range [][]writerRule{positionRules(), leaseRules(), applyRules(), refusalRules(), wholeRules()} {
		for _, rule := range rules {
			t.Run(rule.name, func(t *testing.T) {
				x := &target{t: t, Target: newTarget(t)}
				x.exec(`create table customer (id bigint primary key, name text, email text unique, score bigint check (score < 100))`)
				x.exec(`create table phone (customer_id bigint not null references customer (id), kind text not null, number text not null, primary key (customer_id, kind))`)
				x.exec(`create table journal (n bigint primary key, worker text)`)
				rule.test(t, x)
			})
		}
	}
}

// target is a Target in use by one rule.
type target struct {
	Target
	t testing.TB
}

func (x *target) exec(query string, args ...any) {
	x.t.Helper()
	if _, err := x.DB.ExecContext(context.Background(), query, args...); err != nil {
		x.t.Fatalf("%s: %v", query, err)
	}
}

// rows reads a result as text: columns joined by |, null as NULL.
func (x *target) rows(query string) []string {
	x.t.Helper()
	out, err := queryText(x.DB, query)
	if err != nil {
		x.t.Fatalf("%s: %v", query, err)
	}
	return out
}

func queryText(db *sql.DB, query string) ([]string, error) {
	rows, err := db.QueryContext(context.Background(), query)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	out := []string{}
	for rows.Next() {
		fields := make([]sql.NullString, len(columns))
		to := make([]any, len(columns))
		for i := range fields {
			to[i] = &fields[i]
		}
		if err := rows.Scan(to...); err != nil {
			return nil, err
		}
		text := make([]string, len(columns))
		for i, f := range fields {
			text[i] = "NULL"
			if f.Valid {
				text[i] = f.String
			}
		}
		out = append(out, strings.Join(text, "|"))
	}
	return out, rows.Err()
}

func (x *target) want(query string, rows ...string) {
	x.t.Helper()
	have := x.rows(query)
	if len(have) != len(rows) || strings.Join(have, "\n") != strings.Join(rows, "\n") {
		x.t.Fatalf("%s\nhave %q\nwant %q", query, have, rows)
	}
}

const (
	customers = `select id, name, email, score from customer order by id`
	phones    = `select customer_id, kind, number from phone order by customer_id, kind`
)

// position reads position, seq, applied, filtered, parked and discarded of a stream.
func (x *target) position(name string) string {
	x.t.Helper()
	have := x.rows(`select position, seq, applied, filtered, parked, discarded from ` + x.Prefix + `position where stream = '` + name + `'`)
	return strings.Join(have, "\n")
}

func (x *target) epoch() string {
	x.t.Helper()
	return strings.Join(x.rows(`select epoch from `+x.Prefix+`position where stream = '`+stream+`'`), "\n")
}

// writing is one writer and where its stream is.
type writing struct {
	t   testing.TB
	w   waybill.Writer
	at  waybill.Position
	seq uint64
}

// resume makes a writer and resumes; it is closed when the test ends.
func (x *target) resume(owner string) *writing {
	x.t.Helper()
	return x.resumeStream(owner, stream)
}

func (x *target) resumeStream(owner, name string) *writing {
	x.t.Helper()
	y := &writing{t: x.t, w: x.New(x.t, owner)}
	x.t.Cleanup(func() { _ = y.w.Close() })
	at, err := y.resume(name)
	if err != nil {
		x.t.Fatalf("Resume: %v", err)
	}
	y.at, y.seq = at, seqOf(at)
	return y
}

func (y *writing) resume(name string) (waybill.Position, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return y.w.Resume(ctx, name)
}

func (y *writing) close() {
	y.t.Helper()
	if err := y.w.Close(); err != nil {
		y.t.Fatalf("Close: %v", err)
	}
}

// place is the position after action seq. To the writer it is opaque, so it is awkward.
func place(seq uint64) waybill.Position {
	if seq == 0 {
		return ""
	}
	return waybill.Position(fmt.Sprintf(`{"v":1,"seq":%d,"source":"it's a \"☂\"; --\\"}`, seq))
}

func seqOf(p waybill.Position) uint64 {
	var seq uint64
	_, _ = fmt.Sscanf(string(p), `{"v":1,"seq":%d`, &seq)
	return seq
}

// batch makes the batch after seq, an action of each list of changes.
func batch(seq uint64, actions ...[]waybill.Change) waybill.Batch {
	b := waybill.Batch{After: place(seq)}
	for _, changes := range actions {
		seq++
		a := waybill.Action{ID: fmt.Sprintf("action-%d", seq), Seq: seq, Time: time.Unix(1e9, 0), Changes: waybill.ChangeList(changes)}
		for i := range changes {
			a.Size += changes[i].Size()
		}
		b.Actions = append(b.Actions, a)
	}
	b.Upto = place(seq)
	return b
}

// try writes the actions as one batch and returns the error; only success moves on.
func (y *writing) try(actions ...[]waybill.Change) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	b := batch(y.seq, actions...)
	b.After = y.at
	err := y.w.Write(ctx, b)
	if err == nil {
		y.at, y.seq = b.Upto, b.LastSeq(y.seq)
	}
	return err
}

func (y *writing) write(actions ...[]waybill.Change) {
	y.t.Helper()
	if err := y.try(actions...); err != nil {
		y.t.Fatalf("Write after action %d: %v", y.seq, err)
	}
}

// one is a list of changes, for readability.
func one(changes ...waybill.Change) []waybill.Change { return changes }

func insert(entity, key, row string) waybill.Change {
	return Change(waybill.Insert, entity, key, row)
}

func update(entity, key, row string) waybill.Change {
	return Change(waybill.Update, entity, key, row)
}

func upsert(entity, key, row string) waybill.Change {
	return Change(waybill.Upsert, entity, key, row)
}

func remove(entity, key string) waybill.Change { return Change(waybill.Delete, entity, key, "") }

// clearRows removes all rows with the key, which need not identify one.
func clearRows(entity, key string) waybill.Change { return Change(waybill.Truncate, entity, key, "") }

func journal(n int) waybill.Change {
	return insert("journal", fmt.Sprintf(`{"n":%d}`, n), `{}`)
}

func wantErr(t testing.TB, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("%s: %v, want %v", what, err, want)
	}
	if waybill.Transient(err) {
		t.Fatalf("%s: must not be transient: %v", what, err)
	}
}
