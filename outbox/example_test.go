package outbox_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/waybill-data/waybill/outbox"
)

// A customer is created with a phone: one transaction, one action.
func ExampleEmit() {
	ctx := context.Background()
	db, done := exampleDatabase() // any *sql.DB, of PostgreSQL or SQLite
	defer done()

	type customer struct {
		ID      int64       `json:"id"`
		Name    string      `json:"name"`
		Credit  json.Number `json:"credit"` // a decimal, with its scale
		Created time.Time   `json:"created_at"`
	}
	ada := customer{42, "Ada", "10.50", time.Date(2024, 5, 1, 12, 0, 0, 0, time.UTC)}

	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer tx.Rollback() //nolint:errcheck // after Commit there is nothing to roll back

	if _, err := tx.ExecContext(ctx, "insert into customer (id, name) values ($1, $2)", ada.ID, ada.Name); err != nil {
		log.Fatal(err)
	}
	_, err = outbox.Emit(ctx, tx, outbox.Action{
		Name: "customer.created",
		Changes: []outbox.Change{
			outbox.Upsert("customer", outbox.Row{"id": ada.ID}, ada),
			outbox.Upsert("phone", outbox.Row{"customer_id": ada.ID, "n": 1}, outbox.Row{"number": "+358 40 123"}),
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	if err := tx.Commit(); err != nil {
		log.Fatal(err)
	}

	var name, changes string
	if err := db.QueryRow("select name, changes from waybill_outbox").Scan(&name, &changes); err != nil {
		log.Fatal(err)
	}
	fmt.Println(name)
	fmt.Println(changes)
	// Output:
	// customer.created
	// [{"entity":"customer","op":"upsert","key":{"id":42},"row":{"id":42,"name":"Ada","credit":10.50,"created_at":"2024-05-01T12:00:00.000000Z"}},{"entity":"phone","op":"upsert","key":{"customer_id":42,"n":1},"row":{"number":"+358 40 123"}}]
}

// The same in a transaction of pgx.
func ExampleEmit_pgx() {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, "postgres://app@localhost/shop")
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close(ctx)
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "delete from customer where id = $1", 42); err != nil {
			return err
		}
		_, err := outbox.Emit(ctx, tx, outbox.Action{
			Name:    "customer.deleted",
			Changes: []outbox.Change{outbox.Delete("customer", outbox.Row{"id": 42})},
		})
		return err
	})
	if err != nil {
		log.Fatal(err)
	}
}
