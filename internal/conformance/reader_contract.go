package conformance

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/waybill-data/waybill"
)

func contractRules() []readerRule {
	return []readerRule{
		{name: "Next ends with its context", test: nextEnds},
		{name: "Next after a context that has ended", test: func(t *testing.T, s *Source) {
			x := s.open(t, "", 0)
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			if _, err := prompt(ctx, t, x.r); !errors.Is(err, context.Canceled) {
				t.Fatalf("Next: %v, want context.Canceled", err)
			}
		}},
		{name: "close twice, and without open", test: func(t *testing.T, s *Source) {
			r := s.New(t)
			for range 2 {
				if err := r.Close(); err != nil {
					t.Fatalf("Close of a reader that is not open: %v", err)
				}
			}
			id := s.Emit(t, customer(1))
			x := s.openReader(t, r, "", 0)
			wantIDs(t, x.take(1), 0, id)
			x.close()
			x.close()
		}},
		{name: "a reader made is no reader opened", test: func(t *testing.T, s *Source) {
			before := goleak.IgnoreCurrent()
			_ = s.New(t)
			if err := goleak.Find(before); err != nil {
				t.Fatalf("New started something: %v", err)
			}
		}},
		{name: "head of an empty source", test: func(t *testing.T, s *Source) {
			x := s.open(t, "", 0)
			wantIDs(t, x.drain(), 0)
		}},
		{name: "head covers what is committed", test: headCovers},
		{name: "head wakes a waiting Next", test: headWakes},
		{name: "an idle position can be opened", test: func(t *testing.T, s *Source) {
			x := s.open(t, "", 0)
			id := s.Emit(t, customer(1))
			wantIDs(t, x.take(1), 0, id)
			for range 3 {
				wantIDs(t, x.drain(), 0)
			}
			at := x.at
			x.ack(at)
			x.close()
			x = s.open(t, at, 1)
			wantIDs(t, x.drain(), 1)
			id = s.Emit(t, customer(2))
			wantIDs(t, x.take(1), 1, id)
		}},
		{name: "Ack, Head and Reached beside Next", test: beside},
		{name: "backlog", test: backlog},
		{name: "suppressed", test: suppressed},
		{name: "install again", test: installAgain},
		{name: "check finds nothing wrong", test: checkFine},
		{name: "no goroutine left", test: func(t *testing.T, s *Source) {
			s.emitN(t, 2)
			before := goleak.IgnoreCurrent()
			x := s.open(t, "", 0)
			x.take(2)
			x.ack(x.at)
			nextCancelled(t, x)
			x.close()
			if err := goleak.Find(before); err != nil {
				t.Fatal(err)
			}
		}},
		{name: "restarted source", needs: func(s *Source) bool { return s.Restart != nil }, test: restarted},
	}
}

// prompt calls Next, whose context ends soon, and fails if it does not return then.
func prompt(ctx context.Context, t *testing.T, r waybill.Reader) (b waybill.Batch, err error) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		b, err = r.Next(ctx)
	}()
	limit := time.NewTimer(5 * time.Second)
	defer limit.Stop()
	select {
	case <-done:
		return b, err
	case <-limit.C:
		t.Fatal("Next did not return though its context has ended")
		return b, err
	}
}

// nextCancelled lets a Next wait for a moment and ends its context.
func nextCancelled(t *testing.T, x *reading) {
	t.Helper()
	for {
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		b, err := prompt(ctx, t, x.r)
		cancel()
		if err != nil {
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("Next: %v, want context.DeadlineExceeded", err)
			}
			return
		}
		if have := x.check(b); len(have) > 0 { // an empty batch may come at any time
			t.Fatalf("handed on %v out of nowhere", idsOf(have))
		}
	}
}

func nextEnds(t *testing.T, s *Source) {
	x := s.open(t, "", 0)
	first := s.Emit(t, customer(1))
	wantIDs(t, x.take(1), 0, first)
	nextCancelled(t, x)
	x.close()
	second := s.Emit(t, customer(2))
	x.reopen(x.at, 1)
	wantIDs(t, x.take(1), 1, second)
}

func headCovers(t *testing.T, s *Source) {
	ids, at := s.positions(t, 3)
	x := s.open(t, "", 0)
	head := x.head()
	for i, p := range at {
		if x.r.Reached(p, head) != (i == len(at)-1) {
			t.Fatalf("Reached(position of action %d of %d, head) is %v", i+1, len(at), i != len(at)-1)
		}
	}
	if x.r.Reached("", head) {
		t.Fatal("Reached(zero position, head) with three actions between")
	}
	if !x.r.Reached(head, head) {
		t.Fatal("Reached(head, head) is false")
	}
	wantIDs(t, x.drain(), 0, ids...)
	fourth := s.Emit(t, customer(4))
	if later := x.head(); x.r.Reached(at[2], later) {
		t.Fatal("Reached(position of action 3, head after action 4)")
	}
	wantIDs(t, x.drain(), 3, fourth)
}

func headWakes(t *testing.T, s *Source) {
	x := s.open(t, "", 0)
	ctx, cancel := context.WithTimeout(context.Background(), patience/4)
	defer cancel()
	type answer struct {
		b   waybill.Batch
		err error
	}
	batches := make(chan answer)
	var once sync.WaitGroup
	once.Go(func() {
		defer close(batches)
		for ctx.Err() == nil {
			b, err := x.r.Next(ctx)
			select {
			case batches <- answer{b, err}:
			case <-ctx.Done():
			}
			if err != nil {
				return
			}
		}
	})
	head := x.head()
	for reached := x.r.Reached(x.at, head); !reached; {
		a, ok := <-batches
		if !ok || a.err != nil {
			t.Fatalf("Next did not reach the head: %v", a.err)
		}
		x.check(a.b)
		reached = x.r.Reached(x.at, head)
	}
	cancel()
	for range batches { // until the goroutine has ended
	}
	once.Wait()
}

func beside(t *testing.T, s *Source) {
	const n = 30
	x := s.open(t, "", 0)
	positions := make(chan waybill.Position, n)
	var helper sync.WaitGroup
	helper.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		for p := range positions {
			if err := x.r.Ack(ctx, p); err != nil {
				t.Errorf("Ack beside Next: %v", err)
			}
			head, err := x.r.Head(ctx)
			if err != nil {
				t.Errorf("Head beside Next: %v", err)
			}
			x.r.Reached(p, head)
		}
	})
	var ids []string
	for i := range n {
		ids = append(ids, s.Emit(t, customer(i)))
		wantIDs(t, x.take(1), uint64(i), ids[i])
		positions <- x.at
	}
	close(positions)
	helper.Wait()
	at := x.at
	x.close()
	wantIDs(t, s.open(t, at, n).drain(), n)
}

func backlog(t *testing.T, s *Source) {
	ids, at := s.positions(t, 3)
	x := s.open(t, "", 0)
	lag, ok := x.r.(waybill.Backlog)
	if !ok {
		t.Log("LEFT OUT: the reader does not tell its backlog")
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for i := range at {
		n, oldest, err := lag.Backlog(ctx, at[i])
		if err != nil {
			t.Fatalf("Backlog: %v", err)
		}
		if want := int64(len(ids) - i - 1); n != want || oldest < 0 || oldest > time.Minute {
			t.Fatalf("backlog after action %d of %d: %d actions, oldest %v old; want %d", i+1, len(ids), n, oldest, want)
		}
	}
	if n, _, err := lag.Backlog(ctx, ""); err != nil || n != int64(len(ids)) {
		t.Fatalf("backlog after the zero position: %d, %v; want %d", n, err, len(ids))
	}
}

func suppressed(t *testing.T, s *Source) {
	_, at := s.positions(t, 3)
	x := s.open(t, "", 0)
	count, ok := x.r.(waybill.Resumed)
	if !ok {
		t.Log("LEFT OUT: the reader does not tell what it suppressed")
		return
	}
	x.drain()
	x.ack(at[0])
	x.close()
	x.reopen(at[2], 3)
	if n := count.Suppressed(); n != 2 {
		t.Fatalf("opened two actions past the last acknowledgement: %d suppressed, want 2", n)
	}
}

func installAgain(t *testing.T, s *Source) {
	x := s.open(t, "", 0)
	in, ok := x.r.(waybill.Installer)
	if !ok {
		t.Log("LEFT OUT: the reader installs nothing")
		return
	}
	ids := s.emitN(t, 2)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if in.SQL() == "" {
		t.Fatal("SQL is empty")
	}
	for range 2 {
		if err := in.Install(ctx, "conformance/another"); err != nil {
			t.Fatalf("Install of what is installed: %v", err)
		}
	}
	wantIDs(t, x.take(2), 0, ids...)
}

func checkFine(t *testing.T, s *Source) {
	r := s.New(t)
	t.Cleanup(func() { _ = r.Close() })
	if c, ok := r.(waybill.Claimant); ok {
		checkClaims(t, c)
	}
	c, ok := r.(waybill.Checker)
	if !ok {
		t.Log("LEFT OUT: the reader does not check its prerequisites")
		return
	}
	checkFindings(t, c)
}

func checkClaims(t *testing.T, c waybill.Claimant) {
	t.Helper()
	for _, claim := range c.Claims() {
		if claim.Because == "" {
			t.Errorf("claim on %q gives no reason", claim.Property)
		}
	}
}

func checkFindings(t *testing.T, c waybill.Checker) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	findings, err := c.Check(ctx, "conformance/target")
	if err != nil {
		t.Fatalf("Check: %v", err)
	}
	for _, f := range findings {
		if f.What == "" || (!f.OK && f.Fix == "") {
			t.Errorf("finding says too little: %+v", f)
		}
		if !f.OK && !f.Warn {
			t.Errorf("found wrong in a sound set-up: %s", f.What)
		}
	}
}

// restarted: transient errors, if any, and then on from where it was.
func restarted(t *testing.T, s *Source) {
	x := s.open(t, "", 0)
	first := s.Emit(t, customer(1))
	wantIDs(t, x.take(1), 0, first)
	s.Restart(t)
	second := s.Emit(t, customer(2))
	deadline := time.Now().Add(patience)
	var have []got
	for len(have) == 0 {
		ctx, cancel := context.WithDeadline(context.Background(), deadline)
		b, err := x.r.Next(ctx)
		if err != nil {
			if !waybill.Transient(err) {
				t.Fatalf("Next after a restart: %v, which is not transient", err)
			}
			x.close()
			err = x.r.Open(ctx, x.at)
		}
		cancel()
		if err != nil && (!waybill.Transient(err) || time.Now().After(deadline)) {
			t.Fatalf("Open after a restart: %v", err)
		}
		if err == nil && b.Upto != b.After {
			have = x.check(b)
		}
	}
	wantIDs(t, have, 1, second)
}
