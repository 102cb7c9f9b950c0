package target

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/postgres/server"
)

// oldestServer is the oldest major version of PostgreSQL that is supported, and tested.
const oldestServer = 13

// checkedTables bounds how many tables Check names in one finding.
const checkedTables = 10

// Check looks at the target: the server, schema waybill, and the tables of the schema that
// it writes to. It changes nothing.
func (w *Writer) Check(ctx context.Context, stream string) ([]waybill.Finding, error) {
	conn, err := server.Connect(ctx, w.opts.URL, server.Options{})
	if err != nil {
		return nil, err
	}
	defer server.Close(conn)
	c := &targetCheck{ctx: ctx, conn: conn, stream: stream, schema: w.opts.Schema}
	c.create, _ = w.opts.wants("")
	if c.schema == "" {
		c.schema = defaultSchema
	}
	for _, look := range []func() error{c.server, c.ownSchema, c.holder, c.targetSchema, c.privileges, c.keys} {
		if c.stop {
			break
		}
		if err := look(); err != nil {
			return c.findings, server.Classify(err, "check the target")
		}
	}
	return c.findings, nil
}

type targetCheck struct {
	ctx      context.Context //nolint:containedctx // lives within one call of Check
	conn     *pgx.Conn
	stream   string
	schema   string
	create   bool // missing tables are made
	stop     bool // what follows cannot be looked at
	findings []waybill.Finding
}

func (c *targetCheck) good(format string, args ...any) {
	c.findings = append(c.findings, waybill.Finding{OK: true, What: fmt.Sprintf(format, args...)})
}

func (c *targetCheck) bad(fix, format string, args ...any) {
	c.findings = append(c.findings, waybill.Finding{What: fmt.Sprintf(format, args...), Fix: fix})
}

func (c *targetCheck) warn(fix, format string, args ...any) {
	c.findings = append(c.findings, waybill.Finding{Warn: true, What: fmt.Sprintf(format, args...), Fix: fix})
}

func (c *targetCheck) server() error {
	var number int
	var version, name string
	var standby, readOnly bool
	err := c.conn.QueryRow(c.ctx, `SELECT current_setting('server_version_num')::int, current_setting('server_version'),
		current_database(), pg_is_in_recovery(), current_setting('transaction_read_only')::bool`).
		Scan(&number, &version, &name, &standby, &readOnly)
	if err != nil {
		return err
	}
	version, _, _ = strings.Cut(version, " ")
	switch {
	case number/10000 < oldestServer:
		c.bad(fmt.Sprintf("upgrade the server to PostgreSQL %d or newer", oldestServer), "PostgreSQL %s is too old", version)
	case standby:
		c.bad("let url name the primary server (several hosts and target_session_attrs=read-write find it)",
			"database %s is on a standby, which cannot be written to", name)
		c.stop = true
	case readOnly:
		fix, err := server.ReadOnlyFix(c.ctx, c.conn)
		if err != nil {
			return err
		}
		c.bad(fix, "transactions in database %s are read-only for role %s", name, c.conn.Config().User)
		c.stop = true
	default:
		c.good("PostgreSQL %s, database %s, can be written to", version, name)
	}
	return nil
}

// ownSchema checks schema waybill: there and usable, or to be created.
func (c *targetCheck) ownSchema() error {
	there, err := targetExists(c.ctx, c.conn)
	if err != nil {
		return err
	}
	var allowed bool
	if there {
		err = c.conn.QueryRow(c.ctx, `SELECT has_schema_privilege('waybill', 'USAGE') AND bool_and(
			has_table_privilege(c.oid, 'SELECT') AND has_table_privilege(c.oid, 'INSERT')
			AND has_table_privilege(c.oid, 'UPDATE') AND has_table_privilege(c.oid, 'DELETE'))
			FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
			WHERE n.nspname = 'waybill' AND c.relname = ANY ($1)`, targetTables).Scan(&allowed)
	} else {
		err = c.conn.QueryRow(c.ctx, `SELECT coalesce((SELECT has_schema_privilege(oid, 'USAGE') AND has_schema_privilege(oid, 'CREATE') FROM pg_namespace
			WHERE nspname = 'waybill'), has_database_privilege(current_database(), 'CREATE'))`).Scan(&allowed)
	}
	if err != nil {
		return err
	}
	if !allowed {
		fix, err := targetGrants(c.ctx, c.conn)
		c.bad(fix, "the role may not create or use schema waybill, where the position is kept")
		c.stop = c.stop || there
		return err
	}
	if !there {
		c.good("schema waybill, where the position is kept, will be created")
		return nil
	}
	format, err := readTargetFormat(c.ctx, c.conn)
	if err != nil {
		return err
	}
	if format > targetFormat {
		c.bad("run the newer version of waybill", "schema waybill has format %d, this waybill knows format %d", format, targetFormat)
		c.stop = true
		return nil
	}
	c.good("schema waybill is there, format %d", targetFormat)
	return nil
}

// holder tells who works on the stream now; a second engine stands by, which is no fault.
func (c *targetCheck) holder() error {
	if there, err := targetExists(c.ctx, c.conn); err != nil || !there {
		return err
	}
	var host string
	var pid int
	err := c.conn.QueryRow(c.ctx, `SELECT host, pid FROM waybill.lease WHERE stream = $1 AND expires_at > clock_timestamp()`, c.stream).Scan(&host, &pid)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err == nil {
		c.good("an engine on host %s, process %d, carries the stream now", host, pid)
	}
	return err
}

func (c *targetCheck) targetSchema() error {
	if why := reserved(c.schema, "…"); why != "" {
		c.bad("set schema to the one that holds the tables of the data", "%s", strings.Replace(why, "table "+c.schema+".…", "schema "+c.schema, 1))
		c.stop = true
		return nil
	}
	var exists, usable bool
	err := c.conn.QueryRow(c.ctx, `SELECT count(*) > 0, coalesce(bool_or(has_schema_privilege(oid, 'USAGE')), false)
		FROM pg_namespace WHERE nspname = $1`, c.schema).Scan(&exists, &usable)
	switch {
	case err != nil:
		return err
	case !exists && c.create:
		c.warn(fmt.Sprintf("CREATE SCHEMA %s AUTHORIZATION %s;", server.Quote(c.schema), server.Quote(c.conn.Config().User)),
			"schema %s does not exist; it is made with the first table of a captured change, if the role may do that", c.schema)
	case !exists:
		c.bad(fmt.Sprintf("CREATE SCHEMA %s; and in it the tables that the entities are written to", server.Quote(c.schema)),
			"schema %s does not exist", c.schema)
	case !usable:
		c.bad(fmt.Sprintf("GRANT USAGE ON SCHEMA %s TO %s;", server.Quote(c.schema), server.Quote(c.conn.Config().User)),
			"the role may not use schema %s", c.schema)
	}
	c.stop = c.stop || !exists || !usable
	return nil
}

// tables lists what a condition holds for among the schema's tables.
func (c *targetCheck) tables(condition string) ([]string, error) {
	rows, err := c.conn.Query(c.ctx, `SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname = $1 AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND `+condition+` ORDER BY 1`, c.schema)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// privileges: which tables the engine will write to shows only in the actions, so that a
// table it may not write to is a warning.
func (c *targetCheck) privileges() error {
	all, err := c.tables("true")
	if err != nil {
		return err
	}
	denied, err := c.tables(`NOT (has_table_privilege(c.oid, 'SELECT') AND has_table_privilege(c.oid, 'INSERT')
		AND has_table_privilege(c.oid, 'UPDATE') AND has_table_privilege(c.oid, 'DELETE'))`)
	if err != nil {
		return err
	}
	if err := c.mayCreate(); err != nil {
		return err
	}
	if len(all) == 0 && c.create {
		c.good("schema %s has no tables yet: they are made as rows come", c.schema)
	} else if len(all) == 0 {
		c.warn("create the tables that the entities are written to", "schema %s has no tables", c.schema)
	} else if len(denied) < len(all) {
		c.good("%s of schema %s can be written to", server.Count(len(all)-len(denied), "table"), c.schema)
	}
	if len(denied) > 0 {
		var grants []string
		for _, name := range denied[:min(len(denied), checkedTables)] {
			grants = append(grants, grantTable(c.schema, name, c.conn.Config().User))
		}
		c.warn(strings.Join(grants, " "), "the role may not write to %s", c.list(denied))
	}
	return nil
}

// mayCreate: missing tables can be made only with a privilege that writing does not take.
func (c *targetCheck) mayCreate() error {
	if !c.create {
		return nil
	}
	var may bool
	err := c.conn.QueryRow(c.ctx, "SELECT has_schema_privilege($1, 'CREATE')", c.schema).Scan(&may)
	if err == nil && !may {
		c.create = false
		c.warn(fmt.Sprintf("GRANT CREATE ON SCHEMA %s TO %s; or create: false", server.Quote(c.schema), server.Quote(c.conn.Config().User)),
			"the role may not create tables in schema %s, so captured changes of tables that are missing there stop the pipeline", c.schema)
	}
	return err
}

// keys: tables without a key can only be inserted into.
func (c *targetCheck) keys() error {
	keyless, err := c.tables(`NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid
		AND i.indpred IS NULL AND i.indexprs IS NULL)`)
	if err != nil {
		return err
	}
	if len(keyless) > 0 {
		var fixes []string
		for _, name := range keyless[:min(len(keyless), checkedTables)] {
			fixes = append(fixes, fmt.Sprintf("ALTER TABLE %s.%s ADD PRIMARY KEY (…);", server.Quote(c.schema), server.Quote(name)))
		}
		c.warn(strings.Join(fixes, " "), "without a primary key or unique constraint only op insert can be applied to %s", c.list(keyless))
	}
	deferrable, err := c.tables(`EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary AND NOT i.indimmediate)`)
	if err != nil {
		return err
	}
	if len(deferrable) > 0 {
		c.warn("declare the primary key NOT DEFERRABLE", "op upsert takes two statements instead of one at %s, whose primary key is deferrable",
			c.list(deferrable))
	}
	return nil
}

func (c *targetCheck) list(tables []string) string {
	shown := make([]string, 0, checkedTables)
	for _, name := range tables[:min(len(tables), checkedTables)] {
		shown = append(shown, c.schema+"."+name)
	}
	text := strings.Join(shown, ", ")
	if more := len(tables) - len(shown); more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}
