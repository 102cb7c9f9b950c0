package wal

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/postgres/server"
)

// What reading needs at the source: Check looks for it beforehand, and what fails for the want of it
// says the same.

// denied is err as server.Classify has it, with the statement to run where a privilege is lacking.
func denied(err error, doing, fix string) error {
	if pe, ok := errors.AsType[*pgconn.PgError](err); ok && pe.Code == "42501" {
		return server.Explain(fmt.Sprintf("%s: %s; run as a superuser: %s", doing, pe.Message, fix), err)
	}
	return server.Classify(err, doing)
}

func replicationSQL(role string) string {
	return fmt.Sprintf("ALTER ROLE %s REPLICATION;", server.Quote(role))
}

func ownSchemaSQL(database, role string) string {
	return fmt.Sprintf("GRANT CREATE ON DATABASE %s TO %s;", server.Quote(database), server.Quote(role))
}

func useSchemaSQL(role string) string {
	return fmt.Sprintf("GRANT USAGE, CREATE ON SCHEMA waybill TO %s;", server.Quote(role))
}

func slotTableGrantSQL(role string) string {
	return fmt.Sprintf("GRANT USAGE ON SCHEMA waybill TO %s; GRANT SELECT, INSERT, UPDATE, DELETE ON waybill.slot TO %[1]s;", server.Quote(role))
}

// mayReplicateSQL: Amazon has a role of which members may.
const mayReplicateSQL = `select r.rolsuper or r.rolreplication or
  exists (select from pg_roles m where m.rolname = 'rds_replication' and pg_has_role(r.oid, m.oid, 'member'))
from pg_roles r where r.rolname = session_user`

const ownSchemaPrivilegesSQL = `select n.oid is not null, t.oid is not null, has_database_privilege(current_database(), 'CREATE'),
  coalesce(has_schema_privilege(n.oid, 'USAGE'), false), coalesce(has_schema_privilege(n.oid, 'CREATE'), false),
  coalesce(has_table_privilege(t.oid, 'SELECT') and has_table_privilege(t.oid, 'INSERT')
    and has_table_privilege(t.oid, 'UPDATE') and has_table_privilege(t.oid, 'DELETE'), false)
from (select) one left join pg_namespace n on n.nspname = 'waybill'
left join pg_class t on t.relnamespace = n.oid and t.relname = 'slot'`

// ownSchema: whether the stream's slot can be registered.
func (c *check) ownSchema(ctx context.Context) (bool, error) {
	var schema, table, makes, enters, creates, writes bool
	if err := c.conn.QueryRow(ctx, ownSchemaPrivilegesSQL).Scan(&schema, &table, &makes, &enters, &creates, &writes); err != nil {
		return false, err
	}
	s := c.conn.identity
	switch {
	case !schema && !makes:
		c.found.Bad(ownSchemaSQL(s.Database, s.Role), "role %s may not make schema waybill in database %s, where the slot is registered", s.Role, s.Database)
	case schema && !table && (!enters || !creates):
		c.found.Bad(useSchemaSQL(s.Role), "role %s may not make table waybill.slot, where the slot is registered", s.Role)
	case table && (!enters || !writes):
		c.found.Bad(slotTableGrantSQL(s.Role), "role %s may not write to table waybill.slot, where the slot is registered", s.Role)
	}
	return true, nil
}

// covered refuses to read on where changes that are asked for would not be in what is read, and
// remembers what is published.
func (o *Reader) covered(ctx context.Context, c *sideConn) error {
	var exists, all bool
	err := c.QueryRow(ctx, `select count(*) > 0, coalesce(bool_and(pubinsert and (pubupdate and pubdelete and pubtruncate or $2)), false)
from pg_publication where pubname = $1`, o.opts.Publication, o.opts.Outbox).Scan(&exists, &all)
	if err != nil {
		return server.Classify(err, "look at publication "+o.opts.Publication)
	}
	switch {
	case !exists:
		return o.unpublished()
	case !all:
		return fmt.Errorf("publication %s leaves out inserts, updates, deletes or truncates; run ALTER PUBLICATION %s SET (publish = '%s'); "+
			"and bring over by hand what it left out", o.opts.Publication, server.Quote(o.opts.Publication), allOperations)
	}
	tables, err := o.asked(ctx, c, o.opts.Publication)
	if err != nil {
		return err
	}
	o.published = map[string]bool{}
	for _, t := range tables {
		if t.published {
			o.published[t.quoted()] = true
		}
	}
	lacking := o.lackingOf(tables)
	if len(lacking) == 0 {
		return nil
	}
	return o.lacks(lacking)
}

const allOperations = "insert, update, delete, truncate"

// lacks says that tables are not published: what was changed in them is not in the log.
func (o *Reader) lacks(tables []string) error {
	return fmt.Errorf("publication %s lacks %s, so that changes there are not in the log; run %s; (or waybill outbox install %s), "+
		"and bring over by hand what was changed there before", o.opts.Publication, strings.Join(tables, ", "),
		addSQL(o.opts.Publication, tables), o.stream.Pipeline())
}

// unpublished is the gap that a publication leaves: the log cannot be read with one that is made anew.
func (o *Reader) unpublished() error {
	return o.stream.Gap(fmt.Sprintf("publication %s was dropped, and with it the way to read what changed since", o.opts.Publication), o.stream.StartOver())
}

const slotHolderSQL = `select coalesce(s.active_pid, 0), coalesce(a.usename::text, ''), coalesce(a.application_name, '')
from pg_replication_slots s left join pg_stat_activity a on a.pid = s.active_pid where s.slot_name = $1`

// inUse tells who holds a slot, if that is what failed.
func inUse(ctx context.Context, c *sideConn, name string, err error) error {
	var (
		pid         int32
		role, named string
	)
	if server.Code(err) != slotInUse || c.QueryRow(ctx, slotHolderSQL, name).Scan(&pid, &role, &named) != nil || pid == 0 {
		return err
	}
	return waybill.AsTransient(server.Explain(fmt.Sprintf("slot %s is in use by session %d (%s, role %s); end that session, SELECT pg_terminate_backend(%d); "+
		"or name another slot under `slot` in the configuration", name, pid, named, role, pid), err))
}
