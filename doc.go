// Package waybill is the vocabulary of the Waybill data-integration engine: what an
// action is, what a position is, and what a reader and a writer promise each other.
//
// A business action (everything one business transaction changed, whole and in order)
// is captured at a source, numbered, and applied at a target together with the position
// to resume from. Everything that Waybill guarantees follows from five statements:
//
//  1. An action has one ID, drawn once at the source, the same on every delivery.
//  2. The actions of a stream are numbered densely, so a hole is a proven loss.
//  3. The target remembers the position in the same step that applies the data.
//  4. The order of work on every hop is: durable at the target, then position, then
//     acknowledgement to the source.
//  5. Nothing is skipped: what cannot be applied stops the stream or is kept.
//
// The package imports the standard library only. Connectors (PostgreSQL, SQLite) implement
// Reader and Writer; the pump moves batches from the one to the other.
package waybill
