package target

import (
	"database/sql"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/conformance"
	"github.com/waybill-data/waybill/internal/testenv"
)

// TestWriterConformance runs on the newest server too: what it makes of the statements is not what an
// older one does.
func TestWriterConformance(t *testing.T) {
	testenv.EachVersion(t, func(t *testing.T, major int) {
		db := testenv.PostgresVersion(t, major)
		conformance.TestWriter(t, func(t *testing.T) conformance.Target {
			// A database for each rule would take longer than the rules do.
			testenv.Exec(t, db.URL, "DROP SCHEMA IF EXISTS waybill CASCADE; DROP SCHEMA public CASCADE; CREATE SCHEMA public")
			// The test user is called waybill, and "$user" comes first in the default search_path.
			handle, err := sql.Open("pgx", db.URL+"&search_path=public")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = handle.Close() })
			return conformance.Target{
				New: func(_ testing.TB, owner string) waybill.Writer {
					return NewWriter(Options{URL: db.URL, Owner: owner})
				},
				DB:     handle,
				Prefix: "waybill.",
				Expire: func(t testing.TB) {
					testenv.Exec(t, db.URL, "UPDATE waybill.lease SET expires_at = clock_timestamp() - interval '1 s'")
				},
			}
		})
	})
}
