package target

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strconv"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/waybill-data/waybill/internal/postgres/server"
)

// targetFormat is the version of what target.sql creates. A database with a newer one is
// refused; an older one is brought up by target.sql.
const targetFormat = 2

//go:embed target.sql
var targetSQL string

// targetTables are the tables of target.sql.
var targetTables = []string{"meta", "position", "lease"}

// createTarget creates what is missing and checks the format. It changes nothing, and needs
// no privilege to create, where everything is there.
func createTarget(ctx context.Context, conn *pgx.Conn) error {
	there, err := targetExists(ctx, conn)
	if err == nil && !there {
		err = runTargetSQL(ctx, conn)
	}
	if err != nil {
		return explainPrivilege(ctx, conn, err, "create schema waybill at the target")
	}
	format, err := readTargetFormat(ctx, conn)
	if err != nil {
		return explainPrivilege(ctx, conn, err, "read waybill.meta at the target")
	}
	if format > targetFormat {
		return newerFormat(format)
	}
	if format < targetFormat {
		err := runTargetSQL(ctx, conn)
		if server.Code(err) == "42501" {
			return server.Explain(fmt.Sprintf("bring schema waybill at the target from format %d to %d: %v; let the owner of its tables run, "+
				"or run the engine once as: ALTER TABLE waybill.position ADD COLUMN IF NOT EXISTS foreign_writes bigint NOT NULL DEFAULT 0; "+
				"UPDATE waybill.meta SET value = '2' WHERE key = 'target.format';", format, targetFormat, err), err)
		}
		return server.Classify(err, "bring schema waybill at the target to its newest format")
	}
	return nil
}

func newerFormat(format int) error {
	return fmt.Errorf("schema waybill at the target has format %d, written by a newer waybill; this one knows format %d: "+
		"run the newer version", format, targetFormat)
}

// targetExists tells whether all of Waybill's tables for targets are there, whatever the
// caller may do with them.
func targetExists(ctx context.Context, conn *pgx.Conn) (bool, error) {
	var n int
	err := conn.QueryRow(ctx, `SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname = 'waybill' AND c.relname = ANY ($1) AND c.relkind = 'r'`, targetTables).Scan(&n)
	return n == len(targetTables), err
}

func runTargetSQL(ctx context.Context, conn *pgx.Conn) error {
	tx, err := conn.Begin(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback(ctx) }()
	if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock($1)", int64(server.SchemaLock)); err != nil {
		return err
	}
	if _, err := conn.PgConn().Exec(ctx, targetSQL).ReadAll(); err != nil {
		return err
	}
	return tx.Commit(ctx)
}

// readTargetFormat returns 0 where the tables were created without it.
func readTargetFormat(ctx context.Context, conn *pgx.Conn) (int, error) {
	var text string
	err := conn.QueryRow(ctx, "SELECT value FROM waybill.meta WHERE key = 'target.format'").Scan(&text)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	format, err := strconv.Atoi(text)
	if err != nil {
		return 0, fmt.Errorf("waybill.meta says target.format is %q, which is no number", text)
	}
	return format, nil
}

// explainPrivilege adds the statements that a missing privilege takes.
func explainPrivilege(ctx context.Context, conn *pgx.Conn, err error, doing string) error {
	var pe *pgconn.PgError
	if !errors.As(err, &pe) || pe.Code != "42501" {
		return server.Classify(err, doing)
	}
	fix, ferr := targetGrants(ctx, conn)
	if ferr != nil || fix == "" {
		return server.Classify(err, doing)
	}
	return server.Explain(doing+": "+pe.Message+"; run as a superuser or the owner: "+fix, err)
}

// targetGrants are the statements that let the session's role use, or create, schema waybill.
func targetGrants(ctx context.Context, conn *pgx.Conn) (string, error) {
	var role, database string
	var schema, mayCreate, tables bool
	err := conn.QueryRow(ctx, `SELECT current_user, current_database(),
		EXISTS (SELECT FROM pg_namespace WHERE nspname = 'waybill'),
		coalesce((SELECT has_schema_privilege(oid, 'USAGE') AND has_schema_privilege(oid, 'CREATE') FROM pg_namespace WHERE nspname = 'waybill'), false),
		(SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
			WHERE n.nspname = 'waybill' AND c.relname = ANY ($1)) = $2`, targetTables, len(targetTables)).
		Scan(&role, &database, &schema, &mayCreate, &tables)
	if err != nil {
		return "", err
	}
	switch {
	case !schema:
		return fmt.Sprintf("CREATE SCHEMA waybill AUTHORIZATION %s;", server.Quote(role)), nil
	case !tables:
		return fmt.Sprintf("GRANT USAGE, CREATE ON SCHEMA waybill TO %s;", server.Quote(role)), nil
	}
	return fmt.Sprintf("GRANT USAGE ON SCHEMA waybill TO %[1]s; GRANT SELECT, INSERT, UPDATE, DELETE ON "+
		"waybill.meta, waybill.position, waybill.lease TO %[1]s;", server.Quote(role)), nil
}
