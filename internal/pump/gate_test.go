package pump

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybill-data/waybill"
)

// start runs the pump beside the test; stop ends it and returns how it ended.
func start(t *testing.T, r waybill.Reader, w waybill.Writer, c Config) (meter *Meter, stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	c.Stream, c.Meter = "p/t", NewMeter("p", "t")
	done := make(chan error, 1)
	go func() { done <- Run(ctx, r, w, c) }()
	synctest.Wait()
	return c.Meter, func() error {
		cancel()
		return <-done
	}
}

func TestPauseKeepsEverythingButTheWriting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source, target := model(10)
		g := NewGate()
		if !g.Set(true) || g.Set(true) {
			t.Error("closing an open gate is a change, closing it again is none")
		}
		meter, stop := start(t, source, target, Config{Gate: g})
		time.Sleep(time.Hour)
		if s := meter.Snapshot(); s.State != Paused || !s.Paused || s.Actions != 0 || s.Error != "" || source.acked != 0 || !source.open {
			t.Errorf("paused from the start: %+v, acknowledged %d, open %v", s, source.acked, source.open)
		}
		g.Set(false)
		synctest.Wait()
		if s := meter.Snapshot(); s.State != Running || s.Paused || s.Actions != 10 || source.acked != 10 {
			t.Errorf("resumed: %+v, acknowledged %d", s, source.acked)
		}
		g.Set(true) // with nothing to write
		if s := meter.Snapshot(); s.State != Paused || time.Since(s.Since) != 0 {
			t.Errorf("paused while idle: %+v", s)
		}
		if err := stop(); err != nil || meter.Snapshot().State != Stopped {
			t.Errorf("stopped while paused: %v, %s", err, meter.Snapshot().State)
		}
	})
}

// TestPauseEndsRetrying: what is worked on is paused, and does not answer either.
func TestPauseEndsRetrying(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source, target := model(3)
		var tried atomic.Int64
		target.flip = func(label string, _ int) bool { return label == "write fails" && tried.Add(1) > 0 }
		g := NewGate()
		meter, stop := start(t, source, target, Config{Gate: g})
		time.Sleep(time.Minute)
		g.Set(true)
		before := tried.Load()
		if s := meter.Snapshot(); s.State != Paused || s.Error != "blip" || before == 0 {
			t.Errorf("after %d attempts: %+v", before, s)
		}
		time.Sleep(time.Hour)
		if n := tried.Load(); n != before {
			t.Errorf("%d attempts while paused", n-before)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// slowTarget takes a second for a write.
type slowTarget struct{ *modelTarget }

func (t slowTarget) Write(ctx context.Context, b waybill.Batch) error {
	time.Sleep(time.Second)
	return t.modelTarget.Write(ctx, b)
}

func TestPauseLetsAWriteEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source, target := model(3)
		g := NewGate()
		meter, stop := start(t, source, slowTarget{target}, Config{Gate: g, MaxActions: 1})
		g.Set(true)
		if s := meter.Snapshot(); s.State != Running || !s.Paused {
			t.Errorf("with a write under way: %+v", s)
		}
		short, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if g.Settled(short) {
			t.Error("settled with a write under way")
		}
		if !g.Settled(t.Context()) {
			t.Error("never settled")
		}
		if s := meter.Snapshot(); s.State != Paused || target.held() == 0 {
			t.Errorf("after the write: %+v", s)
		}
		_ = stop()
	})
}

func TestPausedUntilCaughtUp(t *testing.T) {
	for n, want := range map[int]error{0: nil, 3: ErrPaused} {
		synctest.Test(t, func(t *testing.T) {
			source, target := model(n)
			g := NewGate()
			g.Set(true)
			err := Run(t.Context(), source, target, Config{Stream: "p/t", UntilCaughtUp: true, Gate: g})
			if !errors.Is(err, want) || want != nil && !strings.Contains(err.Error(), "waybill resume p/t") {
				t.Errorf("%d actions: ended with %v", n, err)
			}
		})
	}
}

// TestUntilCaughtUpFrom: the end is looked for when From closes, not before.
func TestUntilCaughtUpFrom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source, target := model(3)
		from := make(chan struct{})
		done := make(chan error, 1)
		go func() {
			done <- Run(t.Context(), source, target, Config{Stream: "p/t", UntilCaughtUp: true, From: from})
		}()
		time.Sleep(time.Hour)
		source.mu.Lock()
		source.n = 7
		source.mu.Unlock()
		close(from)
		if err := <-done; err != nil || target.held() != 7 {
			t.Errorf("ended with %v, %d held", err, target.held())
		}
	})
}

// TestNoRoom: a target without room is asked about every second, and the log is not flooded.
func TestNoRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source, target := model(3)
		full := &fullTarget{modelTarget: target}
		var log bytes.Buffer
		meter, stop := start(t, source, full, Config{Log: slog.New(slog.NewTextHandler(&log, nil))})
		time.Sleep(time.Hour)
		if s := meter.Snapshot(); s.State != Waiting || s.Error != "queue q is full" || time.Since(s.Since) < 59*time.Minute || s.Retries != 0 {
			t.Errorf("held back: %+v", s)
		}
		if n := full.tried.Load(); n < 3600 {
			t.Errorf("%d attempts in an hour", n)
		}
		full.room.Store(true)
		time.Sleep(1100 * time.Millisecond)
		if s := meter.Snapshot(); s.State != Running || s.Actions != 3 {
			t.Errorf("with room again: %+v", s)
		}
		_ = stop()
		if lines := strings.Count(log.String(), "trying again"); lines < 55 || lines > 61 {
			t.Errorf("%d log lines in an hour", lines)
		}
		if !strings.Contains(log.String(), " for=5") {
			t.Error("the log does not say for how long already")
		}
	})
}

type fullTarget struct {
	*modelTarget
	room  atomic.Bool
	tried atomic.Int64
}

func (t *fullTarget) Write(ctx context.Context, b waybill.Batch) error {
	t.tried.Add(1)
	if !t.room.Load() {
		return waybill.AsFull(errors.New("queue q is full"))
	}
	return t.modelTarget.Write(ctx, b)
}

// counted is a source that counts no further than 2.
type counted struct{ *modelSource }

func (counted) BacklogBound() int64 { return 2 }

func (c counted) Backlog(_ context.Context, p waybill.Position) (int64, time.Duration, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return int64(min(2, c.n-num(p))), time.Second, nil
}

func TestBacklogAtItsBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source, target := model(3)
		g := NewGate()
		g.Set(true)
		meter, stop := start(t, counted{source}, target, Config{Gate: g})
		if s := meter.Snapshot(); s.Backlog != 2 || !s.AtLeast {
			t.Errorf("paused: %+v", s)
		}
		g.Set(false)
		time.Sleep(10 * time.Second)
		if s := meter.Snapshot(); s.Backlog != 0 || s.AtLeast {
			t.Errorf("caught up: %+v", s)
		}
		_ = stop()
	})
}

// slowHead is a source that answers after Next handed on what the question called for.
type slowHead struct{ *modelSource }

func (s slowHead) Head(ctx context.Context) (waybill.Position, error) {
	p, err := s.modelSource.Head(ctx)
	time.Sleep(time.Second)
	return p, err
}

func TestEndFoundAfterTheLastWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source, target := model(3)
		began := time.Now()
		err := Run(t.Context(), slowHead{source}, target, Config{Stream: "p/t", UntilCaughtUp: true, Sample: time.Hour})
		if err != nil || target.held() != 3 || time.Since(began) > time.Minute {
			t.Errorf("ended with %v after %v, %d held", err, time.Since(began), target.held())
		}
	})
}
