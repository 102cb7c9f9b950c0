package demo

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"

	"github.com/waybill-data/waybill/outbox"
)

// customer is a customer with everything that belongs to it, as a clerk sees it.
type customer struct {
	id, version int64
	name, email string
	phones      []phone
	addresses   []address
}

type phone struct {
	id           int64
	kind, number string
}

type address struct {
	id                 int64
	kind, street, city string
}

const (
	slots        = 100 // ids of children are customer·slots + slot, and are used again
	mostPhones   = 4
	mostAddreses = 3
)

func (c *customer) clone() *customer {
	d := *c
	d.phones = append([]phone(nil), c.phones...)
	d.addresses = append([]address(nil), c.addresses...)
	return &d
}

// newCustomer invents one.
func newCustomer(r *rand.Rand, id int64) *customer {
	c := &customer{id: id, name: pick(r, firstNames) + " " + pick(r, lastNames)}
	c.email = fmt.Sprintf("c%d@example.com", id)
	for range 1 + r.IntN(3) {
		c.addPhone(r)
	}
	for range 1 + r.IntN(2) {
		c.addAddress(r)
	}
	return c
}

func (c *customer) addPhone(r *rand.Rand) {
	used := map[int64]bool{}
	for _, p := range c.phones {
		used[p.id] = true
	}
	c.phones = append(c.phones, phone{freeSlot(c.id, used), pick(r, phoneKinds), number(r)})
}

func (c *customer) addAddress(r *rand.Rand) {
	used := map[int64]bool{}
	for _, a := range c.addresses {
		used[a.id] = true
	}
	c.addresses = append(c.addresses, address{freeSlot(c.id, used), pick(r, addressKinds), street(r), pick(r, cities)})
}

func freeSlot(customer int64, used map[int64]bool) int64 {
	id := customer * slots
	for used[id] {
		id++
	}
	return id
}

// edit is one save that changes several things.
func (c *customer) edit(r *rand.Rand) {
	for range 2 + r.IntN(3) {
		switch r.IntN(6) {
		case 0:
			c.name = pick(r, firstNames) + " " + pick(r, lastNames)
		case 1:
			c.email = fmt.Sprintf("c%d.%d@example.com", c.id, r.IntN(1000))
		case 2:
			c.phones[r.IntN(len(c.phones))].number = number(r)
		case 3:
			if len(c.phones) < mostPhones {
				c.addPhone(r)
			}
		case 4:
			if len(c.phones) > 1 {
				i := r.IntN(len(c.phones))
				c.phones = append(c.phones[:i], c.phones[i+1:]...)
			}
		case 5:
			c.addresses[r.IntN(len(c.addresses))].street = street(r)
		}
	}
}

// move replaces an address: the old one goes, a new one comes.
func (c *customer) move(r *rand.Rand) {
	i := r.IntN(len(c.addresses))
	c.addAddress(r)
	c.addresses = append(c.addresses[:i], c.addresses[i+1:]...)
}

// loadCustomer returns nil where there is none.
func loadCustomer(ctx context.Context, tx *sql.Tx, id int64) (*customer, error) {
	c := &customer{id: id}
	var phones, addresses int
	err := tx.QueryRowContext(ctx, "select name, email, version, phones, addresses from customer where id = ?", id).
		Scan(&c.name, &c.email, &c.version, &phones, &addresses)
	if err == sql.ErrNoRows { //nolint:errorlint // Scan returns it as it is
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	err = each(ctx, tx, "select id, kind, number from phone where customer_id = ? order by id", id, func(rows *sql.Rows) error {
		var p phone
		err := rows.Scan(&p.id, &p.kind, &p.number)
		c.phones = append(c.phones, p)
		return err
	})
	if err != nil {
		return nil, err
	}
	err = each(ctx, tx, "select id, kind, street, city from address where customer_id = ? order by id", id, func(rows *sql.Rows) error {
		var a address
		err := rows.Scan(&a.id, &a.kind, &a.street, &a.city)
		c.addresses = append(c.addresses, a)
		return err
	})
	return c, err
}

func each(ctx context.Context, tx *sql.Tx, query string, id int64, row func(*sql.Rows) error) (err error) {
	rows, err := tx.QueryContext(ctx, query, id)
	if err != nil {
		return err
	}
	defer func() {
		if e := rows.Close(); err == nil {
			err = e
		}
	}()
	for rows.Next() {
		if err := row(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// save makes the master hold after instead of before, either of which may be nil, and returns
// what it did as changes for the outbox: the same rows, in the same order.
type save struct {
	tx      *sql.Tx
	changes []outbox.Change
}

func (s *save) upsert(ctx context.Context, table string, id int64, columns []string, values ...any) error {
	row := outbox.Row{}
	names, marks, set := "id", "?", ""
	for i, name := range columns {
		row[name] = values[i]
		names, marks = names+", "+name, marks+", ?"
		if i > 0 {
			set += ", "
		}
		set += name + " = excluded." + name
	}
	_, err := s.tx.ExecContext(ctx, "insert into "+table+" ("+names+") values ("+marks+") on conflict (id) do update set "+set, //nolint:gosec // names of the demo's own
		append([]any{id}, values...)...)
	s.changes = append(s.changes, outbox.Upsert(table, outbox.Row{"id": id}, row))
	return err
}

func (s *save) remove(ctx context.Context, table string, id int64) error {
	_, err := s.tx.ExecContext(ctx, "delete from "+table+" where id = ?", id) //nolint:gosec // names of the demo's own
	s.changes = append(s.changes, outbox.Delete(table, outbox.Row{"id": id}))
	return err
}

// customer writes the difference between the two. Every child takes the customer's version.
func (s *save) customer(ctx context.Context, before, after *customer) error {
	if before != nil {
		if err := s.removeGone(ctx, before, after); err != nil {
			return err
		}
	}
	if after == nil {
		return s.remove(ctx, "customer", before.id)
	}
	err := s.upsert(ctx, "customer", after.id, []string{"name", "email", "phones", "addresses", "version"},
		after.name, after.email, len(after.phones), len(after.addresses), after.version)
	if err != nil {
		return err
	}
	for _, p := range after.phones {
		if err := s.upsert(ctx, "phone", p.id, []string{"customer_id", "kind", "number", "version"}, after.id, p.kind, p.number, after.version); err != nil {
			return err
		}
	}
	for _, a := range after.addresses {
		if err := s.upsert(ctx, "address", a.id, []string{"customer_id", "kind", "street", "city", "version"}, after.id, a.kind, a.street, a.city, after.version); err != nil {
			return err
		}
	}
	return nil
}

// removeGone deletes the children that are not there any more.
func (s *save) removeGone(ctx context.Context, before, after *customer) error {
	kept := map[string]bool{}
	if after != nil {
		for _, p := range after.phones {
			kept[fmt.Sprint("phone", p.id)] = true
		}
		for _, a := range after.addresses {
			kept[fmt.Sprint("address", a.id)] = true
		}
	}
	for _, p := range before.phones {
		if !kept[fmt.Sprint("phone", p.id)] {
			if err := s.remove(ctx, "phone", p.id); err != nil {
				return err
			}
		}
	}
	for _, a := range before.addresses {
		if !kept[fmt.Sprint("address", a.id)] {
			if err := s.remove(ctx, "address", a.id); err != nil {
				return err
			}
		}
	}
	return nil
}

func pick[T any](r *rand.Rand, list []T) T { return list[r.IntN(len(list))] }

func number(r *rand.Rand) string { return fmt.Sprintf("+358 40 555 %04d", r.IntN(10000)) }

func street(r *rand.Rand) string { return fmt.Sprintf("%s %d", pick(r, streets), 1+r.IntN(120)) }
