//go:build bench

package bench

import (
	"context"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"

	"github.com/waybill-data/waybill/internal/jetstream"
	"github.com/waybill-data/waybill/internal/pattern"
	pgtarget "github.com/waybill-data/waybill/internal/postgres/target"
	"github.com/waybill-data/waybill/internal/testenv"
)

const (
	plainStream  = "plain"
	plainSubject = "plain.outbox"
	// sideBySide is how many Watermill subscribers share an outbox where order does not matter.
	sideBySide = 4
)

// outboxToQueue compares the way into the queue with three others on one kind of server.
func outboxToQueue(t *testing.T, url string) []comparison {
	engine := fmt.Sprintf("`capture: outbox` into `queue: embedded`, %d messages of about 300 B, each an action in a transaction of its own: in order, "+
		"one CloudEvent each, every message synced to disk before it is acknowledged at the source and purged there", *scale)
	watermill := "Watermill 1.5, watermill-sql v4 with the PostgreSQL queue schema, DeleteOnAck, 1,000 rows a query, publishing by " +
		"watermill-nats to JetStream in the same process, which syncs every 2 minutes"
	forwarded := comparison{
		name: "PostgreSQL outbox into the queue, against Watermill's forwarder", unit: "messages/s", asked: 6,
		yardstick: watermill + "; a router without envelopes, which is faster than its forwarder component", engine: engine,
	}
	component := comparison{
		name: "the same, against its forwarder component", unit: "messages/s",
		yardstick: watermill + "; components/forwarder as it comes", engine: "as above",
	}
	unordered := comparison{
		name: "the same, against Watermill without order", unit: "messages/s",
		yardstick: fmt.Sprintf("as above, with %d subscribers side by side, each taking every %dth row: messages overtake each other", sideBySide, sideBySide), engine: "as above",
	}
	plain := comparison{
		name: "the same, against a plain loop", unit: "messages/s", asked: 0.8,
		yardstick: "pgx `SELECT … ORDER BY id LIMIT 1000`, asynchronous JetStream publishes of the payloads, all of them awaited, `DELETE` of the ids; " +
			"JetStream in the same process, which syncs every 2 minutes",
		engine: "as above",
	}
	source := fresh(t, url, "queue_source")
	for range *rounds {
		if !*engineOnly {
			fillWatermill(t, source, false)
			forwarded.plain = append(forwarded.plain, forwardWatermill(t, source, 1, false))
			fillWatermill(t, source, true)
			component.plain = append(component.plain, forwardWatermill(t, source, 1, true))
			fillWatermill(t, source, false)
			unordered.plain = append(unordered.plain, forwardWatermill(t, source, sideBySide, false))
			testenv.Exec(t, source, `drop table "watermill_`+watermillTopic+`"`)
			fillPlain(t, source)
			plain.plain = append(plain.plain, publishPlain(t, source))
			testenv.Exec(t, source, "drop table plain")
		}
		fillOutbox(t, source, "bench/embedded")
		forwarded.ours = append(forwarded.ours, intoQueue(t, source))
	}
	component.ours, unordered.ours, plain.ours = forwarded.ours, forwarded.ours, forwarded.ours
	return []comparison{forwarded, component, unordered, plain}
}

// startQueue starts the engine's queue in a directory of its own.
func startQueue(t *testing.T) (*jetstream.Server, *jetstream.Queue) {
	t.Helper()
	s := jetstream.NewServer(jetstream.ServerOptions{Dir: t.TempDir()})
	if err := s.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	return s, jetstream.NewQueue(s, jetstream.QueueOptions{Stream: "waybill", MaxBytes: 8 << 30})
}

// intoQueue is the rate of the first hop.
func intoQueue(t *testing.T, source string) float64 {
	t.Helper()
	s, q := startQueue(t)
	in := hop("bench/embedded", outboxOf(source, "bench/embedded"), jetstream.NewWriter(q, jetstream.WriterOptions{Subject: "bench"}))
	v := rate(t, *scale, func(ctx context.Context) error {
		return pattern.Queue(ctx, pattern.Parts{In: in, UntilCaughtUp: true})
	})
	stats, err := q.Stats(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	// Beside one message an action there may be some that only move the position.
	if n := uint64(*scale); in.Meter.Snapshot().Seq != n || stats.Messages < n || stats.Messages > n+n/1000+1 {
		t.Fatalf("the queue holds %d messages for %d actions", stats.Messages, n)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return v
}

// throughQueue is the rate of both hops at once.
func throughQueue(t *testing.T, source, target string) float64 {
	t.Helper()
	s, q := startQueue(t)
	in := hop("bench/embedded", outboxOf(source, "bench/embedded"), jetstream.NewWriter(q, jetstream.WriterOptions{Subject: "bench"}))
	out := hop("bench/postgres",
		jetstream.NewReader(q, jetstream.ReaderOptions{Subject: "bench", Stream: "bench/postgres", MaxActions: *batch, MaxBytes: 4 << 20}),
		pgtarget.NewWriter(pgtarget.Options{URL: target}))
	v := rate(t, *scale, func(ctx context.Context) error {
		return pattern.Queue(ctx, pattern.Parts{In: in, Out: []*pattern.Hop{out}, UntilCaughtUp: true})
	})
	stats, err := q.Stats(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	// What the consumer lacks are messages that only moved the position, and are kept as the last.
	if n := uint64(*scale); len(stats.Consumers) != 1 || stats.Consumers[0].Depth > 2 || in.Meter.Snapshot().Seq != n || out.Meter.Snapshot().Seq != n {
		t.Fatalf("not everything went through the queue: %+v", stats)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return v
}

// plainJetStream is a JetStream server in this process as it comes: synced every two minutes.
type plainJetStream struct {
	server *server.Server
	nc     *nats.Conn
	js     natsjs.JetStream
	stream natsjs.Stream
}

func startPlainJetStream(t *testing.T) *plainJetStream {
	t.Helper()
	s, err := server.NewServer(&server.Options{DontListen: true, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	p := &plainJetStream{server: s}
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the JetStream server does not start")
	}
	if p.nc, err = nats.Connect("", nats.InProcessServer(s)); err != nil {
		t.Fatal(err)
	}
	// As many under way as the loop reads at once: its turn ends with all of them acknowledged.
	if p.js, err = natsjs.New(p.nc, natsjs.WithPublishAsyncMaxPending(plainBatch)); err != nil {
		t.Fatal(err)
	}
	if p.stream, err = p.js.CreateStream(context.Background(), natsjs.StreamConfig{Name: plainStream, Subjects: []string{plainStream + ".>"}}); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *plainJetStream) close() {
	p.nc.Close()
	p.server.Shutdown()
	p.server.WaitForShutdown()
}

// held is how many messages the stream holds; the largest number while it cannot be asked.
func (p *plainJetStream) held(ctx context.Context) (uint64, error) {
	info, err := p.stream.Info(ctx)
	if err != nil {
		return math.MaxUint64, err
	}
	return info.State.Msgs, nil
}

func (p *plainJetStream) await(ctx context.Context, n uint64) error {
	for {
		held, err := p.held(ctx)
		if err != nil || held >= n {
			return err
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (p *plainJetStream) expect(t *testing.T, n uint64) {
	t.Helper()
	if held, err := p.held(context.Background()); err != nil || held != n {
		t.Fatalf("the stream holds %d messages of %d: %v", held, n, err)
	}
}

// plainBatch is how many messages the plain loop reads, publishes and deletes at once.
const plainBatch = 1000

// publishPlain is the rate of the plain loop.
func publishPlain(t *testing.T, source string) float64 {
	t.Helper()
	js := startPlainJetStream(t)
	defer js.close()
	conn := dial(t, source)
	v := rate(t, *scale, func(ctx context.Context) error {
		for {
			n, err := js.turn(ctx, conn)
			if err != nil || n == 0 {
				return err
			}
		}
	})
	awaitEmpty(t, source, "plain")
	js.expect(t, uint64(*scale))
	return v
}

func (p *plainJetStream) turn(ctx context.Context, source *pgx.Conn) (int, error) {
	rows, err := source.Query(ctx, fmt.Sprintf("select id, payload from plain order by id limit %d", plainBatch))
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	ids := make([]int64, 0, plainBatch)
	acks := make([]natsjs.PubAckFuture, 0, plainBatch)
	for rows.Next() {
		var id int64
		var payload []byte
		if err := rows.Scan(&id, &payload); err != nil {
			return 0, err
		}
		ack, err := p.js.PublishAsync(plainSubject, payload)
		if err != nil {
			return 0, err
		}
		ids, acks = append(ids, id), append(acks, ack)
	}
	if err := rows.Err(); err != nil || len(ids) == 0 {
		return 0, err
	}
	for _, ack := range acks {
		select {
		case <-ack.Ok():
		case err := <-ack.Err():
			return 0, err
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	_, err = source.Exec(ctx, "delete from plain where id = any($1)", ids)
	return len(ids), err
}
