package wal

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/postgres/poll"
	"github.com/waybill-data/waybill/internal/postgres/server"
)

const slotTableSQL = `create schema if not exists waybill;
create table if not exists waybill.slot (
  stream      text        primary key,
  slot        text        not null unique,
  publication text        not null,
  start_lsn   pg_lsn      not null,
  registered  uuid        not null default gen_random_uuid()
);
`

// SQL is what Install runs. The publication and the slot depend on the server, and on what is there;
// comments show them.
func (o *Reader) SQL() string {
	sql, patterns := slotTableSQL, o.opts.Tables
	if o.opts.Outbox {
		sql, patterns = o.poller().SQL()+"\n"+slotTableSQL, []string{"waybill.outbox"}
	}
	var tables, wild []string
	for _, p := range patterns {
		if wildcard(p) {
			wild = append(wild, p)
		} else {
			tables = append(tables, p)
		}
	}
	if len(wild) > 0 {
		tables = append(tables, fmt.Sprintf("<all with a key that %s means>", strings.Join(wild, ", ")))
	}
	return sql + "\n-- Then install makes these, and registers the slot in waybill.slot:\n-- " + o.createSQL(0, o.opts.Publication, tables) +
		";\n-- SELECT pg_create_logical_replication_slot('" + o.opts.Slot + "', 'pgoutput');\n"
}

// wildcard tells whether a pattern may mean several tables.
func wildcard(pattern string) bool { return strings.ContainsAny(pattern, `*?[\`) }

func (o *Reader) poller() *poll.Reader {
	return poll.NewReader(poll.Options{URL: o.opts.URL, Stream: o.opts.Stream, Log: o.opts.Log})
}

// Install makes the table waybill.slot, and for every stream its publication and its slot; what is
// there stays as it is.
func (o *Reader) Install(ctx context.Context, streams ...string) error {
	return o.administer(ctx, func(c *sideConn) error {
		if err := o.usable(ctx, c); err != nil {
			return err
		}
		for _, stream := range streams {
			name, publication := o.names(stream)
			if err := o.install(ctx, c, name, publication, stream); err != nil {
				return err
			}
		}
		return nil
	})
}

// names are the slot and the publication of a stream.
func (o *Reader) names(stream string) (slot, publication string) {
	if stream == o.opts.Stream {
		return o.opts.Slot, o.opts.Publication
	}
	return SlotName(stream), SlotName(stream)
}

func (o *Reader) administer(ctx context.Context, f func(c *sideConn) error) error {
	if o.link == nil {
		defer o.side.close()
	}
	return o.side.do(ctx, f)
}

func (o *Reader) install(ctx context.Context, c *sideConn, name, publication, stream string) error {
	if o.opts.Outbox && !c.identity.Outbox {
		if err := o.poller().Install(ctx); err != nil {
			return err
		}
	}
	lock := fmt.Sprintf("select pg_advisory_lock(%d)", int64(server.SchemaLock))
	if _, err := c.Exec(ctx, lock); err != nil {
		return server.Classify(err, "install in database "+c.identity.Database)
	}
	defer func() {
		_, _ = c.Exec(context.WithoutCancel(ctx), strings.Replace(lock, "_lock", "_unlock", 1))
	}()
	var there bool
	if err := c.QueryRow(ctx, `select to_regclass('waybill.slot') is not null`).Scan(&there); err != nil {
		return denied(err, "look for table waybill.slot", slotTableGrantSQL(c.identity.Role))
	}
	if !there {
		if _, err := c.PgConn().Exec(ctx, slotTableSQL).ReadAll(); err != nil {
			return denied(err, "make table waybill.slot in database "+c.identity.Database, ownSchemaSQL(c.identity.Database, c.identity.Role)+
				" (or, where schema waybill is there: "+useSchemaSQL(c.identity.Role)+")")
		}
	}
	made, err := o.register(ctx, c, name, publication, stream)
	if err != nil {
		return err
	}
	if err := o.publish(ctx, c, publication); err != nil || made {
		return err
	}
	return o.makeSlot(ctx, c, name, stream)
}

// publish makes the publication, or adds to it what it lacks.
func (o *Reader) publish(ctx context.Context, c *sideConn, publication string) error {
	var exists bool
	if err := c.QueryRow(ctx, `select exists (select from pg_publication where pubname = $1)`, publication).Scan(&exists); err != nil {
		return server.Classify(err, "look for publication "+publication)
	}
	tables, err := o.asked(ctx, c, publication)
	if err != nil {
		return err
	}
	lacking := o.lackingOf(tables)
	var sql string
	switch {
	case exists && len(lacking) == 0:
		return nil
	case exists:
		sql = addSQL(publication, lacking)
	default:
		sql = o.createSQL(c.identity.Version, publication, lacking)
	}
	if _, err := c.Exec(ctx, sql); err != nil {
		return denied(err, "make publication "+publication, sql+";")
	}
	return o.warnKeyless(ctx, c, lacking)
}

// keyFix is what makes a table's updates and deletes possible.
func keyFix(t table) string {
	return fmt.Sprintf("ALTER TABLE %s ADD PRIMARY KEY (…); (or ALTER TABLE %[1]s REPLICA IDENTITY FULL; where the target has a unique key)", t.quoted())
}

func (o *Reader) warnLeftOut(t table) {
	if o.leftOut[t.quoted()] {
		return
	}
	if o.leftOut == nil {
		o.leftOut = map[string]bool{}
	}
	o.leftOut[t.quoted()] = true
	o.log.Warn("a table without a key is not captured: PostgreSQL would refuse the application's updates and deletes of it", "table", t.String(),
		"remedy", keyFix(t)+" or leave it so, if it need not be captured")
}

// warnKeyless tells of tables that the server does not let change any more, now that they are
// published.
func (o *Reader) warnKeyless(ctx context.Context, c *sideConn, tables []string) error {
	if o.opts.Outbox {
		return nil
	}
	var keyless []string
	for _, t := range tables {
		found, err := o.identities(ctx, c, t)
		if err != nil {
			return server.Classify(err, "look at the identity of "+t)
		}
		for _, i := range found {
			if i.keyless() {
				keyless = append(keyless, i.quoted())
			}
		}
	}
	if len(keyless) > 0 {
		o.log.Warn("tables without a key are published: PostgreSQL refuses their updates and deletes from now on; "+
			"add primary keys, or ALTER TABLE … REPLICA IDENTITY FULL", "tables", strings.Join(keyless, ", "))
	}
	return nil
}

func (o *Reader) createSQL(version int, publication string, tables []string) string {
	with := "publish_via_partition_root = true"
	if o.opts.Outbox {
		with += ", publish = 'insert'"
	} else if version >= 180000 {
		with += ", publish_generated_columns = stored"
	}
	sql := "CREATE PUBLICATION " + server.Quote(publication)
	if len(tables) > 0 {
		sql += " FOR TABLE " + strings.Join(tables, ", ")
	}
	return sql + " WITH (" + with + ")"
}

func addSQL(publication string, tables []string) string {
	return "ALTER PUBLICATION " + server.Quote(publication) + " ADD TABLE " + strings.Join(tables, ", ")
}

const tablesSQL = `select n.nspname::text, c.relname::text,
  coalesce(array(select an.nspname || '.' || a.relname from pg_partition_ancestors(c.oid) p (id)
    join pg_class a on a.oid = p.id join pg_namespace an on an.oid = a.relnamespace where a.oid <> c.oid), '{}'),
  exists (select from pg_publication_tables t join pg_namespace pn on pn.nspname = t.schemaname
    join pg_class p on p.relnamespace = pn.oid and p.relname = t.tablename
    where t.pubname = $1 and (p.oid = c.oid or p.oid in (select pg_partition_ancestors(c.oid)) or c.oid in (select pg_partition_ancestors(p.oid)))),
  pg_has_role(c.relowner, 'USAGE'),
  exists (select from (select c.oid union select relid from pg_partition_tree(c.oid)) p (id) join pg_class l on l.oid = p.id
    where (l.relkind = 'r' or l.oid = c.oid and not exists (select from pg_inherits where inhparent = c.oid))
      and not (l.relreplident = 'f'
        or l.relreplident = 'd' and exists (select from pg_index i where i.indrelid = l.oid and i.indisprimary and i.indimmediate)
        or l.relreplident = 'i' and exists (select from pg_index i where i.indrelid = l.oid and i.indisreplident)))
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'p') and c.relpersistence = 'p' and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
order by 1, 2`

// table is one that could be published.
type table struct {
	schema, name string
	ancestors    []string // of a partition
	published    bool
	owned        bool // by a role that this one may act for
	keyless      bool // see identity; of a partition is enough
	named        bool // without a wildcard
}

// leftOut: nobody asked for this very table, and publishing it would have the server refuse the
// application's updates and deletes.
func (t table) leftOut() bool { return t.keyless && !t.named && !t.published }

func (t table) String() string { return t.schema + "." + t.name }
func (t table) quoted() string { return pgx.Identifier{t.schema, t.name}.Sanitize() }

// asked are the tables that the patterns mean; a partition is meant by its root.
func (o *Reader) asked(ctx context.Context, c *sideConn, publication string) ([]table, error) {
	rows, err := c.Query(ctx, tablesSQL, publication)
	if err != nil {
		return nil, server.Classify(err, "list the source's tables")
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (t table, err error) {
		err = row.Scan(&t.schema, &t.name, &t.ancestors, &t.published, &t.owned, &t.keyless)
		return t, err
	})
	if err != nil {
		return nil, server.Classify(err, "list the source's tables")
	}
	patterns := o.opts.Tables
	if o.opts.Outbox {
		patterns = []string{"waybill.outbox"}
	}
	exact := slices.DeleteFunc(slices.Clone(patterns), wildcard)
	for i := range all {
		all[i].named = matches(exact, all[i].String())
	}
	return slices.DeleteFunc(all, func(t table) bool {
		return !matches(patterns, t.String()) || t.schema == "waybill" && !o.opts.Outbox ||
			slices.ContainsFunc(t.ancestors, func(a string) bool { return matches(patterns, a) })
	}), nil
}

// lackingOf are the tables, quoted, that should be published and are not. It warns once of each that
// is left out until it has a key.
func (o *Reader) lackingOf(tables []table) []string {
	var names []string
	for _, t := range tables {
		switch {
		case t.leftOut():
			o.warnLeftOut(t)
		case !t.published:
			names = append(names, t.quoted())
		}
	}
	return names
}

// register notes what is about to be made for the stream, so that Drop finds it whatever fails
// after, and tells whether all of it was made. A registration without a place says that the slot
// was not made to the end: nothing was ever read from it.
//
// A slot of that name that the registration does not explain belongs to somebody else, perhaps in
// another database of the server, and stays.
func (o *Reader) register(ctx context.Context, c *sideConn, name, publication, stream string) (made bool, err error) {
	var database string
	var known bool
	err = c.QueryRow(ctx, `select coalesce(database, '')::text, coalesce(database = current_database(), false) and
  exists (select from waybill.slot w where w.stream = $2 and w.slot = slot_name) from pg_replication_slots where slot_name = $1`,
		name, stream).Scan(&database, &known)
	switch {
	case err != nil && !errors.Is(err, pgx.ErrNoRows):
		return false, server.Classify(err, "look for slot "+name)
	case err == nil && !known:
		return false, fmt.Errorf("the server has a slot %s already (database %s), which was not made for stream %s; name another one under `slot` in the configuration",
			name, database, stream)
	}
	err = c.QueryRow(ctx, `insert into waybill.slot as s (stream, slot, publication, start_lsn) values ($1, $2, $3, '0/0')
on conflict (stream) do update set stream = excluded.stream returning start_lsn > '0/0'`, stream, name, publication).Scan(&made)
	if err != nil {
		return false, denied(err, "register stream "+stream, slotTableGrantSQL(c.identity.Role))
	}
	return made, nil
}

func (o *Reader) makeSlot(ctx context.Context, c *sideConn, name, stream string) error {
	if err := o.dropSlot(ctx, c, name); err != nil {
		return err
	}
	call := `pg_create_logical_replication_slot($1, 'pgoutput')`
	if c.identity.Version >= 170000 {
		call = `pg_create_logical_replication_slot($1, 'pgoutput', false, false, true)`
	}
	slow := time.AfterFunc(slotPatience, func() {
		o.log.Warn("making the slot waits for transactions that are open at the source", "slot", name,
			"remedy", "let them end; SELECT pid, xact_start FROM pg_stat_activity WHERE backend_xid IS NOT NULL shows them")
	})
	defer slow.Stop()
	var lsn string
	if err := c.QueryRow(ctx, `select lsn::text from `+call, name).Scan(&lsn); err != nil {
		return denied(err, "make slot "+name, replicationSQL(c.identity.Role))
	}
	if _, err := c.Exec(ctx, `update waybill.slot set start_lsn = $2::text::pg_lsn where stream = $1`, stream, lsn); err != nil {
		return server.Classify(err, "register stream "+stream)
	}
	return nil
}

// dropSlot drops a slot if this database has it. It waits for a session that just ended to give it back.
func (o *Reader) dropSlot(ctx context.Context, c *sideConn, name string) error {
	return o.patiently(ctx, c, name, 0, func() error {
		_, err := c.Exec(ctx, `select pg_drop_replication_slot(slot_name) from pg_replication_slots
where slot_name = $1 and database = current_database()`, name)
		return server.Classify(err, "drop slot "+name)
	})
}

// uninstallSQL removes what nobody needs any more.
const uninstallSQL = `do $$ begin
  if to_regclass('waybill.slot') is not null and not exists (select from waybill.slot) then
    drop table waybill.slot;
  end if;
end $$`

// Uninstall removes the streams' slots, publications and registrations, and with the last of them
// the table, the outbox where that is read, and the schema if nothing else is in it.
func (o *Reader) Uninstall(ctx context.Context, streams ...string) error {
	for _, stream := range streams {
		if err := o.Drop(ctx, stream); err != nil {
			return err
		}
	}
	err := o.administer(ctx, func(c *sideConn) error {
		_, err := c.Exec(ctx, uninstallSQL)
		return server.Classify(err, "uninstall from database "+c.identity.Database)
	})
	if err != nil {
		return err
	}
	if o.opts.Outbox {
		return o.poller().Uninstall(ctx, streams...)
	}
	return o.administer(ctx, func(c *sideConn) error {
		if _, err := c.Exec(ctx, "drop schema if exists waybill"); err != nil && server.Code(err) != stillInUse {
			return server.Classify(err, "uninstall from database "+c.identity.Database)
		}
		return nil
	})
}

// stillInUse: a schema that is not empty.
const stillInUse = "2BP01"

// Drop removes the stream's slot, its publication and its registration.
func (o *Reader) Drop(ctx context.Context, stream string) error {
	return o.administer(ctx, func(c *sideConn) error {
		var there bool
		if err := c.QueryRow(ctx, `select to_regclass('waybill.slot') is not null`).Scan(&there); err != nil || !there {
			return server.Classify(err, "look for table waybill.slot")
		}
		var name, publication string
		err := c.QueryRow(ctx, `select slot, publication from waybill.slot where stream = $1`, stream).Scan(&name, &publication)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		if err != nil {
			return server.Classify(err, "look for stream "+stream)
		}
		if err := o.dropSlot(ctx, c, name); err != nil {
			return err
		}
		var shared bool
		if err := c.QueryRow(ctx, `select exists (select from waybill.slot where publication = $1 and stream <> $2)`, publication, stream).Scan(&shared); err != nil {
			return server.Classify(err, "look at publication "+publication)
		}
		if !shared {
			if _, err := c.Exec(ctx, "drop publication if exists "+server.Quote(publication)); err != nil {
				return server.Classify(err, "drop publication "+publication)
			}
		}
		if _, err = c.Exec(ctx, `delete from waybill.slot where stream = $1`, stream); err == nil && o.opts.Outbox && c.identity.Outbox {
			_, err = c.Exec(ctx, `delete from waybill.consumer where name = $1`, stream)
		}
		return server.Classify(err, "forget stream "+stream)
	})
}

// Retained looks at what the server keeps for the slot.
func (o *Reader) Retained(ctx context.Context) (waybill.Retained, error) {
	r := waybill.Retained{Slot: o.opts.Slot, Limit: o.opts.MaxSlotBytes}
	err := o.side.do(ctx, func(c *sideConn) error {
		err := c.QueryRow(ctx, `select coalesce(wal_status, ''), active,
  greatest(coalesce(pg_current_wal_lsn() - restart_lsn, 0), 0)::int8, greatest(coalesce(pg_current_wal_lsn() - confirmed_flush_lsn, 0), 0)::int8
from pg_replication_slots where slot_name = $1`, o.opts.Slot).Scan(&r.Status, &r.Active, &r.Bytes, &r.Unconfirmed)
		if errors.Is(err, pgx.ErrNoRows) {
			return fmt.Errorf("the slot %s is gone", o.opts.Slot)
		}
		return server.Classify(err, "look at slot "+o.opts.Slot)
	})
	return r, err
}
