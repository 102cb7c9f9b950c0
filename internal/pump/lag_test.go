package pump

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybill-data/waybill"
)

// aged is a source whose oldest waiting action waits since it was made.
type aged struct {
	*modelSource
	since time.Time
	deaf  atomic.Bool // it does not answer
}

func (a *aged) Head(ctx context.Context) (waybill.Position, error) {
	if a.deaf.Load() {
		return "", waybill.AsTransient(errors.New("no answer"))
	}
	return a.modelSource.Head(ctx)
}

func (a *aged) Backlog(_ context.Context, p waybill.Position) (int64, time.Duration, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := int64(a.n - num(p))
	if n == 0 {
		return 0, 0, nil
	}
	return n, time.Since(a.since), nil
}

func TestLagGrowsWithoutSamples(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source, target := model(7)
		g := NewGate()
		g.Set(true)
		from := &aged{modelSource: source, since: time.Now()}
		meter, stop := start(t, from, target, Config{Gate: g})
		from.deaf.Store(true)
		time.Sleep(time.Hour)
		if s := meter.Snapshot(); s.Backlog != 7 || s.LagSeconds < 3599 || s.LagSeconds > 3601 {
			t.Errorf("after an hour without an answer: %d waiting, lag %v", s.Backlog, s.LagSeconds)
		}
		_ = stop()
	})
}

// TestSamplesWhenResumed: what status shows after a pause is no older than a second.
func TestSamplesWhenResumed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source, target := model(7)
		g := NewGate()
		g.Set(true)
		meter, stop := start(t, &aged{modelSource: source, since: time.Now()}, target, Config{Gate: g, Sample: 5 * time.Second})
		time.Sleep(11 * time.Second)
		g.Set(false)
		time.Sleep(1100 * time.Millisecond)
		if s := meter.Snapshot(); s.Backlog != 0 || s.LagSeconds != 0 || !s.CaughtUp {
			t.Errorf("a second after it was resumed: %+v", s)
		}
		_ = stop()
	})
}

func TestLagOfAFailedHop(t *testing.T) {
	for _, c := range []struct {
		name    string
		refuses int // the number of the action, 0: the target fails as a whole before any
		waiting int64
	}{
		{"refused", 3, 5},
		{"refused the last", 7, 1},
		{"cannot be taken", 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				source, target := model(7)
				to := &strict{modelTarget: target, refuses: uint64(c.refuses)}
				meter, stop := start(t, &aged{modelSource: source, since: time.Now()}, to, Config{})
				time.Sleep(time.Hour)
				s := meter.Snapshot()
				if s.State != Failed || s.Backlog < min(1, c.waiting) || s.Backlog > c.waiting || !s.AtLeast || s.CaughtUp {
					t.Errorf("%+v", s)
				}
				if s.LagSeconds < 3599 {
					t.Errorf("lag %v an hour after it failed", s.LagSeconds)
				}
				_ = stop()
			})
		})
	}
}

// strict refuses one action, or to be taken.
type strict struct {
	*modelTarget
	refuses uint64
}

func (s *strict) Resume(ctx context.Context, stream string) (waybill.Position, error) {
	if s.refuses == 0 {
		return "", errors.New("wrong password")
	}
	return s.modelTarget.Resume(ctx, stream)
}

func (s *strict) Write(ctx context.Context, b waybill.Batch) error {
	for i := range b.Actions {
		if b.Actions[i].Seq == s.refuses {
			return &waybill.Refusal{Action: "a", Seq: s.refuses, Reason: "no"}
		}
	}
	return s.modelTarget.Write(ctx, b)
}

func TestStandbyKnowsNoBacklog(t *testing.T) {
	m := NewMeter("p", "t")
	m.SetState(Running, nil)
	m.waiting(7, 0, time.Minute, 0)
	m.SetState(Standby, waybill.ErrHeld)
	if s := m.Snapshot(); s.Backlog != -1 || s.LagSeconds != 0 {
		t.Errorf("%+v", s)
	}
}
