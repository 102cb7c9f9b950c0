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

// commitToVisible commits actions at a steady pace and polls the target for the newest.
func commitToVisible(t *testing.T, url string) *latency {
	l := &latency{rate: 1000, actions: 20_000}
	source, target := fresh(t, url, "latency_source"), fresh(t, url, "latency_target")
	testenv.Exec(t, target, makeTarget)
	r := poll.NewReader(poll.Options{URL: source, Stream: "bench/target", MaxActions: 1000, MaxBytes: 4 << 20, MaxDelay: 5 * time.Millisecond})
	if err := r.Install(context.Background(), "bench/target"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	engine := make(chan error, 1)
	go func() {
		engine <- run(ctx, "bench/target", r, pgtarget.NewWriter(pgtarget.Options{URL: target}), false)
	}()

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
		if _, err := writer.Exec(ctx, emitOne, i); err != nil {
			t.Fatal(err)
		}
		committed[i] = time.Now()
	}
	l.kept = float64(l.actions) / time.Since(start).Seconds()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-engine; err != nil {
		t.Fatal(err)
	}
	waits := make([]time.Duration, l.actions)
	for i := range waits {
		waits[i] = max(0, seen[i].Sub(committed[i]))
	}
	slices.Sort(waits)
	l.p50, l.p99, l.max = waits[l.actions/2], waits[l.actions*99/100], waits[l.actions-1]
	return l
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
