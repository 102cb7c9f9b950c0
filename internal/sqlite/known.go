package sqlite

import (
	"context"
	"encoding/json"
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

// Waiting counts the actions that one of the streams has not acknowledged and that would go with
// the outbox if they were all uninstalled now: none where other consumers keep it, or where none
// of them is registered.
func (o *Outbox) Waiting(ctx context.Context, streams ...string) (actions int64, err error) {
	err = withConn(ctx, o.opt.Path, func(c *conn) error {
		names, err := json.Marshal(streams)
		if err != nil {
			return err
		}
		n, err := c.number(ctx, `SELECT count(DISTINCT o.action) FROM waybill_outbox AS o JOIN waybill_consumer AS c ON o.n > c.n
WHERE c.stream IN (SELECT value FROM json_each(?1)) AND NOT EXISTS
(SELECT 1 FROM waybill_consumer WHERE stream NOT IN (SELECT value FROM json_each(?1)))`, string(names))
		if missingTable(err, "waybill_outbox") || missingTable(err, "waybill_consumer") {
			return nil
		}
		actions = n
		return c.wrap("count what waits in", err)
	})
	return actions, err
}
