package target

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/fault"
)

// maxPrepared bounds the statements that the server keeps prepared for one session.
const maxPrepared = 300

// applyTx is one transaction that is sent without waiting for answers. They are read by
// drain, and an error among them ends the transaction: the server skips what follows.
type applyTx struct {
	w       *Writer
	ctx     context.Context  //nolint:containedctx // lives within one call of Write
	pipe    *pgconn.Pipeline // nil while nothing is sent and not drained
	sent    []sentStep
	begun   bool
	unsent  bool // BEGIN is to go with what comes first
	relaxed bool // constraints were deferred
	data    int  // groups sent
	late    *stepError
	flight  *copyFlight    // under way
	failed  error          // of a COPY that has landed
	tables  []*targetTable // there are statements for
	behind  bool           // a full plan was sent and not waited for
	foreign foreignFound
}

// sentStep is what an answer is about.
type sentStep struct {
	what   stepKind
	kind   *groupKind
	change *waybill.Change // where the step is about a single one
	action int
	sql    string // of a statement that is being prepared
	counts bool   // its row tells of foreign writes
}

type stepKind uint8

const (
	stepControl stepKind = iota
	stepPrepare
	stepData
	stepConstraints // at the end of an action, or after a change of it
	stepUnchanged
	stepPosition
)

// stepError is the server's refusal of a step. The connection is fine, the transaction is not.
type stepError struct {
	step sentStep
	pg   *pgconn.PgError
}

func (e *stepError) Error() string { return e.pg.Error() }
func (e *stepError) Unwrap() error { return e.pg }

// same tells whether two failures are the same violation: of one constraint, by the same values.
func (e *stepError) same(other *stepError) bool {
	return e.pg.Code == other.pg.Code && e.pg.ConstraintName == other.pg.ConstraintName && e.pg.Detail == other.pg.Detail
}

// lostError: the connection broke; what was sent may have been done.
type lostError struct{ err error }

func (e *lostError) Error() string { return e.err.Error() }
func (e *lostError) Unwrap() error { return e.err }

var binaryFormat = []int16{1}

func (t *applyTx) open() {
	t.land()
	if t.pipe == nil {
		t.pipe = t.w.link.conn.PgConn().StartPipeline(t.ctx)
	}
	if t.unsent {
		t.unsent = false
		t.pipe.SendQueryParams(beginSQL, nil, nil, nil, nil)
		t.sent = append(t.sent, sentStep{})
	}
}

const beginSQL = "BEGIN ISOLATION LEVEL READ COMMITTED"

// control sends a statement without parameters.
func (t *applyTx) control(sql string, step sentStep) {
	t.open()
	t.pipe.SendQueryParams(sql, nil, nil, nil, nil)
	t.sent = append(t.sent, step)
}

// begin starts the transaction, if it is not started.
func (t *applyTx) begin() error {
	if t.begun {
		return nil
	}
	t.begun, t.unsent = true, true
	return t.pass(fault.WriteBegun)
}

func (t *applyTx) commit() { t.control("COMMIT", sentStep{}) }

// again commits and begins anew; only deliberate breakages do that.
func (t *applyTx) again() {
	t.commit()
	t.control("BEGIN", sentStep{})
}

// query sends a prepared statement, preparing it first where the server does not have it.
func (t *applyTx) query(sql string, oids []uint32, params [][]byte, step sentStep) {
	t.open()
	name, ready := t.w.link.statement(sql)
	if !ready && !t.preparing(sql) {
		t.pipe.SendPrepare(name, sql, oids)
		t.sent = append(t.sent, sentStep{what: stepPrepare, kind: step.kind, change: step.change, action: step.action, sql: sql})
	}
	t.pipe.SendQueryPrepared(name, params, binaryFormat, nil)
	t.sent = append(t.sent, step)
}

func (t *applyTx) preparing(sql string) bool {
	for i := range t.sent {
		if t.sent[i].what == stepPrepare && t.sent[i].sql == sql {
			return true
		}
	}
	return false
}

// statement names a prepared statement and tells whether the server has it.
func (l *targetLink) statement(sql string) (name string, ready bool) {
	n, ok := l.names[sql]
	if !ok {
		l.count++
		n = fmt.Sprintf("w%d", l.count)
		l.names[sql] = n
	}
	return n, l.ready[sql]
}

// trim drops all prepared statements when there are too many, or when asked to.
func (l *targetLink) trim(ctx context.Context, all bool) error {
	if !all && len(l.names) < maxPrepared {
		return nil
	}
	clear(l.names)
	clear(l.ready)
	return l.conn.DeallocateAll(ctx)
}

// position sends the compare-and-swap.
func (t *applyTx) position(b waybill.Batch) {
	w := t.w
	fence := moveFence
	seq, empty := int64(b.LastSeq(w.seq)), int64(0) // an action without changes counts as filtered
	for i := range b.Actions {
		if b.Actions[i].Len() == 0 {
			empty++
		}
	}
	params := [][]byte{
		[]byte(w.stream), []byte(b.Upto), int8Param(seq), int8Param(int64(len(b.Actions)) - empty), int8Param(empty),
		int8Param(t.foreign.changes), []byte(b.After), int8Param(w.epoch),
	}
	oids := []uint32{oidText, oidText, oidInt8, oidInt8, oidInt8, oidInt8, oidText, oidInt8}
	if fault.Broken(fault.NoFence) {
		fence, params, oids = "", params[:6], oids[:6]
	}
	t.query(fmt.Sprintf(movePosition, fence), oids, params, sentStep{what: stepPosition})
}

func int8Param(n int64) []byte { return appendInt8(nil, n) }

// pass marks a kill point: in a test build everything before it has been done by the server.
func (t *applyTx) pass(point string) error {
	if t.w.halt == nil && !fault.Enabled {
		return nil
	}
	if t.unsent {
		t.open()
	}
	if err := t.drain(); err != nil {
		return err
	}
	if t.w.halt != nil {
		t.w.halt(point)
	}
	fault.Hit(point)
	return nil
}

// drain waits for the answers to everything that was sent.
func (t *applyTx) drain() error {
	t.land()
	t.behind = false
	err := t.answers()
	if t.failed != nil { // came before what is in the pipe
		return t.failed
	}
	return err
}

func (t *applyTx) answers() error {
	if t.pipe == nil {
		return nil
	}
	pipe, sent := t.pipe, t.sent
	t.pipe, t.sent = nil, t.sent[:0]
	if err := pipe.Sync(); err != nil {
		return &lostError{err}
	}
	var failed *stepError
	for i := 0; ; i++ {
		result, err := pipe.GetResults()
		if r, ok := result.(*pgconn.ResultReader); ok && err == nil {
			if i < len(sent) && sent[i].counts {
				t.foreign.read(r, sent[i].kind)
			}
			_, err = r.Close()
		}
		if _, ok := result.(*pgconn.PipelineSync); ok {
			break
		}
		var pe *pgconn.PgError
		switch {
		case err == nil && result == nil, err != nil && !errors.As(err, &pe), t.w.link.broken():
			_ = pipe.Close()
			if err == nil {
				err = errors.New("the connection ended before the answer")
			}
			return &lostError{err}
		case err != nil && failed == nil:
			failed = &stepError{pg: pe}
			if i < len(sent) {
				failed.step = sent[i]
			}
		case err == nil && i < len(sent) && sent[i].what == stepPrepare:
			t.w.link.ready[sent[i].sql] = true
		}
	}
	if err := pipe.Close(); err != nil && failed == nil {
		return &lostError{err}
	}
	if failed != nil {
		return failed
	}
	return nil
}

// abort rolls back. Its own failure does not matter: a connection that is gone rolls back too.
func (t *applyTx) abort() {
	t.land()
	if t.w.link == nil || t.w.link.broken() {
		return
	}
	if t.pipe != nil {
		_ = t.drain()
	}
	if !t.w.link.broken() && t.w.link.conn.PgConn().TxStatus() != 'I' {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.ctx), closePatience)
		defer cancel()
		_ = t.w.link.conn.PgConn().Exec(ctx, "ROLLBACK").Close()
	}
}
