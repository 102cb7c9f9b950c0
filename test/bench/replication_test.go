//go:build bench

package bench

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/jetstream"
	"github.com/waybill-data/waybill/internal/pattern"
	pgtarget "github.com/waybill-data/waybill/internal/postgres/target"
	"github.com/waybill-data/waybill/internal/postgres/wal"
	"github.com/waybill-data/waybill/internal/testenv"
)

// workload is what happens at the source while nobody reads its log, and is then carried.
type workload struct {
	name, what, unit string
	units            int
	tables           []string
	create           string   // at both
	before           string   // at both, before the log is kept; may be empty
	fill             []string // at the source, one after another
	last, whole      string   // SQL conditions at the target: the last of it is there; all of it is
	asked            float64
}

const (
	createCustomer = `create table public.customer (id bigint primary key, name text not null, visits bigint not null, changed timestamptz not null default now());`
	createOrders   = `create table public.orders (id bigint primary key, customer bigint not null, placed timestamptz not null default now());
		create table public.order_line (orders bigint, n int, article text not null, price numeric(10,2) not null, primary key (orders, n));
		create table public.posting (id bigint primary key, orders bigint not null, amount numeric(10,2) not null);`
)

// workloads are those of which PostgreSQL's own replication is the yardstick.
func workloads(n int) []workload {
	procedure := func(times int, body string) []string {
		return []string{
			fmt.Sprintf(`create procedure public.fill() language plpgsql as $$ begin for i in 1 .. %d loop %s commit; end loop; end $$`, times, body),
			"set synchronous_commit = off", "call public.fill()",
		}
	}
	last := func(m, visits int) string {
		return fmt.Sprintf("exists (select from public.customer where id = %d and visits = %d)", m, visits)
	}
	whole := func(m, sum int) string {
		return fmt.Sprintf("(select count(*) = %d and sum(visits) = %d from public.customer)", m, sum)
	}
	insert := `insert into public.customer (id, name, visits) %s;`
	return []workload{
		{
			name: "single-row inserts", what: fmt.Sprintf("%d transactions of one row inserted", n), unit: "transactions/s", units: n, asked: 1,
			tables: []string{"public.customer"}, create: createCustomer, last: last(n, n), whole: whole(n, n*(n+1)/2),
			fill: procedure(n, fmt.Sprintf(insert, `values (i, 'Customer number ' || i, i)`)),
		},
		{
			name: "single-row updates", what: fmt.Sprintf("%d transactions of one row updated, each row once", n), unit: "transactions/s", units: n, asked: 1.3,
			tables: []string{"public.customer"}, create: createCustomer, last: last(n, n+1), whole: whole(n, n*(n+3)/2),
			before: fmt.Sprintf(insert, fmt.Sprintf(`select i, 'Customer number ' || i, 0 from generate_series(1, %d) i`, n)),
			fill:   procedure(n, `update public.customer set visits = i + 1 where id = i;`),
		},
		{
			name: "transactions of 10 rows over three tables", what: fmt.Sprintf("%d transactions of one order, 5 lines and 4 postings inserted", n/10),
			unit: "rows/s", units: n / 10 * 10, asked: 1.1,
			tables: []string{"public.orders", "public.order_line", "public.posting"}, create: createOrders,
			last: fmt.Sprintf("exists (select from public.posting where id = %d)", n/10*4+3),
			whole: fmt.Sprintf(`(select count(*) from public.orders) = %d and (select count(*) from public.order_line) = %d and
				(select count(*) from public.posting) = %d`, n/10, n/10*5, n/10*4),
			fill: procedure(n/10, `insert into public.orders (id, customer) values (i, i % 1000);
				insert into public.order_line select i, k, 'Article ' || k, k * 9.99 from generate_series(1, 5) k;
				insert into public.posting select i * 4 + k, i, k * 1.5 from generate_series(0, 3) k;`),
		},
		{
			name: "one large transaction", what: fmt.Sprintf("one transaction of %d rows inserted", 10*n), unit: "rows/s", units: 10 * n, asked: 1,
			tables: []string{"public.customer"}, create: createCustomer, last: last(10*n, 10*n), whole: whole(10*n, 10*n*(10*n+1)/2),
			fill: []string{fmt.Sprintf(insert, fmt.Sprintf(`select i, 'Customer number ' || i, i from generate_series(1, %d) i`, 10*n))},
		},
	}
}

// servers are two private clusters.
type servers struct{ source, target *testenv.Cluster }

func startServers(t *testing.T) *servers {
	t.Helper()
	conf := []string{
		"wal_level=logical", "shared_buffers=256MB", "max_wal_size=4GB", "autovacuum=off", "checkpoint_timeout=30min",
		// Otherwise a subscriber may wait for 5 s before it starts after the one before, which is no part of what is measured.
		"wal_retrieve_retry_interval=10ms",
	}
	return &servers{source: testenv.NewClusterVersion(t, *postgres, conf...), target: testenv.NewClusterVersion(t, *postgres, conf...)}
}

// pair is a database at each.
type pair struct {
	source, target string
	stream         string
	tables         []string
}

// replicate compares the engine with PostgreSQL's own replication, directly and through the queue.
func replicate(t *testing.T) []comparison {
	s := startServers(t)
	var all []comparison
	for _, w := range workloads(*scale) {
		yardstick := "`CREATE SUBSCRIPTION` as it comes, which lets the subscriber's commits wait for no disk; between two private servers, " + w.what +
			" while it was disabled, from `ENABLE` until the last of it is visible"
		direct := comparison{
			name: w.name + ", against PostgreSQL's own replication", unit: w.unit, asked: w.asked, yardstick: yardstick,
			engine: "`capture: changes`, pattern push: read from the log, applied with the position, every commit on the target's disk; from the start until the last of it is visible",
		}
		queued := comparison{
			name: "the same through the embedded queue", unit: w.unit, asked: 0.6, yardstick: "as above",
			engine: "both hops at once, every message on disk in the queue",
		}
		for range *rounds {
			if !*engineOnly {
				direct.plain = append(direct.plain, s.measure(t, &w, subscribed))
			}
			direct.ours = append(direct.ours, s.measure(t, &w, pushed))
			queued.ours = append(queued.ours, s.measure(t, &w, queuedUp))
		}
		queued.plain = direct.plain
		all = append(all, direct, queued)
	}
	return all
}

// carrier prepares a way from source to target: from then on the log is kept. start sets it going, and
// what start returns ends it.
type carrier func(t *testing.T, p *pair) (start func() (end func(), failed <-chan error))

// measure is the rate of one way, in fresh databases.
func (s *servers) measure(t *testing.T, w *workload, way carrier) float64 {
	t.Helper()
	p, drop := s.pair(t, w.tables, w.create+w.before)
	end := func() {}
	defer func() { end(); drop() }()
	start := way(t, p)
	source := dial(t, p.source)
	for _, sql := range w.fill {
		if _, err := source.Exec(context.Background(), sql); err != nil {
			t.Fatal(err)
		}
	}
	testenv.Exec(t, p.source, "checkpoint")
	testenv.Exec(t, p.target, "checkpoint")
	conn := dial(t, p.target)
	v := rate(t, w.units, func(ctx context.Context) error {
		stop, failed := start()
		end = sync.OnceFunc(stop)
		return await(ctx, conn, w.last, failed)
	})
	end()
	var whole bool
	if err := conn.QueryRow(context.Background(), "select "+w.whole).Scan(&whole); err != nil || !whole {
		t.Fatalf("%s: the target does not hold what the source has: %v", w.name, err)
	}
	return v
}

// await asks every 5 ms whether the condition holds.
func await(ctx context.Context, conn *pgx.Conn, condition string, failed <-chan error) error {
	for {
		var holds bool
		if err := conn.QueryRow(ctx, "select "+condition).Scan(&holds); err != nil || holds {
			return err
		}
		select {
		case err := <-failed:
			return errors.Join(errors.New("the engine ended too early"), err)
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// pair creates a database at each server; drop removes them with their slots.
func (s *servers) pair(t *testing.T, tables []string, sql string) (p *pair, drop func()) {
	t.Helper()
	name := fmt.Sprintf("bench_%d", time.Now().UnixNano())
	p = &pair{stream: "bench/" + name, tables: tables}
	p.source, p.target = fresh(t, s.source.URL("postgres"), name), fresh(t, s.target.URL("postgres"), name)
	testenv.Exec(t, p.source, sql)
	testenv.Exec(t, p.target, sql)
	return p, func() {
		testenv.Exec(t, p.target, "drop subscription if exists bench")
		awaitNoSlot(t, s.source.URL("postgres"), name)
		testenv.Exec(t, s.source.URL("postgres"), "drop database "+name+" with (force)")
		testenv.Exec(t, s.target.URL("postgres"), "drop database "+name+" with (force)")
	}
}

// awaitNoSlot drops the database's slots as soon as nobody reads them any more.
func awaitNoSlot(t *testing.T, url, database string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn := dial(t, url)
	for left := true; left; {
		var dropped int
		err := conn.QueryRow(ctx, `select count(*) from (select pg_drop_replication_slot(slot_name) from pg_replication_slots where database = $1 and not active) d`, database).Scan(&dropped)
		if err == nil {
			err = conn.QueryRow(ctx, `select exists (select from pg_replication_slots where database = $1)`, database).Scan(&left)
		}
		if err != nil && ctx.Err() != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// subscribed is PostgreSQL's own way.
func subscribed(t *testing.T, p *pair) func() (func(), <-chan error) {
	t.Helper()
	testenv.Exec(t, p.source, "create publication bench for table "+strings.Join(p.tables, ", "))
	slot := fmt.Sprintf("bench_%d", time.Now().UnixNano())
	testenv.Exec(t, p.target, fmt.Sprintf("create subscription bench connection '%s' publication bench with (copy_data = false, enabled = false, slot_name = %s)", p.source, slot))
	return func() (func(), <-chan error) {
		testenv.Exec(t, p.target, "alter subscription bench enable")
		return func() { testenv.Exec(t, p.target, "drop subscription bench") }, nil
	}
}

func logOf(t *testing.T, p *pair) *wal.Reader {
	t.Helper()
	r := wal.NewReader(wal.Options{URL: p.source, Stream: p.stream, Tables: p.tables, MaxActions: *batch, MaxBytes: 4 << 20, SpillDir: t.TempDir()})
	if err := waybill.Installer(r).Install(context.Background(), p.stream); err != nil {
		t.Fatal(err)
	}
	return r
}

// running runs f until end.
func running(t *testing.T, f func(ctx context.Context) error) (end func(), failed <-chan error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done, ended := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(ended)
		if err := f(ctx); err != nil && ctx.Err() == nil {
			done <- err
		}
	}()
	return func() {
		cancel()
		<-ended
	}, done
}

// pushed is the engine's direct way.
func pushed(t *testing.T, p *pair) func() (func(), <-chan error) {
	t.Helper()
	r := logOf(t, p)
	return func() (func(), <-chan error) {
		return running(t, func(ctx context.Context) error {
			return run(ctx, p.stream, r, pgtarget.NewWriter(pgtarget.Options{URL: p.target}), false)
		})
	}
}

// queuedUp is the engine's way through the embedded queue.
func queuedUp(t *testing.T, p *pair) func() (func(), <-chan error) {
	t.Helper()
	r := logOf(t, p)
	s, q := startQueue(t)
	in := hop(p.stream, r, jetstream.NewWriter(q, jetstream.WriterOptions{Subject: "bench"}))
	out := hop("bench/postgres",
		jetstream.NewReader(q, jetstream.ReaderOptions{Subject: "bench", Stream: "bench/postgres", MaxActions: *batch, MaxBytes: 4 << 20}),
		pgtarget.NewWriter(pgtarget.Options{URL: p.target}))
	return func() (func(), <-chan error) {
		end, failed := running(t, func(ctx context.Context) error {
			return pattern.Queue(ctx, pattern.Parts{In: in, Out: []*pattern.Hop{out}})
		})
		return func() {
			end()
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}, failed
	}
}
