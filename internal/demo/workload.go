package demo

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/waybill-data/waybill/outbox"
)

const (
	clerks          = 3
	actionsASecond  = 300
	hotCustomers    = 5    // that all clerks work on, again and again
	abandonShare    = 0.04 // of the transactions are rolled back
	actionDeadline  = 20 * time.Second
	recreatedAtOnce = 0.6 // of the deleted customers
)

// What an action is called; a journal that holds abandoned work holds what was rolled back.
const (
	created   = "customer.created"
	saved     = "customer.saved"
	moved     = "customer.moved"
	deleted   = "customer.deleted"
	recreated = "customer.recreated"
	abandoned = "abandoned"
)

// workload is what happens at the customer master: a few clerks who work at once.
type workload struct {
	db         *sql.DB
	pace       pace
	written    atomic.Int64
	rolledBack atomic.Int64
	nextID     atomic.Int64

	mu    sync.Mutex
	known []int64 // ids of customers that were created, deleted ones included
	once  map[int64]bool
}

func newWorkload(db *sql.DB) *workload { return &workload{db: db, once: map[int64]bool{}} }

// run works until ctx ends; an action that began is finished.
func (w *workload) run(ctx context.Context) error {
	var g errgroup.Group
	for i := range clerks {
		seed := uint64(time.Now().UnixNano()) + uint64(i)
		c := &clerk{workload: w, r: rand.New(rand.NewPCG(seed, 1))} //nolint:gosec // names and numbers, no secrets
		g.Go(func() error { return c.work(ctx) })
	}
	if err := g.Wait(); err != nil {
		return fmt.Errorf("work at the customer master: %w", err)
	}
	return nil
}

// clerk is one of them, with a connection of its own.
type clerk struct {
	*workload
	r     *rand.Rand
	again int64 // a customer just deleted, to be re-created next
}

func (c *clerk) work(ctx context.Context) error {
	const every = time.Second * clerks / actionsASecond
	due := time.Now().Add(time.Duration(c.r.Int64N(int64(every))))
	for {
		timer := time.NewTimer(time.Until(due))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
		if err := c.serve(context.WithoutCancel(ctx)); err != nil {
			return err
		}
		if due = due.Add(every); time.Since(due) > time.Second {
			due = time.Now() // this machine is slower than the clerks
		}
	}
}

// serve is one business action: the rows and the action in one transaction.
func (c *clerk) serve(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, actionDeadline)
	defer cancel()
	measured := c.pace.begin()
	tx, err := c.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	done := false
	defer func() {
		if !done {
			err = errors.Join(err, tx.Rollback())
		}
	}()
	id := c.choose()
	before, err := loadCustomer(ctx, tx, id)
	if err != nil {
		return err
	}
	what, after := c.decide(id, before)
	abandon := c.r.Float64() < abandonShare
	if err := c.write(ctx, tx, what, abandon, before, after); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if abandon {
		c.rolledBack.Add(1)
		return nil
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	done = true
	measured()
	c.written.Add(1)
	c.remember(what, id)
	return nil
}

// choose is whose turn it is: a new customer, or one of those that were there.
func (c *clerk) choose() int64 {
	if id := c.again; id != 0 {
		c.again = 0
		return id
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	n := len(c.known)
	switch dice := c.r.Float64(); {
	case n < hotCustomers || dice < 0.22:
		return c.nextID.Add(1)
	case dice < 0.40:
		return c.known[c.r.IntN(hotCustomers)]
	default:
		return c.known[c.r.IntN(n)]
	}
}

func (c *clerk) decide(id int64, before *customer) (what string, after *customer) {
	if before == nil {
		what, after = recreated, newCustomer(c.r, id)
		c.mu.Lock()
		defer c.mu.Unlock()
		if !c.once[id] {
			what = created
		}
		after.version = 1
		return what, after
	}
	after = before.clone()
	after.version++
	switch dice := c.r.Float64(); {
	case dice < 0.60:
		after.edit(c.r)
		return saved, after
	case dice < 0.82:
		after.move(c.r)
		return moved, after
	default:
		return deleted, nil
	}
}

func (c *clerk) remember(what string, id int64) {
	switch what {
	case created:
		c.mu.Lock()
		defer c.mu.Unlock()
		c.known = append(c.known, id)
		c.once[id] = true
	case deleted:
		if c.r.Float64() < recreatedAtOnce {
			c.again = id
		}
	}
}

// write puts journal, customer and receipt into the transaction, and the same into the outbox.
func (c *clerk) write(ctx context.Context, tx *sql.Tx, what string, abandon bool, before, after *customer) error {
	subject := after
	if after == nil {
		subject = before
	}
	name := what
	if abandon {
		name = abandoned
	}
	at := time.Now().UTC().Format(time.RFC3339Nano)
	var action int64
	err := tx.QueryRowContext(ctx, "insert into journal (customer_id, what, version, at) values (?, ?, ?, ?) returning action",
		subject.id, name, subject.version, at).Scan(&action)
	if err != nil {
		return err
	}
	s := &save{tx: tx}
	s.changes = append(s.changes, outbox.Upsert("journal", outbox.Row{"action": action},
		outbox.Row{"customer_id": subject.id, "what": name, "version": subject.version, "at": at}))
	if err := s.customer(ctx, before, after); err != nil {
		return err
	}
	n := len(s.changes) + 1
	if _, err := tx.ExecContext(ctx, "insert into receipt (action, changes) values (?, ?)", action, n); err != nil {
		return err
	}
	s.changes = append(s.changes, outbox.Upsert("receipt", outbox.Row{"action": action}, outbox.Row{"changes": n}))
	_, err = outbox.Emit(ctx, tx, outbox.Action{Name: name, Changes: s.changes})
	return err
}
