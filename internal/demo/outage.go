package demo

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// lockWrites takes the CRM's write lock, as a schema change or a bulk load would: nobody can
// write. The function returned gives it back.
func lockWrites(ctx context.Context, crm string) (release func() error, err error) {
	return hold(ctx, crm, "begin immediate")
}

// lockOut locks the CRM exclusively, as a restore would: nobody can even open it. It waits
// until all others have closed it.
func lockOut(ctx context.Context, crm string) (release func() error, err error) {
	return hold(ctx, crm, "begin exclusive", "locking_mode(EXCLUSIVE)")
}

func hold(ctx context.Context, crm, begin string, pragmas ...string) (release func() error, err error) {
	db, err := openDB(crm, 1, pragmas...)
	if err != nil {
		return nil, err
	}
	conn, err := db.Conn(ctx)
	if err == nil {
		_, err = conn.ExecContext(ctx, begin)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("take the CRM away: %w", err), closeBoth(conn, db))
	}
	return func() error {
		_, err := conn.ExecContext(context.WithoutCancel(ctx), "rollback")
		return errors.Join(err, closeBoth(conn, db))
	}, nil
}

func closeBoth(conn *sql.Conn, db *sql.DB) error {
	if conn == nil {
		return db.Close()
	}
	return errors.Join(conn.Close(), db.Close())
}
