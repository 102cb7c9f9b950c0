// Package outbox writes business actions to Waybill's outbox from Go, inside the transaction
// that makes the change: both are committed, or neither is. PostgreSQL and SQLite are
// supported, PostgreSQL through database/sql as well as through pgx transactions.
//
//	tx, err := db.BeginTx(ctx, nil)
//	…
//	_, err = tx.ExecContext(ctx, `insert into customer …`)
//	…
//	_, err = outbox.Emit(ctx, tx, outbox.Action{
//		Name: "customer.created",
//		Changes: []outbox.Change{
//			outbox.Upsert("customer", outbox.Row{"id": 42}, customer),
//		},
//	})
//	…
//	err = tx.Commit()
//
// `waybill outbox install` sets the outbox up. The package holds no engine code, imports nothing
// but the standard library and the vocabulary, keeps no state and starts nothing; its
// functions may be called from any goroutine, though a transaction may not.
//
// # Actions
//
// In PostgreSQL everything emitted in one transaction is one action, its changes in the order
// of the calls, under the last name given. In SQLite every call is an action of its own,
// unless it carries the ID that an earlier call of the same transaction returned.
//
// # Values
//
// A key, a row or a before is a map with string keys, a struct (fields named by their json
// tags, with omitempty and omitzero; embedded structs as in encoding/json), a json.RawMessage,
// or something that marshals itself to a JSON object. A column that is left out is unchanged
// at the target; a nil value is null. Values become JSON so that nothing is lost on the way:
//
//   - time.Time: RFC 3339 in UTC with microseconds, finer digits cut off (as pgx does); within
//     the years 0 to 9999.
//   - byte slices and byte arrays: base64. json.RawMessage: as it stands, checked.
//   - integers, json.Number, big.Int: as numbers with all their digits. json.Number is the way
//     to write a decimal that must keep its scale: json.Number("10.50").
//   - floats: the shortest number that reads back the same; NaN and infinities are the strings
//     "NaN", "Infinity" and "-Infinity".
//   - whatever implements json.Marshaler, driver.Valuer (sql.NullString and the like) or
//     encoding.TextMarshaler, in this order, goes by that.
//   - structs, maps, slices: JSON objects and arrays, at most MaxDepth deep.
//   - time.Duration is refused: databases do not agree on what a bare number of it means. Write
//     the number that the column holds.
//
// Text must be valid UTF-8 without the character U+0000, which PostgreSQL cannot store.
package outbox
