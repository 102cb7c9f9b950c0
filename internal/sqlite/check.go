package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"

	waybill "github.com/waybill-data/waybill"
)

// report collects findings.
type report []waybill.Finding

func (r *report) ok(format string, args ...any) {
	*r = append(*r, waybill.Finding{OK: true, What: fmt.Sprintf(format, args...)})
}

func (r *report) bad(fix, format string, args ...any) {
	*r = append(*r, waybill.Finding{What: fmt.Sprintf(format, args...), Fix: fix})
}

func (r *report) warn(fix, format string, args ...any) {
	*r = append(*r, waybill.Finding{Warn: true, What: fmt.Sprintf(format, args...), Fix: fix})
}

// openForCheck opens the file, or reports why it cannot be opened (nil, nil).
func openForCheck(ctx context.Context, path string, r *report) (*conn, error) {
	if _, err := statFile(path); err != nil {
		r.bad("correct the path, or: sqlite3 "+path+" 'VACUUM'", "%s", err)
		return nil, nil
	}
	c, err := openConn(ctx, path, connOptions{busy: readBusy})
	if err != nil {
		return nil, err
	}
	r.ok("SQLite database %s can be opened", path)
	dir := filepath.Dir(c.wal)
	// SQLite creates and removes the -wal and -shm files beside the database.
	if unix.Access(dir, unix.W_OK) != nil {
		r.bad("chmod u+w "+dir, "directory %s is not writable", dir)
	}
	if unix.Access(path, unix.W_OK) != nil {
		r.bad("chmod u+w "+path, "file %s is not writable", path)
	}
	return c, nil
}

// Check looks at what the outbox needs.
func (o *Outbox) Check(ctx context.Context, stream string) ([]waybill.Finding, error) {
	var r report
	c, err := openForCheck(ctx, o.opt.Path, &r)
	if c == nil {
		return r, err
	}
	defer func() { _ = c.close() }()
	mode, err := c.text(ctx, "PRAGMA journal_mode")
	if err != nil {
		return r, c.wrap("look at", err)
	}
	if mode == "wal" {
		r.ok("write-ahead logging is on")
	} else {
		r.bad(setWAL+";", "write-ahead logging is off (journal_mode=%s)", mode)
	}
	installed, err := o.checkInstalled(ctx, c, &r)
	if err != nil || !installed {
		return r, c.wrap("look at", err)
	}
	return r, c.wrap("look at", checkConsumer(ctx, c, stream, &r))
}

func (o *Outbox) checkInstalled(ctx context.Context, c *conn, r *report) (bool, error) {
	const install = "waybill outbox install"
	format, err := c.text(ctx, "SELECT value FROM waybill_meta WHERE key = 'outbox_format'")
	switch {
	case errors.Is(err, errNoRow) || missingTable(err, "waybill_meta"):
		r.bad(install, "the outbox is not installed")
		return false, nil
	case err != nil:
		return false, err
	case format != outboxFormat:
		r.bad("upgrade waybill", "the outbox has format %s, this version of waybill knows %s", format, outboxFormat)
		return false, nil
	}
	have, err := c.number(ctx, `SELECT count(*) FROM sqlite_master WHERE name IN
('waybill_outbox', 'waybill_consumer', 'waybill_outbox_insert', 'waybill_outbox_update', 'waybill_outbox_action')`)
	if err != nil {
		return false, err
	}
	if have != 5 {
		r.bad(install, "a table, index or trigger of the outbox is missing")
		return false, nil
	}
	r.ok("the outbox is installed, format %s", format)
	return true, nil
}

// count is a number of things, such as "1 table".
func count(n int64, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

func checkConsumer(ctx context.Context, c *conn, stream string, r *report) error {
	reg, err := lookUp(ctx, c, stream)
	if err != nil {
		return err
	}
	if reg.found {
		r.ok("the pipeline is registered as a consumer of the outbox, with %s acknowledged", count(int64(reg.Seq), "action"))
		return nil
	}
	r.warn("waybill outbox install", "the pipeline is not registered as a consumer of the outbox: its first run registers it, and until then others may remove actions")
	return nil
}

// Check looks at what a target needs.
func (w *Writer) Check(ctx context.Context, stream string) ([]waybill.Finding, error) {
	var r report
	c, err := openForCheck(ctx, w.opt.Path, &r)
	if c == nil {
		return r, err
	}
	defer func() { _ = c.close() }()
	if err := c.begin(ctx); err != nil && !busy(err) {
		r.bad("make "+c.path+" and its directory writable for this user", "the database cannot be written: %s", message(err))
	}
	c.rollback()
	mode, err := c.text(ctx, "PRAGMA journal_mode")
	if err != nil {
		return r, c.wrap("look at", err)
	}
	if mode == "wal" {
		r.ok("write-ahead logging is on")
	} else {
		r.warn(setWAL+";", "write-ahead logging is off (journal_mode=%s): readers and the engine block each other, and commits are slower", mode)
	}
	create := false
	if w.opt.Define != nil {
		create, _ = w.opt.Define("")
	}
	if err := checkTarget(ctx, c, stream, create, &r); err != nil {
		return r, c.wrap("look at", err)
	}
	return r, nil
}

func checkTarget(ctx context.Context, c *conn, stream string, create bool, r *report) error {
	if err := knownFormat(ctx, c, "target_format", targetFormat); err != nil {
		r.bad("upgrade waybill", "%s", err)
		return nil
	}
	row, err := c.row(ctx, "SELECT seq FROM waybill_position WHERE stream = ?", stream)
	switch {
	case errors.Is(err, errNoRow) || missingTable(err, "waybill_position"):
		r.ok("the target does not know the pipeline yet")
	case err != nil:
		return err
	default:
		r.ok("the target holds the pipeline up to action %d", row[0])
	}
	return checkKeys(ctx, c, create, r)
}

// checkKeys warns of tables that upserts cannot work on, and of none where none is made.
func checkKeys(ctx context.Context, c *conn, create bool, r *report) error {
	var keyless []string
	tables := 0
	err := c.each(ctx, `SELECT t.name FROM pragma_table_list AS t
WHERE t.schema = 'main' AND t.type = 'table' AND t.name NOT LIKE 'sqlite\_%' ESCAPE '\' AND t.name NOT LIKE 'waybill\_%' ESCAPE '\' ORDER BY t.name`,
		func(row []driver.Value) (bool, error) {
			keyless = append(keyless, str(row[0]))
			return true, nil
		})
	if err != nil {
		return err
	}
	for _, name := range keyless {
		t, err := readTable(ctx, c, name)
		if err != nil {
			return err
		}
		tables++
		if len(t.keys) == 0 {
			r.warn(fmt.Sprintf("CREATE UNIQUE INDEX %s ON %s (…);", quote(name+"_key"), quote(name)),
				"table %s has no primary key and no unique index, so upserts to it are refused", name)
		}
	}
	if tables == 0 && create {
		r.ok("the target has no tables yet: they are made as rows come")
	} else if tables == 0 {
		r.warn("create the target's tables", "the target has no tables yet")
	} else {
		r.ok("%s in the target", count(int64(tables), "table"))
	}
	return nil
}
