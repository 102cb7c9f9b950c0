package poll

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/postgres/server"
)

// Waiting counts the actions that one of the streams has not acknowledged and that would go with
// the outbox if they were all uninstalled now: none where other consumers keep it, or where none
// of them is registered. It stops at the bound of Backlog.
func (o *Reader) Waiting(ctx context.Context, streams ...string) (actions int64, err error) {
	err = o.administer(ctx, func(conn *pgx.Conn) error {
		s, err := server.Identify(ctx, conn)
		if err != nil || !s.Outbox {
			return err
		}
		doing := "count what waits for consumer " + strings.Join(streams, ", ") + " in database " + s.Database
		rows, err := conn.Query(ctx, `select position from waybill.consumer
where name = any($1) and not exists (select from waybill.consumer where name <> all($1))`, streams)
		if err != nil {
			return server.Classify(err, doing)
		}
		positions, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return server.Classify(err, doing)
		}
		for _, acked := range positions { // the one that is furthest behind counts
			at, err := decodePosition(waybill.Position(acked))
			if err != nil {
				return fmt.Errorf("%s: %w", doing, err)
			}
			var n int64
			err = conn.QueryRow(ctx, fmt.Sprintf(`select count(*) from (select from (%s) f limit %d) w`, at.followingSQL(), backlogBound),
				pgx.QueryExecModeExec).Scan(&n)
			if err != nil {
				return server.Classify(err, doing)
			}
			actions = max(actions, n)
		}
		return nil
	})
	return actions, err
}
