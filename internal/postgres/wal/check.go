package wal

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/postgres/server"
)

// Check looks at the server, the role, the slot, the publication and the tables' identities.
func (o *Reader) Check(ctx context.Context, stream string) ([]waybill.Finding, error) {
	var found []waybill.Finding
	err := o.administer(ctx, func(conn *sideConn) error {
		name, publication := o.names(stream)
		c := check{o: o, conn: conn, slot: name, publication: publication}
		for _, step := range []func(context.Context) (bool, error){c.server, c.role, c.ownSchema, c.room, c.slotState, c.published, c.identities, c.generated} {
			further, err := step(ctx)
			if err != nil {
				return server.Classify(err, "look at the source")
			}
			if !further {
				break
			}
		}
		found = c.found
		return nil
	})
	return found, err
}

// check collects findings. Its steps tell whether looking further makes sense.
type check struct {
	o                 *Reader
	conn              *sideConn
	slot, publication string
	exists            bool // the slot
	found             server.Findings
}

func (c *check) server(ctx context.Context) (bool, error) {
	s := c.conn.identity
	switch {
	case s.Version < minServerVersion:
		c.found.Bad("upgrade the server", "server is PostgreSQL %d, reading its log needs 13 or later", s.Version/10000)
		return false, nil
	case s.Standby:
		c.found.Bad("point url at the primary (several hosts with target_session_attrs=read-write find it)", "server is a standby, whose log is not read")
		return false, nil
	}
	var (
		level string
		fsync bool
	)
	if err := c.conn.QueryRow(ctx, `select current_setting('wal_level'), current_setting('fsync')::bool`).Scan(&level, &fsync); err != nil {
		return false, err
	}
	if level != "logical" {
		c.found.Bad("ALTER SYSTEM SET wal_level = logical; then restart the server", "wal_level is %s, so that the log cannot be decoded", level)
	} else {
		c.found.Good("server is a primary, PostgreSQL %d, database %s, wal_level logical", s.Version/10000, s.Database)
	}
	if !fsync {
		c.found.Warn("ALTER SYSTEM SET fsync = on; SELECT pg_reload_conf();", "the source runs with fsync off: a crash may take back what was handed on")
	}
	return true, nil
}

func (c *check) role(ctx context.Context) (bool, error) {
	var may bool
	if err := c.conn.QueryRow(ctx, mayReplicateSQL).Scan(&may); err != nil {
		return false, err
	}
	if !may {
		c.found.Bad(replicationSQL(c.conn.identity.Role), "role %s may not replicate", c.conn.identity.Role)
		return true, nil
	}
	c.found.Good("role %s may replicate", c.conn.identity.Role)
	return true, nil
}

// room looks for a free slot and a free sender.
func (c *check) room(ctx context.Context) (bool, error) {
	var slots, maxSlots, senders, maxSenders int
	var active bool
	err := c.conn.QueryRow(ctx, `select exists (select from pg_replication_slots where slot_name = $1),
  coalesce((select active from pg_replication_slots where slot_name = $1), false),
  (select count(*) from pg_replication_slots), current_setting('max_replication_slots')::int,
  (select count(*) from pg_stat_replication), current_setting('max_wal_senders')::int`, c.slot).
		Scan(&c.exists, &active, &slots, &maxSlots, &senders, &maxSenders)
	if err != nil {
		return false, err
	}
	if !c.exists && slots >= maxSlots {
		c.found.Bad(fmt.Sprintf("ALTER SYSTEM SET max_replication_slots = %d; then restart the server (or drop a slot that nobody needs)", maxSlots+5),
			"all %d replication slots of the server are taken", maxSlots)
	}
	if !active && senders >= maxSenders {
		c.found.Bad(fmt.Sprintf("ALTER SYSTEM SET max_wal_senders = %d; then restart the server", maxSenders+5),
			"all %d senders of the server (max_wal_senders) are busy", maxSenders)
	}
	return true, nil
}

func (c *check) slotState(ctx context.Context) (bool, error) {
	if !c.exists {
		c.found.Warn("waybill outbox install "+c.o.stream.Pipeline(), "slot %s is not there yet: the pipeline will begin with what commits after it was made", c.slot)
		return true, nil
	}
	var (
		pid                                    int32
		plugin, database, status, lost, client string
		kept                                   int64
	)
	err := c.conn.QueryRow(ctx, `select coalesce(s.active_pid, 0), coalesce(s.plugin, ''), coalesce(s.database, ''), coalesce(s.wal_status, ''),
  coalesce(to_jsonb(s) ->> 'invalidation_reason', ''), coalesce(a.application_name, ''), greatest(coalesce(pg_current_wal_lsn() - s.restart_lsn, 0), 0)::int8
from pg_replication_slots s left join pg_stat_activity a on a.pid = s.active_pid where s.slot_name = $1`, c.slot).
		Scan(&pid, &plugin, &database, &status, &lost, &client, &kept)
	if err != nil {
		return false, err
	}
	switch {
	case database != c.conn.identity.Database:
		c.found.Bad("name another one under `slot` in the configuration", "the server has a slot %s already, for its database %s", c.slot, database)
		return false, nil
	case plugin != "pgoutput":
		c.found.Bad("configure another slot", "slot %s is one of plug-in %s, not pgoutput", c.slot, plugin)
		return false, nil
	case status == "lost":
		c.found.Bad(c.o.stream.StartOver(), "%s", gaveUp(c.slot, lost))
		return false, nil
	case status == "unreserved":
		c.found.Warn("start the pipeline, or raise max_slot_wal_keep_size", "the server is about to give up the log of slot %s", c.slot)
	}
	if pid != 0 && client != c.o.side.name {
		c.found.Bad(fmt.Sprintf("end that session: SELECT pg_terminate_backend(%d); (or configure another slot)", pid), "slot %s is in use by session %d (%s)", c.slot, pid, client)
		return true, nil
	}
	c.found.Good("slot %s is there, wal_status %s, keeps %d MiB of log", c.slot, status, kept>>20)
	return true, nil
}

func (c *check) published(ctx context.Context) (bool, error) {
	if c.o.opts.Outbox && !c.conn.identity.Outbox {
		c.found.Bad("waybill outbox install "+c.o.stream.Pipeline(), "no outbox is installed in database %s", c.conn.identity.Database)
		return false, nil
	}
	var exists bool
	if err := c.conn.QueryRow(ctx, `select exists (select from pg_publication where pubname = $1)`, c.publication).Scan(&exists); err != nil {
		return false, err
	}
	tables, err := c.o.asked(ctx, c.conn, c.publication)
	if err != nil {
		return false, err
	}
	for _, pattern := range c.o.opts.Tables {
		one := []string{pattern}
		met := false
		for _, t := range tables {
			met = met || matches(one, t.String())
		}
		if !met {
			c.found.Warn("correct tables in the configuration", "no table is called %s", pattern)
		}
	}
	var lacking, foreign []string
	left := 0
	for _, t := range tables {
		if t.leftOut() {
			left++
		}
		if t.published || t.leftOut() {
			continue
		}
		lacking = append(lacking, t.quoted())
		if !t.owned && !c.o.opts.Outbox {
			foreign = append(foreign, t.quoted())
		}
	}
	if !exists {
		if c.exists {
			c.found.Bad(c.o.stream.StartOver(), "publication %s is not there, though the slot is: what changed since it went cannot be read", c.publication)
		} else if len(foreign) > 0 {
			c.found.Bad("run as a superuser: "+c.o.createSQL(c.conn.identity.Version, c.publication, lacking)+";",
				"role %s may not publish %s, which it does not own", c.conn.identity.Role, strings.Join(foreign, ", "))
		}
		return true, nil
	}
	if len(lacking) > 0 {
		c.found.Bad(addSQL(c.publication, lacking)+";", "publication %s lacks %s, so that changes there are not in the log", c.publication, strings.Join(lacking, ", "))
		return true, nil
	}
	c.found.Good("publication %s has %s", c.publication, server.Count(len(tables)-left, "table"))
	return true, nil
}

// identitiesSQL looks at a table, or at the partitions that hold its rows: theirs count. A deferrable
// primary key identifies nothing.
const identitiesSQL = `select n.nspname::text, c.relname::text, c.relreplident::text,
  exists (select from pg_index i where i.indrelid = c.oid and i.indisprimary and i.indimmediate),
  exists (select from pg_index i where i.indrelid = c.oid and i.indisreplident),
  exists (select from pg_index i where i.indrelid = c.oid and i.indisunique and i.indisvalid and i.indpred is null and i.indexprs is null)
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind = 'r' and (c.oid = $1::text::regclass or c.oid in (select relid from pg_partition_tree($1::text::regclass))) order by 1, 2`

// identity is what PostgreSQL tells a table's rows apart by.
type identity struct {
	table
	kind                   string // relreplident
	primary, index, unique bool
}

// keyless: the server refuses the table's updates and deletes once it is published.
func (i identity) keyless() bool {
	return !(i.kind == "f" || i.kind == "d" && i.primary || i.kind == "i" && i.index)
}

func (o *Reader) identities(ctx context.Context, c *sideConn, of string) ([]identity, error) {
	rows, err := c.Query(ctx, identitiesSQL, of)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (i identity, err error) {
		err = row.Scan(&i.schema, &i.name, &i.kind, &i.primary, &i.index, &i.unique)
		return i, err
	})
}

// identities looks for tables whose updates and deletes the server would refuse once they are
// published.
func (c *check) identities(ctx context.Context) (bool, error) {
	if c.o.opts.Outbox {
		return false, nil
	}
	tables, err := c.o.asked(ctx, c.conn, c.publication)
	if err != nil {
		return false, err
	}
	for _, t := range tables {
		if t.leftOut() {
			c.found.Warn(keyFix(t)+" or leave it so, if it need not be captured; named without * in tables it is captured nonetheless",
				"table %s has no key and is not captured: its updates and deletes would be refused at the source", t)
			continue
		}
		found, err := c.o.identities(ctx, c.conn, t.quoted())
		if err != nil {
			return false, err
		}
		for _, i := range found {
			c.identity(i, slices.Contains(c.o.opts.Whole, t.String()))
		}
	}
	return true, nil
}

func (c *check) identity(t identity, whole bool) {
	switch {
	case t.kind != "f" && whole:
		c.found.Bad(fmt.Sprintf("ALTER TABLE %s REPLICA IDENTITY FULL;", t.quoted()),
			"table %s has not replica identity full, so that mapping.%[1]s.where cannot tell a row that leaves it", t)
	case t.kind == "f" && !t.unique:
		c.found.Warn(fmt.Sprintf("ALTER TABLE %s ADD PRIMARY KEY (…);", t.quoted()),
			"table %s has no key: a target refuses its updates and deletes, unless it has a unique key that they hold", t)
	case !t.keyless():
	case t.primary:
		c.found.Bad(fmt.Sprintf("ALTER TABLE %s REPLICA IDENTITY DEFAULT;", t.quoted()),
			"table %s has no replica identity: its updates and deletes are refused at the source", t)
	default:
		c.found.Bad(keyFix(t.table),
			"table %s has no key: its updates and deletes are refused at the source", t)
	}
}

// generated tells which columns the log leaves out.
func (c *check) generated(ctx context.Context) (bool, error) {
	if c.conn.identity.Version >= 180000 {
		return true, nil
	}
	tables, err := c.o.asked(ctx, c.conn, c.publication)
	if err != nil {
		return false, err
	}
	var left []string
	for _, t := range tables {
		if t.leftOut() {
			continue
		}
		rows, err := c.conn.Query(ctx, `select attname::text from pg_attribute where attrelid = $1::text::regclass and attgenerated <> ''`, t.quoted())
		if err != nil {
			return false, err
		}
		names, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return false, err
		}
		for _, name := range names {
			left = append(left, t.String()+"."+name)
		}
	}
	if len(left) > 0 {
		c.found.Warn("generate them at the target too", "generated columns are not in the log of PostgreSQL %d: %s", c.conn.identity.Version/10000, strings.Join(left, ", "))
	}
	return true, nil
}
