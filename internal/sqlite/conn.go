package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	sqlitedriver "modernc.org/sqlite"
)

// conn is one connection to a database file, used by one goroutine at a time. It speaks to
// the driver without database/sql: there is nothing to pool, and a statement costs less.
type conn struct {
	dc    driverConn
	path  string      // as the user wrote it
	info  fs.FileInfo // the file that was opened
	wal   string      // the file of its write-ahead log
	stmts map[string]prepared
}

// driverConn and prepared are what the driver's connections and statements can do, the part
// of it that is needed here.
type driverConn interface {
	driver.Conn
	driver.ConnPrepareContext
	driver.ExecerContext
	sqlitedriver.DBStatus
}

type prepared interface {
	driver.Stmt
	driver.StmtExecContext
	driver.StmtQueryContext
}

// connOptions are the settings of one connection.
type connOptions struct {
	busy    time.Duration // how long a statement waits for a lock
	pragmas []string      // further ones, such as "synchronous(NORMAL)"
}

// errNoRow: a query that should give a row gave none.
var errNoRow = errors.New("no row")

// openConn opens an existing file; it never creates one. The error for a missing file is
// permanent and says what to do.
func openConn(ctx context.Context, path string, o connOptions) (*conn, error) {
	info, err := statFile(path)
	if err != nil {
		return nil, err
	}
	// SQLite names the -wal file after the file that a symbolic link leads to.
	resolved, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, fmt.Errorf("open SQLite database %s: %w", path, err)
	}
	if resolved, err = filepath.Abs(resolved); err != nil {
		return nil, fmt.Errorf("open SQLite database %s: %w", path, err)
	}
	pragmas := append([]string{fmt.Sprintf("busy_timeout(%d)", o.busy.Milliseconds())}, o.pragmas...)
	dsn := url.URL{Scheme: "file", Path: resolved, RawQuery: url.Values{"mode": {"rw"}, "_pragma": pragmas}.Encode()}
	connector, err := sqlitedriver.NewConnector(dsn.String())
	if err != nil {
		return nil, fmt.Errorf("open SQLite database %s: %w", path, err)
	}
	c := &conn{path: path, info: info, wal: resolved + "-wal", stmts: map[string]prepared{}}
	dc, err := connector.Connect(ctx)
	if err != nil {
		return nil, c.wrap("open", err)
	}
	var ok bool
	if c.dc, ok = dc.(driverConn); !ok {
		return nil, errors.Join(fmt.Errorf("open SQLite database %s: the driver has changed", path), dc.Close())
	}
	// The first read shows whether it is a database at all.
	if _, err := c.row(ctx, "PRAGMA schema_version"); err != nil {
		_ = c.close()
		return nil, c.wrap("open", err)
	}
	if err := c.replaced(); err != nil {
		_ = c.close()
		return nil, err
	}
	return c, nil
}

// statFile describes the database file, or says what is wrong with the path.
func statFile(path string) (fs.FileInfo, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("SQLite database %s does not exist: correct the path, or create the database first (an empty file will do)", path)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("SQLite database %s cannot be looked at: grant this user access to its directory", path)
	case err != nil:
		return nil, fmt.Errorf("SQLite database %s: %w", path, err)
	case info.IsDir():
		return nil, fmt.Errorf("SQLite database %s is a directory: name the file", path)
	}
	return info, nil
}

// replacedError: the path no longer leads to the file that was opened.
type replacedError struct{ path string }

func (e *replacedError) Error() string {
	return fmt.Sprintf("SQLite database %s was removed or replaced while it was in use", e.path)
}

// replaced returns a *replacedError if the path does not lead to the opened file any more.
func (c *conn) replaced() error {
	now, err := os.Stat(c.path)
	if err != nil || !os.SameFile(now, c.info) {
		return &replacedError{c.path}
	}
	return nil
}

// syncWAL returns once everything that can be read from the database is on disk: what is in
// the write-ahead log by this call, what was moved from there to the database file because
// SQLite syncs both when it moves it (unless the application switched that off).
// The database file itself must not be opened here: closing any descriptor of it would drop
// the locks that SQLite holds in this process.
func (c *conn) syncWAL() error {
	f, err := os.Open(c.wal)
	if err != nil {
		return fmt.Errorf("flush the write-ahead log of %s: %w", c.path, err)
	}
	defer func() { _ = f.Close() }()
	if err := f.Sync(); err != nil {
		return fmt.Errorf("flush the write-ahead log of %s: %w", c.path, err)
	}
	return nil
}

// syncDir makes the -wal file's own name durable.
func (c *conn) syncDir() error {
	d, err := os.Open(filepath.Dir(c.wal))
	if err != nil {
		return fmt.Errorf("flush the directory of %s: %w", c.path, err)
	}
	defer func() { _ = d.Close() }()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("flush the directory of %s: %w", c.path, err)
	}
	return nil
}

func (c *conn) close() error {
	if c == nil || c.dc == nil {
		return nil
	}
	for _, s := range c.stmts {
		_ = s.Close()
	}
	c.stmts = nil
	err := c.dc.Close()
	c.dc = nil
	return err
}

func (c *conn) prepare(ctx context.Context, sql string) (prepared, error) {
	s, err := c.dc.PrepareContext(ctx, sql)
	if err != nil {
		return nil, err
	}
	if p, ok := s.(prepared); ok {
		return p, nil
	}
	return nil, errors.Join(errors.New("the driver has changed"), s.Close())
}

// cached prepares one of the package's own statements once.
func (c *conn) cached(ctx context.Context, sql string) (prepared, error) {
	if s := c.stmts[sql]; s != nil {
		return s, nil
	}
	s, err := c.prepare(ctx, sql)
	if err != nil {
		return nil, err
	}
	c.stmts[sql] = s
	return s, nil
}

// script runs statements without arguments or rows.
func (c *conn) script(ctx context.Context, sql string) error {
	_, err := c.dc.ExecContext(ctx, sql, nil)
	return err
}

// exec runs one statement and returns the number of rows that it changed itself.
func (c *conn) exec(ctx context.Context, sql string, args ...any) (int64, error) {
	s, err := c.cached(ctx, sql)
	if err != nil {
		return 0, err
	}
	res, err := s.ExecContext(ctx, named(args))
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// each calls fn for every row; the values stay valid, the slice does not.
func (c *conn) each(ctx context.Context, sql string, fn func(row []driver.Value) (more bool, err error), args ...any) error {
	s, err := c.cached(ctx, sql)
	if err != nil {
		return err
	}
	rows, err := s.QueryContext(ctx, named(args))
	if err != nil {
		return err
	}
	row := make([]driver.Value, len(rows.Columns()))
	for more := true; more && err == nil; {
		if err = rows.Next(row); err == nil {
			more, err = fn(row)
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return errors.Join(err, rows.Close())
}

// row returns the first row of a query, errNoRow if there is none.
func (c *conn) row(ctx context.Context, sql string, args ...any) ([]driver.Value, error) {
	var first []driver.Value
	err := c.each(ctx, sql, func(row []driver.Value) (bool, error) {
		first = append(first, row...)
		return false, nil
	}, args...)
	if err == nil && first == nil {
		err = errNoRow
	}
	return first, err
}

// number is row for a query of one integer.
func (c *conn) number(ctx context.Context, sql string, args ...any) (int64, error) {
	r, err := c.row(ctx, sql, args...)
	if err != nil {
		return 0, err
	}
	n, _ := r[0].(int64)
	return n, nil
}

// text is row for a query of one text.
func (c *conn) text(ctx context.Context, sql string, args ...any) (string, error) {
	r, err := c.row(ctx, sql, args...)
	if err != nil {
		return "", err
	}
	return str(r[0]), nil
}

// begin takes the write lock. ctx ends the wait for it, nothing else.
func (c *conn) begin(ctx context.Context) error {
	_, err := c.exec(ctx, "BEGIN IMMEDIATE")
	if err != nil {
		c.rollback() // the context may have ended after the lock was taken
	}
	return err
}

func (c *conn) commit() error {
	_, err := c.exec(context.Background(), "COMMIT")
	return err
}

// rollback ends the transaction if SQLite has not ended it itself.
func (c *conn) rollback() {
	if c != nil && c.dc != nil {
		_ = c.script(context.Background(), "ROLLBACK")
	}
}

// write runs fn in a transaction that holds the write lock from its start.
func (c *conn) write(ctx context.Context, fn func(ctx context.Context) error) error {
	if err := c.begin(ctx); err != nil {
		return err
	}
	// Statements are short; not watching the context saves a goroutine for each.
	if err := fn(context.WithoutCancel(ctx)); err != nil {
		c.rollback()
		return err
	}
	if err := c.commit(); err != nil {
		c.rollback()
		return err
	}
	return nil
}

func named(args []any) []driver.NamedValue {
	if len(args) == 0 {
		return nil
	}
	list := make([]driver.NamedValue, len(args))
	for i, a := range args {
		switch v := a.(type) {
		case int:
			a = int64(v)
		case uint64:
			a = int64(v)
		}
		list[i] = driver.NamedValue{Ordinal: i + 1, Value: a}
	}
	return list
}

// str reads a column that holds text; SQL null is empty.
func str(v driver.Value) string {
	switch v := v.(type) {
	case string:
		return v
	case []byte:
		return string(v)
	case nil:
		return ""
	}
	return fmt.Sprint(v)
}

// quote makes an SQL identifier of any name.
func quote(name string) string {
	return `"` + strings.ReplaceAll(name, `"`, `""`) + `"`
}
