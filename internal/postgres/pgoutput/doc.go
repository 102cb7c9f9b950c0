// Package pgoutput decodes what PostgreSQL's logical decoding plug-in of that name sends, protocol
// versions 1 to 4 (PostgreSQL's documentation, "Logical Replication Message Formats"), and the
// frames of the replication stream around it ("Streaming Replication Protocol"). It does no I/O.
//
// # States
//
// The protocol has one state that changes how messages read: between StreamStart and StreamStop,
// messages of a transaction carry the identifier of their (sub)transaction. A Decoder follows it; a
// message that cannot stand where it stands is an error. ParseFrame, AppendStatus and ParseHistory
// have no state.
//
// # Memory
//
// A message lives in the decoder and is overwritten by the next call; its tuples and contents alias
// the bytes that were given. Decoding rows allocates nothing once the decoder has met the widest
// one. What a length or a count in a message claims is compared with the bytes that are there before
// anything is made of that size, so that the memory taken is at most a small multiple of the
// message's.
//
// # Failures
//
// A message that is cut short, has bytes too many, an unknown type, kind or flag, or that belongs to
// two-phase commit (which is not asked for) is an error that names the message's type and never a
// value of a row. The decoder's state is then as before, but the stream can only be given up: what
// follows would be applied without what was not understood.
package pgoutput
