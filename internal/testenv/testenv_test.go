package testenv

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

func TestMain(m *testing.M) { Main(m) }

func TestClusterSurvivesKill(t *testing.T) {
	c := NewCluster(t)
	Exec(t, c.URL("postgres"), "create table x(i int)")
	c.Kill(t)
	c.Start(t)
	Exec(t, c.URL("postgres"), "insert into x values(1)")
	c.Stop(t)
}

func TestDatabase(t *testing.T) {
	Exec(t, Postgres(t).URL, "create table x(i int)")
}

// TestVersions: each version that is tested against is what it says, and shares no server with another.
func TestVersions(t *testing.T) {
	EachVersion(t, func(t *testing.T, major int) {
		for _, url := range []string{PostgresVersion(t, major).URL, NewClusterVersion(t, major, "wal_level=logical").URL("postgres")} {
			conn, err := pgx.Connect(t.Context(), url)
			if err != nil {
				t.Fatal(err)
			}
			var version string
			if err := conn.QueryRow(t.Context(), "select version()").Scan(&version); err != nil {
				t.Fatal(err)
			}
			if err := conn.Close(t.Context()); err != nil {
				t.Error(err)
			}
			t.Log(version)
			if want := fmt.Sprintf("PostgreSQL %d.", major); !strings.HasPrefix(version, want) {
				t.Errorf("%s, want %s", version, want)
			}
		}
	})
}
