package target

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/waybill-data/waybill/internal/postgres/server"
)

// backendID names a server process for good: process ids are reused.
type backendID struct {
	pid   int32
	start *time.Time
}

// targetLink is the connection that the writer writes on.
type targetLink struct {
	conn    *pgx.Conn
	backend backendID
	names   map[string]string // names of prepared statements, by SQL
	ready   map[string]bool   // SQL that the server has prepared
	count   int
}

// targetParams are settings of the write session beside those that connect makes. A plan
// made while a table was still small must not scan it when it is large; and no cost that
// this puts into plans may start the compiler. Some settings of a server, database or role would
// have text read as another value, or not at all: $1,234.56, NULL in an array, xml that is no document.
func targetParams() map[string]string {
	return map[string]string{
		"lc_monetary":                         "C",
		"array_nulls":                         "on",
		"xmloption":                           "content",
		"IntervalStyle":                       "postgres",
		"enable_seqscan":                      "off",
		"jit":                                 "off",
		"idle_in_transaction_session_timeout": fmt.Sprint(idlePatience.Milliseconds()),
	}
}

func openLink(ctx context.Context, url string) (*targetLink, error) {
	conn, err := server.Connect(ctx, url, server.Options{Name: "waybill target", Params: targetParams()})
	if err != nil {
		return nil, err
	}
	l := &targetLink{conn: conn, names: map[string]string{}, ready: map[string]bool{}}
	// A server, role or database default of synchronous_commit=off (or local, with a standby)
	// could lose what was acknowledged; stronger settings stay.
	err = conn.QueryRow(ctx, `SELECT pg_backend_pid(), (SELECT backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid())
		FROM (SELECT CASE WHEN current_setting('synchronous_commit') IN ('off', 'local')
			THEN set_config('synchronous_commit', 'on', false) END OFFSET 0) s(x) WHERE x IS NULL OR x = 'on'`).
		Scan(&l.backend.pid, &l.backend.start)
	if err != nil {
		server.Close(conn)
		return nil, server.Classify(err, "prepare the session at the target")
	}
	return l, nil
}

func (l *targetLink) broken() bool { return l.conn.IsClosed() }

// close disconnects and waits until the driver has let go of the connection.
func (l *targetLink) close() { server.Close(l.conn) }

// dial opens the write connection.
func (w *Writer) dial(ctx context.Context) error {
	l, err := openLink(ctx, w.opts.URL)
	if err != nil {
		return fmt.Errorf("target: %w", err)
	}
	w.link = l
	w.backend.Store(l.backend.pid)
	w.schema = newTargetSchema(w.opts.Schema)
	w.plan = newApplyPlan(w.schema)
	return nil
}

// reconnect opens a new write connection while nothing is under way. The epoch stays.
func (w *Writer) reconnect(ctx context.Context) error {
	w.disconnect()
	return w.dial(ctx)
}

// disconnect forgets the write connection and remembers its backend, which may still be
// busy with what it was sent.
func (w *Writer) disconnect() {
	if w.link == nil {
		return
	}
	w.last = w.link.backend
	w.link.close()
	w.link = nil
}
