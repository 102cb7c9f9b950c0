package target

import (
	"context"

	"github.com/waybill-data/waybill/internal/postgres/server"
)

// missingDatabase is the SQLSTATE of a database that does not exist.
const missingDatabase = "3D000"

// Knows tells whether the target remembers the stream. It changes nothing; a database that
// does not exist remembers nothing.
func (w *Writer) Knows(ctx context.Context, stream string) (bool, error) {
	conn, err := server.Connect(ctx, w.opts.URL, server.Options{})
	if server.Code(err) == missingDatabase {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer server.Close(conn)
	var known bool
	there, err := targetExists(ctx, conn)
	if err == nil && there {
		err = conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM waybill.position WHERE stream = $1)`, stream).Scan(&known)
	}
	return known, server.Classify(err, "look for stream "+stream+" at the target")
}
