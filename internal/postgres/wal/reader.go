package wal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/postgres/pgoutput"
	"github.com/waybill-data/waybill/internal/postgres/server"
)

const (
	minServerVersion = 130000

	defaultMaxActions = 1000
	defaultMaxBytes   = 4 << 20

	// idleEvery is how often a position moves past log that holds no action, if it is at least
	// idleBytes: less is soon read again, and the target may well write to the same log.
	idleEvery = 10 * time.Second
	idleBytes = 64 << 10
	// noSuchObject is what the server says of a publication that is gone.
	noSuchObject = "42704"
	// maxName is how many bytes of a name the server keeps.
	maxName = 63
	// closeTimeout bounds what Close still does at the source.
	closeTimeout = 2 * time.Second
)

// Options say which database's log to read, and for whom.
type Options struct {
	// URL is the source database, Stream the stream's name.
	URL, Stream string
	// Slot is the replication slot's name (empty: SlotName of the stream), Publication that of the
	// publication (empty: the slot's).
	Slot, Publication string
	// Tables are patterns of tables to publish ("public.customer", "public.order*").
	Tables []string
	// Whole are tables ("public.customer") of which whole rows are needed, also before a change:
	// Check asks for their replica identity full.
	Whole []string
	// Outbox: read the rows of waybill.outbox and the messages with the prefix waybill, instead of
	// tables.
	Outbox bool
	// MaxActions and MaxBytes bound a batch (0: 1000 and 4 MiB). An action that is larger than
	// MaxBytes makes a batch of its own.
	MaxActions int
	MaxBytes   int64
	// MaxSlotBytes is from how many bytes of log that the slot keeps an alarm is due; 0: never.
	MaxSlotBytes int64
	// SpillDir is where large transactions go (empty: the system's temporary directory).
	SpillDir string
	// Log may be nil.
	Log *slog.Logger
}

// Reader reads committed transactions from a PostgreSQL server's log. It implements waybill.Reader
// and the facets Resumed, Retainer, Installer, Dropper, Checker and Claimant. Ack, Head, Reached
// and Retained may be called beside Next.
type Reader struct {
	opts   Options
	stream server.Stream
	log    *slog.Logger
	side   *side

	// What the goroutine that calls Open, Next and Close uses.
	link    *link
	at      position
	token   waybill.Position
	movedAt time.Time // when the position last moved
	text    bool      // binary values are not possible
	opened  bool
	// published are the tables, quoted, that were published when the log was opened. Open sets it
	// before, and the maintaining goroutine uses it after.
	published map[string]bool
	leftOut   map[string]bool // tables, quoted, that a warning told of; used as published is
	former    uint32          // backend of the session that was lost, until another one is open

	idleEvery time.Duration

	suppressed atomic.Uint64
	head       atomic.Uint64         // the highest head that Next is to pass
	acked      atomic.Uint64         // LSN
	receiving  atomic.Pointer[queue] // of link
}

// NewReader makes a reader; it connects in Open.
func NewReader(opts Options) *Reader {
	if opts.MaxActions <= 0 {
		opts.MaxActions = defaultMaxActions
	}
	if opts.MaxBytes <= 0 {
		opts.MaxBytes = defaultMaxBytes
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if opts.Slot == "" {
		opts.Slot = SlotName(opts.Stream)
	}
	if opts.Publication == "" {
		opts.Publication = opts.Slot
	}
	name := "waybill " + opts.Stream
	return &Reader{
		opts: opts, stream: server.Stream(opts.Stream), log: opts.Log.With("stream", opts.Stream), idleEvery: idleEvery,
		side: &side{url: opts.URL, name: name[:min(len(name), maxName)], use: make(chan struct{}, 1)},
	}
}

// SlotName is the slot that serves a stream where none is configured.
func SlotName(stream string) string {
	name := "waybill_" + strings.ToLower(stream)
	clean := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, name)
	return clean[:min(len(clean), maxName)]
}

// Suppressed counts the actions that were read again though the target holds them.
func (o *Reader) Suppressed() uint64 { return o.suppressed.Load() }

// Next returns the next batch. What it returns is on the source's disk: a server sends only what
// is.
func (o *Reader) Next(ctx context.Context) (waybill.Batch, error) {
	if o.link == nil {
		return waybill.Batch{}, waybill.AsTransient(errors.New("read the source's log: the reader is not open"))
	}
	q := o.link.queue
	for {
		if err := ctx.Err(); err != nil {
			return waybill.Batch{}, err
		}
		items, idle, err := q.take(o.opts.MaxActions, o.opts.MaxBytes)
		if len(items) > 0 {
			return o.batch(items), nil
		}
		wait := time.Duration(-1)
		if idle > o.at.lsn {
			head := pgoutput.LSN(o.head.Load())
			if idle-o.at.lsn >= idleBytes {
				wait = max(o.idleEvery-time.Since(o.movedAt), 0)
			}
			if wait == 0 || head > o.at.lsn && idle >= head {
				return o.move(idle), nil
			}
		}
		if err != nil {
			return waybill.Batch{}, o.broken(ctx, err)
		}
		if err := q.wait(ctx, wait); err != nil {
			return waybill.Batch{}, err
		}
	}
}

// broken ends the connection, on which nothing can be relied any more. What stops the stream for
// good is said again each time.
func (o *Reader) broken(ctx context.Context, err error) error {
	if server.Code(err) == noSuchObject {
		return o.unpublished()
	}
	if ctx.Err() == nil && !waybill.Transient(err) && !errors.Is(err, errTextWanted) {
		return err
	}
	if errors.Is(err, errTextWanted) {
		o.text = true
		err = waybill.AsTransient(err)
	}
	o.former = o.link.backend
	o.unlink(false)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// batch makes a batch of what was taken.
func (o *Reader) batch(items []item) waybill.Batch {
	b := waybill.Batch{After: o.token, Actions: make([]waybill.Action, len(items))}
	base := o.at
	at := func(i int) position {
		p, it := base, &items[i]
		p.seq, p.id, p.xid, p.commit, p.lsn = base.seq+uint64(i)+1, it.action.ID, it.xid, it.commit, it.end
		return p
	}
	for i := range items {
		items[i].action.Seq = base.seq + uint64(i) + 1
		b.Actions[i] = items[i].action
	}
	b.At = func(i int) waybill.Position { return at(i).encode() }
	o.at = at(len(items) - 1)
	o.token, o.movedAt = o.at.encode(), time.Now()
	b.Upto = o.token
	return b
}

// move makes a batch without actions, up to lsn.
func (o *Reader) move(lsn pgoutput.LSN) waybill.Batch {
	b := waybill.Batch{After: o.token}
	o.at.lsn = lsn
	o.token, o.movedAt = o.at.encode(), time.Now()
	b.Upto = o.token
	return b
}

// Ack lets the server forget the log up to p, at the next report to it: at once where it asks,
// within a second otherwise.
func (o *Reader) Ack(_ context.Context, p waybill.Position) error {
	at, err := decodePosition(p)
	if err != nil {
		return fmt.Errorf("acknowledge: %w", err)
	}
	for {
		old := o.acked.Load()
		if uint64(at.lsn) <= old || o.acked.CompareAndSwap(old, uint64(at.lsn)) {
			return nil
		}
	}
}

// Close reports the last acknowledgement, ends the replication and disconnects.
func (o *Reader) Close() error {
	if o.link != nil {
		o.unlink(true)
	}
	o.side.close()
	return nil
}

// unlink ends the replication; see link.stop.
func (o *Reader) unlink(orderly bool) {
	o.receiving.Store(nil)
	o.link.stop(orderly)
	o.link = nil
}

// Claims says what reading this log contributes to a pipeline's promise.
func (o *Reader) Claims() []waybill.Claim {
	return []waybill.Claim{
		{Property: waybill.Complete, Holds: true, Because: "the server keeps its log for the slot until the target has what is in it, and a slot that " +
			"was lost, made anew or moved is noticed"},
		{Property: waybill.Once, Holds: true, Because: "the position at the target names the source, its timeline and the place in its log"},
		{Property: waybill.Whole, Holds: true, Because: "an action is one transaction and is handed on in one piece once it is committed"},
		{Property: waybill.Ordered, Holds: true, Because: "transactions come in the order of their commits in the log"},
	}
}

var (
	_ waybill.Reader    = (*Reader)(nil)
	_ waybill.Resumed   = (*Reader)(nil)
	_ waybill.Retainer  = (*Reader)(nil)
	_ waybill.Installer = (*Reader)(nil)
	_ waybill.Dropper   = (*Reader)(nil)
	_ waybill.Checker   = (*Reader)(nil)
	_ waybill.Claimant  = (*Reader)(nil)
)
