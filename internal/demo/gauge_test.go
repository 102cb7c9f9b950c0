package demo

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"
)

// answering is an engine that looks at its queue whenever it is asked: so much waits for the CRM.
func answering(t *testing.T, depth *atomic.Int64) *process {
	t.Helper()
	var age atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"queues":[{"queue":"waybill","known":true,"consumers":[{"consumer":%q,"depth":%d,"bytes":%d,"oldest_seconds":%d.5},{"consumer":%q}]}]}`,
			toCRM, depth.Load(), 1000*depth.Load(), age.Add(1), toWarehouse)
	}))
	t.Cleanup(s.Close)
	return &process{admin: strings.TrimPrefix(s.URL, "http://"), exited: make(chan struct{}), over: make(chan struct{})}
}

// TestGauge follows the queue from one engine to the next.
func TestGauge(t *testing.T) {
	g := newGauge(func(string) int64 { return 900 })
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { g.run(ctx) })
	defer running.Wait()
	defer stop()

	var depth atomic.Int64
	depth.Store(700)
	first := answering(t, &depth)
	g.of(first)
	if l, err := g.await(t.Context(), first, toCRM, true, anyLevel); err != nil || l != (level{700, 700_000}) {
		t.Fatalf("%+v, %v", l, err)
	}
	close(first.exited)
	first.isOver()
	if _, err := g.await(t.Context(), first, toCRM, true, anyLevel); !isEngineError(err) {
		t.Errorf("of an engine that is gone: %v", err)
	}
	if l := g.level(toCRM); l.Actions != 700 {
		t.Errorf("without an engine %+v", l)
	}

	depth.Store(9_000) // what cannot be
	second := answering(t, &depth)
	g.of(second)
	if l, err := g.await(t.Context(), second, toCRM, true, anyLevel); err != nil || l != (level{900, 900_000}) {
		t.Errorf("%+v, %v", l, err)
	}
	depth.Store(0)
	if _, err := g.await(t.Context(), second, toCRM, false, func(l level) bool { return l.Actions == 0 }); err != nil {
		t.Error(err)
	}
	if g.peak(toCRM).Actions != 900 || g.peak(toWarehouse).Actions != 0 || slices.Max(g.columns(10).crm) != 900 {
		t.Errorf("%+v %+v %v", g.peak(toCRM), g.peak(toWarehouse), g.columns(10))
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if _, err := g.await(ended, second, toCRM, false, func(level) bool { return false }); !errors.Is(err, context.Canceled) {
		t.Errorf("what never comes: %v", err)
	}
}

func TestSqueeze(t *testing.T) {
	for _, tc := range []struct {
		list     []int64
		slots, n int
		want     []int64
	}{
		{nil, 4, 3, []int64{0, 0, 0}},
		{[]int64{1, 2}, 2, 3, []int64{1, 2}},
		{[]int64{1, 5, 2, 3}, 6, 3, []int64{5, 3, 0}},
		{[]int64{1, 2, 3, 4, 5}, 5, 2, []int64{3, 5}},
	} {
		if got := squeeze(tc.list, tc.slots, tc.n); !slices.Equal(got, tc.want) {
			t.Errorf("squeeze(%v, %d, %d): %v, want %v", tc.list, tc.slots, tc.n, got, tc.want)
		}
	}
	if got := chart([]int64{0, 1, 50, 100}, 100); got != "▁▁▄█" {
		t.Errorf("chart %s", got)
	}
}

// TestPicture fits the screen, however narrow.
func TestPicture(t *testing.T) {
	s := &show{Options: Options{For: 20 * time.Second}, started: time.Now().Add(-8 * time.Second), gauge: newGauge(nil), workload: newWorkload(nil)}
	s.gauge.levels[toCRM] = level{12_345_678, 9_999_000_000}
	s.gauge.away.Store(true)
	for _, width := range []int{200, 120, 80, 72, 60, 40, 29, 20, 5} {
		s.Screen.Width = func() int { return width }
		lines := strings.Split(s.picture(), "\n")
		if len(lines) != 3 {
			t.Errorf("%d lines", len(lines))
		}
		for _, l := range lines {
			if n := utf8.RuneCountInString(l); n >= width {
				t.Errorf("%d columns in %d: %q", n, width, l)
			}
		}
		t.Logf("%d columns:\n%s", width, strings.Join(lines, "\n"))
	}
}
