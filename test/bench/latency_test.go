//go:build bench

package bench

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/waybill-data/waybill/internal/postgres/poll"
	pgtarget "github.com/waybill-data/waybill/internal/postgres/target"
	"github.com/waybill-data/waybill/internal/testenv"
)

const emitOne = `select waybill.emit('customer.saved', jsonb_build_array(jsonb_build_object('entity', 'customer', 'op', 'upsert',
	'key', jsonb_build_object('id', $1::bigint), 'row', jsonb_build_object('id', $1::bigint, 'name', 'Customer number ' || $1::bigint, 'visits', $1::bigint))))`

// outboxLatency is that of the polled outbox.
func outboxLatency(t *testing.T, url string) *latency {
	l := &latency{
		name: "outbox, polled", rate: 1000, actions: *scale / 10, asked: [2]time.Duration{10 * time.Millisecond, 40 * time.Millisecond},
		way: "through `waybill.emit`; the engine carries them to another database of the same server",
	}
	source, target := fresh(t, url, "latency_source"), fresh(t, url, "latency_target")
	testenv.Exec(t, target, makeTarget)
	r := poll.NewReader(poll.Options{URL: source, Stream: "bench/target", MaxActions: 1000, MaxBytes: 4 << 20, MaxDelay: 5 * time.Millisecond})
	if err := r.Install(context.Background(), "bench/target"); err != nil {
		t.Fatal(err)
	}
	end, failed := running(t, func(ctx context.Context) error {
		return run(ctx, "bench/target", r, pgtarget.NewWriter(pgtarget.Options{URL: target}), false)
	})
	defer end()
	l.measure(t, source, target, emitOne, failed)
	return l
}

// replicationLatency is that of the log, of PostgreSQL's own replication and of the engine's two ways.
func replicationLatency(t *testing.T) []*latency {
	s := startServers(t)
	const between = "as a row of a table; between two private servers by "
	limits := func(median int) [2]time.Duration {
		return [2]time.Duration{time.Duration(median) * time.Millisecond, 20 * time.Millisecond}
	}
	var all []*latency
	for _, c := range []struct {
		latency latency
		way     carrier
	}{
		{latency{name: "PostgreSQL's own replication", way: between + "`CREATE SUBSCRIPTION`, which waits for no disk"}, subscribed},
		{latency{name: "log, pushed", asked: limits(3), way: between + "`capture: changes`, pattern push"}, pushed},
		{latency{name: "log, through the embedded queue", asked: limits(8), way: between + "`capture: changes` and the embedded queue"}, queuedUp},
	} {
		l := &c.latency
		l.rate, l.actions = 1000, *scale/10
		func() {
			p, drop := s.pair(t, []string{"public.customer"}, createCustomer)
			end := func() {}
			defer func() { end(); drop() }()
			stop, failed := c.way(t, p)()
			end = stop
			testenv.Exec(t, p.source, "insert into public.customer (id, name, visits) values (-1, 'Nobody', 0)")
			if err := await(t.Context(), dial(t, p.target), "exists (select from public.customer)", failed); err != nil {
				t.Fatal(err)
			}
			l.measure(t, p.source, p.target, "insert into public.customer (id, name, visits) values ($1, 'Customer number', $1)", failed)
		}()
		all = append(all, l)
	}
	return all
}

// measure commits actions at a steady pace and polls the target for the newest. sql emits the action
// $1, counted from 0.
func (l *latency) measure(t *testing.T, source, target, sql string, failed <-chan error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	committed := make([]time.Time, l.actions)
	seen := make([]time.Time, l.actions)
	done := make(chan error, 1)
	watcher := dial(t, target)
	go func() {
		done <- watch(ctx, l.actions, seen, func(ctx context.Context, after int) (newest int, err error) {
			err = watcher.QueryRow(ctx, "select coalesce(max(id), -1) from public.customer where id >= $1", after).Scan(&newest)
			return newest, err
		})
	}()

	writer := dial(t, source)
	start := time.Now()
	for i := range l.actions {
		if d := time.Until(start.Add(time.Duration(i) * time.Second / time.Duration(l.rate))); d > 0 {
			time.Sleep(d) // the pace is what is measured at
		}
		if _, err := writer.Exec(ctx, sql, i); err != nil {
			t.Fatal(err)
		}
		committed[i] = time.Now()
	}
	l.kept = float64(l.actions) / time.Since(start).Seconds()
	select {
	case err := <-done:
		if err != nil {
			t.Fatal(err)
		}
	case err := <-failed:
		t.Fatal(err)
	}
	waits := make([]time.Duration, l.actions)
	for i := range waits {
		waits[i] = max(0, seen[i].Sub(committed[i]))
	}
	slices.Sort(waits)
	l.p50, l.p99, l.max = waits[l.actions/2], waits[l.actions*99/100], waits[l.actions-1]
}

// watch notes when each of n ids, which arrive in order, is first seen.
func watch(ctx context.Context, n int, seen []time.Time, newest func(context.Context, int) (int, error)) error {
	for at := 0; at < n; {
		id, err := newest(ctx, at)
		if err != nil {
			return err
		}
		now := time.Now()
		for ; at <= id; at++ {
			seen[at] = now
		}
		time.Sleep(500 * time.Microsecond)
	}
	return nil
}
