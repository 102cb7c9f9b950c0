package outbox_test

import (
	"testing"
	"time"

	"github.com/waybill-data/waybill/outbox"
)

// What Emit itself costs, without a database.
func BenchmarkEmit(b *testing.B) {
	var tx recorder
	c := exampleCustomer{42, "Ada", "10.50", time.Date(2024, 5, 1, 12, 0, 0, 0, time.UTC)}
	action := outbox.Action{Name: "customer.created", Changes: []outbox.Change{outbox.Upsert("customer", outbox.Row{"id": c.ID}, c)}}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := outbox.Emit(b.Context(), &tx, action); err != nil {
			b.Fatal(err)
		}
	}
}

// Finding out that the database is SQLite, beside the insert.
func BenchmarkEmitSQLite(b *testing.B) {
	db, done := exampleDatabase()
	defer done()
	tx, err := db.Begin()
	if err != nil {
		b.Fatal(err)
	}
	defer tx.Rollback()
	action := outbox.Action{Name: "n", Changes: []outbox.Change{customer(1, "Ann")}}
	for b.Loop() {
		if _, err := outbox.Emit(b.Context(), tx, action); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPlainInsertSQLite(b *testing.B) {
	db, done := exampleDatabase()
	defer done()
	tx, err := db.Begin()
	if err != nil {
		b.Fatal(err)
	}
	defer tx.Rollback()
	for b.Loop() {
		if _, err := tx.Exec("insert into waybill_outbox (name, changes) values ('n', ?)",
			`[{"entity":"customer","op":"upsert","key":{"id":1},"row":{"name":"Ann"}}]`); err != nil {
			b.Fatal(err)
		}
	}
}
