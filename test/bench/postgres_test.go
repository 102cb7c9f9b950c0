//go:build bench

package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/envelope"
	"github.com/waybill-data/waybill/internal/postgres/poll"
	pgtarget "github.com/waybill-data/waybill/internal/postgres/target"
	"github.com/waybill-data/waybill/internal/testenv"
)

const (
	makeTarget = `drop table if exists public.customer; create table public.customer (id bigint primary key, name text not null, email text, note text, visits bigint)`
	upsertRows = `insert into public.customer (id, name, email, note, visits)
		select * from unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::bigint[])
		on conflict (id) do update set name = excluded.name, email = excluded.email, note = excluded.note, visits = excluded.visits`
)

// columns are the arrays that the plain loops hand to unnest.
type columns struct {
	ids, visits          []int64
	names, emails, notes []string
}

func (c *columns) add(id int64, name, email, note string, visits int64) {
	c.ids, c.visits = append(c.ids, id), append(c.visits, visits)
	c.names, c.emails, c.notes = append(c.names, name), append(c.emails, email), append(c.notes, note)
}

func (c *columns) write(ctx context.Context, q interface {
	Exec(ctx context.Context, sql string, args ...any) (tag, error)
},
) error {
	_, err := q.Exec(ctx, upsertRows, c.ids, c.names, c.emails, c.notes, c.visits)
	return err
}

// drainOutbox compares the direct way with a plain loop, and the way through the queue with
// the direct one.
func drainOutbox(t *testing.T, url string) []comparison {
	direct := comparison{
		name: "PostgreSQL outbox drained into PostgreSQL", unit: "messages/s", asked: 0.8,
		yardstick: fmt.Sprintf("pgx `SELECT … ORDER BY id LIMIT 1000`, one unnest upsert of the rows, `DELETE` of the ids, over %d messages of about 300 B, each loop turn committing at both ends", *scale),
		engine:    "`capture: outbox` read by polling, applied to the same table with its position, acknowledged and purged",
	}
	queued := comparison{
		name: "the same through the embedded queue", unit: "messages/s", asked: 0.6,
		yardstick: "the engine's own figure above, without the queue",
		engine:    "both hops at once, outbox to queue and queue to table, from the first read to the last row at the target; every message on disk in the queue, and gone from it at the end",
	}
	source, target := fresh(t, url, "source"), fresh(t, url, "target")
	for range *rounds {
		if !*engineOnly {
			testenv.Exec(t, target, makeTarget)
			fillPlain(t, source)
			direct.plain = append(direct.plain, rate(t, *scale, func(ctx context.Context) error { return drainPlain(ctx, t, source, target) }))
		}
		testenv.Exec(t, target, makeTarget+"; drop schema if exists waybill cascade")
		fillOutbox(t, source, "bench/target")
		direct.ours = append(direct.ours, rate(t, *scale, func(ctx context.Context) error {
			return run(ctx, "bench/target", outboxOf(source, "bench/target"), pgtarget.NewWriter(pgtarget.Options{URL: target}), true)
		}))
		expect(t, target, *scale)

		testenv.Exec(t, target, makeTarget+"; drop schema if exists waybill cascade")
		fillOutbox(t, source, "bench/embedded")
		queued.ours = append(queued.ours, throughQueue(t, source, target))
		expect(t, target, *scale)
	}
	queued.plain = direct.ours
	return []comparison{direct, queued}
}

func outboxOf(source, stream string) *poll.Reader {
	return poll.NewReader(poll.Options{URL: source, Stream: stream, MaxActions: *batch, MaxBytes: 4 << 20})
}

func fresh(t *testing.T, url, name string) string {
	testenv.Exec(t, url, "create database "+name)
	return replaceDatabase(url, name)
}

func expect(t *testing.T, url string, n int) {
	t.Helper()
	var got int
	if err := dial(t, url).QueryRow(context.Background(), "select count(*) from public.customer").Scan(&got); err != nil || got != n {
		t.Fatalf("the target holds %d rows of %d: %v", got, n, err)
	}
}

func fillPlain(t *testing.T, url string) {
	testenv.Exec(t, url, fmt.Sprintf(`drop table if exists plain; create table plain (id bigserial primary key, payload jsonb not null);
		insert into plain (payload) select %s from generate_series(0, %d) i`, oneMessage("i"), *scale-1))
	settle(t, url)
}

// oneMessage is the SQL of one message's changes, one upsert of one of scale customers.
func oneMessage(i string) string { return messageOf(i, *scale) }

func messageOf(i string, customers int) string {
	return fmt.Sprintf(`jsonb_build_array(jsonb_build_object('entity', 'customer', 'op', 'upsert',
		'key', jsonb_build_object('id', (%[1]s::bigint * 611953 %% %[2]d)),
		'row', jsonb_build_object('id', (%[1]s::bigint * 611953 %% %[2]d), 'name', 'Customer number ' || %[1]s, 'email', 'customer.' || %[1]s || '@example.com',
			'note', lpad(%[1]s::text, 80, '0') || ' and some words that make up the rest of it', 'visits', %[1]s)))`, i, customers)
}

func fillOutbox(t *testing.T, url, stream string) {
	testenv.Exec(t, url, "drop schema if exists waybill cascade")
	if err := outboxOf(url, stream).Install(context.Background(), stream); err != nil {
		t.Fatal(err)
	}
	if err := emitMessages(context.Background(), url, *scale); err != nil {
		t.Fatal(err)
	}
	settle(t, url)
}

// emitMessages emits n messages, a transaction for each, as applications write them; the
// server need not sync each.
func emitMessages(ctx context.Context, url string, n int) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	for _, sql := range []string{
		fmt.Sprintf(`create or replace procedure public.fill(n bigint) language plpgsql as $$ begin
			for i in 0 .. n-1 loop perform waybill.emit('customer.saved', %s); commit; end loop; end $$`, oneMessage("i")),
		"set synchronous_commit = off",
		fmt.Sprintf("call public.fill(%d)", n),
	} {
		if _, err := conn.Exec(ctx, sql, pgx.QueryExecModeSimpleProtocol); err != nil {
			return err
		}
	}
	return nil
}

func settle(t *testing.T, url string) {
	testenv.Exec(t, url, "vacuum analyze")
	testenv.Exec(t, url, "checkpoint")
}

type plainChange struct {
	Row struct {
		ID                int64
		Name, Email, Note string
		Visits            int64
	}
}

func drainPlain(ctx context.Context, t *testing.T, sourceURL, targetURL string) error {
	source, target := dial(t, sourceURL), dial(t, targetURL)
	for {
		rows, err := source.Query(ctx, "select id, payload from plain order by id limit 1000")
		if err != nil {
			return err
		}
		var ids []int64
		var c columns
		for rows.Next() {
			var id int64
			var raw []byte
			if err := rows.Scan(&id, &raw); err != nil {
				return err
			}
			var changes []plainChange
			if err := json.Unmarshal(raw, &changes); err != nil {
				return err
			}
			for _, x := range changes {
				c.add(x.Row.ID, x.Row.Name, x.Row.Email, x.Row.Note, x.Row.Visits)
			}
			ids = append(ids, id)
		}
		if err := rows.Err(); err != nil || len(ids) == 0 {
			return err
		}
		if err := c.write(ctx, target); err != nil {
			return err
		}
		if _, err := source.Exec(ctx, "delete from plain where id = any($1)", ids); err != nil {
			return err
		}
	}
}

func applyPostgres(t *testing.T, url string) comparison {
	const n = 200_000
	c := comparison{
		name: "apply into PostgreSQL", unit: "rows/s", asked: 0.7,
		yardstick: "`INSERT … SELECT unnest(…) ON CONFLICT` of 1,000 random-key rows a transaction, the arrays ready in memory",
		engine:    "`Write` of batches of 1,000 actions, each one upsert as it comes from an outbox (JSON), with the position",
	}
	target := fresh(t, url, "apply")
	batches := upserts(t, n)
	for range *rounds {
		testenv.Exec(t, target, makeTarget)
		testenv.Exec(t, target, "checkpoint")
		conn := dial(t, target)
		var ready []columns
		for i := 0; i < n; i += 1000 {
			var c columns
			for j := i; j < i+1000; j++ {
				name, email, note := payload(j)
				c.add(int64(scatter(j, n)), name, email, note, int64(j))
			}
			ready = append(ready, c)
		}
		c.plain = append(c.plain, rate(t, n, func(ctx context.Context) error { return writePlain(ctx, conn, ready) }))

		testenv.Exec(t, target, makeTarget+"; drop schema if exists waybill cascade")
		testenv.Exec(t, target, "checkpoint")
		w := pgtarget.NewWriter(pgtarget.Options{URL: target})
		c.ours = append(c.ours, writeAll(t, n, w, batches))
		expect(t, target, n)
	}
	return c
}

func writePlain(ctx context.Context, conn *pgx.Conn, ready []columns) error {
	for i := range ready {
		if err := ready[i].write(ctx, conn); err != nil {
			return err
		}
	}
	return nil
}

// writeAll is the rate of writing prepared batches; taking the stream is not counted.
func writeAll(t *testing.T, n int, w waybill.Writer, batches []waybill.Batch) float64 {
	t.Helper()
	if _, err := w.Resume(context.Background(), "bench/target"); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}()
	return rate(t, n, func(ctx context.Context) error {
		for _, b := range batches {
			if err := w.Write(ctx, b); err != nil {
				return err
			}
		}
		return nil
	})
}

// upserts are n actions of one upsert each, in batches of 1,000.
func upserts(t *testing.T, n int) []waybill.Batch {
	var batches []waybill.Batch
	for i := 0; i < n; i += 1000 {
		b := waybill.Batch{Upto: waybill.Position(fmt.Sprint(i + 1000))}
		if i > 0 {
			b.After = waybill.Position(fmt.Sprint(i))
		}
		for j := i; j < i+1000; j++ {
			name, email, note := payload(j)
			raw := fmt.Sprintf(`[{"entity":"customer","op":"upsert","key":{"id":%[1]d},"row":{"id":%[1]d,"name":%[2]q,"email":%[3]q,"note":%[4]q,"visits":%[5]d}}]`,
				scatter(j, n), name, email, note, j)
			changes, err := envelope.DecodeChanges([]byte(raw))
			if err != nil {
				t.Fatal(err)
			}
			b.Actions = append(b.Actions, waybill.Action{ID: fmt.Sprint(j), Seq: uint64(j + 1), Changes: changes, Size: len(raw)})
		}
		batches = append(batches, b)
	}
	return batches
}
