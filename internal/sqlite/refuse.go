package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"
	"strings"

	lib "modernc.org/sqlite/lib"

	waybill "github.com/waybill-data/waybill"
)

// refusal is why a change can never be taken, before it is known which change it is.
type refusal struct {
	reason, remedy string
	absent         bool // the table is missing
}

func (r *refusal) Error() string { return r.reason }

var errKeyExists = &refusal{reason: "a row with this key exists already", remedy: "use upsert where the row may exist"}

// refuse makes a *waybill.Refusal of what the change itself is the cause of, and leaves
// everything else as it is.
func (w *Writer) refuse(ctx context.Context, a *waybill.Action, c *waybill.Change, err error) error {
	var r *refusal
	if !errors.As(err, &r) {
		r = w.explain(ctx, c, err)
	}
	if r == nil {
		return err
	}
	refused := &waybill.Refusal{
		Action: a.ID, Seq: a.Seq, Entity: c.Entity, Key: c.Key.String(),
		Reason: r.reason, Remedy: r.remedy,
	}
	if code(err) == lib.SQLITE_CONSTRAINT_FOREIGNKEY {
		return &keyError{refused}
	}
	return refused
}

// keyError: a foreign key did not hold right after the change. It may at the action's end.
type keyError struct{ refusal *waybill.Refusal }

func (k *keyError) Error() string { return k.refusal.Error() }
func (k *keyError) Unwrap() error { return k.refusal }

// explain reads SQLite's error; nil if the change is not the cause.
func (w *Writer) explain(ctx context.Context, c *waybill.Change, err error) *refusal {
	table, msg := tableName(c.Entity), message(err)
	switch code(err) {
	case lib.SQLITE_CONSTRAINT_PRIMARYKEY, lib.SQLITE_CONSTRAINT_ROWID, lib.SQLITE_CONSTRAINT_UNIQUE:
		return explainUnique(c, msg)
	case lib.SQLITE_CONSTRAINT_NOTNULL:
		return &refusal{reason: "a value is missing: " + msg, remedy: "carry the column, or give it a default"}
	case lib.SQLITE_CONSTRAINT_FOREIGNKEY:
		if c.Op == waybill.Delete {
			return &refusal{reason: fmt.Sprintf("other rows still refer to it by a foreign key to table %s", table), remedy: "delete those in the same action or before it, or declare ON DELETE CASCADE"}
		}
		return &refusal{reason: fmt.Sprintf("a foreign key between table %s and another would point to a row that does not exist", table), remedy: "carry the referenced row in the same action or before it"}
	case lib.SQLITE_CONSTRAINT_TRIGGER:
		if msg == "FOREIGN KEY constraint failed" { // what SQLite makes of ON DELETE/UPDATE RESTRICT
			return &refusal{reason: fmt.Sprintf("other rows still refer to it by a foreign key to table %s that says RESTRICT", table), remedy: "delete those first in the action"}
		}
		return &refusal{reason: w.explainTrigger(ctx, table, msg)}
	}
	switch primary(err) {
	case lib.SQLITE_CONSTRAINT: // CHECK, STRICT types: SQLite names the column, not the value
		return &refusal{reason: msg}
	case lib.SQLITE_MISMATCH:
		return &refusal{reason: fmt.Sprintf("the INTEGER PRIMARY KEY of table %s takes integers only", table)}
	case lib.SQLITE_TOOBIG:
		return &refusal{reason: "a value is longer than SQLite allows"}
	case lib.SQLITE_ERROR:
		return &refusal{reason: "SQLite cannot carry it out: " + msg, remedy: "look at the schema of table " + table}
	}
	return nil
}

// explainUnique tells the key's own constraint from another one.
func explainUnique(c *waybill.Change, msg string) *refusal {
	list := strings.Split(strings.TrimPrefix(msg, "UNIQUE constraint failed: "), ", ")
	own := len(list) == len(c.Key)
	for _, col := range list {
		name := col[strings.LastIndexByte(col, '.')+1:]
		own = own && slices.ContainsFunc(c.Key, func(k waybill.Column) bool { return strings.EqualFold(k.Name, name) })
	}
	if own && c.Op == waybill.Insert {
		return errKeyExists
	}
	if own {
		return &refusal{reason: "a row with the new key exists already"}
	}
	return &refusal{reason: "another row has the same values: " + msg}
}

// explainTrigger quotes what RAISE says only where it is a literal of one of the table's
// triggers: made-up text could hold values.
func (w *Writer) explainTrigger(ctx context.Context, table, msg string) string {
	literal := "'" + strings.ReplaceAll(msg, "'", "''") + "'"
	found := false
	err := w.c.each(ctx, "SELECT sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = ? COLLATE NOCASE", func(r []driver.Value) (bool, error) {
		found = found || strings.Contains(str(r[0]), literal)
		return !found, nil
	}, table)
	if err != nil || !found {
		return fmt.Sprintf("a trigger of table %s refuses it", table)
	}
	return fmt.Sprintf("a trigger of table %s refuses it: %s", table, msg)
}
