package wal

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/waybill-data/waybill/internal/fault"
	"github.com/waybill-data/waybill/internal/postgres/server"
)

const (
	// maintainEvery is how often new tables are looked for, and the slot is looked at.
	maintainEvery = time.Minute
	// purgeEvery is how often the outbox is purged of what is in the log.
	purgeEvery = 3 * time.Second
	// heartbeatAt is how much log may be unconfirmed before a message of our own moves the slot.
	heartbeatAt = 16 << 20
)

// unpublishedError: tables are not published any more, though they were when reading began.
type unpublishedError struct{ error }

// maintain runs beside the receiving until the context ends, which stop has end with an error.
func (o *Reader) maintain(ctx context.Context, stop func(error)) {
	every := maintainEvery
	step := o.upkeep
	if o.opts.Outbox {
		every, step = purgeEvery, o.purge
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		ctx, cancel := context.WithTimeout(ctx, maintainEvery)
		err := o.side.do(ctx, func(c *sideConn) error { return step(ctx, c) })
		cancel()
		if gone, ok := errors.AsType[*unpublishedError](err); ok {
			stop(gone.error)
			return
		}
		if err != nil && ctx.Err() == nil {
			o.log.Warn("looking after the source failed", "error", err)
		}
	}
}

// upkeep publishes tables that came, and lets the slot move in a log that holds nothing for it.
func (o *Reader) upkeep(ctx context.Context, c *sideConn) error {
	tables, err := o.asked(ctx, c, o.opts.Publication)
	if err != nil {
		return err
	}
	var gone []string
	for _, t := range tables {
		if !t.published && o.published[t.quoted()] {
			gone = append(gone, t.quoted())
		}
	}
	if len(gone) > 0 {
		return &unpublishedError{o.lacks(gone)}
	}
	lacking := o.lackingOf(tables)
	if len(lacking) > 0 {
		if _, err := c.Exec(ctx, addSQL(o.opts.Publication, lacking)); err != nil {
			return denied(err, "publish new tables", addSQL(o.opts.Publication, lacking)+";")
		}
		for _, t := range lacking {
			o.published[t] = true
		}
		o.log.Warn("new tables are captured from now on; what they hold already is not", "tables", strings.Join(lacking, ", "))
		if err := o.warnKeyless(ctx, c, lacking); err != nil {
			return err
		}
	}
	_, err = c.Exec(ctx, `select pg_logical_emit_message(false, 'waybill.heartbeat', '') from pg_replication_slots
where slot_name = $1 and pg_current_wal_lsn() - confirmed_flush_lsn > $2`, o.opts.Slot, int64(heartbeatAt))
	return server.Classify(err, "write a heartbeat")
}

// purgeSQL registers that all is in the log that can be seen now, if there is anything to purge.
const purgeSQL = `insert into waybill.consumer as c (name, floor) select $1, pg_current_snapshot()
where not exists (select from waybill.consumer c where c.name = $1
  and not exists (select from waybill.outbox_order o where o.xid >= pg_snapshot_xmax(c.floor))
  and not exists (select from pg_snapshot_xip(c.floor) x join waybill.outbox_order o on o.xid = x))
on conflict (name) do update set floor = excluded.floor, updated_at = clock_timestamp()`

// purge lets the outbox's tables be emptied of what the log holds: the slot keeps that.
func (o *Reader) purge(ctx context.Context, c *sideConn) error {
	if _, err := c.Exec(ctx, purgeSQL, o.opts.Stream); err != nil {
		return server.Classify(err, "register consumer "+o.opts.Stream)
	}
	sql := `select waybill.outbox_purge(8388608, '10 s')`
	if fault.Broken(fault.PurgeUnacked) {
		sql = `truncate waybill.outbox, waybill.outbox_order`
	}
	_, err := c.Exec(ctx, sql)
	return server.Classify(err, "purge the outbox")
}
