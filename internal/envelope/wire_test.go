package envelope_test

import (
	"errors"
	"strings"
	"testing"

	waybill "github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/envelope"
)

// An outbox row holds neither schema nor unchanged: only a decoder that can find schemas
// takes them.
func TestOnlyTheWireHasSchemas(t *testing.T) {
	const head = `[{"entity":"a","op":"upsert","key":{"id":1},"row":{"x":1},`
	found := &waybill.Schema{Entity: "a"}
	down := errors.New("down")
	for _, tc := range []struct{ field, outbox, wire string }{
		{`"schema":"h"`, `field "schema" is none of entity, op, key, row, before`, ""},
		{`"schema":null`, `field "schema" is none of entity, op, key, row, before`, ""},
		{`"unchanged":["y"]`, `field "unchanged" is none of entity, op, key, row, before`, ""},
		{`"unchanged":null`, `field "unchanged" is none of entity, op, key, row, before`, ""},
		{`"schema":"away"`, `field "schema" is none of entity, op, key, row, before`, `schema "away": down`},
		{`"Schema":"h"`, `field "Schema" is none of entity, op, key, row, before`, `field "Schema" is none of entity, op, key, row, before`},
		{`"unchanged":["x"]`, `field "unchanged" is none of entity, op, key, row, before`, `column "x" stands in row and in unchanged`},
	} {
		message := []byte(head + tc.field + `}]`)
		var outbox envelope.Decoder
		for name, decode := range map[string]func([]byte) (waybill.ChangeList, error){
			"DecodeChanges": envelope.DecodeChanges, "Decode": outbox.Decode, "DecodeData": outbox.DecodeData,
		} {
			if _, err := decode(message); err == nil || err.Error() != "change 1 (a): "+tc.outbox {
				t.Errorf("%s of %s: %v", name, tc.field, err)
			}
		}
		wire := envelope.Decoder{Schemas: func(hash []byte) (*waybill.Schema, error) {
			if string(hash) == "away" {
				return nil, down
			}
			return found, nil
		}}
		list, err := wire.Decode(message)
		if tc.wire == "" {
			if err != nil || (list[0].Schema == found) != strings.Contains(tc.field, `"h"`) {
				t.Errorf("wire, %s: %v", tc.field, err)
			}
		} else if err == nil || err.Error() != "change 1 (a): "+tc.wire {
			t.Errorf("wire, %s: %v", tc.field, err)
		}
	}
}

// Members reads what it is told to, and a value that is no list of changes is still a value.
func TestMembers(t *testing.T) {
	const ok = `{"entity":"a","op":"delete","key":{"id":1}}`
	deep := strings.Repeat("[", envelope.MaxDepth+4) + strings.Repeat("]", envelope.MaxDepth+4)
	for in, want := range map[string]string{
		`{}`:                                `end`,
		" {\"a\" : 1 , \"\\u0062\":[2] }\n": `a=1 b=[2] end`,
		`{"data":` + ok + `,"a":1}`:         `data:1 a=1 end`,
		`{"data":[` + ok + `,` + ok + `]}`:  `data:2 end`,
		`{"data":[1],"a":1}`:                `data! a=1 end`,
		`{"data":null}`:                     `data! end`,
		`{"data":` + deep + `}`:             `data! error`,
		`{"data":[1}`:                       `data! error`,
		`{"data"`:                           `error`,
		`{"data":`:                          `data! error`,
		`{} {}`:                             `error`,
		`{"a":1,}`:                          `a=1 error`,
		`[]`:                                `error`,
		``:                                  `error`,
	} {
		if got := walk([]byte(in)); got != want {
			t.Errorf("%.60q: %s, want %s", in, got, want)
		}
	}
}

func walk(data []byte) string {
	var seen []string
	var d envelope.Decoder
	o, err := envelope.ReadMembers(data)
	for err == nil && o.More() {
		var name, raw []byte
		if name, err = o.Name(); err != nil {
			break
		}
		if string(name) != "data" {
			if raw, err = o.Value(); err == nil {
				seen = append(seen, string(name)+"="+string(raw))
			}
			continue
		}
		var list waybill.ChangeList
		var refused error
		if list, _, refused, err = o.Changes(&d); refused != nil {
			seen = append(seen, "data!")
		} else {
			seen = append(seen, "data:"+string('0'+rune(len(list))))
		}
	}
	if err == nil {
		err = o.End()
	}
	if err != nil {
		return strings.Join(append(seen, "error"), " ")
	}
	return strings.Join(append(seen, "end"), " ")
}
