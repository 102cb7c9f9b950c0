package pump

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

var errBlip = waybill.AsTransient(errors.New("blip"))

// modelSource is a source with n actions, whose positions are their numbers. It checks that
// it is used as the Reader contract says.
type modelSource struct {
	mu     sync.Mutex
	n      int
	at     int
	open   bool
	failed bool
	asked  bool
	acked  int
	target *modelTarget
	flip   func(label string, percent int) bool
	pick   func(label string, lo, hi int) int
	wrong  error
}

func pos(n int) waybill.Position {
	if n == 0 {
		return ""
	}
	return waybill.Position(strconv.Itoa(n))
}

func num(p waybill.Position) int {
	n, _ := strconv.Atoi(string(p))
	return n
}

func (s *modelSource) wrongf(format string, args ...any) {
	if s.wrong == nil {
		s.wrong = fmt.Errorf(format, args...)
	}
}

func (s *modelSource) Open(_ context.Context, after waybill.Position) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open {
		s.wrongf("Open while open")
	}
	if s.flip("open fails", 20) {
		return errBlip
	}
	s.open, s.failed, s.at = true, false, num(after)
	return nil
}

func (s *modelSource) Next(ctx context.Context) (waybill.Batch, error) {
	for {
		s.mu.Lock()
		if !s.open || s.failed {
			s.wrongf("Next on a reader that is closed or failed")
		}
		if s.at < s.n || s.asked {
			break
		}
		s.mu.Unlock()
		select {
		case <-ctx.Done():
			return waybill.Batch{}, ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
	defer s.mu.Unlock()
	if s.flip("next fails", 15) {
		s.failed = true
		return waybill.Batch{}, errBlip
	}
	b := waybill.Batch{After: pos(s.at)}
	first := s.at
	for i := s.pick("batch", 0, 5); i > 0 && s.at < s.n; i-- {
		s.at++
		b.Actions = append(b.Actions, waybill.Action{ID: strconv.Itoa(s.at), Seq: uint64(s.at), Size: 10, Changes: waybill.ChangeList{}})
	}
	b.Upto = pos(s.at)
	b.At = func(i int) waybill.Position { return pos(first + i + 1) }
	s.asked = s.asked && s.at < s.n
	return b, nil
}

func (s *modelSource) Ack(_ context.Context, p waybill.Position) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if held := s.target.held(); num(p) > held {
		s.wrongf("acknowledged %s while the target holds %d", p, held)
	}
	if s.flip("ack fails", 20) {
		return errBlip
	}
	s.acked = max(s.acked, num(p))
	return nil
}

func (s *modelSource) Head(context.Context) (waybill.Position, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.flip("head fails", 10) {
		return "", errBlip
	}
	s.asked = true
	return pos(s.n), nil
}

func (s *modelSource) Reached(p, head waybill.Position) bool { return num(p) >= num(head) }

func (s *modelSource) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open = false
	return nil
}

// modelTarget applies batches to a list.
type modelTarget struct {
	mu      sync.Mutex
	applied []int
	refuse  int
	flip    func(label string, percent int) bool
	wrong   error
}

func (t *modelTarget) held() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.applied)
}

func (t *modelTarget) Resume(context.Context, string) (waybill.Position, error) {
	if t.flip("resume fails", 20) {
		return "", errBlip
	}
	if t.flip("held", 10) {
		return "", fmt.Errorf("%w: somebody", waybill.ErrHeld)
	}
	return pos(t.held()), nil
}

func (t *modelTarget) Write(_ context.Context, b waybill.Batch) error {
	if t.flip("write fails", 20) {
		return errBlip
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if num(b.After) != len(t.applied) {
		t.wrong = fmt.Errorf("batch after %s while %d are applied", b.After, len(t.applied))
	}
	for i := range b.Actions {
		if int(b.Actions[i].Seq) == t.refuse {
			return &waybill.Refusal{Action: b.Actions[i].ID, Seq: b.Actions[i].Seq, Reason: "no"}
		}
	}
	for i := range b.Actions {
		t.applied = append(t.applied, int(b.Actions[i].Seq))
	}
	if len(t.applied) != num(b.Upto) {
		t.wrong = fmt.Errorf("batch upto %s ends at %d", b.Upto, len(t.applied))
	}
	return nil
}

func (t *modelTarget) Close() error { return nil }

// TestPumpAgainstModel runs the pump over sources and targets that fail at random, ends it
// at random, starts it again, and holds the outcome against the list of actions.
func TestPumpAgainstModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n, refuse := rapid.IntRange(0, 40).Draw(rt, "actions"), rapid.IntRange(0, 60).Draw(rt, "refused")
		limit := rapid.IntRange(1, 10).Draw(rt, "max actions")
		stops := rapid.SliceOfN(rapid.IntRange(0, 2000), 0, 3).Draw(rt, "stopped after ms")
		seed := rapid.Uint64().Draw(rt, "seed")
		var err error
		synctest.Test(t, func(t *testing.T) { err = runModel(t.Context(), n, refuse, limit, stops, seed) })
		if err != nil {
			rt.Fatal(err)
		}
	})
}

func runModel(ctx context.Context, n, refuse, limit int, stops []int, seed uint64) error {
	var mu sync.Mutex
	random := rand.New(rand.NewPCG(seed, 0))
	pick := func(_ string, lo, hi int) int {
		mu.Lock()
		defer mu.Unlock()
		return lo + random.IntN(hi-lo+1)
	}
	flip := func(label string, percent int) bool { return pick(label, 1, 100) <= percent }
	target := &modelTarget{flip: flip, refuse: refuse}
	source := &modelSource{n: n, target: target, flip: flip, pick: pick}
	cfg := Config{
		Stream: "p/t", MaxActions: limit, Sample: time.Hour,
		UntilCaughtUp: true, Retry: Retry{Held: time.Hour},
	}
	cfg.Gate = NewGate()
	for _, ms := range stops {
		ctx, cancel := context.WithTimeout(ctx, time.Duration(ms)*time.Millisecond)
		paused := cfg
		paused.UntilCaughtUp = flip("until caught up", 50)
		var pauser sync.WaitGroup
		pauser.Go(func() { pauseAtRandom(ctx, cfg.Gate, target, pick) })
		if err := Run(ctx, source, target, paused); errors.Is(err, ErrPaused) && !paused.UntilCaughtUp {
			target.wrong = err
		}
		cancel()
		pauser.Wait()
	}
	err := Run(ctx, source, target, cfg)

	want := n
	if refuse > 0 && refuse <= n {
		want = refuse - 1
		var refusal *waybill.Refusal
		if !errors.As(err, &refusal) || int(refusal.Seq) != refuse {
			return fmt.Errorf("ended with %w, want the refusal of action %d", err, refuse)
		}
	} else if err != nil {
		return fmt.Errorf("ended with %w", err)
	}
	if err := errors.Join(source.wrong, target.wrong); err != nil {
		return err
	}
	if len(target.applied) != want {
		return fmt.Errorf("applied %d actions, want %d", len(target.applied), want)
	}
	for i, seq := range target.applied {
		if seq != i+1 {
			return fmt.Errorf("applied %v", target.applied)
		}
	}
	return nil
}

// pauseAtRandom pauses and resumes until ctx ends, and leaves the gate open. While it is
// settled nothing may be written.
func pauseAtRandom(ctx context.Context, g *Gate, target *modelTarget, pick func(string, int, int) int) {
	defer g.Set(false)
	doze := func() {
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(pick("pause ms", 1, 300)) * time.Millisecond):
		}
	}
	for ctx.Err() == nil {
		doze()
		g.Set(true)
		if !g.Settled(ctx) {
			return
		}
		before := target.held()
		doze()
		if now := target.held(); now != before {
			target.mu.Lock()
			target.wrong = fmt.Errorf("%d actions were written while paused", now-before)
			target.mu.Unlock()
		}
		g.Set(false)
	}
}

func never(string, int) bool       { return false }
func most(_ string, _, hi int) int { return hi }
func silent(n int) *modelSource    { return &modelSource{n: n, flip: never, pick: most} }
func model(n int) (*modelSource, *modelTarget) {
	t := &modelTarget{flip: never}
	s := silent(n)
	s.target = t
	return s, t
}

func TestStopsCleanlyOnContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source, target := model(10)
		ctx, cancel := context.WithCancel(t.Context())
		meter := NewMeter("p", "t")
		done := make(chan error)
		go func() { done <- Run(ctx, source, target, Config{Stream: "p/t", Meter: meter}) }()
		synctest.Wait()
		if got := meter.Snapshot(); got.State != Running || got.Actions != 10 || !(got.Seq == 10) {
			t.Errorf("running: %+v", got)
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("a stop is not an error: %v", err)
		}
		if s := meter.Snapshot().State; s != Stopped {
			t.Errorf("state %s", s)
		}
	})
}

func TestStaysInStandbyWhileHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source, target := model(1)
		var held atomic.Bool
		held.Store(true)
		target.flip = func(label string, _ int) bool { return label == "held" && held.Load() }
		meter := NewMeter("p", "t")
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- Run(ctx, source, target, Config{Stream: "p/t", Meter: meter}) }()
		time.Sleep(2 * time.Minute) // of the bubble's clock
		if s := meter.Snapshot().State; s != Standby {
			t.Errorf("state %s", s)
		}
		held.Store(false)
		time.Sleep(time.Minute)
		if got := meter.Snapshot(); got.State != Running || got.Actions != 1 {
			t.Errorf("after the lease ended: %+v", got)
		}
		cancel()
		<-done
	})
}

func TestHeldEndsUntilCaughtUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source, target := model(1)
		target.flip = func(label string, _ int) bool { return label == "held" }
		err := Run(t.Context(), source, target, Config{Stream: "p/t", UntilCaughtUp: true})
		if !errors.Is(err, waybill.ErrHeld) {
			t.Errorf("ended with %v", err)
		}
	})
}

func TestWaitingShowsTheReason(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source, target := model(3)
		var down atomic.Bool
		down.Store(true)
		target.flip = func(label string, _ int) bool { return label == "write fails" && down.Load() }
		meter := NewMeter("p", "t")
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- Run(ctx, source, target, Config{Stream: "p/t", Meter: meter}) }()
		time.Sleep(2 * time.Minute)
		if got := meter.Snapshot(); got.State != Waiting || got.Error != "blip" || got.Retries == 0 {
			t.Errorf("target down: %+v", got)
		}
		down.Store(false)
		time.Sleep(time.Minute)
		if got := meter.Snapshot(); got.State != Running || got.Error != "" || got.Actions != 3 {
			t.Errorf("target up again: %+v", got)
		}
		cancel()
		<-done
	})
}

// overtaken is a source that forgot what another engine carried while this one slept.
type overtaken struct {
	*modelSource
	gaps int
}

func (s *overtaken) Next(ctx context.Context) (waybill.Batch, error) {
	if s.gaps > 0 {
		s.gaps--
		return waybill.Batch{}, &waybill.GapError{Stream: "p/t", Reason: "rows are gone"}
	}
	return s.modelSource.Next(ctx)
}

func TestGapIsHeldAgainstTheTarget(t *testing.T) {
	for gaps, want := range []error{nil, nil, waybill.ErrGap} {
		synctest.Test(t, func(t *testing.T) {
			source, target := model(3)
			err := Run(t.Context(), &overtaken{source, gaps}, target, Config{Stream: "p/t", UntilCaughtUp: true})
			if !errors.Is(err, want) || (want == nil && len(target.applied) != 3) {
				t.Errorf("%d gaps: ended with %v, %d applied", gaps, err, len(target.applied))
			}
		})
	}
}
