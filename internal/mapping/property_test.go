package mapping_test

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"testing"

	"pgregory.net/rapid"

	waybill "github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/mapping"
)

// Tables of a model: rows by key, columns by name.
type table map[int]map[string]int

// cell is a column's value in the model.
func cell(n int) waybill.Value {
	return waybill.Value{Form: waybill.JSON, Raw: strconv.AppendInt(nil, int64(n), 10)}
}

func asRow(m map[string]int) waybill.Row {
	var r waybill.Row
	for _, name := range slices.Sorted(maps.Keys(m)) {
		r = append(r, waybill.Column{Name: name, Value: cell(m[name])})
	}
	return r
}

// drawChange changes the table and says how a log would tell it, the old row with it or not.
func drawChange(t *rapid.T, src table, before bool) waybill.Change {
	id := rapid.IntRange(1, 4).Draw(t, "id")
	old, is := src[id]
	row := map[string]int{"id": id, "a": rapid.IntRange(0, 3).Draw(t, "a"), "b": rapid.IntRange(0, 3).Draw(t, "b"), "c": rapid.IntRange(0, 3).Draw(t, "c")}
	c := waybill.Change{Entity: "t", Op: waybill.Insert, Key: asRow(map[string]int{"id": id}), Row: asRow(row)}
	switch {
	case !is:
		src[id] = row
		return c
	case rapid.Bool().Draw(t, "delete"):
		c.Op, c.Row = waybill.Delete, nil
		delete(src, id)
	default:
		c.Op = waybill.Update
		delete(src, id)
		if to := rapid.IntRange(1, 4).Draw(t, "to"); src[to] == nil {
			row["id"] = to
		}
		src[row["id"]] = row
		c.Row = asRow(row)
		if before && rapid.Bool().Draw(t, "unchanged") { // as with an unchanged value that is large
			row["b"] = old["b"]
			c.Row = slices.DeleteFunc(asRow(row), func(col waybill.Column) bool { return col.Name == "b" })
		}
	}
	if before {
		c.Before = asRow(old)
	}
	return c
}

// expected is what the target must hold: written from the contract, not from the code.
func expected(src table, least int) table {
	want := table{}
	for id, row := range src {
		if row["a"] < least {
			continue
		}
		want[id] = map[string]int{"key": id, "a": row["a"], "bee": row["b"], "sum": row["a"] + row["b"]}
	}
	return want
}

// apply does what a target does, as strictly as it may.
func apply(t *rapid.T, dst table, c *waybill.Change) {
	number := func(v waybill.Value) int {
		n, err := strconv.Atoi(v.String())
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if c.Entity != "u" || len(c.Key) != 1 || c.Key[0].Name != "key" {
		t.Fatalf("a change of %s %s", c.Entity, c.Key)
	}
	id := number(c.Key[0].Value)
	row, is := dst[id]
	switch {
	case c.Op == waybill.Insert && is, c.Op == waybill.Update && !is:
		t.Fatalf("%s of %d, which the target holds: %v", c.Op, id, is)
	case c.Op == waybill.Delete:
		delete(dst, id)
		return
	case !is:
		row = map[string]int{"key": id}
	}
	delete(dst, id)
	for _, col := range c.Row {
		row[col.Name] = number(col.Value)
	}
	dst[row["key"]] = row
}

// TestMirrorsTheMappedSource: whatever happens at the source, a target that applies what the two
// halves leave of it holds the mapped source after each action, with whole rows told or without.
func TestMirrorsTheMappedSource(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		least := rapid.IntRange(0, 3).Draw(t, "least")
		m := compiled(t, mapping.Rule{
			Entity: "t", To: "u", Columns: []R{{From: "id", To: "key"}, {From: "b", To: "bee"}}, Drop: []string{"c"},
			Where: fmt.Sprintf("row.a >= %d", least), Set: []mapping.Set{{Column: "sum", Expression: "row.a + row.b"}},
		})
		before, lazy := rapid.Bool().Draw(t, "before"), rapid.Bool().Draw(t, "lazy")
		src, dst := table{}, table{}
		from, to := &source{}, &sink{}
		r, w := m.Reader(from), m.Writer(to)
		for range rapid.IntRange(1, 20).Draw(t, "actions") {
			var list waybill.ChangeList
			for range rapid.IntRange(1, 4).Draw(t, "changes") {
				list = append(list, drawChange(t, src, before))
			}
			var changes waybill.Changes = list
			if lazy {
				changes = lazily{list}
			}
			from.batches = append(from.batches, action(changes))
			b, err := r.Next(t.Context())
			if err == nil {
				err = w.Write(t.Context(), b)
			}
			if err != nil {
				t.Fatal(err)
			}
			for c, err := range to.got.Actions[0].Changes.All() {
				if err != nil {
					t.Fatal(err)
				}
				apply(t, dst, c)
			}
			if want := expected(src, least); !maps.EqualFunc(dst, want, maps.Equal[map[string]int, map[string]int]) {
				t.Fatalf("the target holds %v, want %v", dst, want)
			}
		}
	})
}
