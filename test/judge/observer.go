package judge

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// snapshotQuery looks for parts of actions: customers whose children are not what the
// customer says, or whose version is not the one that the journal has. It is one
// statement, and so one snapshot. It also counts the journal, which never shrinks.
const snapshotQuery = `select
	(select count(*) from customer c where
		c.phones <> (select count(*) from phone p where p.customer_id = c.id)
		or c.addresses <> (select count(*) from address a where a.customer_id = c.id)
		or c.total <> coalesce((select sum(p.version) from phone p where p.customer_id = c.id), 0)
			+ coalesce((select sum(a.version) from address a where a.customer_id = c.id), 0)
		or c.version <> coalesce((select max(j.version) from journal j where j.customer_id = c.id), -1)),
	(select count(*) from journal)`

// Observer polls a target in snapshots of its own.
type Observer struct {
	target *Side
	stop   context.CancelFunc
	ended  sync.WaitGroup

	polls        atomic.Int64
	torn, shrunk int
	first        string
	err          error
}

// Sighting is what an observer saw.
type Sighting struct {
	Polls int
	// Torn counts snapshots that showed part of an action, Shrunk those in which journal rows
	// had gone that were there before.
	Torn, Shrunk int
	// First describes the first of them.
	First string
}

// Add adds what another observer saw. Polls is then of the one that looked least.
func (s *Sighting) Add(more Sighting) {
	s.Polls = min(s.Polls, more.Polls)
	s.Torn += more.Torn
	s.Shrunk += more.Shrunk
	if s.First == "" {
		s.First = more.First
	}
}

// Observe begins to poll. The caller must call Stop.
func Observe(target *Side) *Observer {
	ctx, stop := context.WithCancel(context.Background())
	o := &Observer{target: target, stop: stop}
	o.ended.Go(func() { o.run(ctx) })
	return o
}

// Polls is how often it looked so far.
func (o *Observer) Polls() int { return int(o.polls.Load()) }

func (o *Observer) run(ctx context.Context) {
	pause := time.NewTicker(5 * time.Millisecond) // leaves the machine to the engine
	defer pause.Stop()
	last := 0
	for {
		var torn, journal int
		err := o.target.DB.QueryRowContext(ctx, snapshotQuery).Scan(&torn, &journal)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			o.err = err // a target that is down shows nothing; the last poll must succeed
		default:
			o.err = nil
			o.polls.Add(1)
			o.judge(torn, journal, last)
			last = journal
		}
		select {
		case <-ctx.Done():
			return
		case <-pause.C:
		}
	}
}

func (o *Observer) judge(torn, journal, last int) {
	if torn > 0 {
		o.torn++
	}
	if journal < last {
		o.shrunk++
	}
	if o.first == "" && (torn > 0 || journal < last) {
		o.first = fmt.Sprintf("poll %d: %d customers in part, journal of %d rows after one of %d", o.polls.Load(), torn, journal, last)
	}
}

// Stop ends the polling and tells what was seen.
func (o *Observer) Stop() (Sighting, error) {
	o.stop()
	o.ended.Wait()
	if o.err != nil {
		return Sighting{}, fmt.Errorf("observe: %w", o.err)
	}
	return Sighting{Polls: int(o.polls.Load()), Torn: o.torn, Shrunk: o.shrunk, First: o.first}, nil
}
