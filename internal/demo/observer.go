package demo

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

const (
	lookEvery     = 2 * time.Millisecond  // at the CRM
	glanceEvery   = 20 * time.Millisecond // at the warehouse
	fullLookEvery = time.Second
)

// observer looks at a target as any application would, in read transactions of its own. A look
// checks every action, and every customer, that arrived since the last one; once a second it
// checks everything.
type observer struct {
	path  string
	every time.Duration

	looks   atomic.Int64
	fresh   atomic.Int64 // looks that found something new
	full    atomic.Int64 // looks at everything
	torn    atomic.Int64 // looks that saw part of an action
	applied atomic.Int64 // receipts that have arrived

	mu sync.Mutex // held during a look; pause holds it until resume
	db *sql.DB

	last     int64 // arrival up to which was looked
	lastFull time.Time
}

// run looks until ctx ends.
func (o *observer) run(ctx context.Context) error {
	defer o.close()
	tick := time.NewTicker(o.every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := o.once(context.WithoutCancel(ctx)); err != nil {
			return fmt.Errorf("observe %s: %w", o.path, err)
		}
	}
}

// pause lets go of the target until resume.
func (o *observer) pause() error {
	o.mu.Lock()
	db := o.db
	o.db = nil
	if db == nil {
		return nil
	}
	return db.Close()
}

func (o *observer) resume() { o.mu.Unlock() }

func (o *observer) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.db != nil {
		_ = o.db.Close() // it was only read
		o.db = nil
	}
}

func (o *observer) once(ctx context.Context) (err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.db == nil {
		if o.db, err = openDB(o.path, 1, "query_only(1)"); err != nil {
			return err
		}
	}
	tx, err := o.db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tx.Rollback()) }()
	return o.look(ctx, tx)
}

func (o *observer) told() Observer {
	return Observer{Looks: o.looks.Load(), Fresh: o.fresh.Load(), Full: o.full.Load(), Torn: o.torn.Load()}
}

const (
	sqlNew = `select count(*) filter (where part = 'receipt'), coalesce(max(arrival), ?1) from arrival where arrival > ?1`

	sqlNewTorn = `select
  (select count(*) from (select distinct action from arrival where arrival > ?1) n
   where (select count(*) from journal j where j.action = n.action) <> (select count(*) from receipt r where r.action = n.action)) +
  (select count(*) from (
     select distinct j.customer_id as id from arrival n join journal j on j.action = n.action where n.arrival > ?1
   ) t left join customer c on c.id = t.id where ` + brokenCustomer + `)`

	sqlAllTorn = "select (" + sqlTornActions + ") + (" + sqlTornCustomers + ")"
)

// look is one look, in one snapshot.
func (o *observer) look(ctx context.Context, tx *sql.Tx) error {
	var receipts, top, torn int64
	if err := tx.QueryRowContext(ctx, sqlNew, o.last).Scan(&receipts, &top); err != nil {
		return err
	}
	o.looks.Add(1)
	query, args := sqlNewTorn, []any{o.last}
	if full := time.Since(o.lastFull) > fullLookEvery; full {
		query, args = sqlAllTorn, nil
		o.lastFull = time.Now()
		o.full.Add(1)
	} else if top == o.last {
		return nil
	}
	if err := tx.QueryRowContext(ctx, query, args...).Scan(&torn); err != nil {
		return err
	}
	if torn > 0 {
		o.torn.Add(1)
	}
	if top != o.last {
		o.fresh.Add(1)
	}
	o.last = top
	o.applied.Add(receipts)
	return nil
}
