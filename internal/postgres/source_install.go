package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// SQL is what Install runs.
func (o *Outbox) SQL() string { return outboxSQL }

// Install sets the outbox up and registers the streams at the oldest retained action; what
// is registered already stays where it is.
func (o *Outbox) Install(ctx context.Context, streams ...string) error {
	return o.administer(ctx, func(conn *pgx.Conn) error {
		s, err := readServer(ctx, conn)
		if err != nil {
			return err
		}
		s.installed = true
		if s.standby || s.version < minServerVersion {
			return o.usable(ctx, conn, s)
		}
		if _, err := conn.PgConn().Exec(ctx, outboxSQL).ReadAll(); err != nil {
			return classify(err, "install the outbox in database "+s.database+" as "+s.role)
		}
		for _, stream := range streams {
			if _, err := conn.Exec(ctx, `insert into waybill.consumer (name) values ($1) on conflict do nothing`, stream); err != nil {
				return classify(err, "register consumer "+stream)
			}
		}
		return nil
	})
}

// uninstallSQL removes what outbox.sql made, unless there are consumers, and of the schema
// only what nothing else uses: a target's state may be kept in it.
const uninstallSQL = `do $$
begin
  if to_regclass('waybill.consumer') is null then
    return;
  end if;
  if exists (select from waybill.consumer) then
    return;
  end if;
  drop table waybill.outbox, waybill.outbox_order, waybill.outbox_control, waybill.consumer;
  drop sequence waybill.outbox_n, waybill.outbox_ord;
  drop function waybill.emit(text, jsonb, text), waybill.outbox_draw(), waybill.outbox_fault(jsonb),
    waybill.outbox_needed(smallint), waybill.outbox_purge(bigint, interval);
  delete from waybill.meta where key = 'outbox.format';
  if not exists (select from waybill.meta) and not exists (select from pg_class c
      where c.relnamespace = 'waybill'::regnamespace and c.relkind in ('r', 'p', 'v', 'm', 'f', 'S') and c.relname <> 'meta') then
    drop table waybill.meta;
  end if;
  if not exists (select from pg_class where relnamespace = 'waybill'::regnamespace)
    and not exists (select from pg_proc where pronamespace = 'waybill'::regnamespace)
    and not exists (select from pg_type where typnamespace = 'waybill'::regnamespace) then
    drop schema waybill;
  end if;
end $$`

// Uninstall removes the streams' registrations and, when no consumer is left, the outbox with
// whatever is in it. An application that still calls waybill.emit then fails.
func (o *Outbox) Uninstall(ctx context.Context, streams ...string) error {
	return o.administer(ctx, func(conn *pgx.Conn) error {
		return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, `set local lock_timeout = '10s'`); err != nil {
				return classify(err, "uninstall the outbox")
			}
			if _, err := tx.Exec(ctx, `select pg_advisory_xact_lock(8673042169010)`); err != nil {
				return classify(err, "uninstall the outbox")
			}
			for _, stream := range streams {
				if err := unregister(ctx, tx, stream); err != nil {
					return err
				}
			}
			_, err := tx.Exec(ctx, uninstallSQL)
			return classify(err, "uninstall the outbox")
		})
	})
}

// Drop forgets the stream. What only it still needed may then go.
func (o *Outbox) Drop(ctx context.Context, stream string) error {
	return o.administer(ctx, func(conn *pgx.Conn) error {
		return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error { return unregister(ctx, tx, stream) })
	})
}

func unregister(ctx context.Context, tx pgx.Tx, stream string) error {
	var there bool
	err := tx.QueryRow(ctx, `select exists (select from pg_class c join pg_namespace n on n.oid = c.relnamespace
  where n.nspname = 'waybill' and c.relname = 'consumer')`).Scan(&there)
	if err == nil && there {
		_, err = tx.Exec(ctx, `delete from waybill.consumer where name = $1`, stream)
	}
	return classify(err, "drop consumer "+stream)
}

// administer runs f on a connection of its own.
func (o *Outbox) administer(ctx context.Context, f func(*pgx.Conn) error) error {
	conn, err := connect(ctx, o.opts.URL, connectOptions{Name: "waybill administration"})
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx)) //nolint:errcheck // what f did is committed or not
	return f(conn)
}
