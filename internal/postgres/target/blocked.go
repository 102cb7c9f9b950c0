package target

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	// blockedAfter is from when on a write that waits for another session's lock is told of, and
	// blockedAgain how often.
	blockedAfter = 2 * time.Second
	blockedAgain = time.Minute
)

// blockedSQL finds whom a session waits for; it looks for that only where it waits. A prepared
// transaction has no session.
const blockedSQL = `SELECT b.pid, coalesce(s.usename::text, ''), coalesce(s.application_name, ''),
	coalesce((SELECT l.relation::regclass::text FROM pg_locks l WHERE l.pid = w.pid AND l.relation IS NOT NULL
		AND (NOT l.granted OR l.locktype = 'tuple') LIMIT 1), '')
	FROM (SELECT pid, pg_blocking_pids(pid) AS by FROM pg_stat_activity
		WHERE pid = $1 AND wait_event_type = 'Lock' AND clock_timestamp() - query_start > make_interval(secs => $2)) w
	CROSS JOIN unnest(w.by) b (pid) LEFT JOIN pg_stat_activity s ON s.pid = b.pid LIMIT 1`

// lockWatch tells of a write that waits for a lock of another session, which nobody else can see: it
// waits as long as that session holds it, and then goes on.
type lockWatch struct {
	w     *Writer
	since time.Time // it is blocked; zero: it is not
	told  time.Time
}

// look asks the server; conn is not the one that is blocked.
func (l *lockWatch) look(ctx context.Context, conn *pgx.Conn, stream string) {
	writer := l.w.backend.Load()
	if writer == 0 {
		return
	}
	var (
		pid                     int32
		role, program, relation string
	)
	err := conn.QueryRow(ctx, blockedSQL, writer, blockedAfter.Seconds()).Scan(&pid, &role, &program, &relation)
	now := time.Now()
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		if !l.since.IsZero() {
			l.w.log.Info("the lock at the target was released", "stream", stream, "for", now.Sub(l.since).Round(time.Second))
		}
		l.since = time.Time{}
	case err != nil:
		l.w.log.Debug("looking for locks at the target failed", "stream", stream, "error", err)
	case l.since.IsZero() || now.Sub(l.told) >= blockedAgain:
		if l.since.IsZero() {
			l.since = now.Add(-blockedAfter)
		}
		l.told = now
		l.w.log.Warn("waiting for a lock at the target", "stream", stream, "table", relation, "session", pid, "role", role, "application", program,
			"for", now.Sub(l.since).Round(time.Second), "remedy", blockedRemedy(pid))
	}
}

func blockedRemedy(pid int32) string {
	if pid == 0 {
		return "end the prepared transaction (pg_prepared_xacts) that holds it"
	}
	return fmt.Sprintf("let that session end its transaction, or SELECT pg_terminate_backend(%d)", pid)
}
