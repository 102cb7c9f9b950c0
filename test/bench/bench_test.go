//go:build bench

package bench

import (
	"context"
	"flag"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/pattern"
	"github.com/waybill-data/waybill/internal/pump"
	"github.com/waybill-data/waybill/internal/testenv"
)

var (
	out    = flag.String("write", "", "file to write the report to")
	rounds = flag.Int("rounds", 5, "rounds of each comparison")
	scale  = flag.Int("messages", 200_000, "messages of the outbox drained")
)

func TestMain(m *testing.M) { testenv.Main(m) }

func TestBench(t *testing.T) {
	cluster := testenv.NewCluster(t, "shared_buffers=512MB", "max_wal_size=4GB", "autovacuum=off", "checkpoint_timeout=30min")
	url := cluster.URL("postgres")
	comparisons := []comparison{
		drainOutbox(t, url),
		applyPostgres(t, url),
		applySQLite(t),
	}
	l := commitToVisible(t, url)
	text := report(comparisons, l)
	fmt.Println(text)
	if *out != "" {
		if err := os.WriteFile(*out, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// rate is things per second of one run of f.
func rate(t *testing.T, n int, f func(ctx context.Context) error) float64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	start := time.Now()
	if err := f(ctx); err != nil {
		t.Fatal(err)
	}
	return float64(n) / time.Since(start).Seconds()
}

func dial(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(context.Background(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func run(ctx context.Context, stream string, r waybill.Reader, w waybill.Writer, untilCaughtUp bool) error {
	return pattern.Push(ctx, pattern.Parts{
		Stream: stream, Reader: r, Writer: w, UntilCaughtUp: untilCaughtUp, Meter: pump.NewMeter("bench", "target"),
	})
}

// payload is about 300 bytes.
func payload(id int) (name, email, note string) {
	return fmt.Sprintf("Customer number %d", id), fmt.Sprintf("customer.%d@example.com", id),
		fmt.Sprintf("%080d and some words that make up the rest of it", id)
}

// scatter spreads 0 … n-1 over the keys so that they come in random order. 611,953 is a prime.
func scatter(i, n int) int { return int(int64(i) * 611_953 % int64(n)) }
