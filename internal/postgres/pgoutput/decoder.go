package pgoutput

import (
	"errors"
	"fmt"
)

// columnSize is the least that a column takes in a Relation message: flags, the end of its name,
// type and modifier.
const columnSize = 1 + 1 + 4 + 4

// Decoder decodes the messages of one replication connection. The zero value is ready; Reset makes
// it so again. It must not be copied while a message of it is in use, nor be used by two goroutines
// at once.
type Decoder struct {
	inStream bool

	begin        Begin
	commit       Commit
	origin       Origin
	relation     Relation
	typeName     TypeName
	insert       Insert
	update       Update
	del          Delete
	truncate     Truncate
	message      LogicalMessage
	streamStart  StreamStart
	streamStop   StreamStop
	streamCommit StreamCommit
	streamAbort  StreamAbort

	// Tuples: no message has more than an old and a new one.
	older, newer []Datum
}

// Reset forgets everything, for a new connection.
func (d *Decoder) Reset() { *d = Decoder{} }

// Decode decodes one message of the plug-in (what XLogData carries). What the message holds aliases
// data, and is valid until the next call. An error names the message's type; the connection is of no
// use after it.
func (d *Decoder) Decode(data []byte) (Message, error) {
	if len(data) == 0 {
		return nil, fmt.Errorf("decode pgoutput message: %w", errEmpty)
	}
	c := cursor{rest: data[1:]}
	m, err := d.decode(data[0], &c)
	if err == nil {
		err = c.end()
	}
	if err != nil {
		return nil, fmt.Errorf("decode pgoutput message %s of %d bytes: %w", kindName(data[0]), len(data), err)
	}
	switch data[0] {
	case 'S':
		d.inStream = true
	case 'E':
		d.inStream = false
	}
	return m, nil
}

// decode reads a message after its type. What is cut short shows in c.
func (d *Decoder) decode(kind byte, c *cursor) (Message, error) {
	if err := d.place(kind); err != nil {
		return nil, err
	}
	switch kind {
	case 'I':
		return d.decodeInsert(c), nil
	case 'U':
		return d.decodeUpdate(c), nil
	case 'D':
		return d.decodeDelete(c), nil
	case 'B':
		d.begin = Begin{FinalLSN: c.lsn(), Time: c.time(), XID: c.u32()}
		return &d.begin, nil
	case 'C':
		c.flags(0)
		d.commit = Commit{LSN: c.lsn(), End: c.lsn(), Time: c.time()}
		return &d.commit, nil
	case 'O':
		d.origin = Origin{LSN: c.lsn(), Name: c.str(d.origin.Name)}
		return &d.origin, nil
	case 'R':
		return d.decodeRelation(c), nil
	case 'Y':
		d.typeName = TypeName{XID: d.xid(c), ID: c.u32(), Namespace: c.str(""), Name: c.str("")}
		return &d.typeName, nil
	case 'T':
		return d.decodeTruncate(c), nil
	case 'M':
		return d.decodeMessage(c), nil
	case 'S':
		d.streamStart = StreamStart{XID: c.u32(), First: c.flags(1) == 1}
		return &d.streamStart, nil
	case 'E':
		return &d.streamStop, nil
	case 'c':
		return d.decodeStreamCommit(c), nil
	case 'A':
		return d.decodeStreamAbort(c), nil
	}
	return nil, errors.New("its type is not known to protocol versions 1 to 4")
}

// place tells whether a message may stand where it stands, and whether it was asked for.
func (d *Decoder) place(kind byte) error {
	switch kind {
	case 'b', 'P', 'K', 'r', 'p':
		return errors.New("it belongs to two-phase commit, which was not asked for; make the replication slot without two_phase")
	case 'B', 'C', 'S', 'c', 'A':
		if d.inStream {
			return errors.New("it stands in a stream block that was not closed")
		}
	case 'E':
		if !d.inStream {
			return errors.New("no stream block is open")
		}
	}
	return nil
}

// xid takes the identifier of the (sub)transaction, which messages carry in a stream block only.
func (d *Decoder) xid(c *cursor) uint32 {
	if !d.inStream {
		return 0
	}
	return c.u32()
}

func (d *Decoder) decodeInsert(c *cursor) Message {
	d.insert = Insert{XID: d.xid(c), Relation: c.u32()}
	if tag := c.u8(); tag != 'N' {
		c.fail(fmt.Errorf("%q stands where the new tuple should", tag))
	}
	d.newer = c.tuple(d.newer)
	d.insert.New = d.newer
	return &d.insert
}

func (d *Decoder) decodeUpdate(c *cursor) Message {
	d.update = Update{XID: d.xid(c), Relation: c.u32()}
	tag := c.u8()
	if tag == 'K' || tag == 'O' {
		d.older = c.tuple(d.older)
		d.update.OldKind, d.update.Old = tag, d.older
		tag = c.u8()
	}
	if tag != 'N' {
		c.fail(fmt.Errorf("%q stands where the new tuple should", tag))
	}
	d.newer = c.tuple(d.newer)
	d.update.New = d.newer
	return &d.update
}

func (d *Decoder) decodeDelete(c *cursor) Message {
	d.del = Delete{XID: d.xid(c), Relation: c.u32(), OldKind: c.u8()}
	if d.del.OldKind != 'K' && d.del.OldKind != 'O' {
		c.fail(fmt.Errorf("%q stands where the old tuple should", d.del.OldKind))
	}
	d.older = c.tuple(d.older)
	d.del.Old = d.older
	return &d.del
}

// tuple reads a row into the memory of an earlier one. A column takes one byte at least.
func (c *cursor) tuple(into []Datum) []Datum {
	into = into[:0]
	n := int(c.u16())
	if n > len(c.rest) {
		c.fail(errShort)
		return into
	}
	if n > cap(into) {
		into = make([]Datum, 0, n)
	}
	for range n {
		datum := Datum{Kind: c.u8()}
		switch datum.Kind {
		case 't', 'b':
			datum.Data = c.bytes(c.u32())
		case 'n', 'u':
		default:
			c.fail(fmt.Errorf("the kind %q of a column's value is not known", datum.Kind))
		}
		if c.err != nil {
			return into
		}
		into = append(into, datum)
	}
	return into
}

// decodeRelation makes the columns anew: relations are few, and kept.
func (d *Decoder) decodeRelation(c *cursor) Message {
	r := &d.relation
	*r = Relation{XID: d.xid(c), ID: c.u32(), Namespace: c.str(""), Name: c.str(""), Identity: c.u8()}
	switch r.Identity {
	case 'd', 'n', 'f', 'i':
	default:
		c.fail(fmt.Errorf("the replica identity %q is not known", r.Identity))
	}
	n := int(c.u16())
	if n > len(c.rest)/columnSize {
		c.fail(errShort)
		return r
	}
	r.Columns = make([]RelationColumn, n)
	for i := range r.Columns {
		r.Columns[i] = RelationColumn{Key: c.flags(1) == 1, Name: c.str(""), Type: c.u32(), Modifier: int32(c.u32())}
	}
	return r
}

func (d *Decoder) decodeTruncate(c *cursor) Message {
	into := d.truncate.Relations[:0]
	d.truncate = Truncate{XID: d.xid(c)}
	n := c.u32()
	flags := c.flags(3)
	d.truncate.Cascade, d.truncate.RestartIdentity = flags&1 != 0, flags&2 != 0
	if uint64(n) > uint64(len(c.rest)/4) {
		c.fail(errShort)
		n = 0
	}
	for range n {
		into = append(into, c.u32())
	}
	d.truncate.Relations = into
	return &d.truncate
}

func (d *Decoder) decodeMessage(c *cursor) Message {
	d.message = LogicalMessage{
		XID: d.xid(c), Transactional: c.flags(1) == 1, LSN: c.lsn(),
		Prefix: c.str(d.message.Prefix), Content: c.bytes(c.u32()),
	}
	return &d.message
}

func (d *Decoder) decodeStreamCommit(c *cursor) Message {
	xid := c.u32()
	c.flags(0)
	d.streamCommit = StreamCommit{XID: xid, LSN: c.lsn(), End: c.lsn(), Time: c.time()}
	return &d.streamCommit
}

// decodeStreamAbort reads where and when the transaction was aborted if the message has it: protocol
// 4 sends it only where streaming is parallel.
func (d *Decoder) decodeStreamAbort(c *cursor) Message {
	d.streamAbort = StreamAbort{XID: c.u32(), SubXID: c.u32()}
	if len(c.rest) > 0 {
		d.streamAbort.LSN, d.streamAbort.Time = c.lsn(), c.time()
	}
	return &d.streamAbort
}

// kindName is a message's type as the documentation calls it.
func kindName(kind byte) string {
	name, ok := map[byte]string{
		'B': "Begin", 'C': "Commit", 'O': "Origin", 'R': "Relation", 'Y': "Type", 'I': "Insert", 'U': "Update",
		'D': "Delete", 'T': "Truncate", 'M': "Message", 'S': "Stream Start", 'E': "Stream Stop",
		'c': "Stream Commit", 'A': "Stream Abort", 'b': "Begin Prepare", 'P': "Prepare",
		'K': "Commit Prepared", 'r': "Rollback Prepared", 'p': "Stream Prepare",
	}[kind]
	if !ok {
		return fmt.Sprintf("%q", kind)
	}
	return fmt.Sprintf("%s (%q)", name, kind)
}
