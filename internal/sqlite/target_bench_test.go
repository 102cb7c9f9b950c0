package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"testing"
	"time"

	waybill "github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/envelope"
)

// The yardstick: rows that are ready in Go, a prepared statement of database/sql, 1,000 rows
// in a transaction. The writer gets the same rows as actions of one upsert with JSON values.
const (
	benchTable  = "CREATE TABLE customer (id integer PRIMARY KEY, name text, email text, age integer, balance real)"
	benchUpsert = `INSERT INTO customer (id, name, email, age, balance) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET name = excluded.name, email = excluded.email, age = excluded.age, balance = excluded.balance`
	benchBatch = 1000
	benchKeys  = 200_000
)

func benchDB(b *testing.B) *app {
	b.Helper()
	a := newApp(b)
	a.SetMaxOpenConns(1)
	// The writer's own settings.
	for _, s := range []string{benchTable, "PRAGMA synchronous=FULL", "PRAGMA cache_size=-16384"} {
		a.exec(s)
	}
	return a
}

type benchRow struct {
	id      int64
	name    string
	email   string
	age     int64
	balance float64
}

// benchRows draws keys in an order that is neither ascending nor the same in each round.
func benchRows(round int) []benchRow {
	rows := make([]benchRow, benchBatch)
	for i := range rows {
		n := (round*benchBatch + i) * 7919
		rows[i] = benchRow{
			id: int64(n % benchKeys), name: fmt.Sprintf("customer number %d", n), email: fmt.Sprintf("someone.%d@example.com", n),
			age: int64(n % 90), balance: float64(n%100_000) / 100,
		}
	}
	return rows
}

func benchActions(b *testing.B, d *envelope.Decoder, round int) waybill.Batch {
	b.Helper()
	out := waybill.Batch{After: benchPosition(round), Upto: benchPosition(round + 1)}
	for i, r := range benchRows(round) {
		text := fmt.Sprintf(`[{"entity":"customer","op":"upsert","key":{"id":%d},"row":{"name":%q,"email":%q,"age":%d,"balance":%v}}]`,
			r.id, r.name, r.email, r.age, r.balance)
		changes, err := d.Decode([]byte(text))
		if err != nil {
			b.Fatal(err)
		}
		out.Actions = append(out.Actions, waybill.Action{ID: text, Seq: uint64(round*benchBatch + i + 1), Time: time.Unix(1e9, 0), Changes: changes})
	}
	return out
}

func benchPosition(round int) waybill.Position {
	if round == 0 {
		return ""
	}
	return waybill.Position(fmt.Sprint(round))
}

// BenchmarkApply writes one transaction of each in turn, so that whatever else the machine
// does meets both alike. It reports rows a second, and the writer's part of the plain loop's.
func BenchmarkApply(b *testing.B) {
	plain, target := newPlainLoop(b), benchDB(b)
	w := NewWriter(TargetOptions{Path: target.path})
	defer w.Close()
	if _, err := w.Resume(context.Background(), testStream); err != nil {
		b.Fatal(err)
	}
	d := new(envelope.Decoder)
	var ours, theirs []time.Duration
	for round := 0; b.Loop(); round++ {
		rows, batch := benchRows(round), benchActions(b, d, round)
		start := time.Now()
		plain.write(rows)
		middle := time.Now()
		if err := w.Write(context.Background(), batch); err != nil {
			b.Fatal(err)
		}
		theirs, ours = append(theirs, middle.Sub(start)), append(ours, time.Since(middle))
	}
	slices.Sort(ours)
	slices.Sort(theirs)
	our, their := ours[len(ours)/2].Seconds(), theirs[len(theirs)/2].Seconds()
	b.ReportMetric(benchBatch/our, "waybill-rows/s")
	b.ReportMetric(benchBatch/their, "plain-rows/s")
	b.ReportMetric(their/our, "ratio")
	b.ReportMetric(0, "ns/op")
}

// plainLoop is what somebody would write by hand.
type plainLoop struct {
	b    *testing.B
	a    *app
	stmt *sql.Stmt
}

func newPlainLoop(b *testing.B) *plainLoop {
	b.Helper()
	a := benchDB(b)
	stmt, err := a.PrepareContext(context.Background(), benchUpsert)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = stmt.Close() })
	return &plainLoop{b: b, a: a, stmt: stmt}
}

func (p *plainLoop) write(rows []benchRow) {
	ctx := context.Background()
	tx, err := p.a.BeginTx(ctx, nil)
	if err != nil {
		p.b.Fatal(err)
	}
	s := tx.StmtContext(ctx, p.stmt)
	for _, r := range rows {
		if _, err := s.ExecContext(ctx, r.id, r.name, r.email, r.age, r.balance); err != nil {
			p.b.Fatal(err)
		}
	}
	if err := tx.Commit(); err != nil {
		p.b.Fatal(err)
	}
}
