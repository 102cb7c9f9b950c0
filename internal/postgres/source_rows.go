package postgres

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/fault"
)

// The columns of the polls' and pages' rows.
const (
	colXID = iota
	colOrd
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
	n int64 // of its first row
}

// assembly makes actions of rows, which come by transaction in order.
type assembly struct {
	o       *Outbox
	visible snapshot
	cur     readyAction
	list    waybill.ChangeList
	begun   bool
	fresh   []readyAction
	// pairs are the transactions of which only the name came.
	pairs   []pair
	seen    int // transactions
	lastOrd int64
	lastXID uint64
}

// row takes one row; v is valid only during the call.
func (a *assembly) row(v [][]byte) error {
	if len(v) != colCount || len(v[colXID]) != 8 || len(v[colOrd]) != 8 {
		return errors.New("the outbox gave a row of another form")
	}
	p := pair{xid: uint64(bigEndian(v[colXID])), ord: bigEndian(v[colOrd])}
	next := p.xid != a.lastXID
	if next {
		a.end()
		a.seen++
		a.lastXID, a.lastOrd = p.xid, p.ord
	}
	switch {
	case !a.visible.sees(p.xid):
		return fmt.Errorf("the outbox holds transaction %d, which this server has not seen: its rows were copied from another server; "+
			"empty waybill.outbox and waybill.outbox_order", p.xid)
	case len(v[colN]) != 8 || len(v[colID]) != 16 || len(v[colAt]) != 8:
		return a.o.gap(fmt.Sprintf("the rows of transaction %d are gone from the outbox", p.xid), a.o.startOver())
	case v[colChanges] == nil:
		if next {
			a.pairs = append(a.pairs, p)
		}
		return nil
	case a.o.refusal != nil:
		return nil
	}
	if next {
		a.begin(p, v)
	}
	a.add(v)
	return nil
}

func (a *assembly) begin(p pair, v [][]byte) {
	a.cur = readyAction{pair: p, n: bigEndian(v[colN]), action: waybill.Action{
		ID:   uuidText(v[colID]),
		Time: time.UnixMicro(bigEndian(v[colAt]) + microsTo2000).UTC(),
	}}
	a.list, a.begun = nil, true
}

func (a *assembly) add(v [][]byte) {
	c := &a.cur.action
	if v[colName] != nil {
		c.Name = string(v[colName])
	}
	if v[colTrace] != nil {
		c.Trace = string(v[colTrace])
	}
	raw := v[colChanges]
	if len(raw) == 0 || raw[0] != 1 { // the version of jsonb's binary form
		a.refuse(v, "the column changes has an unknown form")
		return
	}
	list, err := a.o.decoder.Decode(a.keep(raw[1:]))
	if err != nil {
		a.refuse(v, err.Error())
		return
	}
	if a.list == nil {
		a.list = list
	} else {
		a.list = append(a.list, list...) // the decoder's lists have no room: a copy the first time
	}
	for i := range list {
		c.Size += list[i].Size()
	}
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
		if a.list == nil {
			a.list = waybill.ChangeList{}
		}
		a.cur.action.Changes = a.list
		a.cur.action.Size += len(a.cur.action.Name) + len(a.cur.action.Trace) + 160
		a.fresh = append(a.fresh, a.cur)
		a.begun = false
	}
}

func (a *assembly) finish() {
	a.end()
	if fault.Broken(fault.OrderByID) {
		slices.SortFunc(a.fresh, func(x, y readyAction) int { return int(x.n - y.n) })
	}
	a.o.ready = a.fresh
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
