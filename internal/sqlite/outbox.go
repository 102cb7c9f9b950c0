package sqlite

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	waybill "github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/envelope"
	"github.com/waybill-data/waybill/internal/fault"
)

// SourceOptions say which outbox is read, for whom and in what portions.
type SourceOptions struct {
	Path   string // of the database file, which must exist
	Stream string // the consumer's name
	// MaxActions and MaxBytes bound a batch; one action may exceed MaxBytes. Defaults 1000
	// and 4 MiB.
	MaxActions int
	MaxBytes   int64
	// MaxDelay is how often the file is looked at while actions come, default 5 ms. Once
	// none come the pauses grow to 100 ms.
	MaxDelay time.Duration
	Log      *slog.Logger // nil: discarded
}

const (
	defaultMaxActions = 1000
	defaultMaxBytes   = 4 << 20
	defaultMaxDelay   = 5 * time.Millisecond
	idleDelay         = 100 * time.Millisecond
	// readBusy is how long reading waits for a lock. Readers of a WAL file wait only
	// while it is being recovered.
	readBusy = 5 * time.Second
	// auxBusy bounds how long an acknowledgement waits for the application's transaction.
	auxBusy = 200 * time.Millisecond
)

// Outbox reads the actions that an application wrote to waybill_outbox. See the package
// documentation.
type Outbox struct {
	opt SourceOptions
	log *slog.Logger

	// The reading goroutine's own.
	read    *conn
	decode  envelope.Decoder
	source  string           // identity of the opened file
	at      point            // the last action handed on
	handed  waybill.Position // what the caller knows it as; zero before the first batch
	failed  error            // what every further Next returns
	version int64            // data_version of the last look
	more    bool             // the last look ended before the newest row
	delay   time.Duration
	heads   uint64 // calls of Head that a batch has answered

	syncWAL func(*conn) error // (*conn).syncWAL; tests put their own in its place

	stop    context.CancelFunc // ends acknowledge
	stopped chan struct{}      // closed when it has ended

	asked      atomic.Uint64 // calls of Head
	wake       chan struct{} // Head was called
	ackDue     chan struct{} // there is something to acknowledge
	suppressed atomic.Uint64

	mu sync.Mutex // guards what follows
	consumer
}

// NewOutbox prepares a reader; it opens nothing.
func NewOutbox(o SourceOptions) *Outbox {
	if o.MaxActions <= 0 {
		o.MaxActions = defaultMaxActions
	}
	if o.MaxBytes <= 0 {
		o.MaxBytes = defaultMaxBytes
	}
	if o.MaxDelay <= 0 {
		o.MaxDelay = defaultMaxDelay
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Outbox{opt: o, log: o.Log, wake: make(chan struct{}, 1), ackDue: make(chan struct{}, 1), syncWAL: (*conn).syncWAL}
}

// Open starts after the position given; see waybill.Reader.
func (o *Outbox) Open(ctx context.Context, after waybill.Position) (err error) {
	if o.read != nil {
		return fmt.Errorf("open outbox %s: it is open", o.opt.Path)
	}
	read, err := openConn(ctx, o.opt.Path, connOptions{busy: readBusy, pragmas: []string{"query_only(1)"}})
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = read.close()
			o.closeAux(ctx)
		}
	}()
	id, err := identify(ctx, read)
	if err != nil {
		return err
	}
	if err := read.syncDir(); err != nil {
		return err
	}
	// Opened now, so that both connections have the same file even if it is replaced.
	if err := o.withAux(ctx, func(*conn) error { return nil }); err != nil {
		return err
	}
	o.source = sourcePrefix + id
	if err := o.start(ctx, read, after); err != nil {
		return err
	}
	o.read, o.handed, o.failed = read, after, nil
	o.version, o.more, o.delay = 0, true, o.opt.MaxDelay
	o.heads = o.asked.Load()
	o.startAcknowledging()
	fault.Hit(fault.OpenDone)
	return nil
}

func (o *Outbox) startAcknowledging() {
	ctx, cancel := context.WithCancel(context.Background())
	stopped := make(chan struct{})
	o.stop, o.stopped = cancel, stopped
	go func() {
		defer close(stopped)
		o.acknowledge(ctx)
	}()
}

// identify checks that the file holds an outbox that can be read, and returns its id.
func identify(ctx context.Context, c *conn) (string, error) {
	mode, err := c.text(ctx, "PRAGMA journal_mode")
	if err != nil {
		return "", c.wrap("read", err)
	}
	if mode != "wal" {
		return "", fmt.Errorf("SQLite database %s keeps a rollback journal (journal_mode=%s), an outbox needs write-ahead logging: run %s; once", c.path, mode, setWAL)
	}
	format, err := c.text(ctx, "SELECT value FROM waybill_meta WHERE key = 'outbox_format'")
	if errors.Is(err, errNoRow) || missingTable(err, "waybill_meta") {
		return "", fmt.Errorf("SQLite database %s has no outbox: run waybill outbox install", c.path)
	}
	if err != nil {
		return "", c.wrap("read", err)
	}
	if format != outboxFormat {
		return "", fmt.Errorf("the outbox in SQLite database %s has format %s, this version of waybill knows %s: upgrade waybill", c.path, format, outboxFormat)
	}
	id, err := c.text(ctx, "SELECT value FROM waybill_meta WHERE key = 'id'")
	if err != nil {
		return "", c.wrap("read the id of", err)
	}
	return id, nil
}

// registered is the consumer's row.
type registered struct {
	point
	found bool
}

func lookUp(ctx context.Context, c *conn, stream string) (registered, error) {
	r, err := c.row(ctx, "SELECT n, seq, action FROM waybill_consumer WHERE stream = ?", stream)
	if errors.Is(err, errNoRow) {
		return registered{}, nil
	}
	if err != nil {
		return registered{}, c.wrap("read", err)
	}
	n, _ := r[0].(int64)
	seq, _ := r[1].(int64)
	return registered{found: true, point: point{V: positionVersion, N: n, Seq: uint64(seq), Action: str(r[2])}}, nil
}

// headSQL is the number of the newest row that ever was.
const headSQL = `SELECT max(
  coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'waybill_outbox'), 0),
  coalesce((SELECT max(n) FROM waybill_outbox), 0))`

// start finds the row to go on after, and proves that it is the one that the position means.
func (o *Outbox) start(ctx context.Context, c *conn, after waybill.Position) error {
	reg, err := lookUp(ctx, c, o.opt.Stream)
	if err != nil {
		return err
	}
	if after == "" {
		return o.startOldest(ctx, c, reg)
	}
	pt, err := parsePosition(after)
	if err != nil {
		return o.gap(err.Error(), "it was made by another version of waybill, or changed by hand")
	}
	if fault.Broken(fault.IgnoreIdentity) {
		pt.Source = o.source
		o.at = pt
		return nil
	}
	if pt.Source != o.source {
		return o.gap(fmt.Sprintf("the target's position comes from source %s, and %s is %s", pt.Source, o.opt.Path, o.source),
			"point the pipeline at the source that it came from, or drop it and start anew")
	}
	if err := o.sameHistory(ctx, c, pt, reg); err != nil {
		return err
	}
	o.suppressed.Store(pt.Seq - reg.Seq)
	o.at = pt
	return nil
}

// startOldest begins with the oldest retained action, registering the consumer.
func (o *Outbox) startOldest(ctx context.Context, c *conn, reg registered) error {
	if !reg.found {
		err := o.withAux(ctx, func(aux *conn) error {
			return aux.write(ctx, func(ctx context.Context) error { return register(ctx, aux, o.opt.Stream) })
		})
		if err != nil {
			return fmt.Errorf("register it as a consumer: %w", err)
		}
		if reg, err = lookUp(ctx, c, o.opt.Stream); err != nil {
			return err
		}
	}
	if reg.Seq > 0 && !fault.Broken(fault.IgnoreIdentity) {
		return o.gap(fmt.Sprintf("the source has an acknowledgement up to action %d, and the target holds nothing", reg.Seq),
			"the target was wiped or replaced: restore it, or drop the pipeline and start anew")
	}
	o.suppressed.Store(0)
	o.at = point{V: positionVersion, Source: o.source, N: reg.N, Seq: reg.Seq, Action: reg.Action}
	return nil
}

// sameHistory compares a position of this source with what the source has kept.
func (o *Outbox) sameHistory(ctx context.Context, c *conn, pt point, reg registered) error {
	const restored = "the source was restored from an older copy or rebuilt: drop the pipeline and start anew"
	if !reg.found {
		return o.gap(fmt.Sprintf("the stream is not registered at the source %s, though the target holds it up to action %d", o.opt.Path, pt.Seq),
			"it was dropped there, or the source was restored from an older copy: drop the pipeline and start anew")
	}
	head, err := c.number(ctx, headSQL)
	if err != nil {
		return c.wrap("read", err)
	}
	switch {
	case pt.N < reg.N || pt.Seq < reg.Seq:
		return o.gap(fmt.Sprintf("the target holds the stream up to action %d, and the source has an acknowledgement up to action %d", pt.Seq, reg.Seq),
			"the target was restored from an older copy: restore the newer one, or drop the pipeline and start anew")
	case pt.N > head:
		return o.gap(fmt.Sprintf("the target holds the stream up to row %d of waybill_outbox, and the source ends at row %d", pt.N, head), restored)
	case pt.N == reg.N && pt.Action == reg.Action && pt.Seq == reg.Seq:
		return nil
	}
	found := reg.Action
	if pt.N > reg.N {
		found, err = c.text(ctx, "SELECT action FROM waybill_outbox WHERE n = ?", pt.N)
		if errors.Is(err, errNoRow) {
			return o.gap(fmt.Sprintf("row %d of waybill_outbox, where the target's position ends, is gone", pt.N), restored)
		}
		if err != nil {
			return c.wrap("read", err)
		}
	}
	if found != pt.Action || pt.N == reg.N {
		return o.gap(fmt.Sprintf("row %d of waybill_outbox belongs to action %s, and the target's position says action %s", pt.N, found, pt.Action), restored)
	}
	return nil
}

func (o *Outbox) gap(reason, remedy string) error {
	return &waybill.GapError{Stream: o.opt.Stream, Reason: reason, Remedy: remedy}
}

// Suppressed is how many actions Open found applied at the target though the source had not
// seen their acknowledgement.
func (o *Outbox) Suppressed() uint64 { return o.suppressed.Load() }

// Close acknowledges what is still to be acknowledged and releases the file. It waits at
// most about two seconds for the application to let go of the write lock.
func (o *Outbox) Close() error {
	if o.stop != nil {
		o.stop()
		<-o.stopped
		o.stop = nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	o.closeAux(ctx)
	err := o.read.close()
	o.read = nil
	if err != nil {
		return fmt.Errorf("close SQLite database %s: %w", o.opt.Path, err)
	}
	return nil
}

// Claims are the outbox's part in the pipeline's promise.
func (o *Outbox) Claims() []waybill.Claim {
	return []waybill.Claim{
		{Property: waybill.Complete, Holds: true, Because: "the application writes actions to the outbox inside its own SQLite transaction, rows are numbered without holes, and none is removed before every registered pipeline has it"},
		{Property: waybill.Complete, Holds: true, Because: "an action is handed on only after it is on the source's disk; this needs PRAGMA synchronous=NORMAL or higher in the application, which is the default"},
		{Property: waybill.Once, Holds: true, Because: "the source keeps the last acknowledged action's ID, so a restored, replaced or copied file is recognised before anything is read from it"},
		{Property: waybill.Whole, Holds: true, Because: "the rows of one action are committed in one transaction and read in one snapshot"},
		{Property: waybill.Ordered, Holds: true, Because: "SQLite has one writer at a time, so the numbers of outbox rows follow the order of commits"},
	}
}
