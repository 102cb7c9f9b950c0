package mapping_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	waybill "github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/mapping"
)

// family is a parent of a model: its list by the children's number.
type family map[string]string

func (f family) list() string {
	var all []string
	for _, n := range slices.Sorted(maps.Keys(f)) {
		all = append(all, fmt.Sprintf(`{"n":%s,"v":%s}`, n, f[n]))
	}
	return "[" + strings.Join(all, ",") + "]"
}

// drawFamily changes a family as an application would tell of it: the list may be there or not, null
// or empty, and the list before may be told.
func drawFamily(t *rapid.T, src map[string]family) string {
	id := rapid.SampledFrom([]string{"1", "2", "3"}).Draw(t, "id")
	old, is := src[id]
	before := ""
	if is && rapid.Bool().Draw(t, "before") {
		before = `,"before":{"l":` + old.list() + `}`
	}
	if is && rapid.IntRange(0, 3).Draw(t, "delete") == 0 {
		delete(src, id)
		return fmt.Sprintf(`{"entity":"p","op":"delete","key":{"id":%s}%s}`, id, before)
	}
	now, row := family{}, `"l":null`
	switch rapid.IntRange(0, 4).Draw(t, "list") {
	case 0:
		now, row = maps.Clone(old), `"other":1`
	case 1:
	default:
		for _, n := range []string{"7", "8", "9"} {
			if rapid.Bool().Draw(t, "child") {
				now[n] = fmt.Sprint(rapid.IntRange(0, 9).Draw(t, "v"))
			}
		}
		row = `"l":` + now.list()
	}
	op, to := "upsert", id
	if is && rapid.Bool().Draw(t, "update") {
		op = "update"
		other := rapid.SampledFrom([]string{"1", "2", "3"}).Draw(t, "to")
		if _, taken := src[other]; !taken && (strings.HasPrefix(row, `"l"`) || before != "") {
			to, row = other, row+`,"id":`+other
		}
	}
	delete(src, id)
	src[to] = now
	return fmt.Sprintf(`{"entity":"p","op":%q,"key":{"id":%s},"row":{%s}%s}`, op, id, row, before)
}

// TestChildrenMirrorTheLists: whatever is known of the lists before, the children at the target are
// those of the lists, and none is written before its parent or outlives it.
func TestChildrenMirrorTheLists(t *testing.T) {
	m := compiled(t, mapping.Rule{Entity: "p", Children: []mapping.Child{{Field: "l", To: "c", Key: []string{"p", "n"}, Parent: []R{{From: "id", To: "p"}}}}})
	rapid.Check(t, func(rt *rapid.T) {
		src, parents, children := map[string]family{}, map[string]bool{}, map[string]string{}
		for range rapid.IntRange(1, 20).Draw(rt, "changes") {
			in := drawFamily(rt, src)
			list, err := through(t, m, decode(t, "["+in+"]"))
			if err != nil {
				rt.Fatalf("%s: %v", in, err)
			}
			for i := range list {
				applyFamily(rt, &list[i], parents, children)
			}
			want := map[string]string{}
			for id, f := range src {
				for n, v := range f {
					want[id+"/"+n] = v
				}
			}
			if !maps.Equal(children, want) || !slices.Equal(slices.Sorted(maps.Keys(parents)), slices.Sorted(maps.Keys(src))) {
				rt.Fatalf("after %s the target holds %v and %v, want %v", in, parents, children, want)
			}
		}
	})
}

// applyFamily does what a target with a foreign key does.
func applyFamily(t *rapid.T, c *waybill.Change, parents map[string]bool, children map[string]string) {
	get := func(row waybill.Row, name string) string {
		v, _ := row.Get(name)
		return v.String()
	}
	switch {
	case c.Entity == "c" && c.Op == waybill.Upsert:
		if !parents[get(c.Row, "p")] {
			t.Fatalf("the child %s has no parent", c.Key)
		}
		children[get(c.Key, "p")+"/"+get(c.Key, "n")] = get(c.Row, "v")
	case c.Entity == "c" && c.Op == waybill.Delete:
		delete(children, get(c.Key, "p")+"/"+get(c.Key, "n"))
	case c.Entity == "c" && c.Op == waybill.Truncate && len(c.Key) == 1:
		maps.DeleteFunc(children, func(k, _ string) bool { return strings.HasPrefix(k, get(c.Key, "p")+"/") })
	case c.Entity == "p":
		id := get(c.Key, "id")
		_, moved := c.Row.Get("id")
		for k := range children {
			if (c.Op == waybill.Delete || moved) && strings.HasPrefix(k, id+"/") {
				t.Fatalf("%s of a parent that has the child %s", c.Op, k)
			}
		}
		if c.Op == waybill.Delete || moved {
			delete(parents, id)
		}
		if moved {
			id = get(c.Row, "id")
		}
		if c.Op != waybill.Delete {
			parents[id] = true
		}
	default:
		t.Fatalf("%s of %s", c.Op, c.Entity)
	}
}
