package sqlite

import (
	"errors"
	"fmt"
	"testing"

	waybill "github.com/waybill-data/waybill"
)

// TestDeferredForeignKey: the action that leaves a reference open is named, not the batch.
func TestDeferredForeignKey(t *testing.T) {
	a := newApp(t, `CREATE TABLE customer (id integer PRIMARY KEY)`,
		`CREATE TABLE late (id integer PRIMARY KEY, customer_id integer REFERENCES customer (id) DEFERRABLE INITIALLY DEFERRED)`)
	x := a.writer(TargetOptions{})
	x.write(insert("late", `{"id":1}`, `{"customer_id":1}`), insert("customer", `{"id":1}`, `{}`)) // child first
	one := func(c ...waybill.Change) []waybill.Change { return c }
	err := x.try(one(insert("customer", `{"id":2}`, `{}`)), one(insert("late", `{"id":2}`, `{"customer_id":77}`)), one(insert("customer", `{"id":77}`, `{}`)))
	wantErr(t, err, nil, "action action-3 refused: after its last change a foreign key of the target points to a row that does not exist; carry the referenced row")
	a.want("SELECT count(*) FROM customer", "1")
	x.write(insert("customer", `{"id":2}`, `{}`))
}

// TestForeignKeyOrder: the rows of an action come in any order, those of different actions do not.
func TestForeignKeyOrder(t *testing.T) {
	a := newApp(t, `CREATE TABLE customer (id integer PRIMARY KEY)`,
		`CREATE TABLE phone (id integer PRIMARY KEY, customer_id integer NOT NULL REFERENCES customer (id))`,
		`CREATE TABLE bill (id integer PRIMARY KEY, customer_id integer NOT NULL REFERENCES customer (id) ON DELETE RESTRICT)`)
	x := a.writer(TargetOptions{})
	one := func(c ...waybill.Change) []waybill.Change { return c }
	const parentless = `refused at phone {"id":7}: a foreign key between table phone and another would point to a row that does not exist; carry the referenced row in the same action or before it`
	for range 2 { // the plans of the first round were made with deferred keys
		x.write(insert("phone", `{"id":1}`, `{"customer_id":1}`), insert("customer", `{"id":1}`, `{}`))
		x.write(remove("customer", `{"id":1}`), remove("phone", `{"id":1}`))
		x.write(insert("bill", `{"id":1}`, `{"customer_id":1}`), insert("customer", `{"id":1}`, `{}`))
		err := x.try(one(remove("customer", `{"id":1}`), remove("bill", `{"id":1}`)))
		wantErr(t, err, nil, `refused at customer {"id":1}: other rows still refer to it by a foreign key to table customer that says RESTRICT; delete those first in the action`)
		x.write(remove("bill", `{"id":1}`), remove("customer", `{"id":1}`))
		err = x.try(one(insert("phone", `{"id":7}`, `{"customer_id":7}`)))
		wantErr(t, err, nil, parentless)
		err = x.try(one(insert("phone", `{"id":7}`, `{"customer_id":7}`)), one(insert("customer", `{"id":7}`, `{}`)))
		wantErr(t, err, nil, fmt.Sprintf("action action-%d ", x.seq+1), parentless)
		if errors.As(err, new(*keyError)) {
			t.Error("the connector's own error gets out")
		}
		a.want("SELECT (SELECT count(*) FROM customer), (SELECT count(*) FROM phone), (SELECT count(*) FROM bill)", "0|0|0")
	}
	// What stops the second attempt is later than what the first met.
	err := x.try(one(insert("phone", `{"id":2}`, `{"customer_id":2}`), insert("customer", `{"id":2}`, `{}`)),
		one(insert("customer", `{"id":2}`, `{}`)))
	wantErr(t, err, nil, fmt.Sprintf(`action action-%d refused at customer {"id":2}: a row with this key exists already`, x.seq+2))
	a.want("PRAGMA foreign_key_check", "")
	a.want("SELECT count(*) FROM customer", "0")
	x.write(insert("phone", `{"id":2}`, `{"customer_id":2}`), insert("customer", `{"id":2}`, `{}`))
	a.want("SELECT count(*) FROM customer", "1")
}
