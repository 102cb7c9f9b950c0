package poll

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/waybill-data/waybill/internal/postgres/server"
)

// SQL is what Install runs.
func (o *Reader) SQL() string { return outboxSQL }

// Install sets the outbox up and registers the streams at the oldest retained action; what
// is registered already stays where it is.
func (o *Reader) Install(ctx context.Context, streams ...string) error {
	return o.administer(ctx, func(conn *pgx.Conn) error {
		s, err := server.Identify(ctx, conn)
		if err != nil {
			return err
		}
		s.Outbox = true
		if s.Standby || s.Version < minServerVersion {
			return o.usable(ctx, conn, s)
		}
		if _, err := conn.PgConn().Exec(ctx, outboxSQL).ReadAll(); err != nil {
			return o.explainOwner(ctx, conn, s, err, "install the outbox in database "+s.Database+" as "+s.Role)
		}
		for _, stream := range streams {
			if _, err := conn.Exec(ctx, `insert into waybill.consumer (name) values ($1) on conflict do nothing`, stream); err != nil {
				return server.Classify(err, "register consumer "+stream)
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
  drop function waybill.emit(text, jsonb, text), waybill.outbox_draw(), waybill.outbox_fault(jsonb), waybill.outbox_known(text, text),
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
func (o *Reader) Uninstall(ctx context.Context, streams ...string) error {
	return o.administer(ctx, func(conn *pgx.Conn) error {
		err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, `set local lock_timeout = '10s'`); err != nil {
				return server.Classify(err, "uninstall the outbox")
			}
			if _, err := tx.Exec(ctx, `select pg_advisory_xact_lock(8673042169010)`); err != nil {
				return server.Classify(err, "uninstall the outbox")
			}
			for _, stream := range streams {
				if err := unregister(ctx, tx, stream); err != nil {
					return err
				}
			}
			_, err := tx.Exec(ctx, uninstallSQL)
			return server.Classify(err, "uninstall the outbox")
		})
		if server.Code(err) != insufficientPrivilege {
			return err
		}
		s, serr := server.Identify(ctx, conn)
		if serr != nil {
			return err
		}
		return o.explainOwner(ctx, conn, s, err, "uninstall the outbox in database "+s.Database+" as "+s.Role)
	})
}

// explainOwner is classify for what only an owner may do: it names who.
func (o *Reader) explainOwner(ctx context.Context, conn *pgx.Conn, s server.Identity, err error, doing string) error {
	pe, ok := errors.AsType[*pgconn.PgError](err)
	if !ok || pe.Code != insufficientPrivilege {
		return server.Classify(err, doing)
	}
	// The script leaves its transaction open where it fails.
	if _, rerr := conn.Exec(ctx, "rollback"); rerr != nil {
		return server.Classify(err, doing)
	}
	remedy, ferr := installFix(ctx, conn, s, o.stream.Pipeline())
	if owner, oerr := outboxOwner(ctx, conn); oerr == nil && owner != "" {
		remedy, ferr = fmt.Sprintf("the outbox belongs to role %s: let that role do it", server.Quote(owner)), nil
	}
	if ferr != nil || remedy == "" {
		return server.Classify(err, doing)
	}
	return server.Explain(doing+": "+pe.Message+" (SQLSTATE "+pe.Code+"); "+remedy, err)
}

// outboxOwner is the role that owns the outbox, or empty if there is none.
func outboxOwner(ctx context.Context, conn *pgx.Conn) (owner string, err error) {
	err = conn.QueryRow(ctx, `select pg_get_userbyid(c.relowner) from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname = 'waybill' and c.relname = 'outbox'`).Scan(&owner)
	if errors.Is(err, pgx.ErrNoRows) {
		err = nil
	}
	return owner, err
}

// installFix is what lets the role install the outbox, or empty if it may. There is no outbox
// yet; schema waybill may be there, with what a target keeps in it.
func installFix(ctx context.Context, conn *pgx.Conn, s server.Identity, pipeline string) (string, error) {
	var (
		may   bool
		owner string
	)
	err := conn.QueryRow(ctx, `select has_schema_privilege(oid, 'create') and has_schema_privilege(oid, 'usage')
  and coalesce((select has_table_privilege(c.oid, 'insert') and has_table_privilege(c.oid, 'select')
    from pg_class c where c.relnamespace = n.oid and c.relname = 'meta'), true), pg_get_userbyid(nspowner)
from pg_namespace n where nspname = 'waybill'
union all select has_database_privilege(current_database(), 'create'), '' where not exists (select from pg_namespace where nspname = 'waybill')`).
		Scan(&may, &owner)
	switch {
	case err != nil || may:
		return "", err
	case owner != "":
		return fmt.Sprintf("schema waybill belongs to role %s: let that role run waybill outbox install %s", server.Quote(owner), pipeline), nil
	}
	return fmt.Sprintf("grant create on database %s to %s; then run waybill outbox install %s "+
		"(or let an owner of the database run waybill outbox sql %[3]s | psql)", server.Quote(s.Database), server.Quote(s.Role), pipeline), nil
}

// Drop forgets the stream. What only it still needed may then go.
func (o *Reader) Drop(ctx context.Context, stream string) error {
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
	return server.Classify(err, "drop consumer "+stream)
}

// administer runs f on a connection of its own.
func (o *Reader) administer(ctx context.Context, f func(*pgx.Conn) error) error {
	conn, err := server.Connect(ctx, o.opts.URL, server.Options{Name: "waybill administration"})
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx)) //nolint:errcheck // what f did is committed or not
	return f(conn)
}
