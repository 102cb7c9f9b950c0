package outbox_test

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/waybill-data/waybill/outbox"
)

// deleteCustomer deletes in a transaction of pgx.
func deleteCustomer(ctx context.Context, conn *pgx.Conn, id int64) error {
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "delete from customer where id = $1", id); err != nil {
			return err
		}
		_, err := outbox.Emit(ctx, tx, outbox.Action{
			Name:    "customer.deleted",
			Changes: []outbox.Change{outbox.Delete("customer", outbox.Row{"id": id})},
		})
		return err
	})
}

func ExampleEmit_pgx() {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, "postgres://app@localhost/shop")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer conn.Close(ctx)
	if err := deleteCustomer(ctx, conn, 42); err != nil {
		fmt.Println(err)
	}
}
