package pump

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybill-data/waybill"
)

// logged is a source with a log, which cannot count what waits.
type logged struct {
	*modelSource
	kept  waybill.Retained
	never chan struct{} // if set, Retained blocks for it
}

func (l *logged) Retained(ctx context.Context) (waybill.Retained, error) {
	if l.never != nil {
		select {
		case <-ctx.Done():
			return waybill.Retained{}, ctx.Err()
		case <-l.never:
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.kept, nil
}

// TestUncounted: what a source without a Backlog holds is known as none, or as at least one with
// the most that its age can be.
func TestUncounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source, target := model(7)
		g := NewGate()
		meter, stop := start(t, &logged{modelSource: source}, target, Config{Gate: g, Sample: 5 * time.Second})
		time.Sleep(7 * time.Second)
		if s := meter.Snapshot(); !s.CaughtUp || s.Backlog != 0 || s.AtLeast || s.LagSeconds != 0 || s.Actions != 7 {
			t.Errorf("idle: %+v", s)
		}
		g.Set(true)
		synctest.Wait()
		source.mu.Lock()
		source.n += 3
		source.mu.Unlock()
		time.Sleep(time.Hour)
		if s := meter.Snapshot(); s.CaughtUp || s.Backlog != 1 || !s.AtLeast || s.LagSeconds < 3590 || s.LagSeconds > 3610 {
			t.Errorf("an hour behind: %+v", s)
		}
		g.Set(false)
		time.Sleep(7 * time.Second)
		if s := meter.Snapshot(); !s.CaughtUp || s.Backlog != 0 || s.AtLeast || s.LagSeconds != 0 || s.Actions != 10 {
			t.Errorf("again: %+v", s)
		}
		_ = stop()
	})
}

// TestSlot: what the source retains is shown, and an alarm is due past the limit or when it is lost.
func TestSlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source, target := model(1)
		from := &logged{modelSource: source, kept: waybill.Retained{Slot: "s", Status: "reserved", Bytes: 10, Unconfirmed: 4, Limit: 10}}
		meter, stop := start(t, from, target, Config{Sample: time.Second})
		want := func(want Slot) {
			t.Helper()
			if s := meter.Snapshot().Slot; s == nil || *s != want {
				t.Errorf("slot is %+v, want %+v", s, want)
			}
		}
		want(Slot{Name: "s", Status: "reserved", Retained: 10, Unconfirmed: 4, Limit: 10})
		set := func(r waybill.Retained) {
			source.mu.Lock()
			from.kept = r
			source.mu.Unlock()
			time.Sleep(1100 * time.Millisecond)
		}
		set(waybill.Retained{Slot: "s", Status: "extended", Bytes: 11, Limit: 10})
		want(Slot{Name: "s", Status: "extended", Retained: 11, Limit: 10, Alarm: true})
		set(waybill.Retained{Slot: "s", Status: "extended", Bytes: 11})
		want(Slot{Name: "s", Status: "extended", Retained: 11})
		set(waybill.Retained{Slot: "s", Status: "lost"})
		want(Slot{Name: "s", Status: "lost", Alarm: true})
		_ = stop()
	})
}

// TestSlotDelaysNothing: a source that does not tell what it retains delays nothing.
func TestSlotDelaysNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source, target := model(7)
		meter, stop := start(t, &logged{modelSource: source, never: make(chan struct{})}, target, Config{Sample: 5 * time.Second})
		time.Sleep(7 * time.Second)
		if s := meter.Snapshot(); !s.CaughtUp || s.Actions != 7 || s.Slot != nil {
			t.Errorf("%+v", s)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}
