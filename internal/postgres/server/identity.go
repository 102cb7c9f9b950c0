package server

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// Identity is what a reader needs to know of the server it is connected to.
type Identity struct {
	Version int // server_version_num: 150004
	Standby bool
	// Source names the database for good, as positions do: postgres:SYSTEM/DATABASE.
	Source   string
	Timeline uint32 // 0 on a standby
	Database string
	Role     string
	// Outbox: the outbox is there.
	Outbox bool
}

const identitySQL = `select current_setting('server_version_num')::int, pg_is_in_recovery(),
  format('postgres:%s/%s', (select system_identifier from pg_control_system()), d.oid),
  case when pg_is_in_recovery() then 0 else ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::int end,
  d.datname, current_user,
  exists (select from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname = 'waybill' and c.relname = 'outbox')
from pg_database d where d.datname = current_database()`

// Identify asks the server who it is.
func Identify(ctx context.Context, conn *pgx.Conn) (Identity, error) {
	var (
		s    Identity
		line int32
	)
	err := conn.QueryRow(ctx, identitySQL).Scan(&s.Version, &s.Standby, &s.Source, &line, &s.Database, &s.Role, &s.Outbox)
	if err != nil {
		return Identity{}, Classify(err, "look at the source server")
	}
	s.Timeline = uint32(line)
	return s, nil
}
