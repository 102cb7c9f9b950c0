package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"slices"
	"strings"

	lib "modernc.org/sqlite/lib"

	waybill "github.com/waybill-data/waybill"
)

// fact judges what became of a captured change, given what its statement returned, and brings the
// target to what the source holds where somebody else has written there. It counts that.
func (w *Writer) fact(ctx context.Context, pl *plan, c *waybill.Change, n int64, err error) (int64, error) {
	unexpected := false
	switch c.Op {
	case waybill.Insert:
		unexpected = pl.other != nil && (err == nil && n == 0 && pl.once || keyTaken(c, err))
	case waybill.Update:
		unexpected = err == nil && n == 0
	case waybill.Delete:
		if err == nil && n == 0 {
			w.found++
		}
	case waybill.Upsert, waybill.Truncate:
	}
	if !unexpected {
		return n, err
	}
	w.found++
	if pl.other == nil { // what the change carries is not a whole row
		return 1, nil
	}
	return pl.other.run(ctx, c)
}

// keyTaken: a row with the change's key exists.
func keyTaken(c *waybill.Change, err error) bool {
	switch code(err) {
	case lib.SQLITE_CONSTRAINT_PRIMARYKEY, lib.SQLITE_CONSTRAINT_ROWID, lib.SQLITE_CONSTRAINT_UNIQUE:
		return errors.Is(explainUnique(c, message(err)), errKeyExists)
	}
	return false
}

// whole: the change carries every column that the source's rows have.
func (b *builder) whole() bool {
	has := func(name string) bool {
		col := b.t.columns[strings.ToLower(name)]
		return col == nil || col.generated || contains(b.row, col) || contains(b.key, col)
	}
	return !slices.ContainsFunc(b.schema.Columns, func(c waybill.SchemaColumn) bool { return !has(c.Name) })
}

// truncate empties the tables that the source emptied in a row, those that refer to others
// first, and forgets the list.
func (w *Writer) truncate(ctx context.Context, a *waybill.Action, list *[]waybill.Change) error {
	if len(*list) > 1 {
		if err := w.childrenFirst(ctx, *list); err != nil {
			return err
		}
	}
	for i := range *list {
		if err := w.change(ctx, a, &(*list)[i]); err != nil {
			return err
		}
	}
	*list = nil
	return nil
}

// childrenFirst sorts so that a table stands before those that it refers to, circles aside.
func (w *Writer) childrenFirst(ctx context.Context, list []waybill.Change) error {
	parents := make([][]string, len(list))
	for i := range list {
		err := w.c.each(ctx, `SELECT DISTINCT "table" FROM pragma_foreign_key_list(?)`, func(r []driver.Value) (bool, error) {
			parents[i] = append(parents[i], strings.ToLower(str(r[0])))
			return true, nil
		}, tableName(list[i].Entity))
		if err != nil {
			return err
		}
	}
	sorted := make([]waybill.Change, 0, len(list))
	done := make([]bool, len(list))
	for len(sorted) < len(list) {
		next := -1
		for i := range list {
			if done[i] {
				continue
			}
			if next < 0 {
				next = i // of a circle, the first
			}
			name := strings.ToLower(tableName(list[i].Entity))
			referred := false
			for j := range list {
				referred = referred || j != i && !done[j] && slices.Contains(parents[j], name)
			}
			if !referred {
				next = i
				break
			}
		}
		done[next] = true
		sorted = append(sorted, list[next])
	}
	copy(list, sorted)
	return nil
}
