package poll

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/postgres/server"
)

// clockTolerance is how far the source's clock may differ from the engine's before the lag
// that is shown means little.
const clockTolerance = 2 * time.Second

// Check looks at the server, the outbox, the consumer and the reader's privileges.
func (o *Reader) Check(ctx context.Context, stream string) ([]waybill.Finding, error) {
	var found []waybill.Finding
	err := o.administer(ctx, func(conn *pgx.Conn) error {
		s, err := server.Identify(ctx, conn)
		if err != nil {
			return err
		}
		c := check{conn: conn, server: s, stream: stream, pipeline: o.stream.Pipeline()}
		for _, step := range []func(context.Context) (bool, error){
			c.checkServer, c.checkClock, c.checkDurability, c.checkInstalled, c.checkPrivileges, c.checkTriggers, c.checkConsumer,
		} {
			further, err := step(ctx)
			if err != nil {
				return err
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
	conn             *pgx.Conn
	server           server.Identity
	stream, pipeline string
	found            server.Findings
}

func (c *check) checkServer(ctx context.Context) (bool, error) {
	major := c.server.Version / 10000
	if c.server.Version < minServerVersion {
		c.found.Bad("upgrade the server", "server is PostgreSQL %d, the outbox needs 13 or later", major)
		return false, nil
	}
	if c.server.Standby {
		c.found.Bad("point url at the primary (several hosts with target_session_attrs=read-write find it)", "server is a standby, where an outbox cannot be read")
		return false, nil
	}
	var readOnly bool
	if err := c.conn.QueryRow(ctx, `select current_setting('transaction_read_only')::bool`).Scan(&readOnly); err != nil {
		return false, server.Classify(err, "read the source's settings")
	}
	if readOnly {
		fix, err := server.ReadOnlyFix(ctx, c.conn)
		c.found.Bad(fix, "transactions in database %s are read-only for role %s, so that nothing could be acknowledged", c.server.Database, c.server.Role)
		return false, server.Classify(err, "read the source's settings")
	}
	c.found.Good("server is a primary, PostgreSQL %d, database %s", major, c.server.Database)
	return true, nil
}

func (c *check) checkClock(ctx context.Context) (bool, error) {
	var there time.Time
	asked := time.Now()
	if err := c.conn.QueryRow(ctx, `select clock_timestamp()`).Scan(&there); err != nil {
		return false, server.Classify(err, "read the source's clock")
	}
	answered := time.Now()
	off := max(asked.Sub(there), there.Sub(answered), 0)
	if off > clockTolerance {
		c.found.Warn("synchronise the clocks of both hosts", "the source's clock differs from this host's by %v; times and lags will look wrong", off.Round(time.Second))
	}
	return true, nil
}

func (c *check) checkDurability(ctx context.Context) (bool, error) {
	var on bool
	if err := c.conn.QueryRow(ctx, `select current_setting('fsync')::bool`).Scan(&on); err != nil {
		return false, server.Classify(err, "read the source's settings")
	}
	if !on {
		c.found.Warn("alter system set fsync = on; select pg_reload_conf()", "the source runs with fsync off: a crash may take back what was handed on")
	}
	return true, nil
}

func (c *check) checkInstalled(ctx context.Context) (bool, error) {
	install := "waybill outbox install " + c.pipeline
	if !c.server.Outbox {
		fix, err := installFix(ctx, c.conn, c.server, c.pipeline)
		if err != nil {
			return false, server.Classify(err, "look at the privileges of "+c.server.Role)
		}
		if fix != "" {
			c.found.Bad(fix, "no outbox is installed in database %s, and role %s may not install it", c.server.Database, c.server.Role)
			return false, nil
		}
		c.found.Bad(install, "no outbox is installed in database %s", c.server.Database)
		return false, nil
	}
	var may bool
	if err := c.conn.QueryRow(ctx, `select has_schema_privilege('waybill', 'usage')`).Scan(&may); err != nil {
		return false, server.Classify(err, "look at schema waybill")
	}
	if !may {
		c.found.Bad(c.grants(), "role %s may not use schema waybill", c.server.Role)
		return false, nil
	}
	var format string
	err := c.conn.QueryRow(ctx, `select value from waybill.meta where key = 'outbox.format'`).Scan(&format)
	switch {
	case server.Code(err) == insufficientPrivilege:
		return true, nil // the next step says so
	case err != nil && !errors.Is(err, pgx.ErrNoRows):
		return false, server.Classify(err, "read the outbox's format")
	case format != outboxFormat:
		c.found.Bad("use the version of waybill that installed it", "the outbox has format %q, this version reads format %s", format, outboxFormat)
		return false, nil
	}
	c.found.Good("the outbox is installed, format %s", format)
	return true, nil
}

const insufficientPrivilege = "42501"

func (c *check) grants() string {
	role := server.Quote(c.server.Role)
	return fmt.Sprintf("grant usage on schema waybill to %[1]s; "+
		"grant select on waybill.outbox, waybill.outbox_order, waybill.meta, waybill.consumer to %[1]s; "+
		"grant insert, update, delete on waybill.consumer to %[1]s; "+
		"grant execute on function waybill.outbox_purge(bigint, interval) to %[1]s", role)
}

func (c *check) checkPrivileges(ctx context.Context) (bool, error) {
	var missing []string
	err := c.conn.QueryRow(ctx, `select coalesce(array_agg(what order by n), '{}') from (values
  (1, 'select on waybill.outbox', has_table_privilege('waybill.outbox', 'select')),
  (2, 'select on waybill.outbox_order', has_table_privilege('waybill.outbox_order', 'select')),
  (3, 'select on waybill.meta', has_table_privilege('waybill.meta', 'select')),
  (4, 'select on waybill.consumer', has_table_privilege('waybill.consumer', 'select')),
  (5, 'insert on waybill.consumer', has_table_privilege('waybill.consumer', 'insert')),
  (6, 'update on waybill.consumer', has_table_privilege('waybill.consumer', 'update')),
  (7, 'delete on waybill.consumer', has_table_privilege('waybill.consumer', 'delete')),
  (8, 'execute on waybill.outbox_purge', has_function_privilege('waybill.outbox_purge(bigint, interval)', 'execute')),
  (9, 'execute on pg_logical_emit_message', (select bool_and(has_function_privilege(oid, 'execute')) from pg_proc where proname = 'pg_logical_emit_message'))
) p (n, what, has) where not has`).Scan(&missing)
	if err != nil {
		return false, server.Classify(err, "look at the privileges of "+c.server.Role)
	}
	if len(missing) > 0 {
		fix := c.grants()
		if missing[len(missing)-1] == "execute on pg_logical_emit_message" {
			signature := "boolean, text, text"
			if c.server.Version >= 170000 {
				signature += ", boolean"
			}
			fix += fmt.Sprintf("; grant execute on function pg_logical_emit_message(%s) to %s", signature, server.Quote(c.server.Role))
		}
		c.found.Bad(fix, "role %s lacks %s", c.server.Role, strings.Join(missing, ", "))
		return false, nil
	}
	c.found.Good("role %s has the privileges to read the outbox", c.server.Role)
	return true, nil
}

// checkTriggers: without its trigger a transaction is never seen.
func (c *check) checkTriggers(ctx context.Context) (bool, error) {
	var n int
	err := c.conn.QueryRow(ctx, `select count(*) from pg_trigger where tgname = 'outbox_draw' and tgenabled = 'A'
  and tgrelid in ('waybill.outbox_0'::regclass, 'waybill.outbox_1'::regclass)`).Scan(&n)
	if err != nil {
		return false, server.Classify(err, "look at the outbox's triggers")
	}
	if n != 2 {
		c.found.Bad("alter table waybill.outbox_0 enable always trigger outbox_draw; alter table waybill.outbox_1 enable always trigger outbox_draw",
			"a trigger of the outbox is missing or disabled: what is emitted would not be seen")
	}
	return true, nil
}

func (c *check) checkConsumer(ctx context.Context) (bool, error) {
	var (
		seq int64
		at  time.Time
	)
	err := c.conn.QueryRow(ctx, `select seq, updated_at from waybill.consumer where name = $1`, c.stream).Scan(&seq, &at)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		c.found.Warn("waybill outbox install "+c.pipeline,
			"consumer %s is not registered yet: it will begin at the oldest action that is then retained", c.stream)
	case err != nil:
		return false, server.Classify(err, "read consumer "+c.stream)
	default:
		c.found.Good("consumer %s is registered and has acknowledged %s", c.stream, server.Count(int(seq), "action"))
	}
	return true, nil
}
