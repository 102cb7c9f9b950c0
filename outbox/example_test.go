package outbox_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	"github.com/waybill-data/waybill/outbox"
)

type exampleCustomer struct {
	ID      int64       `json:"id"`
	Name    string      `json:"name"`
	Credit  json.Number `json:"credit"` // a decimal, with its scale
	Created time.Time   `json:"created_at"`
}

// createCustomer saves a customer with a phone: one transaction, one action. It works on
// PostgreSQL and on SQLite.
func createCustomer(ctx context.Context, db *sql.DB, c exampleCustomer, phone string) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // after Commit it does nothing

	if _, err := tx.ExecContext(ctx, "insert into customer (id, name) values ($1, $2)", c.ID, c.Name); err != nil {
		return err
	}
	_, err = outbox.Emit(ctx, tx, outbox.Action{
		Name: "customer.created",
		Changes: []outbox.Change{
			outbox.Upsert("customer", outbox.Row{"id": c.ID}, c),
			outbox.Upsert("phone", outbox.Row{"customer_id": c.ID, "n": 1}, outbox.Row{"number": phone}),
		},
	})
	if err != nil {
		return err
	}
	return tx.Commit()
}

func ExampleEmit() {
	db, done := exampleDatabase()
	defer done()

	ada := exampleCustomer{42, "Ada", "10.50", time.Date(2024, 5, 1, 12, 0, 0, 0, time.UTC)}
	if err := createCustomer(context.Background(), db, ada, "+358 40 123"); err != nil {
		fmt.Println(err)
	}

	var name, changes string
	if err := db.QueryRow("select name, changes from waybill_outbox").Scan(&name, &changes); err != nil {
		fmt.Println(err)
	}
	fmt.Println(name)
	fmt.Println(changes)
	// Output:
	// customer.created
	// [{"entity":"customer","op":"upsert","key":{"id":42},"row":{"id":42,"name":"Ada","credit":10.50,"created_at":"2024-05-01T12:00:00.000000Z"}},{"entity":"phone","op":"upsert","key":{"customer_id":42,"n":1},"row":{"number":"+358 40 123"}}]
}
