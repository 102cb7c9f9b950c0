package target

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/postgres/pgvalue"
	"github.com/waybill-data/waybill/internal/testenv"
)

// BenchmarkCost says what CPU time, in microseconds, a row takes at the engine and in the target's
// backend, of the workloads that test/bench compares with PostgreSQL's own replication. Unlike rates,
// that hardly depends on what else the machine does. Each iteration writes a batch:
//
//	go test ./internal/postgres/target -run '^$' -bench Cost -benchtime 100x
func BenchmarkCost(b *testing.B) {
	for _, c := range []struct {
		name  string
		rows  int // that a batch updates
		batch func(s *costSide, n int) waybill.Batch
	}{
		{"inserts", 0, func(s *costSide, n int) waybill.Batch { return s.single(waybill.Insert, 1000, n) }},
		{"updates", 1000, func(s *costSide, n int) waybill.Batch { return s.single(waybill.Update, 1000, n) }},
		{"few-inserts", 0, func(s *costSide, n int) waybill.Batch { return s.single(waybill.Insert, 100, n) }},
		{"few-updates", 100, func(s *costSide, n int) waybill.Batch { return s.single(waybill.Update, 100, n) }},
		{"orders", 0, (*costSide).orders},
		{"large", 0, (*costSide).large},
	} {
		b.Run(c.name, func(b *testing.B) { benchmarkCost(b, c.rows, c.batch) })
	}
}

// BenchmarkPlan is what planning and encoding take of that, without the server.
func BenchmarkPlan(b *testing.B) {
	ctx := context.Background()
	s := newCostSide(b)
	for _, c := range []struct {
		name  string
		batch waybill.Batch
	}{
		{"inserts", s.single(waybill.Insert, 1000, 0)},
		{"updates", s.single(waybill.Update, 1000, 0)},
		{"orders", s.orders(0)},
		{"large", s.large(0)},
	} {
		b.Run(c.name, func(b *testing.B) {
			t := &applyTx{w: s.w, ctx: ctx}
			p, rows := s.w.plan, 0
			b.ReportAllocs()
			cpu := ownTime(b)
			for b.Loop() {
				from := 0
				for i := range c.batch.Actions {
					for change, err := range c.batch.Actions[i].Changes.All() {
						if len(p.changes)+2 >= planChanges {
							encodeAll(b, t)
						}
						if err = errors.Join(err, t.addChange(change, i, &from)); err != nil {
							b.Fatal(err)
						}
						rows++
					}
				}
				encodeAll(b, t)
			}
			b.ReportMetric(float64(ownTime(b)-cpu)/float64(time.Microsecond)/float64(rows), "engine-µs/row")
		})
	}
}

// encodeAll encodes what is planned and sends nothing.
func encodeAll(b *testing.B, t *applyTx) {
	p := t.w.plan
	p.arrange(0)
	for _, g := range p.groups {
		buf, ok := t.w.arrays[:0], true
		if len(g.items) >= copyRows && g.kind.mayCopy() {
			buf, ok = t.appendRows(buf, g)
		} else {
			for i, n := range g.kind.columns() {
				buf, ok, _ = appendArray(buf, &g.kind.table.columns[n], false, p, g, i)
			}
		}
		if !ok {
			b.Fatal("not all values have a binary form")
		}
		t.w.arrays = buf
	}
	p.reset()
}

const costTables = `CREATE TABLE public.customer (id bigint PRIMARY KEY, name text NOT NULL, visits bigint NOT NULL, changed timestamptz NOT NULL DEFAULT now());
	CREATE TABLE public.orders (id bigint PRIMARY KEY, customer bigint NOT NULL, placed timestamptz NOT NULL DEFAULT now());
	CREATE TABLE public.order_line (orders bigint, n int, article text NOT NULL, price numeric(10,2) NOT NULL, PRIMARY KEY (orders, n));
	CREATE TABLE public.posting (id bigint PRIMARY KEY, orders bigint NOT NULL, amount numeric(10,2) NOT NULL)`

func benchmarkCost(b *testing.B, there int, batch func(s *costSide, n int) waybill.Batch) {
	ctx := context.Background()
	s := newCostSide(b)
	if there > 0 {
		testenv.Exec(b, s.url, fmt.Sprintf("INSERT INTO public.customer SELECT i, 'Customer number ' || i, 0 FROM generate_series(0, %d) i", b.N*there))
	}
	testenv.Exec(b, s.url, "CHECKPOINT")
	rows, engine, backend, took := 0, time.Duration(0), time.Duration(0), time.Duration(0)
	const ahead = 20
	for from := 0; from < b.N; from += ahead {
		var batches []waybill.Batch
		for n := from; n < min(from+ahead, b.N); n++ {
			batches = append(batches, batch(s, n))
		}
		start, cpu, theirs := time.Now(), ownTime(b), processTime(b, s.w.link.backend.pid)
		for _, batch := range batches {
			if err := s.w.Write(ctx, batch); err != nil {
				b.Fatal(err)
			}
			for i := range batch.Actions {
				rows += batch.Actions[i].Changes.Len()
			}
		}
		took += time.Since(start)
		engine += ownTime(b) - cpu
		backend += processTime(b, s.w.link.backend.pid) - theirs
	}
	each := func(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) / float64(rows) }
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(each(engine), "engine-µs/row")
	b.ReportMetric(each(backend), "backend-µs/row")
	b.ReportMetric(float64(rows)/took.Seconds(), "rows/s")
}

type costSide struct {
	url string
	w   *Writer
	at  waybill.Position
	seq uint64

	schemas map[string]*waybill.Schema
	types   map[uint32]*pgvalue.Encoding
}

func newCostSide(b *testing.B) *costSide {
	c := testenv.NewCluster(b, "shared_buffers=256MB", "max_wal_size=4GB", "autovacuum=off", "checkpoint_timeout=30min")
	s := &costSide{url: c.URL("postgres"), schemas: map[string]*waybill.Schema{}, types: map[uint32]*pgvalue.Encoding{}}
	testenv.Exec(b, s.url, costTables)
	s.w = NewWriter(Options{URL: s.url})
	b.Cleanup(func() { _ = s.w.Close() })
	var err error
	if s.at, err = s.w.Resume(context.Background(), "bench/cost"); err != nil {
		b.Fatal(err)
	}
	return s
}

// single are actions of one row of customer each; the nth batch.
func (s *costSide) single(op waybill.Op, actions, n int) waybill.Batch {
	var lists []waybill.Changes
	for i := range actions {
		lists = append(lists, waybill.ChangeList{s.customer(op, int64(n*actions+i))})
	}
	return s.wrap(lists)
}

// orders are actions of ten rows of three tables each.
func (s *costSide) orders(n int) waybill.Batch {
	var lists []waybill.Changes
	const actions = 1000
	for i := range actions {
		order := int64(n*actions + i)
		list := waybill.ChangeList{s.change("public.orders", waybill.Insert, 1, s.int8("id", order), s.int8("customer", order%1000), s.now("placed"))}
		for k := range 5 {
			list = append(list, s.change("public.order_line", waybill.Insert, 2, s.int8("orders", order), s.int4("n", int32(k)),
				s.text("article", fmt.Sprintf("Article %d", k)), s.numeric("price", int16(k), 9900)))
		}
		for k := range 4 {
			list = append(list, s.change("public.posting", waybill.Insert, 1, s.int8("id", order*4+int64(k)), s.int8("orders", order), s.numeric("amount", int16(k), 5000)))
		}
		lists = append(lists, list)
	}
	return s.wrap(lists)
}

// spooled are changes that are not at hand as a list.
type spooled struct{ waybill.ChangeList }

// large is one action of many rows.
func (s *costSide) large(n int) waybill.Batch {
	const rows = 20_000
	list := make(waybill.ChangeList, rows)
	for i := range list {
		list[i] = s.customer(waybill.Insert, int64(n*rows+i))
	}
	return s.wrap([]waybill.Changes{spooled{list}})
}

func (s *costSide) wrap(lists []waybill.Changes) waybill.Batch {
	batch := waybill.Batch{After: s.at}
	for _, l := range lists {
		s.seq++
		batch.Actions = append(batch.Actions, waybill.Action{ID: "a", Seq: s.seq, Changes: l})
	}
	s.at = waybill.Position(fmt.Sprintf("1 %d", s.seq))
	batch.Upto = s.at
	return batch
}

func (s *costSide) customer(op waybill.Op, id int64) waybill.Change {
	return s.change("public.customer", op, 1, s.int8("id", id), s.text("name", fmt.Sprintf("Customer number %d", id)), s.int8("visits", id+1), s.now("changed"))
}

// change is one as the log yields it; its first columns are the key.
func (s *costSide) change(entity string, op waybill.Op, key int, row ...waybill.Column) waybill.Change {
	schema := s.schemas[entity]
	if schema == nil {
		schema = &waybill.Schema{Entity: entity, System: "postgres"}
		for i, c := range row {
			schema.Columns = append(schema.Columns, waybill.SchemaColumn{Name: c.Name, Type: c.Value.Encoding.String(), NotNull: true})
			if i < key {
				schema.Key = append(schema.Key, c.Name)
			}
		}
		s.schemas[entity] = schema
	}
	return waybill.Change{Entity: entity, Op: op, Key: slices.Clone(row[:key]), Row: row, Schema: schema}
}

func (s *costSide) value(name string, oid uint32, shown string, modifier int32, raw []byte) waybill.Column {
	e := s.types[oid]
	if e == nil {
		e = &pgvalue.Encoding{Type: &pgvalue.Type{OID: oid, Name: shown, Under: oid, Modifier: modifier}, Binary: true}
		s.types[oid] = e
	}
	return waybill.Column{Name: name, Value: waybill.Value{Form: waybill.Native, Raw: raw, Encoding: e}}
}

func (s *costSide) int8(name string, n int64) waybill.Column {
	return s.value(name, oidInt8, "bigint", -1, appendInt8(nil, n))
}

func (s *costSide) int4(name string, n int32) waybill.Column {
	return s.value(name, oidInt4, "integer", -1, appendInt4(nil, n))
}

func (s *costSide) text(name, v string) waybill.Column {
	return s.value(name, oidText, "text", -1, []byte(v))
}

func (s *costSide) now(name string) waybill.Column {
	return s.value(name, oidTimestamptz, "timestamp with time zone", -1, appendInt8(nil, 8e14))
}

// numeric is a numeric(10,2) of the two digits to the base of 10000.
func (s *costSide) numeric(name string, whole, fraction int16) waybill.Column {
	var raw []byte
	for _, n := range []int16{2, 0, 0, 2, whole, fraction} {
		raw = binary.BigEndian.AppendUint16(raw, uint16(n))
	}
	return s.value(name, oidNumeric, "numeric(10,2)", 10<<16|2+4, raw)
}

// ownTime is the CPU time that this process used up to now.
func ownTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// processTime is what another process used.
func processTime(b *testing.B, pid int32) time.Duration {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/schedstat", pid))
	if err != nil {
		b.Skip("the cost of the backend is only known on Linux: ", err)
	}
	n, err := strconv.ParseInt(strings.Fields(string(stat))[0], 10, 64)
	if err != nil {
		b.Fatal(err)
	}
	return time.Duration(n)
}
