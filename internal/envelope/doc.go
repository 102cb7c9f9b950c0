// Package envelope is the wire form of changes: the JSON array that an application writes to
// an outbox, and that readers turn into waybill.Change values without copying what it holds.
//
//	[{"entity":"customer","op":"upsert","key":{"id":42},"row":{"name":"Ann"},"before":null}]
//
// A change has the fields entity, op, key, row and before and no others, each at most once
// and in any order:
//
//   - entity: a non-empty name.
//   - op: insert, update, upsert or delete.
//   - key: an object of at least one column, whose values are strings, numbers or booleans.
//   - row: an object for insert, update and upsert; absent, null or {} for delete. Where the
//     row of an insert or upsert holds a column of the key, it must be the same value: the
//     same text for strings, the same lexeme for everything else (1.0 is not 1).
//   - before: an object, null or absent.
//
// What travels between readers and writers (a Decoder with Schemas) may also be a truncate, which has
// neither key, row nor before, and where the schema of a change is known its key may be any columns.
//
// The JSON is taken strictly, as RFC 8259 and RFC 7493 (I-JSON) describe it: valid UTF-8 without
// byte order mark, no lone surrogates, no duplicate names in a change or in its key, row and
// before. Inside a column's value duplicate names are the application's business. A column's
// value may nest at most MaxDepth deep. Values in a source's own encoding (waybill.Native) are written
// as JSON; one that would break these rules is refused when it is written, not when it is read.
//
// A column's value keeps the bytes with which it was written (waybill.JSON); the literal null
// becomes waybill.Null. Text, KindOf and Compact read such values.
//
// The package keeps no state but what a Decoder remembers: names that it has seen, at most
// a bounded number, so that they are allocated once and not with every message.
package envelope
