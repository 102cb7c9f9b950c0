package poll

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/envelope/spill"
	"github.com/waybill-data/waybill/internal/fault"
)

// The columns of the polls' and pages' rows.
const (
	colXID = iota
	colOrd
	colPart
	colN
	colID
	colAt
	colName
	colTrace
	colChanges
	colCount
)

// chunkSize is the piece in which memory for rows is taken. A chunk lives as long as an
// action whose bytes are in it.
const chunkSize = 256 << 10

// readyAction is an action that was read and not handed on yet.
type readyAction struct {
	action waybill.Action
	pair
	n    int64 // of its first row
	half byte  // of its first row
	// mixed: it has rows in both halves, and may stand in the order twice.
	mixed bool
}

// assembly makes actions of rows, which come by transaction in order.
type assembly struct {
	o       *Reader
	visible snapshot
	cur     readyAction
	changes spill.Builder
	begun   bool
	fresh   []readyAction
	// pairs are the transactions of which only the name came.
	pairs []pair
	seen  int // transactions
	last  pair
	// bytes are those of the messages taken; past bound further transactions are only named.
	bytes, bound int64
	named        bool
}

// take takes all rows and closes them; err is what went wrong before.
func (a *assembly) take(rows *pgconn.ResultReader, err error) error {
	for rows.NextRow() {
		if err == nil {
			err = a.row(rows.Values())
		}
	}
	if _, cerr := rows.Close(); cerr != nil {
		return cerr
	}
	return err
}

// row takes one row; v is valid only during the call.
func (a *assembly) row(v [][]byte) error {
	if len(v) != colCount || len(v[colXID]) != 8 || len(v[colOrd]) != 8 {
		return errors.New("the outbox gave a row of another form")
	}
	p := pair{xid: uint64(bigEndian(v[colXID])), ord: bigEndian(v[colOrd])}
	next := p != a.last
	if next {
		a.end()
		a.seen++
		a.last = p
		a.named = len(a.fresh) > 0 && a.bytes > a.bound
	}
	switch {
	case !a.visible.sees(p.xid):
		return fmt.Errorf("the outbox holds transaction %d, which this server has not seen: its rows were copied from another server; "+
			"empty waybill.outbox and waybill.outbox_order", p.xid)
	case len(v[colPart]) != 2 || len(v[colN]) != 8 || len(v[colID]) != 16 || len(v[colAt]) != 8:
		return a.o.stream.Gap(fmt.Sprintf("the rows of transaction %d are gone from the outbox", p.xid), a.o.stream.StartOver())
	case v[colChanges] == nil || a.named:
		if next {
			a.pairs = append(a.pairs, p)
		}
		return nil
	case a.o.refusal != nil:
		return nil //nolint:nilerr // Next returns it once everything before it is handed on
	}
	if next {
		a.begin(p, v)
	}
	return a.add(v)
}

func (a *assembly) begin(p pair, v [][]byte) {
	a.cur = readyAction{pair: p, n: bigEndian(v[colN]), half: v[colPart][1], action: waybill.Action{
		ID:   uuidText(v[colID]),
		Time: time.UnixMicro(bigEndian(v[colAt]) + microsTo2000).UTC(),
	}}
	a.changes, a.begun = spill.Builder{}, true
}

func (a *assembly) add(v [][]byte) error {
	c := &a.cur.action
	a.cur.mixed = a.cur.mixed || v[colPart][1] != a.cur.half
	if v[colName] != nil {
		c.Name = string(v[colName])
	}
	if v[colTrace] != nil {
		c.Trace = string(v[colTrace])
	}
	raw := v[colChanges]
	if len(raw) == 0 || raw[0] != 1 { // the version of jsonb's binary form
		a.refuse(v, "the column changes has an unknown form")
		return nil
	}
	a.bytes += int64(len(raw))
	message := a.keep(raw[1:])
	list, err := a.o.decoder.Decode(message)
	if err != nil {
		a.refuse(v, err.Error())
		return nil
	}
	return a.changes.Add(message, list)
}

// refuse ends the stream in front of the action.
func (a *assembly) refuse(v [][]byte, reason string) {
	a.begun = false
	a.o.refusal = &waybill.Refusal{
		Action: a.cur.action.ID,
		Reason: "malformed outbox row: " + reason,
		Remedy: fmt.Sprintf("correct column changes in waybill.outbox where xid = '%d' and n = %d, or give the action up: "+
			"delete from waybill.outbox_order where xid = '%[1]d'", a.cur.xid, bigEndian(v[colN])),
	}
}

func (a *assembly) end() {
	if a.begun {
		c := &a.cur.action
		c.Changes, c.Size = a.changes.Take()
		c.Size += len(c.Name) + len(c.Trace) + 160
		a.fresh = append(a.fresh, a.cur)
		a.begun = false
	}
}

// finish makes what was read ready to be handed on.
func (a *assembly) finish(ctx context.Context) error {
	a.end()
	for i := 0; i < len(a.fresh); i++ {
		if !a.fresh[i].mixed {
			continue
		}
		last, err := a.o.lastDraw(ctx, a.fresh[i].xid)
		if err != nil {
			return err
		}
		if a.fresh[i].ord < last {
			a.fresh = slices.Delete(a.fresh, i, i+1)
			i--
		}
	}
	if fault.Broken(fault.OrderByID) {
		slices.SortFunc(a.fresh, func(x, y readyAction) int { return int(x.n - y.n) })
	}
	a.o.ready = a.fresh
	return nil
}

// lastDraw is where a transaction stands that has rows in both halves. That takes a switch of
// halves between two calls of emit and a RESET ALL, which made the second forget the first; it
// may then have drawn in either half, and the last draw counts.
func (o *Reader) lastDraw(ctx context.Context, xid uint64) (ord int64, err error) {
	err = o.conn.QueryRow(ctx, `select max(ord) from waybill.outbox_order where xid = $1::text::xid8`, strconv.FormatUint(xid, 10)).Scan(&ord)
	return ord, err
}

// keep copies b into memory that is never written again.
func (a *assembly) keep(b []byte) []byte {
	if cap(a.o.chunk)-len(a.o.chunk) < len(b) {
		a.o.chunk = make([]byte, 0, max(chunkSize, len(b)))
	}
	start := len(a.o.chunk)
	a.o.chunk = append(a.o.chunk, b...)
	return a.o.chunk[start:len(a.o.chunk):len(a.o.chunk)]
}

// microsTo2000 is PostgreSQL's epoch after 1970.
const microsTo2000 = 946684800 * 1_000_000

func bigEndian(b []byte) int64 { return int64(binary.BigEndian.Uint64(b)) }

func uuidText(b []byte) string {
	var t [36]byte
	hex.Encode(t[0:8], b[0:4])
	hex.Encode(t[9:13], b[4:6])
	hex.Encode(t[14:18], b[6:8])
	hex.Encode(t[19:23], b[8:10])
	hex.Encode(t[24:36], b[10:16])
	t[8], t[13], t[18], t[23] = '-', '-', '-', '-'
	return string(t[:])
}
