package mapping_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"

	waybill "github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/envelope"
	"github.com/waybill-data/waybill/internal/mapping"
)

type R = mapping.Rename

// compiled is a mapping of rules that must be good.
func compiled(t interface{ Fatal(...any) }, rules ...mapping.Rule) *mapping.Mapping {
	m, err := mapping.Compile(rules)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// source hands its batches on, with a facet that the decorator does not know.
type source struct {
	waybill.Reader
	batches []waybill.Batch
}

func (s *source) Suppressed() uint64 { return 7 }

func (s *source) Next(context.Context) (waybill.Batch, error) {
	if len(s.batches) == 0 {
		return waybill.Batch{}, errors.New("at the end")
	}
	b := s.batches[0]
	s.batches = s.batches[1:]
	return b, nil
}

type sink struct {
	waybill.Writer
	got waybill.Batch
}

func (s *sink) Seq() uint64 { return 9 }

func (s *sink) Write(_ context.Context, b waybill.Batch) error {
	s.got = b
	return nil
}

// lazily are changes that no decorator knows the kind of.
type lazily struct{ waybill.ChangeList }

func (l lazily) All() iter.Seq2[*waybill.Change, error] { return l.ChangeList.All() }

func action(list waybill.Changes) waybill.Batch {
	return waybill.Batch{Actions: []waybill.Action{{ID: "a1", Seq: 1, Changes: list}}, At: func(int) waybill.Position { return "p" }}
}

// through sends changes through both halves.
func through(t *testing.T, m *mapping.Mapping, list waybill.Changes) (waybill.ChangeList, error) {
	t.Helper()
	b, err := m.Reader(&source{batches: []waybill.Batch{action(list)}}).Next(t.Context())
	if err != nil {
		return nil, err
	}
	to := &sink{}
	if err := m.Writer(to).Write(t.Context(), b); err != nil {
		return nil, err
	}
	if len(to.got.Actions) != 1 || to.got.Actions[0].ID != "a1" {
		t.Fatalf("actions became %v", to.got.Actions)
	}
	changes := to.got.Actions[0].Changes
	for range 2 { // as often as wanted
		var out waybill.ChangeList
		for c, err := range changes.All() {
			if err != nil {
				return nil, err
			}
			out = append(out, *c)
		}
		if len(out) != changes.Len() {
			t.Fatalf("Len is %d, and %d came", changes.Len(), len(out))
		}
		list = out
	}
	out, _ := list.(waybill.ChangeList)
	return out, nil
}

func decode(t *testing.T, text string) waybill.ChangeList {
	t.Helper()
	list, err := envelope.DecodeChanges([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// requireMapped compares both for a list in memory and for one that is read.
func requireMapped(t *testing.T, m *mapping.Mapping, in, want string) {
	t.Helper()
	for _, list := range []waybill.Changes{decode(t, in), lazily{decode(t, in)}} {
		got, err := through(t, m, list)
		if msg, bad := strings.CutPrefix(want, "! "); bad {
			var refusal *waybill.Refusal
			if err == nil || !strings.Contains(err.Error(), msg) {
				t.Errorf("%s: %v, want %s", in, err, msg)
			} else if errors.As(err, &refusal) && (refusal.Action != "a1" || refusal.Seq != 1) {
				t.Errorf("refusal names action %s %d", refusal.Action, refusal.Seq)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		if text := shown(got); text != want {
			t.Errorf("%s became\n%s, want\n%s", in, text, want)
		}
	}
}

// shown is how changes would be written, and the keys of truncates too, which never are.
func shown(list waybill.ChangeList) string {
	var all []string
	for i := range list {
		text := strings.Trim(string(envelope.AppendChanges(nil, list[i:i+1])), "[]")
		if c := &list[i]; c.Op == waybill.Truncate && len(c.Key) > 0 {
			text = strings.TrimSuffix(text, "}") + `,"key":` + c.Key.String() + "}"
		}
		all = append(all, text)
	}
	return "[" + strings.Join(all, ",") + "]"
}

func TestColumns(t *testing.T) {
	m := compiled(
		t,
		mapping.Rule{Entity: "c", To: "crm.c", Columns: []R{{From: "id", To: "cid"}, {From: "a", To: "b"}, {From: "b", To: "a"}}, Drop: []string{"secret"}},
		mapping.Rule{Entity: "o", Only: []string{"id", "x"}},
	)
	for in, want := range map[string]string{
		`[{"entity":"c","op":"update","key":{"id":1},"row":{"id":1,"a":1.0,"b":2,"secret":3,"d":null},"before":{"a":0,"secret":1}}]`: `[{"entity":"crm.c","op":"update","key":{"cid":1},"row":{"cid":1,"b":1.0,"a":2,"d":null},"before":{"b":0}}]`,
		`[{"entity":"c","op":"insert","key":{"id":1},"row":{"cid":1}}]`:                                                              `! another one of that name`,
		`[{"entity":"o","op":"insert","key":{"id":1},"row":{"x":1,"y":2}},{"entity":"z","op":"delete","key":{"id":1}}]`:              `[{"entity":"o","op":"insert","key":{"id":1},"row":{"x":1}},{"entity":"z","op":"delete","key":{"id":1}}]`,
		`[{"entity":"o","op":"delete","key":{"y":1}}]`:                                                                               `! column y is part of the key of o`,
		`[]`: `[]`,
	} {
		requireMapped(t, m, in, want)
	}
}

func TestWhere(t *testing.T) {
	m := compiled(t, mapping.Rule{Entity: "c", Where: "row.country == 'FI'"})
	const head, fi, se = `[{"entity":"c","op":`, `{"country":"FI","n":1}`, `{"country":"SE","n":1}`
	key := `,"key":{"id":1}`
	for in, want := range map[string]string{
		`"insert"` + key + `,"row":` + fi + `}]`:                                               `same`,
		`"insert"` + key + `,"row":` + se + `}]`:                                               `[]`,
		`"upsert"` + key + `,"row":` + fi + `}]`:                                               `same`,
		`"upsert"` + key + `,"row":` + se + `}]`:                                               head + `"delete"` + key + `}]`,
		`"update"` + key + `,"row":` + fi + `}]`:                                               head + `"upsert"` + key + `,"row":{"country":"FI","n":1,"id":1}}]`,
		`"update"` + key + `,"row":` + se + `}]`:                                               head + `"delete"` + key + `}]`,
		`"update"` + key + `,"row":{"n":2}}]`:                                                  `! where needs column country`,
		`"update"` + key + `,"row":` + fi + `,"before":` + fi + `}]`:                           `same`,
		`"update"` + key + `,"row":{"n":2},"before":` + fi + `}]`:                              `same`,
		`"update"` + key + `,"row":` + se + `,"before":` + fi + `}]`:                           head + `"delete"` + key + `,"before":` + fi + `}]`,
		`"update"` + key + `,"row":{"country":"FI"},"before":` + se + `}]`:                     head + `"upsert"` + key + `,"row":{"country":"FI","n":1,"id":1}}]`,
		`"update"` + key + `,"row":` + se + `,"before":` + se + `}]`:                           `[]`,
		`"update"` + key + `,"row":{"id":2,"country":"FI"}}]`:                                  head + `"delete"` + key + `},{"entity":"c","op":"upsert","key":{"id":2},"row":{"id":2,"country":"FI"}}]`,
		`"update"` + key + `,"row":{"id":2,"country":"FI"},"before":{"id":1,"country":"SE"}}]`: head + `"upsert","key":{"id":2},"row":{"id":2,"country":"FI"}}]`,
		`"delete"` + key + `}]`:                                                                `same`,
		`"delete"` + key + `,"before":` + fi + `}]`:                                            `same`,
		`"delete"` + key + `,"before":` + se + `}]`:                                            `[]`,
	} {
		if want == "same" {
			want = head + in
		}
		requireMapped(t, m, head+in, want)
	}
}

func TestWhereExpressions(t *testing.T) {
	const row = `{"i":9007199254740993,"d":"x","n":12.50,"t":true,"z":null,"nan":"NaN","l":[1,{"a":2}],"big":1e400}`
	for where, want := range map[string]string{
		"row.i == 9007199254740993":           "in",
		"row.i > 9007199254740992":            "in",
		"row.t && row.z == null":              "in",
		"has(row.gone)":                       "out",
		"has(row.z)":                          "in",
		"row.gone == 1":                       "! where needs column gone",
		"row.z > 3":                           "! a null, perhaps",
		"row.d":                               "! neither true nor false",
		"decimal(row.d) > decimal(1)":         "! converted or is out of range",
		"row.n == '12.50'":                    "in",
		"decimal(row.n) == decimal('12.5')":   "in",
		"decimal(row.n) < decimal(12)":        "out",
		"decimal(row.n) >= decimal(12.25)":    "in",
		"decimal(row.nan) > decimal(row.big)": "in",
		"decimal(row.big) > decimal(row.i)":   "in",
		"decimal('1e999999999') > decimal(1)": "! converted or is out of range",
		"row.l[1].a == 2 && size(row.l) == 2": "in",
		"'i' in row && !('q' in row)":         "in",
		"row.exists(c, c == 'i')":             "in",
		"size(row) == 9":                      "in",
		"row.d.upperAscii() == 'X'":           "in",
		"row['t']":                            "in",
		"row.id in [1, 2]":                    "in",
		"!(decimal(row.n) in [decimal('7')])": "in",
		"decimal(row.id) != decimal(row.id)":  "out",
		"string(row.i).endsWith('3')":         "in",
		"timestamp('2020-01-01T00:00:00Z') < timestamp('2021-01-01T00:00:00Z')": "in",
	} {
		m := compiled(t, mapping.Rule{Entity: "c", Where: where})
		in := `[{"entity":"c","op":"insert","key":{"id":1},"row":` + row + `}]`
		switch want {
		case "in":
			want = in
		case "out":
			want = "[]"
		}
		t.Run(where, func(t *testing.T) { requireMapped(t, m, in, want) })
	}
}

func TestSet(t *testing.T) {
	m := compiled(t, mapping.Rule{Entity: "c", Columns: []R{{From: "full", To: "name"}}, Set: []mapping.Set{
		{Column: "source", Expression: "'master'"},
		{Column: "email", Expression: "row.email.lowerAscii()"},
		{Column: "name", Expression: "row.full + '!'"},
		{Column: "copy", Expression: "row.n"},
		{Column: "twice", Expression: "row.i * 2"},
		{Column: "sure", Expression: "has(row.opt) ? {'b': [row.opt], 'a': null} : {}"},
		{Column: "dec", Expression: "decimal(row.n)"},
	}})
	for in, want := range map[string]string{
		`[{"entity":"c","op":"insert","key":{"id":1},"row":{"email":"A@B","full":"Ö","n":1.50,"i":4}}]`: `[{"entity":"c","op":"insert","key":{"id":1},"row":{"n":1.50,"i":4,"source":"master","email":"a@b","name":"Ö!","copy":1.50,"twice":8,"sure":{},"dec":1.50}}]`,
		`[{"entity":"c","op":"update","key":{"id":1},"row":{"i":5},"before":{"full":"x","n":2}}]`:       `[{"entity":"c","op":"update","key":{"id":1},"row":{"i":5,"source":"master","name":"x!","copy":2,"twice":10,"dec":2},"before":{"n":2}}]`,
		`[{"entity":"c","op":"upsert","key":{"id":1},"row":{"opt":"y"}}]`:                               `[{"entity":"c","op":"upsert","key":{"id":1},"row":{"opt":"y","source":"master","sure":{"a":null,"b":["y"]}}}]`,
		`[{"entity":"c","op":"insert","key":{"id":1},"row":{"full":"Ö"}}]`:                              `! set.email needs column email`,
		`[{"entity":"c","op":"insert","key":{"id":1},"row":{"email":null}}]`:                            `! set.email: the expression has no value`,
		`[{"entity":"c","op":"delete","key":{"id":1},"before":{"email":"A","full":"b","id":1}}]`:        `[{"entity":"c","op":"delete","key":{"id":1},"before":{"id":1}}]`,
		`[{"entity":"c","op":"delete","key":{"email":"a"}}]`:                                            `! column email is part of the key`,
	} {
		requireMapped(t, m, in, want)
	}
}

// TestSetNull: an expression says in its own words what becomes of null.
func TestSetNull(t *testing.T) {
	m := compiled(t, mapping.Rule{Entity: "c", Set: []mapping.Set{
		{Column: "email", Expression: "row.email == null ? null : row.email.lowerAscii()"},
		{Column: "size", Expression: "row.size != null ? (row.size > 9 ? 'large' : row.size > 5 ? null : 'small') : null"},
		{Column: "twice", Expression: "row.size == null ? null : row.size * 2"},
		{Column: "none", Expression: "true ? null : null"},
	}})
	for in, want := range map[string]string{
		`"email":"A@B","size":9`:   `"email":"a@b","size":null,"twice":18,"none":null`,
		`"email":null,"size":null`: `"email":null,"size":null,"twice":null,"none":null`,
		`"email":"","size":10`:     `"email":"","size":"large","twice":20,"none":null`,
	} {
		const head, tail = `[{"entity":"c","op":"insert","key":{"id":1},"row":{`, `}}]`
		requireMapped(t, m, head+in+tail, head+want+tail)
	}
	_, err := mapping.Compile([]mapping.Rule{{Entity: "c", Set: []mapping.Set{{Column: "x", Expression: "row.a == null ? 1 : 'b'"}}}})
	if err == nil {
		t.Error("branches of two types are one")
	}
}

func TestChildren(t *testing.T) {
	m := compiled(t, mapping.Rule{Entity: "c", To: "crm.c", Columns: []R{{From: "id", To: "cid"}}, Children: []mapping.Child{
		{Field: "phones", To: "crm.phone", Key: []string{"id"}, Parent: []R{{From: "id", To: "customer_id"}}},
	}})
	for in, want := range map[string]string{
		`[{"entity":"c","op":"insert","key":{"id":1},"row":{"n":1,"phones":[{"id":5,"no":"x"}, {"no":null,"id":6}]}}]`:      `[{"entity":"crm.c","op":"insert","key":{"cid":1},"row":{"n":1}},{"entity":"crm.phone","op":"upsert","key":{"id":5},"row":{"customer_id":1,"id":5,"no":"x"}},{"entity":"crm.phone","op":"upsert","key":{"id":6},"row":{"customer_id":1,"no":null,"id":6}}]`,
		`[{"entity":"c","op":"upsert","key":{"id":1},"row":{"phones":[{"id":5}]},"before":{"phones":[{"id":4},{"id":5}]}}]`: `[{"entity":"crm.phone","op":"delete","key":{"id":4}},{"entity":"crm.c","op":"upsert","key":{"cid":1},"row":{},"before":{}},{"entity":"crm.phone","op":"upsert","key":{"id":5},"row":{"customer_id":1,"id":5}}]`,
		`[{"entity":"c","op":"delete","key":{"id":1},"before":{"phones":[{"id":4}]}}]`:                                      `[{"entity":"crm.phone","op":"truncate","key":{"customer_id":1}},{"entity":"crm.c","op":"delete","key":{"cid":1},"before":{}}]`,
		`[{"entity":"c","op":"update","key":{"id":1},"row":{"n":2}}]`:                                                       `[{"entity":"crm.c","op":"update","key":{"cid":1},"row":{"n":2}}]`,
		`[{"entity":"c","op":"update","key":{"id":1},"row":{"id":2},"before":{"phones":[{"id":4}]}}]`:                       `[{"entity":"crm.phone","op":"truncate","key":{"customer_id":1}},{"entity":"crm.c","op":"update","key":{"cid":1},"row":{"cid":2},"before":{}},{"entity":"crm.phone","op":"upsert","key":{"id":4},"row":{"customer_id":2,"id":4}}]`,
		`[{"entity":"c","op":"update","key":{"id":1},"row":{"id":2}}]`:                                                      `! which rows of crm.phone move with it`,
		`[{"entity":"c","op":"update","key":{"id":1},"row":{"phones":null}}]`:                                               `[{"entity":"crm.phone","op":"truncate","key":{"customer_id":1}},{"entity":"crm.c","op":"update","key":{"cid":1},"row":{}}]`,
		`[{"entity":"c","op":"delete","key":{"id":1}}]`:                                                                     `[{"entity":"crm.phone","op":"truncate","key":{"customer_id":1}},{"entity":"crm.c","op":"delete","key":{"cid":1}}]`,
		`[{"entity":"c","op":"upsert","key":{"id":1},"row":{"n":2}}]`:                                                       `[{"entity":"crm.c","op":"upsert","key":{"cid":1},"row":{"n":2}}]`,
		`[{"entity":"c","op":"upsert","key":{"id":1},"row":{"phones":[]}}]`:                                                 `[{"entity":"crm.phone","op":"truncate","key":{"customer_id":1}},{"entity":"crm.c","op":"upsert","key":{"cid":1},"row":{}}]`,
		`[{"entity":"c","op":"upsert","key":{"id":1},"row":{"phones":[{"id":5}]}}]`:                                         `[{"entity":"crm.phone","op":"truncate","key":{"customer_id":1}},{"entity":"crm.c","op":"upsert","key":{"cid":1},"row":{}},{"entity":"crm.phone","op":"upsert","key":{"id":5},"row":{"customer_id":1,"id":5}}]`,
		`[{"entity":"c","op":"update","key":{"id":1},"row":{"id":2,"phones":[]}}]`:                                          `[{"entity":"crm.phone","op":"truncate","key":{"customer_id":1}},{"entity":"crm.c","op":"update","key":{"cid":1},"row":{"cid":2}}]`,
		`[{"entity":"c","op":"insert","key":{"id":1},"row":{"phones":{"id":5}}}]`:                                           `! column phones is no list`,
		`[{"entity":"c","op":"insert","key":{"id":1},"row":{"phones":[5]}}]`:                                                `! object 1 of the list phones`,
		`[{"entity":"c","op":"insert","key":{"id":1},"row":{"phones":[{"no":1}]}}]`:                                         `! it lacks id`,
		`[{"entity":"c","op":"insert","key":{"id":1},"row":{"phones":[{"id":1},{"id":1}]}}]`:                                `! two objects with the same key`,
		`[{"entity":"c","op":"insert","key":{"id":1},"row":{"phones":[{"id":1,"customer_id":2}]}}]`:                         `! otherwise than its parent`,
		`[{"entity":"c","op":"insert","key":{"id":1},"row":{"phones":[{"id":1,"customer_id":1}]}}]`:                         `[{"entity":"crm.c","op":"insert","key":{"cid":1},"row":{}},{"entity":"crm.phone","op":"upsert","key":{"id":1},"row":{"customer_id":1,"id":1}}]`,
	} {
		requireMapped(t, m, in, want)
	}
	byCode := compiled(t, mapping.Rule{Entity: "c", Children: []mapping.Child{
		{Field: "phones", To: "phone", Key: []string{"id"}, Parent: []R{{From: "code", To: "of"}}},
	}})
	for in, want := range map[string]string{
		`[{"entity":"c","op":"upsert","key":{"id":1},"row":{"code":"x","phones":[]}}]`:                        `! have parent name columns of the key, or write full rows`,
		`[{"entity":"c","op":"delete","key":{"id":1}}]`:                                                       `! what column code held before`,
		`[{"entity":"c","op":"insert","key":{"id":1},"row":{"code":null,"phones":[{"id":1}]}}]`:               `! column code is null`,
		`[{"entity":"c","op":"update","key":{"id":1},"row":{"code":"x","phones":[]},"before":{"code":null}}]`: `[{"entity":"c","op":"update","key":{"id":1},"row":{"code":"x"},"before":{"code":null}}]`,
		`[{"entity":"c","op":"update","key":{"id":1},"row":{"code":"x","phones":[]},"before":{"code":"y"}}]`:  `[{"entity":"phone","op":"truncate","key":{"of":"y"}},{"entity":"c","op":"update","key":{"id":1},"row":{"code":"x"},"before":{"code":"y"}}]`,
	} {
		requireMapped(t, byCode, in, want)
	}
	list, err := through(t, m, waybill.ChangeList{{Entity: "c", Op: waybill.Truncate}})
	if err != nil || len(list) != 2 || list[0].Entity != "crm.phone" || list[1].Entity != "crm.c" || list[0].Op != waybill.Truncate {
		t.Errorf("truncate became %v, %v", list, err)
	}
}

func TestSchema(t *testing.T) {
	m := compiled(
		t,
		mapping.Rule{
			Entity: "c", To: "crm.c", Columns: []R{{From: "id", To: "cid"}}, Drop: []string{"x"},
			Set: []mapping.Set{{Column: "n", Expression: "size(row.u)"}, {Column: "u2", Expression: "row.u"}},
		},
		mapping.Rule{Entity: "f", Where: "row.id > 1"},
	)
	schema := &waybill.Schema{
		Entity: "c", System: "postgres",
		Columns: []waybill.SchemaColumn{{Name: "id", Type: "bigint", NotNull: true}, {Name: "x", Type: "text"}, {Name: "u", Type: "uid", Base: "text"}, {Name: "c", Type: "bigint"}},
		Key:     []string{"id"}, Unique: [][]string{{"x"}, {"u", "id"}},
		Foreign: []waybill.ForeignKey{
			{Columns: []string{"c"}, Entity: "c", References: []string{"id"}},
			{Columns: []string{"x"}, Entity: "y", References: []string{"id"}},
			{Columns: []string{"c"}, Entity: "f", References: []string{"id"}},
		},
	}
	change := waybill.Change{Entity: "c", Op: waybill.Delete, Key: waybill.Row{{Name: "id", Value: waybill.Value{Form: waybill.JSON, Raw: []byte("1")}}}, Schema: schema}
	to, from := &sink{}, &source{batches: []waybill.Batch{action(waybill.ChangeList{change}), action(waybill.ChangeList{change})}}
	r, w := m.Reader(from), m.Writer(to)
	var got []*waybill.Schema
	for range 2 {
		b, err := r.Next(t.Context())
		if err == nil {
			err = w.Write(t.Context(), b)
		}
		if err != nil {
			t.Fatal(err)
		}
		for c := range to.got.Actions[0].Changes.All() {
			got = append(got, c.Schema)
		}
	}
	if got[0] != got[1] {
		t.Error("the same schema gave two")
	}
	text := fmt.Sprintf("%+v", *got[0])
	if want := `{Entity:crm.c System:postgres Columns:[{Name:cid Type:bigint Base: NotNull:true} {Name:u Type:uid Base:text NotNull:false} ` +
		`{Name:c Type:bigint Base: NotNull:false} {Name:n Type:bigint Base: NotNull:false} {Name:u2 Type:uid Base:text NotNull:false}] ` +
		`Key:[cid] Unique:[[u cid]] Foreign:[{Columns:[c] Entity:crm.c References:[cid]}]}`; text != want {
		t.Errorf("schema became\n%s, want\n%s", text, want)
	}
	if len(schema.Columns) != 4 || schema.Columns[0].Name != "id" || len(schema.Foreign) != 3 {
		t.Error("the source's schema was modified")
	}
}

func TestFacetsStayVisible(t *testing.T) {
	m := compiled(t, mapping.Rule{Entity: "c", To: "d", Where: "true"})
	if s, ok := waybill.As[waybill.Resumed](m.Reader(&source{})); !ok || s.Suppressed() != 7 {
		t.Error("the reader's facet is hidden")
	}
	if s, ok := waybill.As[waybill.Numbered](m.Writer(&sink{})); !ok || s.Seq() != 9 {
		t.Error("the writer's facet is hidden")
	}
	if _, ok := waybill.As[waybill.Backlog](m.Reader(&source{})); ok {
		t.Error("a facet out of nothing")
	}
}

// A refusal in mid-batch is told after the actions before it.
func TestRefusalAfterGoodActions(t *testing.T) {
	m := compiled(t, mapping.Rule{Entity: "c", Where: "row.n > 1"})
	good, bad := decode(t, `[{"entity":"c","op":"insert","key":{"id":1},"row":{"n":2}}]`), decode(t, `[{"entity":"c","op":"insert","key":{"id":1},"row":{}}]`)
	b := waybill.Batch{
		Actions: []waybill.Action{{ID: "a", Seq: 1, Changes: good}, {ID: "b", Seq: 2, Changes: bad}}, Upto: "2",
		At: func(i int) waybill.Position { return waybill.Position(fmt.Sprint(i + 1)) },
	}
	r := m.Reader(&source{batches: []waybill.Batch{b}})
	head, err := r.Next(t.Context())
	if err != nil || len(head.Actions) != 1 || head.Upto != "1" {
		t.Fatalf("first came %v, %v", head, err)
	}
	var refusal *waybill.Refusal
	if _, err = r.Next(t.Context()); !errors.As(err, &refusal) || refusal.Action != "b" || refusal.Seq != 2 {
		t.Errorf("then %v", err)
	}
}

func TestCompileErrors(t *testing.T) {
	_, err := mapping.Compile([]mapping.Rule{
		{Entity: "a", Where: "row.x ==\n  == 2"},
		{Entity: "b", Where: "size(row)", Set: []mapping.Set{{Column: "y", Expression: "rov.y"}, {Column: "z", Expression: "row.gone"}}, Drop: []string{"gone"}},
		{Entity: "c", Columns: []R{{From: "a", To: "x"}, {From: "b", To: "x"}}, Only: []string{"a", "b"}, Drop: []string{"c"}},
		{Entity: "d", To: "b", Children: []mapping.Child{{Field: "l"}}},
		{Entity: "a"},
	})
	if err == nil {
		t.Fatal("compiled")
	}
	var fault *mapping.Error
	if !errors.As(err, &fault) || fault.Entity != "a" || fault.Field != "where" || fault.Line != 2 || fault.Column != 3 {
		t.Errorf("the first is %+v", fault)
	}
	for _, want := range []string{
		"mapping.b.where: it is int", "mapping.b.set.y:1:1: undeclared reference to 'rov'", "mapping.b.set.z: row.gone does not pass",
		"mapping.c.columns.b: another column is named x already", "mapping.c.drop: only says already", "mapping.d.to: b is where b goes already",
		"mapping.d.children.l.key: it names no column", "mapping.d.children.l.parent: it names no column", "mapping.a: the entity has a rule already",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("missing %q in\n%v", want, err)
		}
	}
}

func TestDescribe(t *testing.T) {
	m := compiled(
		t,
		mapping.Rule{
			Entity: "c", To: "d", Columns: []R{{From: "id", To: "cid"}, {From: "n", To: "name"}}, Set: []mapping.Set{{Column: "s", Expression: "'x'"}},
			Types:    map[string]string{"id": "bigint", "n": "text", "s": "text", "z": "date"},
			Children: []mapping.Child{{Field: "l", To: "e", Key: []string{"of", "no"}, Parent: []R{{From: "id", To: "of"}}, Types: map[string]string{"no": "int"}}},
		},
		mapping.Rule{Entity: "p", Columns: []R{{From: "a", To: "b"}}, Types: map[string]string{"a": "text"}},
	)
	for _, c := range []struct {
		m       *mapping.Mapping
		change  waybill.Change
		columns string
		untyped string
	}{
		{m, waybill.Change{Entity: "d", Key: cells("cid"), Row: cells("name", "s", "cid")}, "[{cid bigint} {name text} {s text} {z date}] [cid]", ""},
		{m, waybill.Change{Entity: "d", Op: waybill.Delete, Key: cells("cid")}, "[{cid bigint} {name text} {s text} {z date}] [cid]", ""},
		{m, waybill.Change{Entity: "e", Key: cells("of", "no"), Row: cells("of", "no")}, "[{of bigint} {no int}] [of no]", ""},
		{m, waybill.Change{Entity: "e", Op: waybill.Truncate, Key: cells("of")}, "[{of bigint} {no int}] [of no]", ""},
		{m, waybill.Change{Entity: "e", Key: cells("of", "no"), Row: cells("x")}, "[{of bigint} {no int}] [of no]", "mapping: {c: {children: {l: {types: {x: …}}}}}"},
		{m, waybill.Change{Entity: "p", Key: cells("id"), Row: cells("b", "a2")}, "[{b text}] [id]", "mapping: {p: {types: {id: …, a2: …}}}"},
		{m, waybill.Change{Entity: "q", Key: cells("id"), Row: cells("id")}, "[] [id]", "mapping: {q: {types: {id: …}}}"},
		{nil, waybill.Change{Entity: "q", Key: cells("id")}, "[] [id]", "mapping: {q: {types: {id: …}}}"},
	} {
		s, untyped := c.m.Describe(&c.change)
		columns := []string{}
		for _, col := range s.Columns {
			columns = append(columns, "{"+col.Name+" "+col.Type+"}")
		}
		if have := fmt.Sprint(columns, s.Key); have != c.columns || !strings.HasSuffix(untyped, c.untyped) || (untyped == "") != (c.untyped == "") {
			t.Errorf("%s %s: %s, %q, want %s, %q", c.change.Entity, c.change.Key, have, untyped, c.columns, c.untyped)
		}
	}
}

func cells(names ...string) (row waybill.Row) {
	for _, n := range names {
		row = append(row, waybill.Column{Name: n, Value: cell(1)})
	}
	return row
}

func FuzzCompile(f *testing.F) {
	for _, s := range []string{"row.country == 'FI'", "decimal(row.x) < decimal('1')", "row.a.map(x, x + 1)", "{'a': row}", "row[1]", ")", "'\\x"} {
		f.Add(s, "a", "b")
	}
	list, err := envelope.DecodeChanges([]byte(`[{"entity":"c","op":"update","key":{"id":1},"row":{"a":[1,"x",null],"x":1.5},"before":{"country":"FI"}}]`))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text, from, to string) {
		m, err := mapping.Compile([]mapping.Rule{{Entity: "c", Where: text, Columns: []R{{From: from, To: to}}, Set: []mapping.Set{{Column: to, Expression: text}}}})
		if err != nil {
			return
		}
		b, err := m.Reader(&source{batches: []waybill.Batch{action(slices.Clone(list))}}).Next(t.Context())
		if err == nil {
			_ = m.Writer(&sink{}).Write(t.Context(), b)
		}
	})
}
