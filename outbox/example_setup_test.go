package outbox_test

import (
	"context"
	"database/sql"
	"log"
	"os"
	"path/filepath"

	"github.com/waybill-data/waybill/internal/sqlite"
)

// exampleDatabase is a SQLite database with a business table and an outbox.
func exampleDatabase() (db *sql.DB, done func()) {
	dir, err := os.MkdirTemp("", "outbox-example-*")
	if err != nil {
		log.Fatal(err)
	}
	path := filepath.Join(dir, "app.db")
	if db, err = sql.Open("sqlite", path); err != nil {
		log.Fatal(err)
	}
	if _, err := db.Exec(customerTable); err != nil {
		log.Fatal(err)
	}
	if err := sqlite.NewOutbox(sqlite.SourceOptions{Path: path, Stream: "p/t"}).Install(context.Background(), "p/t"); err != nil {
		log.Fatal(err)
	}
	return db, func() {
		_ = db.Close()
		_ = os.RemoveAll(dir)
	}
}
