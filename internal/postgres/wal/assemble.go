package wal

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/envelope"
	"github.com/waybill-data/waybill/internal/postgres/pgoutput"
)

var errTextWanted = errors.New("a table with a type that is read as text was added; the log is read anew")

// transaction is one that is being received.
type transaction struct {
	xid     uint32
	list    []waybill.Change
	subs    []uint32 // of list, where it is streamed
	size    int      // of list, in bytes
	spool   *spool
	spooled map[uint32]int // changes in the spool, by subtransaction
	aborted map[uint32]struct{}
	// relations were described within it.
	relations map[uint32]*relation
	// seen: the target has it, so that its changes (if there are any) need not be made.
	seen, any bool
	// outbox is what its outbox rows and messages said.
	outbox outboxAction
}

// assembler makes actions of messages, in the goroutine that receives.
type assembler struct {
	ctx      context.Context //nolint:containedctx // of the goroutine
	source   string          // SYSTEM/DATABASE, of action IDs
	outbox   bool
	spillDir string
	out      func(item) error   // takes an action
	passed   func(pgoutput.LSN) // no action up to here
	describe func(ctx context.Context, m *pgoutput.Relation, before *relation) (*relation, error)

	// done is up to where the target has everything already, and last the commit that must be met
	// before done (zero: none).
	done, last pgoutput.LSN
	lastXID    uint32
	met        chan struct{} // closed when it was
	gap        func() error
	skipped    func()

	relations map[uint32]*relation
	streams   map[uint32]*transaction
	cur       *transaction // of Begin or StreamStart
	pool      transaction  // what Begin uses
	begun     pgoutput.Begin
	streaming bool
	arena     arena
	changes   []waybill.Change // chunk for small transactions
	decoder   envelope.Decoder
}

func (a *assembler) message(m pgoutput.Message) error {
	switch m := m.(type) {
	case *pgoutput.Begin:
		a.begin(m)
	case *pgoutput.Insert:
		return a.row(m.XID, m.Relation, waybill.Insert, 0, nil, m.New)
	case *pgoutput.Update:
		return a.row(m.XID, m.Relation, waybill.Update, m.OldKind, m.Old, m.New)
	case *pgoutput.Delete:
		return a.row(m.XID, m.Relation, waybill.Delete, m.OldKind, m.Old, nil)
	case *pgoutput.Truncate:
		for _, id := range m.Relations {
			if err := a.row(m.XID, id, waybill.Truncate, 0, nil, nil); err != nil {
				return err
			}
		}
	case *pgoutput.Commit:
		tx := a.cur
		a.cur = nil
		if tx == nil {
			return errors.New("the log sends a commit without a beginning")
		}
		return a.commit(tx, m.LSN, m.End, m.Time)
	case *pgoutput.Relation:
		return a.relation(m)
	case *pgoutput.LogicalMessage:
		return a.logical(m)
	case *pgoutput.StreamStart:
		a.streamStart(m)
	case *pgoutput.StreamStop:
		a.cur, a.streaming = nil, false
	case *pgoutput.StreamCommit:
		return a.streamCommit(m)
	case *pgoutput.StreamAbort:
		a.streamAbort(m)
	}
	return nil
}

func (a *assembler) begin(m *pgoutput.Begin) {
	a.begun = *m
	a.pool = transaction{xid: m.XID, list: a.changes[len(a.changes):], seen: m.FinalLSN < a.done}
	a.cur = &a.pool
}

func (a *assembler) streamStart(m *pgoutput.StreamStart) {
	tx := a.streams[m.XID]
	if tx == nil {
		tx = &transaction{xid: m.XID, relations: map[uint32]*relation{}}
		if a.streams == nil {
			a.streams = map[uint32]*transaction{}
		}
		a.streams[m.XID] = tx
	}
	a.cur, a.streaming = tx, true
}

func (a *assembler) streamCommit(m *pgoutput.StreamCommit) error {
	tx := a.streams[m.XID]
	if tx == nil {
		return nil // nothing of it was published
	}
	delete(a.streams, m.XID)
	maps.Copy(a.relations, tx.relations) // the server takes them for known now
	if len(tx.aborted) > 0 {
		kept := tx.list[:0]
		for i := range tx.list {
			if _, gone := tx.aborted[tx.subs[i]]; !gone {
				kept = append(kept, tx.list[i])
			}
		}
		tx.list = kept
	}
	return a.commit(tx, m.LSN, m.End, m.Time)
}

func (a *assembler) streamAbort(m *pgoutput.StreamAbort) {
	if m.XID == m.SubXID {
		if tx := a.streams[m.XID]; tx != nil && tx.spool != nil {
			_ = tx.spool.file.Close()
		}
		delete(a.streams, m.XID)
		return
	}
	if tx := a.streams[m.XID]; tx != nil {
		if tx.aborted == nil {
			tx.aborted = map[uint32]struct{}{}
		}
		tx.aborted[m.SubXID] = struct{}{}
	}
}

func (a *assembler) find(id uint32) *relation {
	if a.cur != nil && a.cur.relations != nil {
		if r := a.cur.relations[id]; r != nil {
			return r
		}
	}
	return a.relations[id]
}

func (a *assembler) relation(m *pgoutput.Relation) error {
	before := a.find(m.ID)
	if before != nil && before.seen {
		before = nil // whoever opened at this position knows
	}
	r, err := a.describe(a.ctx, m, before)
	if err != nil {
		return err
	}
	r.seen = a.cur != nil && a.cur.seen
	if a.streaming && a.cur != nil {
		a.cur.relations[m.ID] = r
	} else {
		a.relations[m.ID] = r
	}
	return nil
}

// row takes one changed row.
func (a *assembler) row(xid, id uint32, op waybill.Op, oldKind byte, old, fresh []pgoutput.Datum) error {
	tx := a.cur
	if tx == nil {
		return errors.New("the log sends a change outside a transaction")
	}
	r := a.find(id)
	if r == nil {
		return fmt.Errorf("the log sends a change of relation %d, which it never described", id)
	}
	if r.foreign {
		return nil
	}
	if tx.any = true; tx.seen {
		return nil
	}
	if r.outbox != nil {
		if op != waybill.Insert {
			return nil
		}
		return a.outboxRow(tx, r, fresh)
	}
	if tx.spool == nil && tx.size >= memoryBound {
		if err := tx.spill(a.spillDir); err != nil {
			return err
		}
	}
	if tx.spool != nil {
		tx.spooled[xid]++
		if err := tx.spool.add(r, xid, op, oldKind, old, fresh); err != nil {
			return waybill.AsTransient(fmt.Errorf("spill a large transaction to disk: %w", err))
		}
		return nil
	}
	c, err := r.change(&a.arena, op, oldKind, old, fresh)
	if err != nil {
		return err
	}
	tx.list = append(tx.list, c)
	tx.size += c.Size()
	if a.streaming {
		tx.subs = append(tx.subs, xid)
	}
	return nil
}

func (tx *transaction) spill(dir string) error {
	s, err := newSpool(dir)
	if err != nil {
		return waybill.AsTransient(fmt.Errorf("spill a large transaction to disk: %w", err))
	}
	tx.spool, tx.spooled = s, map[uint32]int{}
	return nil
}

// take is the transaction's changes.
func (tx *transaction) take() (waybill.Changes, error) {
	if tx.spool == nil {
		return waybill.ChangeList(slices.Clip(tx.list)), nil
	}
	if err := tx.spool.w.Flush(); err != nil {
		return nil, waybill.AsTransient(fmt.Errorf("spill a large transaction to disk: %w", err))
	}
	tx.spool.w, tx.spool.record = nil, nil
	n := len(tx.list)
	for sub, count := range tx.spooled {
		if _, gone := tx.aborted[sub]; !gone {
			n += count
		}
	}
	return &spilled{memory: tx.list, spool: tx.spool, aborted: tx.aborted, count: n}, nil
}

// changeChunk is how many changes are allocated at once.
const changeChunk = 256

// commit hands the transaction on, unless the target has it.
func (a *assembler) commit(tx *transaction, commit, end pgoutput.LSN, at time.Time) error {
	if a.last != 0 {
		if commit == a.last && tx.xid == a.lastXID {
			a.last = 0
			defer close(a.met) // once it is counted
		} else if commit > a.last {
			return a.gap()
		}
	}
	if tx.seen {
		if tx.any {
			a.skipped()
		}
		return nil
	}
	it := item{commit: commit, end: end, xid: tx.xid}
	it.action.Time = at.UTC()
	var err error
	if a.outbox {
		if !tx.outbox.begun {
			a.passed(end)
			return nil
		}
		it.action.ID = tx.outbox.id
	} else {
		if it.action.Changes, err = tx.take(); err != nil {
			return err
		}
		a.recycle(tx)
		it.action.Size = tx.size
		if it.action.Len() == 0 {
			a.passed(end)
			return nil
		}
	}
	if end <= a.done {
		a.skipped()
		return nil
	}
	if it.action.ID == "" {
		id := make([]byte, 0, 64)
		id = commit.Append(append(append(id, a.source...), '/'))
		it.action.ID = string(strconv.AppendUint(append(id, '/'), uint64(tx.xid), 10))
	}
	if a.outbox {
		tx.outbox.id = it.action.ID
		if err := a.outboxAction(&tx.outbox, &it); err != nil {
			return err
		}
	}
	it.action.Size += len(it.action.ID) + 160
	return a.out(it)
}

// recycle lets the next transaction use the rest of the chunk that this one's list is in.
func (a *assembler) recycle(tx *transaction) {
	if tx != &a.pool {
		return
	}
	if rest := cap(tx.list) - len(tx.list); rest > 0 && tx.spool == nil {
		a.changes = tx.list[len(tx.list):]
		return
	}
	a.changes = make([]waybill.Change, 0, changeChunk)
}

// keepalive says that everything that committed before end was sent.
func (a *assembler) keepalive(end pgoutput.LSN) error {
	if a.cur != nil && !a.streaming {
		return nil // a transaction is on its way
	}
	if a.last != 0 && end >= a.done {
		return a.gap()
	}
	if end > a.done {
		a.passed(end)
	}
	return nil
}
