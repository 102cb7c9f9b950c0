package judge

import (
	"context"
	"fmt"
)

// save changes the customer and some of its phones; one may go, one may come. Half of the
// saves do more under a savepoint and think better of it.
func (t *transaction) save(c int64) error {
	v := t.version[c]
	if err := t.update("customer", c, row{"name": fmt.Sprintf("Customer %d saved %d", c, v), "version": v}); err != nil {
		return err
	}
	phones, err := t.ids(`select id from phone where customer_id = $1 order by id`, c)
	if err != nil {
		return err
	}
	for i, id := range phones {
		switch {
		case i > 0 && t.s.rng.IntN(4) == 0:
			err = t.remove("phone", id)
		case t.s.rng.IntN(2) == 0:
			err = t.update("phone", id, row{"number": fmt.Sprintf("+358 %d-%d", id, v), "version": v})
		}
		if err != nil {
			return err
		}
	}
	if t.s.rng.IntN(2) == 0 {
		if err := t.secondThoughts(c); err != nil {
			return err
		}
	}
	if len(phones) < 5 {
		return t.addPhone(c)
	}
	return nil
}

// secondThoughts emits under a savepoint and rolls back to it: before it what belongs to
// the action is emitted, so that the action comes in several calls.
func (t *transaction) secondThoughts(c int64) error {
	if t.s.rng.IntN(2) == 0 {
		if err := t.emit("customer.saving"); err != nil {
			return err
		}
	}
	if err := t.exec(`savepoint thought`); err != nil {
		return err
	}
	kept := t.changes
	t.changes = nil
	if err := t.addAddress(c); err != nil {
		return err
	}
	if err := t.update("customer", c, row{"city": "nowhere", "addresses": -1}); err != nil {
		return err
	}
	if err := t.emit("customer.never"); err != nil {
		return err
	}
	if err := t.exec(`rollback to savepoint thought`); err != nil {
		return err
	}
	t.changes = kept
	return t.exec(`release savepoint thought`)
}

// moveHouse changes all addresses and the customer's city.
func (t *transaction) moveHouse(c int64) error {
	v := t.version[c]
	addresses, err := t.ids(`select id from address where customer_id = $1 order by id desc`, c)
	if err != nil {
		return err
	}
	for _, id := range addresses {
		if err := t.update("address", id, row{"city": city(v), "street": fmt.Sprintf("Moved %d", v), "note": t.filler(), "version": v}); err != nil {
			return err
		}
	}
	return t.update("customer", c, row{"city": city(v), "version": v})
}

// handOver gives a phone of a to b, and every third time under a new id, which is a change of
// the key.
func (t *transaction) handOver(a, b int64) error {
	phones, err := t.ids(`select id from phone where customer_id = $1 order by id`, a)
	if err != nil || len(phones) == 0 {
		return err
	}
	set := row{"customer_id": b, "version": t.version[b]}
	if t.s.rng.IntN(3) == 0 {
		set["id"] = t.newID()
	}
	return t.update("phone", phones[0], set)
}

// swapEmails exchanges two unique values, by way of null.
func (t *transaction) swapEmails(a, b int64) error {
	emails := map[int64]any{}
	for _, c := range []int64{a, b} {
		var email string
		if err := t.tx.QueryRowContext(context.Background(), t.s.w.Source.q(`select email from customer where id = $1`), c).Scan(&email); err != nil {
			return err
		}
		emails[c] = email
	}
	if err := t.update("customer", a, row{"email": nil}); err != nil {
		return err
	}
	if err := t.update("customer", b, row{"email": emails[a]}); err != nil {
		return err
	}
	return t.update("customer", a, row{"email": emails[b]})
}

// replace deletes the customer with all that it has. Every second time it is back at once,
// otherwise the next action that touches it creates it again.
func (t *transaction) replace(c int64) error {
	for _, table := range []string{"phone", "address"} {
		ids, err := t.ids(`select id from `+table+` where customer_id = $1 order by id`, c)
		if err != nil {
			return err
		}
		for _, id := range ids {
			if err := t.remove(table, id); err != nil {
				return err
			}
		}
	}
	if err := t.remove("customer", c); err != nil {
		return err
	}
	if t.s.rng.IntN(2) == 0 {
		return t.create(c)
	}
	return nil
}
