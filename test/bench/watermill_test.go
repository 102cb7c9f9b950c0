//go:build bench

package bench

import (
	"context"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	wmnats "github.com/ThreeDotsLabs/watermill-nats/v2/pkg/nats"
	wmsql "github.com/ThreeDotsLabs/watermill-sql/v4/pkg/sql"
	"github.com/ThreeDotsLabs/watermill/components/forwarder"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/waybill-data/waybill/internal/testenv"
)

// watermillTopic names the outbox table ("watermill_" in front).
const watermillTopic = "outbox"

// fillWatermill writes the messages as Watermill's publisher does. In envelopes they are
// what the forwarder component reads; without, what a router passes on as it is.
func fillWatermill(t *testing.T, url string, enveloped bool) {
	payload := oneMessage("i") + "::text::json"
	if enveloped {
		payload = fmt.Sprintf(`json_build_object('destination_topic', '%s', 'uuid', gen_random_uuid(),
			'payload', translate(encode(convert_to(%s::text, 'UTF8'), 'base64'), E'\n', ''), 'metadata', json_build_object())`, plainSubject, oneMessage("i"))
	}
	testenv.Exec(t, url, fmt.Sprintf(`drop table if exists "watermill_%[1]s";
		create table "watermill_%[1]s" ("offset" serial primary key, "uuid" varchar(36) not null, "payload" json default null,
			"metadata" json default null, "acked" boolean not null default false, "created_at" timestamptz not null default current_timestamp);
		insert into "watermill_%[1]s" (uuid, payload, metadata) select gen_random_uuid(), %[2]s, '{}' from generate_series(0, %[3]d) i`,
		watermillTopic, payload, *scale-1))
	settle(t, url)
}

// watermillSubscriber reads the outbox as fast as its options allow: 1,000 rows a query, no
// deadline to keep for each message, rows deleted together. With more than one part it takes
// every so-maniest row, so that several can work side by side; there is no order then.
func watermillSubscriber(db wmsql.Beginner, part, parts int) (message.Subscriber, error) {
	schema := wmsql.PostgreSQLQueueSchema{SubscribeBatchSize: 1000}
	if parts > 1 {
		schema.GenerateWhereClause = func(wmsql.GenerateWhereClauseParams) (string, []any) {
			return `"offset" % ` + strconv.Itoa(parts) + ` = ` + strconv.Itoa(part), nil
		}
	}
	noDeadline := time.Duration(0)
	return wmsql.NewSubscriber(db, wmsql.SubscriberConfig{
		AckDeadline: &noDeadline, PollInterval: 10 * time.Millisecond,
		SchemaAdapter: schema, OffsetsAdapter: wmsql.PostgreSQLQueueOffsetsAdapter{DeleteOnAck: true},
	}, watermill.NopLogger{})
}

// watermillRouter wires the outbox to JetStream: by the forwarder component, or by handlers
// that hand each message on as it is.
func watermillRouter(db wmsql.Beginner, publisher message.Publisher, parts int, enveloped bool) (*message.Router, error) {
	router, err := message.NewRouter(message.RouterConfig{CloseTimeout: 10 * time.Second}, watermill.NopLogger{})
	if err != nil {
		return nil, err
	}
	for part := range parts {
		subscriber, err := watermillSubscriber(db, part, parts)
		if err != nil {
			return nil, err
		}
		if enveloped {
			_, err := forwarder.NewForwarder(subscriber, publisher, watermill.NopLogger{}, forwarder.Config{ForwarderTopic: watermillTopic, Router: router})
			if err != nil {
				return nil, err
			}
			continue
		}
		router.AddHandler(fmt.Sprintf("forward %d", part), watermillTopic, subscriber, plainSubject, publisher,
			func(m *message.Message) ([]*message.Message, error) { return []*message.Message{m}, nil })
	}
	return router, nil
}

// forwardWatermill is the rate of the forwarder: until the stream holds all messages.
func forwardWatermill(t *testing.T, source string, parts int, enveloped bool) float64 {
	t.Helper()
	pool, err := pgxpool.New(context.Background(), source)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	js := startPlainJetStream(t)
	defer js.close()
	publisher, err := wmnats.NewPublisherWithNatsConn(js.nc, wmnats.PublisherPublishConfig{
		Marshaler: &wmnats.NATSMarshaler{}, SubjectCalculator: wmnats.DefaultSubjectCalculator,
	}, watermill.NopLogger{})
	if err != nil {
		t.Fatal(err)
	}
	router, err := watermillRouter(wmsql.BeginnerFromPgx(pool), publisher, parts, enveloped)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	v := rate(t, *scale, func(ctx context.Context) error {
		go func() { done <- router.Run(context.WithoutCancel(ctx)) }() // until it is closed
		return js.await(ctx, uint64(*scale))
	})
	awaitEmpty(t, source, `"watermill_`+watermillTopic+`"`)
	js.expect(t, uint64(*scale)) // with every row deleted, nothing comes any more
	if err := router.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return v
}

func awaitEmpty(t *testing.T, url, table string) {
	t.Helper()
	conn := dial(t, url)
	for deadline := time.Now().Add(30 * time.Second); ; {
		var left bool
		if err := conn.QueryRow(context.Background(), "select exists (select from "+table+")").Scan(&left); err != nil {
			t.Fatal(err)
		}
		if !left {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("messages are left in %s", table)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
