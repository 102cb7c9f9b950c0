package wal

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/postgres/server"
)

const (
	// slotPatience bounds the wait for a slot that a session that just ended gives back.
	slotPatience = 3 * time.Second
	slotPause    = 50 * time.Millisecond
	slotInUse    = "55006"
)

// patiently does again what fails because somebody holds the slot. A session that just ended gives
// it back; one of this stream's own that stays is one of an engine that is gone, or that was
// replaced, and is ended.
//
// A reader that only opens again after its session was lost (former is then that session's backend)
// does not end another one's: that may be a successor's, and whether it is the lease at the target
// tells. It returns waybill.ErrFenced, and the next time takes the slot.
func (o *Reader) patiently(ctx context.Context, c *sideConn, name string, former uint32, do func() error) error {
	began, ended := time.Now(), false
	for {
		err := do()
		if server.Code(err) != slotInUse || time.Since(began) > slotPatience {
			return inUse(ctx, c, name, err)
		}
		if !ended && (former != 0 || time.Since(began) > slotPatience/6) {
			if ended, err = o.endSession(ctx, c, name, former); err != nil {
				return err
			}
		}
		timer := time.NewTimer(slotPause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
}

// sessionSQL finds the session that reads a slot, if it is one of this stream.
const sessionSQL = `select a.pid from pg_replication_slots s join pg_stat_activity a on a.pid = s.active_pid
where s.slot_name = $1 and a.application_name = $2`

// endSession ends the session of this stream that reads the slot, if there is one.
func (o *Reader) endSession(ctx context.Context, c *sideConn, name string, former uint32) (ended bool, err error) {
	var pid uint32
	err = c.QueryRow(ctx, sessionSQL, name, o.side.name).Scan(&pid)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return false, nil
	case err != nil:
		return false, server.Classify(err, "look who reads slot "+name)
	case former != 0 && pid != former:
		return false, fmt.Errorf("%w: session %d reads slot %s", waybill.ErrFenced, pid, name)
	}
	_, err = c.Exec(ctx, "select pg_terminate_backend($1)", int32(pid))
	return true, server.Classify(err, "take slot "+name+" over")
}
