package target

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/postgres/pgvalue"
	"github.com/waybill-data/waybill/internal/testenv"
)

// The benchmarks measure the writer against a plain loop that upserts the same rows, ready
// as slices, with the same number of rows to a transaction, and promises nothing. Both take
// turns, so that what else the machine does weighs on both:
//
//	go test ./internal/postgres/target -run '^$' -bench Upsert -benchtime 300x

const (
	benchRows = 1000
	benchKeys = 500_000
)

const benchTable = `CREATE TABLE public.customer (id bigint PRIMARY KEY, name text, email text, score integer, changed timestamptz)`

type benchRow struct {
	id          int64
	name, email string
	score       int32
	changed     time.Time
}

func benchRandomRows(rng *rand.Rand) []benchRow {
	rows := make([]benchRow, benchRows)
	for i := range rows {
		id := rng.Int64N(benchKeys)
		rows[i] = benchRow{
			id: id, name: fmt.Sprintf("Customer number %d", id), email: fmt.Sprintf("customer-%d@example.com", id),
			score: rng.Int32N(1000), changed: time.UnixMicro(1.7e15 + rng.Int64N(1e15)).UTC(),
		}
	}
	return rows
}

func BenchmarkUpsert(b *testing.B) { benchmarkBoth(b, waybill.Upsert, false, plainUpsert) }

func BenchmarkUpsertNative(b *testing.B) { benchmarkBoth(b, waybill.Upsert, true, plainUpsert) }

func BenchmarkInsert(b *testing.B) { benchmarkBoth(b, waybill.Insert, false, plainInsert) }

func BenchmarkInsertNative(b *testing.B) { benchmarkBoth(b, waybill.Insert, true, plainInsert) }

func benchmarkBoth(b *testing.B, op waybill.Op, native bool, sql string) {
	ctx := context.Background()
	writer, plain := newWriterSide(b), newPlainSide(b)
	writer.op, writer.native = op, native
	rng := rand.New(rand.NewPCG(1, 2))
	var took [2]time.Duration
	for n := range b.N {
		rows := benchRandomRows(rng)
		for i := range rows {
			if op == waybill.Insert {
				rows[i].id = int64(n*benchRows + i)
			}
		}
		batch, slices := writer.prepare(rows), plain.prepare(rows)
		start := time.Now()
		if err := writer.w.Write(ctx, batch); err != nil {
			b.Fatal(err)
		}
		middle := time.Now()
		if _, err := plain.conn.Exec(ctx, sql, slices...); err != nil {
			b.Fatal(err)
		}
		took[0] += middle.Sub(start)
		took[1] += time.Since(middle)
	}
	rate := func(d time.Duration) float64 { return float64(b.N*benchRows) / d.Seconds() }
	b.ReportMetric(rate(took[0]), "rows/s")
	b.ReportMetric(rate(took[1]), "plain-rows/s")
	b.ReportMetric(rate(took[0])/rate(took[1]), "ratio")
}

type writerSide struct {
	w   *Writer
	at  waybill.Position
	seq uint64
	// What the changes are, and in which form.
	op     waybill.Op
	native bool
}

func newWriterSide(b *testing.B) *writerSide {
	db := testenv.Postgres(b)
	testenv.Exec(b, db.URL, benchTable)
	s := &writerSide{w: NewWriter(Options{URL: db.URL})}
	b.Cleanup(func() { _ = s.w.Close() })
	var err error
	if s.at, err = s.w.Resume(context.Background(), "bench/target"); err != nil {
		b.Fatal(err)
	}
	return s
}

// prepare makes an action of each row.
func (s *writerSide) prepare(rows []benchRow) waybill.Batch {
	value := func(format string, args ...any) waybill.Value {
		return waybill.Value{Form: waybill.JSON, Raw: fmt.Appendf(nil, format, args...)}
	}
	batch := waybill.Batch{After: s.at}
	if s.native {
		value = nativeBenchValue
	}
	for _, r := range rows {
		s.seq++
		id := value("%d", r.id)
		batch.Actions = append(batch.Actions, waybill.Action{ID: "a", Seq: s.seq, Changes: waybill.ChangeList{{
			Entity: "customer", Op: s.op, Key: waybill.Row{{Name: "id", Value: id}},
			Row: waybill.Row{
				{Name: "id", Value: id},
				{Name: "name", Value: value("%q", r.name)},
				{Name: "email", Value: value("%q", r.email)},
				{Name: "score", Value: value("%d", r.score)},
				{Name: "changed", Value: s.moment(value, r.changed)},
			},
		}}})
	}
	s.at = waybill.Position(fmt.Sprintf("1 %d", s.seq))
	batch.Upto = s.at
	return batch
}

func (s *writerSide) moment(value func(string, ...any) waybill.Value, at time.Time) waybill.Value {
	if s.native {
		return value("", at)
	}
	return value("%q", at.Format("2006-01-02T15:04:05.000000Z"))
}

// nativeBenchValue is a value as the log yields it.
func nativeBenchValue(_ string, args ...any) waybill.Value {
	switch x := args[0].(type) {
	case int64:
		return nativeBench(oidInt8, appendInt8(nil, x))
	case int32:
		return nativeBench(oidInt4, appendInt4(nil, x))
	case time.Time:
		return nativeBench(oidTimestamptz, appendInt8(nil, x.UnixMicro()-epochDays*86400e6))
	case string:
		return nativeBench(oidText, []byte(x))
	}
	return waybill.Value{}
}

var benchTypes = map[uint32]*pgvalue.Encoding{}

func nativeBench(oid uint32, raw []byte) waybill.Value {
	if benchTypes[oid] == nil {
		benchTypes[oid] = &pgvalue.Encoding{Type: &pgvalue.Type{OID: oid, Under: oid, Modifier: -1}, Binary: true}
	}
	return waybill.Value{Form: waybill.Native, Raw: raw, Encoding: benchTypes[oid]}
}

type plainSide struct{ conn *pgx.Conn }

const plainInsert = `INSERT INTO public.customer (id, name, email, score, changed)
	SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::integer[], $5::timestamptz[])`

const plainUpsert = plainInsert + `
	ON CONFLICT (id) DO UPDATE SET name = EXCLUDED.name, email = EXCLUDED.email, score = EXCLUDED.score, changed = EXCLUDED.changed`

func newPlainSide(b *testing.B) *plainSide {
	db := testenv.Postgres(b)
	testenv.Exec(b, db.URL, benchTable)
	conn, err := pgx.Connect(context.Background(), db.URL)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = conn.Close(context.Background()) })
	return &plainSide{conn}
}

// prepare makes a slice of each column, without the keys that come twice.
func (s *plainSide) prepare(rows []benchRow) []any {
	var (
		ids           []int64
		names, emails []string
		scores        []int32
		changed       []time.Time
		seen          = map[int64]bool{}
	)
	for _, r := range rows {
		if seen[r.id] {
			continue
		}
		seen[r.id] = true
		ids, names, emails = append(ids, r.id), append(names, r.name), append(emails, r.email)
		scores, changed = append(scores, r.score), append(changed, r.changed)
	}
	return []any{ids, names, emails, scores, changed}
}
