package judge

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// Workload writes business actions from several sessions at once.
type Workload struct {
	Source *Side
	// Customers must not exceed what CreateSource made room for.
	Customers int
	Sessions  int
	// Actions is how many each session tries, rolled back ones included.
	Actions int
	Seed    uint64
	// Upserts writes upserts where inserts and updates would do: a target then does not
	// refuse an action that it was given twice.
	Upserts bool
	// Pause is how long a session thinks between two actions.
	Pause time.Duration
	// Unplugged expects the source to be down at times: an action that fails is given up, and
	// the session goes on with the next.
	Unplugged bool
	// Silent: nothing is emitted, the tables are all there is.
	Silent bool
	// NoteBytes is the size of a column that nobody reads.
	NoteBytes int

	done atomic.Int64
}

// Stats is what a workload did.
type Stats struct {
	Committed, RolledBack int
	// Failed are actions that an Unplugged workload gave up, Unknown those of them of which
	// nobody knows whether they were committed.
	Failed, Unknown int
}

// Add counts more.
func (s *Stats) Add(more Stats) {
	s.Committed += more.Committed
	s.RolledBack += more.RolledBack
	s.Failed += more.Failed
	s.Unknown += more.Unknown
}

// Done is how many actions were committed so far.
func (w *Workload) Done() int64 { return w.done.Load() }

// Run writes until every session has done its actions, or ctx ends; what was begun is still
// done then, so that the outcome of every action is known. It may be called again
// with another Seed; numbers of actions do not repeat as long as seeds stay below 1000.
func (w *Workload) Run(ctx context.Context) (Stats, error) {
	var (
		all    sync.WaitGroup
		mu     sync.Mutex
		sum    Stats
		faults []error
	)
	for n := range w.Sessions {
		all.Go(func() {
			s := &session{w: w, n: int64(w.Seed)*100 + int64(n), rng: rand.New(rand.NewPCG(w.Seed, uint64(n)))}
			stats, err := s.run(ctx)
			mu.Lock()
			defer mu.Unlock()
			sum.Add(stats)
			if err != nil {
				faults = append(faults, fmt.Errorf("session %d: %w", n, err))
			}
		})
	}
	all.Wait()
	return sum, errors.Join(faults...)
}

// session writes one action after the other.
type session struct {
	w    *Workload
	n    int64
	step int64
	made int64 // phones and addresses created so far: their ids
	rng  *rand.Rand
}

var (
	errRollBack = errors.New("rolled back on purpose")
	errCommit   = errors.New("commit")
)

func (s *session) run(ctx context.Context) (stats Stats, err error) {
	for range s.w.Actions {
		if ctx.Err() != nil {
			break
		}
		s.step++
		err = s.action()
		switch {
		case err == nil:
			stats.Committed++
			s.w.done.Add(1)
		case errors.Is(err, errRollBack):
			stats.RolledBack++
			err = nil
		case s.w.Unplugged:
			stats.Failed++
			if errors.Is(err, errCommit) {
				stats.Unknown++
			}
			err = nil
		default:
			return stats, fmt.Errorf("action %d: %w", s.step, err)
		}
		s.think(ctx)
	}
	return stats, err
}

func (s *session) think(ctx context.Context) {
	if s.w.Pause == 0 {
		return
	}
	timer := time.NewTimer(s.w.Pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// action writes one business action in a transaction of its own.
func (s *session) action() error {
	t, err := s.begin()
	if err != nil {
		return err
	}
	defer t.tx.Rollback()
	a, b := s.pick(), s.pick()
	var name string
	switch dice := s.rng.IntN(20); {
	case dice < 9:
		name = "customer.saved"
		err = t.touch([]int64{a}, func() error { return t.save(a) })
	case dice < 12:
		name = "customer.moved"
		err = t.touch([]int64{a}, func() error { return t.moveHouse(a) })
	case dice < 15 && a != b:
		name = "phone.handed-over"
		err = t.touch([]int64{a, b}, func() error { return t.handOver(a, b) })
	case dice < 17 && a != b:
		name = "email.swapped"
		err = t.touch([]int64{a, b}, func() error { return t.swapEmails(a, b) })
	default:
		name = "customer.replaced"
		err = t.touch([]int64{a}, func() error { return t.replace(a) })
	}
	if err != nil {
		return err
	}
	if s.rng.IntN(12) == 0 {
		return errRollBack
	}
	if err := t.emit(name); err != nil {
		return err
	}
	if err := t.tx.Commit(); err != nil {
		return fmt.Errorf("%w: %w", errCommit, err)
	}
	return nil
}

func (s *session) pick() int64 { return 1 + s.rng.Int64N(int64(s.w.Customers)) }
