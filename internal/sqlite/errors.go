package sqlite

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	sqlitedriver "modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"

	waybill "github.com/waybill-data/waybill"
)

// code is SQLite's extended result code of err, 0 where there is none. The lower eight bits
// are the primary code.
func code(err error) int {
	if e, ok := errors.AsType[*sqlitedriver.Error](err); ok {
		return e.Code()
	}
	return 0
}

func primary(err error) int { return code(err) & 0xff }

// message is SQLite's own text for err, without the driver's prefix and the number.
func message(err error) string {
	e, ok := errors.AsType[*sqlitedriver.Error](err)
	if !ok {
		return err.Error()
	}
	s := e.Error()
	if i := strings.LastIndex(s, " ("+strconv.Itoa(e.Code())+")"); i >= 0 {
		s = s[:i]
	}
	for _, prefix := range []string{"constraint failed: ", "SQL logic error: ", "datatype mismatch: "} {
		s = strings.TrimPrefix(s, prefix)
	}
	return s
}

// wrap says what was being done to which file, and whether trying again may help.
func (c *conn) wrap(doing string, err error) error {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	if c.info != nil && code(err) == lib.SQLITE_READONLY_DBMOVED {
		return &replacedError{c.path}
	}
	remedy := ""
	transient := false
	switch primary(err) {
	case lib.SQLITE_BUSY, lib.SQLITE_LOCKED, lib.SQLITE_PROTOCOL:
		transient, remedy = true, "another connection holds the lock"
	case lib.SQLITE_FULL:
		transient, remedy = true, "make room on its disk"
	case lib.SQLITE_IOERR, lib.SQLITE_NOMEM:
		transient, remedy = true, "look at its disk and memory"
	case lib.SQLITE_READONLY, lib.SQLITE_PERM, lib.SQLITE_AUTH:
		remedy = "make the file, its directory and its file system writable for this user, then start again"
	case lib.SQLITE_CANTOPEN:
		remedy = "grant this user access to the file, and write access to its directory"
	case lib.SQLITE_NOTADB:
		remedy = "the file is no SQLite database; correct the path"
	case lib.SQLITE_CORRUPT:
		remedy = "the file is damaged; look at it with PRAGMA integrity_check and restore it"
	}
	if remedy != "" {
		err = fmt.Errorf("%s SQLite database %s: %w; %s", doing, c.path, err, remedy)
	} else {
		err = fmt.Errorf("%s SQLite database %s: %w", doing, c.path, err)
	}
	if transient {
		return waybill.AsTransient(err)
	}
	return err
}

// busy reports whether err says only that somebody else holds the lock.
func busy(err error) bool {
	p := primary(err)
	return p == lib.SQLITE_BUSY || p == lib.SQLITE_LOCKED
}

// missingTable reports whether err says that the table does not exist.
func missingTable(err error, table string) bool {
	return primary(err) == lib.SQLITE_ERROR && strings.Contains(err.Error(), "no such table: "+table)
}
