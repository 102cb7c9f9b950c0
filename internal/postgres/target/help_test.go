package target

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/conformance"
	"github.com/waybill-data/waybill/internal/postgres/server"
	"github.com/waybill-data/waybill/internal/testenv"
)

const targetStream = "test/target"

// targetRig is a database, a writer and where its stream is.
type targetRig struct {
	t   testing.TB
	db  *testenv.Database
	w   *Writer
	at  waybill.Position
	seq uint64

	conn *pgx.Conn // of rows
}

// newTarget makes a database with the tables that the SQL creates, and a writer that holds
// the stream.
func newTarget(t testing.TB, sql string, opts ...func(*Options)) *targetRig {
	t.Helper()
	db := testenv.Postgres(t)
	// The test's role is called waybill: without this, schema waybill would come first.
	testenv.Exec(t, db.URL, "SET search_path = public; "+sql)
	r := &targetRig{t: t, db: db}
	r.w = r.writer(opts...)
	r.resume()
	return r
}

func (r *targetRig) writer(opts ...func(*Options)) *Writer {
	o := Options{URL: r.db.URL}
	for _, opt := range opts {
		opt(&o)
	}
	w := NewWriter(o)
	r.t.Cleanup(func() { _ = w.Close() })
	return w
}

func (r *targetRig) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	r.t.Cleanup(cancel)
	return ctx
}

func (r *targetRig) resume() {
	r.t.Helper()
	at, err := r.w.Resume(r.ctx(), targetStream)
	if err != nil {
		r.t.Fatalf("Resume: %v", err)
	}
	r.at = at
	_, _ = fmt.Sscanf(string(at), "1 %d", &r.seq)
}

// batch makes the batch that comes next, an action of each list of changes.
func (r *targetRig) batch(actions ...[]waybill.Change) waybill.Batch {
	b := waybill.Batch{After: r.at}
	seq := r.seq
	for _, changes := range actions {
		seq++
		b.Actions = append(b.Actions, waybill.Action{ID: fmt.Sprintf("a%d", seq), Seq: seq, Changes: waybill.ChangeList(changes)})
	}
	b.Upto = waybill.Position(fmt.Sprintf("1 %d", seq))
	return b
}

func (r *targetRig) try(actions ...[]waybill.Change) error {
	b := r.batch(actions...)
	err := r.w.Write(r.ctx(), b)
	if err == nil {
		r.at, r.seq = b.Upto, b.LastSeq(r.seq)
	}
	return err
}

func (r *targetRig) write(actions ...[]waybill.Change) {
	r.t.Helper()
	if err := r.try(actions...); err != nil {
		r.t.Fatalf("Write: %v", err)
	}
}

// refused writes one action and returns why it is refused.
func (r *targetRig) refused(changes ...waybill.Change) *waybill.Refusal {
	r.t.Helper()
	err := r.try(changes)
	var refusal *waybill.Refusal
	if !errors.As(err, &refusal) {
		r.t.Fatalf("Write: %v, want a *Refusal", err)
	}
	return refusal
}

// rows is a query's result, columns joined by |, rows by newlines.
func (r *targetRig) rows(sql string, args ...any) string {
	r.t.Helper()
	if r.conn == nil {
		conn, err := pgx.Connect(r.ctx(), r.db.URL+"&search_path=public&timezone=UTC")
		if err != nil {
			r.t.Fatal(err)
		}
		r.t.Cleanup(func() { server.Close(conn) })
		r.conn = conn
	}
	rows, err := r.conn.Query(r.ctx(), sql, append([]any{pgx.QueryExecModeSimpleProtocol}, args...)...)
	if err != nil {
		r.t.Fatal(err)
	}
	var out []string
	for rows.Next() {
		var fields []string
		for _, v := range rows.RawValues() {
			if v == nil {
				v = []byte("NULL")
			}
			fields = append(fields, string(v))
		}
		out = append(out, strings.Join(fields, "|"))
	}
	if err := rows.Err(); err != nil {
		r.t.Fatal(err)
	}
	return strings.Join(out, "\n")
}

func (r *targetRig) want(sql, rows string) {
	r.t.Helper()
	if have := r.rows(sql); have != rows {
		r.t.Fatalf("%s\nhave %s\nwant %s", sql, have, rows)
	}
}

func (r *targetRig) exec(sql string) {
	r.t.Helper()
	testenv.Exec(r.t, r.db.URL, "SET search_path = public; "+sql)
}

// await polls until the query gives the rows.
func (r *targetRig) await(sql, rows string) {
	r.t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for r.rows(sql) != rows {
		if time.Now().After(deadline) {
			r.t.Fatalf("%s\nhave %s\nwant %s", sql, r.rows(sql), rows)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func tInsert(entity, key, row string) waybill.Change {
	return conformance.Change(waybill.Insert, entity, key, row)
}

func tUpdate(entity, key, row string) waybill.Change {
	return conformance.Change(waybill.Update, entity, key, row)
}

func tUpsert(entity, key, row string) waybill.Change {
	return conformance.Change(waybill.Upsert, entity, key, row)
}

func tDelete(entity, key string) waybill.Change {
	return conformance.Change(waybill.Delete, entity, key, "")
}

func act(changes ...waybill.Change) []waybill.Change { return changes }

func key(id int) string { return fmt.Sprintf(`{"id":%d}`, id) }

func row(column string, value any) string { return fmt.Sprintf(`{%q:%v}`, column, value) }
