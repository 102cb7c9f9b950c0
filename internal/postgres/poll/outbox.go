package poll

import (
	"context"
	_ "embed" // outbox.sql
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/envelope"
	"github.com/waybill-data/waybill/internal/postgres/server"
)

// Bounds of the outbox reader.
const (
	minServerVersion = 130000

	defaultMaxActions = 1000
	defaultMaxBytes   = 4 << 20
	defaultMaxDelay   = 5 * time.Millisecond

	// idleDelay is the longest pause between two polls of an idle outbox, reached by doubling
	// MaxDelay after idlePolls polls that found nothing.
	idleDelay = 100 * time.Millisecond
	idlePolls = 20

	// ackEvery is how often an acknowledgement is written; what comes in between is written
	// together with the next, or by Close.
	ackEvery = time.Second
	// purgeEvery is how often a reader tries to empty a half of the outbox.
	purgeEvery = 3 * time.Second
	// flipBytes and flipAge are the size and the age at which a half of the outbox stops being
	// written and waits to be emptied.
	flipBytes = 8 << 20
	flipAge   = 10 * time.Second
	// answerTimeout bounds the wait for an answer to what is quick where the server is well, and
	// cursorTimeout for the cursor of a large window, which sorts all of it.
	answerTimeout = 30 * time.Second
	cursorTimeout = 10 * time.Minute
	// closeTimeout bounds what Close still does at the source.
	closeTimeout = 2 * time.Second
	// backlogBound is where Backlog stops counting.
	backlogBound = 100_000
)

//go:embed outbox.sql
var outboxSQL string

// Options say which outbox to read and for whom.
type Options struct {
	// URL is the source database, Stream the consumer's name.
	URL, Stream string
	// MaxActions and MaxBytes bound a batch (0: 1000 and 4 MiB). An action that is larger
	// than MaxBytes makes a batch of its own.
	MaxActions int
	MaxBytes   int64
	// MaxDelay is the pause between two polls of a busy outbox (0: 5 ms).
	MaxDelay time.Duration
	// Log may be nil.
	Log *slog.Logger
}

// Reader reads the outbox of a PostgreSQL database by polling. It implements waybill.Reader
// and the facets Backlog, Resumed, Installer, Dropper, Checker and Claimant. Backlog, like
// Ack, Head and Reached, may be called beside Next.
type Reader struct {
	opts   Options
	stream server.Stream

	// What the goroutine that calls Open, Next and Close uses.
	conn       *pgx.Conn
	decoder    envelope.Decoder
	chunk      []byte   // the rest of it is free for further rows
	at         position // up to where actions were handed on
	token      waybill.Position
	registered string // of the consumer, to notice that it was dropped meanwhile
	window     window
	ready      []readyAction // read, not handed on yet
	refusal    error         // what follows ready
	idle       int           // polls in a row that found nothing
	average    int64         // bytes of an action on the last page; 0: not known
	polled     time.Time
	headServed uint64
	suppressed atomic.Uint64
	openedOnce bool

	heads atomic.Uint64 // calls of Head that were answered
	wake  chan struct{} // a head is wanted

	side *side
}

// NewReader makes a reader; it connects in Open.
func NewReader(opts Options) *Reader {
	if opts.MaxActions <= 0 {
		opts.MaxActions = defaultMaxActions
	}
	if opts.MaxBytes <= 0 {
		opts.MaxBytes = defaultMaxBytes
	}
	if opts.MaxDelay <= 0 {
		opts.MaxDelay = defaultMaxDelay
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	return &Reader{opts: opts, stream: server.Stream(opts.Stream), wake: make(chan struct{}, 1), side: newSide(opts)}
}

// Suppressed counts the actions that Open found applied though not acknowledged.
func (o *Reader) Suppressed() uint64 { return o.suppressed.Load() }

// Close acknowledges what is not written yet, stops the background work and disconnects.
// An acknowledgement that cannot be written any more is no error: a later one covers it.
func (o *Reader) Close() error {
	o.side.stop()
	if o.conn != nil {
		ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
		defer cancel()
		_ = o.conn.Close(ctx)
		o.conn = nil
	}
	o.window, o.ready, o.refusal = window{}, nil, nil
	return nil
}

// Claims says what reading this outbox contributes to a pipeline's promise.
func (o *Reader) Claims() []waybill.Claim {
	return []waybill.Claim{
		{Property: waybill.Complete, Holds: true, Because: "the outbox is written in the application's own transaction and read " +
			"between two snapshots, so that a transaction that commits late is not passed over"},
		{Property: waybill.Once, Holds: true, Because: "every action has an ID drawn at the source and the position names the source, " +
			"its timeline and both snapshots"},
		{Property: waybill.Whole, Holds: true, Because: "an action is all that one transaction emitted and is handed on in one piece"},
		{Property: waybill.Ordered, Holds: true, Because: "transactions are ordered by a number drawn while they commit, after every " +
			"transaction they had to wait for (unless the application fires constraints early, with SET CONSTRAINTS)"},
	}
}

var (
	_ waybill.Reader    = (*Reader)(nil)
	_ waybill.Backlog   = (*Reader)(nil)
	_ waybill.Resumed   = (*Reader)(nil)
	_ waybill.Installer = (*Reader)(nil)
	_ waybill.Dropper   = (*Reader)(nil)
	_ waybill.Checker   = (*Reader)(nil)
	_ waybill.Claimant  = (*Reader)(nil)
)
