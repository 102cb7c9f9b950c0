package sqlite

import (
	"context"
	"errors"
	"io/fs"
	"os"
)

// Knows tells whether the target remembers the stream. It changes nothing; a file that does
// not exist remembers nothing.
func (w *Writer) Knows(ctx context.Context, stream string) (known bool, err error) {
	if _, err := os.Stat(w.opt.Path); errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	err = withConn(ctx, w.opt.Path, func(c *conn) error {
		n, err := c.number(ctx, "SELECT count(*) FROM waybill_position WHERE stream = ?", stream)
		if missingTable(err, "waybill_position") {
			return nil
		}
		known = n > 0
		return c.wrap("look for the stream in", err)
	})
	return known, err
}

// Waiting counts the actions that the stream has not acknowledged and that would go with the
// outbox if the stream were uninstalled now: none where other consumers keep it, or where the
// stream is not registered.
func (o *Outbox) Waiting(ctx context.Context, stream string) (actions int64, err error) {
	err = withConn(ctx, o.opt.Path, func(c *conn) error {
		n, err := c.number(ctx, `SELECT count(DISTINCT o.action) FROM waybill_outbox AS o JOIN waybill_consumer AS c ON o.n > c.n
WHERE c.stream = ?1 AND NOT EXISTS (SELECT 1 FROM waybill_consumer WHERE stream <> ?1)`, stream)
		if missingTable(err, "waybill_outbox") || missingTable(err, "waybill_consumer") {
			return nil
		}
		actions = n
		return c.wrap("count what waits in", err)
	})
	return actions, err
}
