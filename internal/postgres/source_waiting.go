package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/waybill-data/waybill"
)

// Waiting counts the actions that the stream has not acknowledged and that would go with the
// outbox if the stream were uninstalled now: none where other consumers keep it, or where the
// stream is not registered. It stops at the bound of Backlog.
func (o *Outbox) Waiting(ctx context.Context, stream string) (actions int64, err error) {
	err = o.administer(ctx, func(conn *pgx.Conn) error {
		s, err := readServer(ctx, conn)
		if err != nil || !s.installed {
			return err
		}
		doing := "count what waits for consumer " + stream + " in database " + s.database
		var acked string
		err = conn.QueryRow(ctx, `select position from waybill.consumer
where name = $1 and not exists (select from waybill.consumer where name <> $1)`, stream).Scan(&acked)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		if err != nil {
			return classify(err, doing)
		}
		at, err := decodePosition(waybill.Position(acked))
		if err != nil {
			return fmt.Errorf("%s: %w", doing, err)
		}
		err = conn.QueryRow(ctx, fmt.Sprintf(`select count(*) from (select from (%s) f limit %d) w`, at.followingSQL(), backlogBound),
			pgx.QueryExecModeExec).Scan(&actions)
		return classify(err, doing)
	})
	return actions, err
}
