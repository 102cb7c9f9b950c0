package pgoutput

import "time"

// Message is one of the types below. It is valid until the decoder's next call: a consumer
// copies what it keeps. Strings and a Relation's Columns may be kept as they are.
type Message interface{ message() }

// Begin opens a transaction that is committed already; all of it follows, then Commit.
type Begin struct {
	FinalLSN LSN // of the commit record
	Time     time.Time
	XID      uint32
}

// Commit ends what Begin opened.
type Commit struct {
	LSN  LSN // of the commit record; Begin's FinalLSN
	End  LSN // the end of the transaction: what is acknowledged
	Time time.Time
}

// Origin says that the transaction was first committed elsewhere.
type Origin struct {
	LSN  LSN
	Name string
}

// Relation describes a table before the first change of it, and again after it was altered. In a
// stream block XID is the (sub)transaction.
type Relation struct {
	XID             uint32
	ID              uint32
	Namespace, Name string
	Identity        byte // replica identity: d(efault), n(othing), f(ull), i(ndex)
	Columns         []RelationColumn
}

// RelationColumn is a column that is published.
type RelationColumn struct {
	Key      bool // part of the replica identity
	Name     string
	Type     uint32
	Modifier int32
}

// TypeName names a type that is not built in.
type TypeName struct {
	XID             uint32
	ID              uint32
	Namespace, Name string
}

// Datum is one column of a tuple: Kind n(ull), u(nchanged TOAST), t(ext) or b(inary).
type Datum struct {
	Kind byte
	Data []byte
}

// Insert is a new row.
type Insert struct {
	XID      uint32 // in a stream block
	Relation uint32
	New      []Datum
}

// Update is a changed row. Old is nil, the old key (OldKind K: other columns are null), or the old
// row (OldKind O).
type Update struct {
	XID      uint32
	Relation uint32
	OldKind  byte // 0, K or O
	Old, New []Datum
}

// Delete is a removed row: its key (OldKind K) or all of it (O).
type Delete struct {
	XID      uint32
	Relation uint32
	OldKind  byte
	Old      []Datum
}

// Truncate empties tables.
type Truncate struct {
	XID                      uint32
	Relations                []uint32
	Cascade, RestartIdentity bool
}

// LogicalMessage is what pg_logical_emit_message wrote. One that is not transactional stands alone.
type LogicalMessage struct {
	XID           uint32
	Transactional bool
	LSN           LSN
	Prefix        string
	Content       []byte
}

// StreamStart opens a block of a transaction that is not committed yet; StreamStop closes it.
type StreamStart struct {
	XID   uint32 // top level
	First bool
}

// StreamStop closes a block.
type StreamStop struct{}

// StreamCommit commits a streamed transaction.
type StreamCommit struct {
	XID  uint32
	LSN  LSN
	End  LSN
	Time time.Time
}

// StreamAbort rolls back a streamed transaction, or only its subtransaction SubXID (≠ XID). LSN and
// Time are zero before protocol 4.
type StreamAbort struct {
	XID, SubXID uint32
	LSN         LSN
	Time        time.Time
}

func (*Begin) message()          {}
func (*Commit) message()         {}
func (*Origin) message()         {}
func (*Relation) message()       {}
func (*TypeName) message()       {}
func (*Insert) message()         {}
func (*Update) message()         {}
func (*Delete) message()         {}
func (*Truncate) message()       {}
func (*LogicalMessage) message() {}
func (*StreamStart) message()    {}
func (*StreamStop) message()     {}
func (*StreamCommit) message()   {}
func (*StreamAbort) message()    {}
