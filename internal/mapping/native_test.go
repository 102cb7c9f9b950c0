package mapping_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	waybill "github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/mapping"
)

// reversed is an encoding that nobody would take for JSON.
type reversed struct{}

func (reversed) String() string { return "reversed" }

func (reversed) AppendJSON(dst, raw []byte) ([]byte, error) {
	if len(raw) == 0 {
		return dst, errors.New("no bytes")
	}
	for _, c := range slices.Backward(raw) {
		dst = append(dst, c)
	}
	return dst, nil
}

func native(name, raw string) waybill.Column {
	return waybill.Column{Name: name, Value: waybill.Value{Form: waybill.Native, Raw: []byte(raw), Encoding: reversed{}}}
}

// captured is a change of a table with a numeric n, a large x and a domain over integer d.
func captured(op waybill.Op, row, before waybill.Row) waybill.ChangeList {
	return waybill.ChangeList{{Entity: "t", Op: op, Key: waybill.Row{native("id", "01")}, Row: row, Before: before, Schema: &waybill.Schema{
		Entity: "t", Columns: []waybill.SchemaColumn{{Name: "id", Type: "integer"}, {Name: "n", Type: "numeric(5,0)"}, {Name: "d", Type: "age", Base: "integer"}, {Name: "x", Type: "text"}}, Key: []string{"id"},
	}}}
}

func TestCapturedValues(t *testing.T) {
	whole := waybill.Row{native("id", "01"), native("n", "21"), native("d", "7"), native("x", `"oof"`)}
	most := whole[:3:3]
	set := []mapping.Set{{Column: "copy", Expression: "row.n"}, {Column: "y", Expression: "row.x"}, {Column: "old", Expression: "has(row.x) ? row.d : 0"}}
	for name, c := range map[string]struct {
		where      string
		list       waybill.ChangeList
		want, fail string
	}{
		"numeric is a string":        {where: "row.n == '12' && row.d == 7", list: captured(waybill.Insert, whole, nil), want: `insert {"id":10,"n":12,"d":7,"x":"foo","copy":12,"y":"foo","old":7}`},
		"decimal":                    {where: "decimal(row.n) > decimal(11)", list: captured(waybill.Insert, whole, nil), want: `insert {"id":10,"n":12,"d":7,"x":"foo","copy":12,"y":"foo","old":7}`},
		"unchanged, not whole":       {where: "row.d == 7", list: captured(waybill.Update, most, nil), fail: "leaves column x out; give the table replica identity full"},
		"unchanged and asked for":    {where: "!has(row.x)", list: captured(waybill.Update, most, nil), fail: "where needs column x"},
		"unchanged, old row told":    {where: "row.x == 'foo'", list: captured(waybill.Update, most, whole), want: `update {"id":10,"n":12,"d":7,"copy":12,"y":"foo","old":7}`},
		"unchanged, nothing decided": {list: captured(waybill.Update, most, nil), want: `update {"id":10,"n":12,"d":7,"copy":12}`},
		"bytes that are none":        {where: "row.n == '1'", list: captured(waybill.Insert, waybill.Row{native("n", "")}, nil), fail: "read column n: no bytes"},
	} {
		m := compiled(t, mapping.Rule{Entity: "t", Where: c.where, Set: set})
		got, err := through(t, m, c.list)
		if c.fail != "" {
			if err == nil || !strings.Contains(err.Error(), c.fail) {
				t.Errorf("%s: %v, want %s", name, err, c.fail)
			}
			continue
		}
		if err != nil || len(got) != 1 {
			t.Errorf("%s: %v, %v", name, got, err)
			continue
		}
		if text := got[0].Op.String() + " " + got[0].Row.String(); text != c.want {
			t.Errorf("%s: %s, want %s", name, text, c.want)
		}
		for _, column := range []string{"n", "copy"} {
			if v, _ := got[0].Row.Get(column); v.Form != waybill.Native || string(v.Raw) != "21" {
				t.Errorf("%s: column %s did not keep its form", name, column)
			}
		}
	}
}

// A change that enters must be complete; one that only and drop shrink may lack what they drop.
func TestEntersWithoutDroppedColumns(t *testing.T) {
	m := compiled(t, mapping.Rule{Entity: "t", Where: "row.d == 7", Drop: []string{"x"}})
	got, err := through(t, m, captured(waybill.Update, waybill.Row{native("id", "01"), native("n", "21"), native("d", "7")}, nil))
	if err != nil || len(got) != 1 || got[0].Op != waybill.Upsert {
		t.Errorf("%v, %v", got, err)
	}
}
