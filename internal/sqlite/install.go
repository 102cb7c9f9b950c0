package sqlite

import (
	"context"
	"errors"
	"fmt"
	"time"

	waybill "github.com/waybill-data/waybill"
)

// installBusy is how long installing waits for other connections.
const installBusy = 10 * time.Second

// SQL is what Install runs, reviewable and idempotent.
func (o *Outbox) SQL() string { return outboxSQL }

// Install applies SQL and registers the streams as consumers.
func (o *Outbox) Install(ctx context.Context, streams ...string) error {
	return withConn(ctx, o.opt.Path, func(c *conn) error {
		mode, err := c.text(ctx, setWAL)
		if err != nil {
			return c.wrap("switch to write-ahead logging in", err)
		}
		if mode != "wal" {
			return fmt.Errorf("SQLite database %s stays with journal_mode=%s: it does not support write-ahead logging", c.path, mode)
		}
		err = c.write(ctx, func(ctx context.Context) error {
			if err := knownFormat(ctx, c, "outbox_format", outboxFormat); err != nil {
				return err
			}
			if err := c.script(ctx, outboxTables+outboxTriggers); err != nil {
				return err
			}
			for _, s := range streams {
				if err := register(ctx, c, s); err != nil {
					return err
				}
			}
			return nil
		})
		return c.wrap("install the outbox in", err)
	})
}

// Uninstall removes the streams' registrations, and the outbox with the last of them. What a
// target keeps in the same file stays.
func (o *Outbox) Uninstall(ctx context.Context, streams ...string) error {
	return withConn(ctx, o.opt.Path, func(c *conn) error {
		err := c.write(ctx, func(ctx context.Context) error {
			for _, s := range streams {
				if err := forget(ctx, c, "waybill_consumer", s); err != nil {
					return err
				}
			}
			left, err := c.number(ctx, "SELECT count(*) FROM waybill_consumer")
			if missingTable(err, "waybill_consumer") {
				return nil
			}
			if err != nil || left > 0 {
				return err
			}
			if err := c.script(ctx, dropOutbox); err != nil {
				return err
			}
			left, err = c.number(ctx, "SELECT count(*) FROM waybill_meta")
			if err != nil || left > 0 {
				return err
			}
			return c.script(ctx, "DROP TABLE waybill_meta")
		})
		return c.wrap("uninstall the outbox from", err)
	})
}

// Drop removes the stream's registration.
func (o *Outbox) Drop(ctx context.Context, stream string) error {
	return withConn(ctx, o.opt.Path, func(c *conn) error {
		err := c.write(ctx, func(ctx context.Context) error { return forget(ctx, c, "waybill_consumer", stream) })
		return c.wrap("drop the stream from", err)
	})
}

// forget removes a stream's row from one of the package's tables, where there is such a table.
func forget(ctx context.Context, c *conn, table, stream string) error {
	_, err := c.exec(ctx, "DELETE FROM "+table+" WHERE stream = ?", stream)
	if missingTable(err, table) {
		return nil
	}
	return err
}

// knownFormat refuses a database that a newer version has written.
func knownFormat(ctx context.Context, c *conn, key, known string) error {
	have, err := c.text(ctx, "SELECT value FROM waybill_meta WHERE key = ?", key)
	if errors.Is(err, errNoRow) || missingTable(err, "waybill_meta") {
		return nil
	}
	if err == nil && have != known {
		return fmt.Errorf("it has %s %s, this version of waybill knows %s: upgrade waybill", key, have, known)
	}
	return err
}

// withConn runs fn on a connection of its own.
func withConn(ctx context.Context, path string, fn func(c *conn) error) error {
	c, err := openConn(ctx, path, connOptions{busy: installBusy})
	if err != nil {
		return err
	}
	return errors.Join(fn(c), c.close())
}

var (
	_ waybill.Reader    = (*Outbox)(nil)
	_ waybill.Backlog   = (*Outbox)(nil)
	_ waybill.Resumed   = (*Outbox)(nil)
	_ waybill.Installer = (*Outbox)(nil)
	_ waybill.Dropper   = (*Outbox)(nil)
	_ waybill.Checker   = (*Outbox)(nil)
	_ waybill.Claimant  = (*Outbox)(nil)
)
