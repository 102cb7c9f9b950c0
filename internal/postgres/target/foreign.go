package target

import (
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// lenientBatches is how many batches after one that met foreign writes expect more of them: each
// costs a look for its rows, but not a second attempt. foreignPace is how often the log tells.
const (
	lenientBatches = 16
	foreignPace    = time.Minute
)

// foreignFound is what a transaction found at the target that the stream had not left there.
type foreignFound struct {
	changes int64
	table   *targetTable // of the first
	key     string       // of one of the first statement's
}

// read takes the row of a statement that counts. What cannot be read shows when it is closed.
func (f *foreignFound) read(r *pgconn.ResultReader, kind *groupKind) {
	if !r.NextRow() {
		return
	}
	row := r.Values()
	n, err := strconv.ParseInt(string(row[0]), 10, 64)
	if err != nil || n == 0 {
		return
	}
	f.changes += n
	if f.table == nil {
		f.table, f.key = kind.table, string(row[1])
	}
}

// noteForeign counts what a committed transaction found, and tells of it from time to time.
func (w *Writer) noteForeign(f *foreignFound) {
	if f.changes == 0 {
		w.lenient = max(w.lenient-1, 0)
		return
	}
	w.lenient = lenientBatches
	total := w.foreign.Add(uint64(f.changes))
	if time.Since(w.warned) < foreignPace {
		return
	}
	w.warned = time.Now()
	w.log.Warn("somebody else writes to the target's tables; the source's rows win", "stream", w.stream,
		"table", f.table.schema+"."+f.table.name, "key", f.key, "changes", f.changes, "total", total)
}

// ForeignWrites is how many changes found the target other than the stream had left it. It is kept
// with the position.
func (w *Writer) ForeignWrites() uint64 { return w.foreign.Load() }
