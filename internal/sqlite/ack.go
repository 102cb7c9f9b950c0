package sqlite

import (
	"context"
	"fmt"
	"time"

	waybill "github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/fault"
)

const (
	// ackEvery bounds how often the application's write lock is taken for an acknowledgement.
	ackEvery = time.Second
	// ackPatience is after how long a lock that is never free becomes worth a warning.
	ackPatience = time.Minute
	// purgeRows is how many rows are removed in one transaction, which takes a few
	// milliseconds; an action is never split.
	purgeRows = 1000
	// backlogMost is the highest number of rows that Backlog looks at.
	backlogMost = 10_000
)

// consumer is the part of an Outbox that may be used beside Next: one more connection, for
// acknowledgements, removing rows and questions.
type consumer struct {
	aux     *conn
	acked   int64     // the last row that the source knows to be acknowledged
	pending point     // to be acknowledged; N is 0 if nothing is
	lastAck time.Time // when it was tried
	waiting time.Time // since when pending could not be acknowledged
	ackErr  error     // what an acknowledgement met; for the next Ack
}

// withAux runs fn on the second connection, which is opened when first needed.
func (o *Outbox) withAux(ctx context.Context, fn func(aux *conn) error) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := o.openAux(ctx); err != nil {
		return err
	}
	return o.aux.wrap("use", fn(o.aux))
}

func (o *Outbox) openAux(ctx context.Context) (err error) {
	if o.aux != nil {
		if err := o.aux.replaced(); err != nil {
			return o.gap(err.Error(), "start the pipeline again")
		}
		return nil
	}
	// Losing an acknowledgement at a power failure loses nothing: NORMAL saves its sync.
	o.aux, err = openConn(ctx, o.opt.Path, connOptions{busy: auxBusy, pragmas: []string{"synchronous(NORMAL)"}})
	return err
}

// closeAux acknowledges what is pending and closes the second connection.
func (o *Outbox) closeAux(ctx context.Context) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.pending.N > 0 && o.aux != nil && ctx.Err() == nil {
		if err := o.flushAck(ctx); err != nil {
			o.log.Warn("acknowledgement failed; the next start covers it", "stream", o.opt.Stream, "error", err)
			break
		}
	}
	if err := o.aux.close(); err != nil {
		o.log.Warn("close SQLite database", "path", o.opt.Path, "error", err)
	}
	o.consumer = consumer{}
}

// Ack says that everything up to p is durable downstream; see waybill.Reader. It does not
// wait for the source, which hears of it about once a second and when the reader is closed.
// What that met is returned by the next call.
func (o *Outbox) Ack(_ context.Context, p waybill.Position) error {
	if p == "" {
		return nil
	}
	pt, err := parsePosition(p)
	if err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := o.ackErr; err != nil {
		o.ackErr = nil
		return err
	}
	if pt.N > o.acked && pt.N > o.pending.N && isSQLite(pt.Source) {
		o.pending = pt
		select {
		case o.ackDue <- struct{}{}:
		default:
		}
	}
	return nil
}

// acknowledge runs beside Next while the outbox is open: it writes what Ack put off and
// removes what nobody needs any more, so that neither the application's locks nor removing
// rows delay the stream.
func (o *Outbox) acknowledge(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-o.ackDue:
		}
		wait := time.NewTimer(time.Until(o.lastTried().Add(ackEvery)))
		select {
		case <-ctx.Done():
			wait.Stop()
			return
		case <-wait.C:
		}
		o.acknowledgeOnce(ctx)
	}
}

func (o *Outbox) lastTried() time.Time {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.lastAck
}

func (o *Outbox) acknowledgeOnce(ctx context.Context) {
	o.mu.Lock()
	err := o.openAux(ctx)
	if err == nil && o.pending.N > 0 {
		err = o.flushAck(ctx)
	}
	if o.pending.N > 0 { // the lock was not free
		select {
		case o.ackDue <- struct{}{}:
		default:
		}
	}
	if err != nil && ctx.Err() == nil {
		o.ackErr = err
	}
	o.mu.Unlock()
	if err == nil {
		o.purge(ctx)
	}
}

// flushAck writes the pending acknowledgement. A lock that somebody else holds is no error
// for a while: a later call covers it. The caller holds mu.
func (o *Outbox) flushAck(ctx context.Context) error {
	o.lastAck = time.Now()
	if o.waiting.IsZero() {
		o.waiting = o.lastAck
	}
	var known bool
	err := o.aux.write(ctx, func(ctx context.Context) error {
		n, err := o.aux.exec(ctx, `UPDATE waybill_consumer
SET n = max(n, ?2), seq = iif(?2 > n, ?3, seq), action = iif(?2 > n, ?4, action), acked_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
WHERE stream = ?1`, o.opt.Stream, o.pending.N, o.pending.Seq, o.pending.Action)
		known = n > 0
		return err
	})
	if busy(err) && time.Since(o.waiting) < ackPatience {
		return nil
	}
	if missingTable(err, "waybill_consumer") || err == nil && !known {
		return o.gap("the stream is not registered at the source any more", "it was dropped there: drop the pipeline and start anew")
	}
	if err != nil {
		return o.aux.wrap("write to", err)
	}
	o.acked, o.pending, o.waiting = o.pending.N, point{}, time.Time{}
	fault.Hit(fault.AckDone)
	return nil
}

// purge removes, portion by portion, the rows that every consumer has. Between portions it
// leaves the write lock alone for as long as it held it. A busy file is left alone until
// the next acknowledgement.
func (o *Outbox) purge(ctx context.Context) {
	for ctx.Err() == nil {
		began := time.Now()
		var n int64
		err := o.withAux(ctx, func(aux *conn) (err error) {
			n, err = purgeOnce(ctx, aux)
			return err
		})
		if err != nil && !busy(err) && ctx.Err() == nil {
			o.log.Warn("relayed rows could not be removed; tried again after the next acknowledgement", "stream", o.opt.Stream, "error", err)
		}
		if err != nil || n < purgeRows {
			return
		}
		wait := time.NewTimer(time.Since(began))
		select {
		case <-ctx.Done():
			wait.Stop()
		case <-wait.C:
		}
	}
}

// purgeOnce removes one portion of whole actions and returns its number of rows.
func purgeOnce(ctx context.Context, c *conn) (removed int64, err error) {
	// There is no minimum without consumers, and nothing is at most null.
	least := "min"
	if fault.Broken(fault.PurgeUnacked) {
		least = "max"
	}
	// The portion ends at the last row of the action that its last row belongs to.
	portion := fmt.Sprintf(`SELECT max(n) FROM waybill_outbox WHERE n <= (SELECT %s(n) FROM waybill_consumer)
AND action = (SELECT action FROM waybill_outbox WHERE n <= (SELECT %[1]s(n) FROM waybill_consumer) AND n < (SELECT min(n) FROM waybill_outbox) + %d ORDER BY n DESC LIMIT 1)`, least, purgeRows)
	if n, err := c.number(ctx, portion); err != nil || n == 0 {
		return 0, err // looked at without the write lock first: most often there is nothing
	}
	err = c.write(ctx, func(ctx context.Context) error {
		upto, err := c.number(ctx, portion)
		if err != nil || upto == 0 {
			return err
		}
		fault.Hit(fault.PurgeBefore)
		removed, err = c.exec(ctx, "DELETE FROM waybill_outbox WHERE n <= ?", upto)
		return err
	})
	if err == nil {
		fault.Hit(fault.PurgeDone)
	}
	return removed, err
}

// Head is the end of the newest committed action; see waybill.Reader.
func (o *Outbox) Head(ctx context.Context) (waybill.Position, error) {
	var head point
	err := o.withAux(ctx, func(aux *conn) error {
		n, err := aux.number(ctx, headSQL)
		if err != nil {
			return err
		}
		id, err := aux.text(ctx, "SELECT value FROM waybill_meta WHERE key = 'id'")
		head = point{V: positionVersion, Source: sourcePrefix + id, N: n}
		return err
	})
	if err != nil {
		return "", err // the caller says what it asked for
	}
	o.asked.Add(1)
	select {
	case o.wake <- struct{}{}:
	default:
	}
	return head.position(), nil
}

// Reached tells whether p is at or past head.
func (o *Outbox) Reached(p, head waybill.Position) bool {
	if p == "" || head == "" {
		return head == ""
	}
	a, errA := parsePosition(p)
	b, errB := parsePosition(head)
	return errA == nil && errB == nil && a.Source == b.Source && a.N >= b.N
}

// BacklogBound is the number of rows at which Backlog stops looking.
func (o *Outbox) BacklogBound() int64 { return backlogMost }

// Backlog counts the actions after p, looking at no more than 10,000 rows, and tells the age
// of the oldest.
func (o *Outbox) Backlog(ctx context.Context, p waybill.Position) (actions int64, oldest time.Duration, err error) {
	pt := point{}
	if p != "" {
		if pt, err = parsePosition(p); err != nil {
			return 0, 0, err
		}
	}
	var at string
	err = o.withAux(ctx, func(aux *conn) error {
		r, err := aux.row(ctx, fmt.Sprintf(`SELECT count(DISTINCT action), coalesce((SELECT at FROM waybill_outbox WHERE n > ?1 ORDER BY n LIMIT 1), '')
FROM (SELECT action FROM waybill_outbox WHERE n > ?1 ORDER BY n LIMIT %d)`, backlogMost), pt.N)
		if err == nil {
			actions, _ = r[0].(int64)
			at = str(r[1])
		}
		return err
	})
	if err != nil {
		return 0, 0, fmt.Errorf("count the outbox: %w", err)
	}
	if t, err := parseTime(at); err == nil {
		oldest = max(0, time.Since(t))
	}
	return actions, oldest, nil
}

// register makes the stream a consumer that starts with the oldest retained action. Called
// inside a transaction.
func register(ctx context.Context, c *conn, stream string) error {
	_, err := c.exec(ctx, `INSERT INTO waybill_consumer (stream, n, seq, action, registered_at)
SELECT ?, coalesce((SELECT min(n) - 1 FROM waybill_outbox), (SELECT seq FROM sqlite_sequence WHERE name = 'waybill_outbox'), 0), 0, '',
  strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
WHERE true ON CONFLICT (stream) DO NOTHING`, stream)
	return err
}
