package sqlite

import (
	"context"
	"database/sql/driver"
	"slices"
	"strings"
)

// column is what conversion and statements need to know of a table's column.
type column struct {
	name      string // as declared
	declared  string // type
	affinity  affinity
	generated bool
	fills     bool // it has a default, or must not be null
}

// table is one table of the target. SQLite's names do not tell upper from lower case, so
// the keys of maps are lower case.
type table struct {
	name    string
	kind    string // table, view, virtual
	columns map[string]*column
	rowid   bool       // it has one, by that name
	keys    [][]string // the columns of primary key and unique indexes, each list sorted
}

// readTable describes the table; nil if there is none.
func readTable(ctx context.Context, c *conn, name string) (*table, error) {
	t := &table{columns: map[string]*column{}}
	strict := false
	err := c.each(ctx, "SELECT name, type, strict, wr FROM pragma_table_list WHERE schema = 'main' AND name = ?1 COLLATE NOCASE",
		func(r []driver.Value) (bool, error) {
			t.name, t.kind, strict = str(r[0]), str(r[1]), r[2] == int64(1)
			t.rowid = r[3] == int64(0)
			return false, nil
		}, name)
	if err != nil || t.name == "" {
		return nil, err
	}
	var primary []string
	err = c.each(ctx, `SELECT name, type, pk, hidden, dflt_value IS NOT NULL OR "notnull" OR pk FROM pragma_table_xinfo(?)`, func(r []driver.Value) (bool, error) {
		col := &column{name: str(r[0]), declared: str(r[1]), generated: r[3] == int64(2) || r[3] == int64(3), fills: r[4] == int64(1)}
		col.affinity = affinityOf(col.declared)
		if strict && strings.EqualFold(col.declared, "ANY") {
			col.affinity = none
		}
		t.columns[strings.ToLower(col.name)] = col
		if r[2] != int64(0) {
			primary = append(primary, strings.ToLower(col.name))
		}
		return true, nil
	}, t.name)
	if err != nil {
		return nil, err
	}
	t.rowid = t.rowid && t.columns["rowid"] == nil
	if len(primary) > 0 {
		t.addKey(primary)
	}
	return t, t.readIndexes(ctx, c)
}

// readIndexes finds the unique indexes over plain columns of all rows.
func (t *table) readIndexes(ctx context.Context, c *conn) error {
	indexes := map[string][]string{}
	err := c.each(ctx, `SELECT l.name, i.cid, i.name FROM pragma_index_list(?) AS l JOIN pragma_index_info(l.name) AS i
WHERE l."unique" = 1 AND l.partial = 0`, func(r []driver.Value) (bool, error) {
		name := str(r[0])
		if cid, _ := r[1].(int64); cid < 0 { // an expression, or the rowid
			indexes[name] = append(indexes[name], "")
		} else {
			indexes[name] = append(indexes[name], strings.ToLower(str(r[2])))
		}
		return true, nil
	}, t.name)
	for _, cols := range indexes {
		if !slices.Contains(cols, "") {
			t.addKey(cols)
		}
	}
	return err
}

func (t *table) addKey(cols []string) {
	slices.Sort(cols)
	t.keys = append(t.keys, cols)
}

// hasKey reports whether just these columns identify a row.
func (t *table) hasKey(cols []*column) bool {
	want := make([]string, len(cols))
	for i, c := range cols {
		want[i] = strings.ToLower(c.name)
	}
	slices.Sort(want)
	return slices.ContainsFunc(t.keys, func(k []string) bool { return slices.Equal(k, want) })
}

// tableName is the table that an entity stands for: SQLite has no schemas, so the part
// before the first dot is dropped.
func tableName(entity string) string {
	if _, name, ok := strings.Cut(entity, "."); ok {
		return name
	}
	return entity
}
