package demo

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// Verdict is what plain SQL finds in the two databases. Whatever counts damage is zero if
// every action arrived whole, in order, once.
type Verdict struct {
	Written int64            `json:"written"` // actions in the master's journal
	Kinds   map[string]int64 `json:"kinds"`   // the same by name
	Changes int64            `json:"changes"` // that these actions made
	Applied int64            `json:"applied"` // actions whose journal row and receipt are both at the CRM
	Rows    int64            `json:"rows"`    // business rows compared

	// Lost: actions, and business rows, of the master that the CRM has not.
	LostActions int64 `json:"lost_actions"`
	LostRows    int64 `json:"lost_rows"`
	// Doubled: actions whose journal row or receipt arrived more than once.
	Doubled int64 `json:"doubled"`
	// Torn: actions of which only one end is there, and customers who do not agree with their
	// phones and addresses.
	TornActions   int64 `json:"torn_actions"`
	TornCustomers int64 `json:"torn_customers"`
	// OutOfOrder: actions that arrived after a later one; OutOfOrderCustomer: after a later
	// one of the same customer.
	OutOfOrder         int64 `json:"out_of_order"`
	OutOfOrderCustomer int64 `json:"out_of_order_customer"`
	// Invented: journal rows and receipts that are not in the master's, such as those of a
	// transaction that was rolled back.
	Invented int64 `json:"invented"`
	// Different: business rows that both have with other values, or that only the CRM has.
	Different int64 `json:"different"`
}

// Lost is actions and rows together.
func (v *Verdict) Lost() int64 { return v.LostActions + v.LostRows }

// Torn is actions and customers together.
func (v *Verdict) Torn() int64 { return v.TornActions + v.TornCustomers }

// Differences is the sum of all damage.
func (v *Verdict) Differences() int64 {
	return v.Lost() + v.Doubled + v.Torn() + v.OutOfOrder + v.Invented + v.Different
}

// The CRM is the main database and the master is attached: an unqualified name is the CRM's.
const (
	sqlLostActions = `select count(*) from master.journal m where not exists (select 1 from journal c where c.action = m.action)`

	sqlLostRows = `select
  (select count(*) from master.customer m where not exists (select 1 from customer c where c.id = m.id)) +
  (select count(*) from master.phone    m where not exists (select 1 from phone    c where c.id = m.id)) +
  (select count(*) from master.address  m where not exists (select 1 from address  c where c.id = m.id))`

	sqlDoubled = `select count(distinct action) from (select action from arrival group by action, part having count(*) > 1)`

	sqlTornActions = `select count(*) from (
  select action from journal where action not in (select action from receipt)
  union all
  select action from receipt where action not in (select action from journal))`

	// brokenCustomer holds for a customer's id t.id, with c its row or nothing, if what is
	// there does not belong together.
	brokenCustomer = `case when c.id is null
  then exists (select 1 from phone p where p.customer_id = t.id)
    or exists (select 1 from address a where a.customer_id = t.id)
    or (select j.what from journal j where j.customer_id = t.id order by j.action desc limit 1) <> 'customer.deleted'
  else c.phones <> (select count(*) from phone p where p.customer_id = c.id)
    or c.addresses <> (select count(*) from address a where a.customer_id = c.id)
    or exists (select 1 from phone p where p.customer_id = c.id and p.version <> c.version)
    or exists (select 1 from address a where a.customer_id = c.id and a.version <> c.version)
    or c.version is not (select j.version from journal j where j.customer_id = c.id order by j.action desc limit 1)
  end`

	sqlTornCustomers = `select count(*) from (
  select id from customer union select customer_id from phone union select customer_id from address union select customer_id from journal
) t left join customer c on c.id = t.id where ` + brokenCustomer

	// First arrivals only: a second one is doubled, not out of order.
	sqlOutOfOrder = `select count(*) from (
  select action, max(action) over (order by first rows between unbounded preceding and 1 preceding) as latest
  from (select action, min(arrival) as first from arrival where part = 'journal' group by action)
) where action < latest`

	sqlOutOfOrderCustomer = `select count(*) from (
  select f.action, max(f.action) over (partition by j.customer_id order by f.first rows between unbounded preceding and 1 preceding) as latest
  from (select action, min(arrival) as first from arrival where part = 'journal' group by action) f join journal j on j.action = f.action
) where action < latest`

	sqlInvented = `select
  (select count(*) from (select action, customer_id, what, version, at from journal except select action, customer_id, what, version, at from master.journal)) +
  (select count(*) from (select action, changes from receipt except select action, changes from master.receipt))`

	// What only the CRM has, or has with other values.
	sqlDifferent = `select
  (select count(*) from (select id, name, email, phones, addresses, version from customer except select id, name, email, phones, addresses, version from master.customer)) +
  (select count(*) from (select id, customer_id, kind, number, version from phone except select id, customer_id, kind, number, version from master.phone)) +
  (select count(*) from (select id, customer_id, kind, street, city, version from address except select id, customer_id, kind, street, city, version from master.address))`

	sqlRows = `select (select count(*) from master.customer) + (select count(*) from master.phone) + (select count(*) from master.address)`

	sqlApplied = `select count(*) from journal j where exists (select 1 from receipt r where r.action = j.action)`
)

// Judge compares the two files, in one snapshot of each.
func Judge(ctx context.Context, master, crm string) (v Verdict, err error) {
	db, err := openDB(crm, 1, "query_only(1)")
	if err != nil {
		return v, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if _, err := db.ExecContext(ctx, "attach ? as master", master); err != nil {
		return v, fmt.Errorf("judge: attach %s: %w", master, err)
	}
	tx, err := db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return v, fmt.Errorf("judge: %w", err)
	}
	defer func() { err = errors.Join(err, tx.Rollback()) }()
	for _, q := range []struct {
		into *int64
		sql  string
	}{
		{&v.Written, "select count(*) from master.journal"},
		{&v.Changes, "select coalesce(sum(changes), 0) from master.receipt"},
		{&v.Applied, sqlApplied},
		{&v.Rows, sqlRows},
		{&v.LostActions, sqlLostActions},
		{&v.LostRows, sqlLostRows},
		{&v.Doubled, sqlDoubled},
		{&v.TornActions, sqlTornActions},
		{&v.TornCustomers, sqlTornCustomers},
		{&v.OutOfOrder, sqlOutOfOrder},
		{&v.OutOfOrderCustomer, sqlOutOfOrderCustomer},
		{&v.Invented, sqlInvented},
		{&v.Different, sqlDifferent},
	} {
		if err := tx.QueryRowContext(ctx, q.sql).Scan(q.into); err != nil {
			return v, fmt.Errorf("judge: %w in: %s", err, q.sql)
		}
	}
	v.Kinds, err = kinds(ctx, tx)
	return v, err
}

func kinds(ctx context.Context, tx *sql.Tx) (_ map[string]int64, err error) {
	rows, err := tx.QueryContext(ctx, "select what, count(*) from master.journal group by what")
	if err != nil {
		return nil, fmt.Errorf("judge: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	found := map[string]int64{}
	for rows.Next() {
		var what string
		var n int64
		if err := rows.Scan(&what, &n); err != nil {
			return nil, fmt.Errorf("judge: %w", err)
		}
		found[what] = n
	}
	return found, rows.Err()
}
