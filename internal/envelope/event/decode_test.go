package event_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"

	waybill "github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/envelope/event"
)

const change = `{"entity":"a","op":"delete","key":{"id":1}}`

// foreign is an event with these further members.
func foreign(more string) []byte {
	return []byte(`{"specversion":"1.0","id":"1","source":"/shop","type":"a.b",` + more + `}`)
}

func TestDecodeRefuses(t *testing.T) {
	const (
		data = `"data":[` + change + `]`
		part = `"waybillkind":"part","waybillaction":"x","waybillattempt":"t",` + data
		hash = "71381515c18eafa6e83758e5c2ba5216"
	)
	with := func(more string) string { return string(foreign(more)) }
	withChange := func(more string) string {
		return with(`"data":[` + change + `,{"entity":"a","op":"update","key":{"id":1},"row":{"x":1},` + more + `}]`)
	}
	for _, tc := range []struct{ in, want string }{
		{``, `the event is not a CloudEvent: JSON ends too early at byte 0`},
		{`[]`, `the event is not a CloudEvent: it is not a JSON object`},
		{"{\"\xff\":1}", `the event is not valid UTF-8`},
		{`{}`, `specversion is missing or empty`},
		{with(data) + `,`, `the event is not a CloudEvent: not valid JSON, something follows the object at byte 113`},
		{`{"specversion":"0.3"}`, `specversion is "0.3", not 1.0`},
		{`{"specversion":1.0}`, `specversion is not a string`},
		{`{"specversion":"1.0"}`, `id is missing or empty`},
		{`{"specversion":"1.0","id":1}`, `id is not a string`},
		{`{"specversion":"1.0","id":"1"}`, `source is missing or empty`},
		{`{"specversion":"1.0","id":"1","source":"s","type":null}`, `type is missing or empty`},
		{with(`"id":"2",` + data), `the event is not a CloudEvent: attribute "id" stands there twice`},
		{with(`"x":1,"x":2,` + data), `the event is not a CloudEvent: attribute "x" stands there twice`},
		{with(many(300) + data), `the event is not a CloudEvent: it has more than 256 attributes`},
		{with(`"x":` + strings.Repeat("[", 65) + strings.Repeat("]", 65)), `the event is not a CloudEvent: a value nests deeper than 64 at byte 128`},
		{with(`"waybillkind":"batch",` + data), `waybillkind "batch" is not known to this version`},
		{with(`"waybillkind":"action",` + data), `waybillkind "action" is not known to this version`},
		{with(`"sequence":7,` + data), `sequence is not a string`},
		{with(`"sequence":"0x7",` + data), `sequence "0x7" is not a number`},
		{with(`"sequence":"18446744073709551616",` + data), `sequence "18446744073709551616" is not a number`},
		{with(`"sequence":"000",` + data), `sequence "000" is not a number from 1`},
		{with(`"time":"yesterday",` + data), `time "yesterday" is not RFC 3339`},
		{with(`"time":"0000-01-01T00:00:00+01:00",` + data), `time "0000-01-01T00:00:00+01:00" is outside of the years 0 to 9999 UTC`},
		{with(`"datacontenttype":"application/avro",` + data), `datacontenttype "application/avro" is not JSON`},
		{with(`"subject":"x"`), `data is missing`},
		{with(`"data":null`), `data is missing`},
		{with(`"data":7`), `data: it is neither an array of changes nor one change`},
		{with(`"data":"[]"`), `data: it is neither an array of changes nor one change`},
		{with(`"data":[7]`), `data: change 1: it is not a JSON object`},
		{with(`"data":{}`), `data: change 1: field entity is missing`},
		{with(`"data":[{"entity":"a","op":"upsrt","key":{"id":1}}]`), `data: change 1 (a): op "upsrt" is not one of insert, update, upsert, delete, truncate`},
		{with(`"data":[` + change), `the event is not a CloudEvent: not valid JSON, a comma or ] was expected at byte 111`},
		{with(`"data":[],"data_base64":"W10="`), `the event has both data and data_base64`},
		{with(`"data_base64":"W10"`), `data_base64 is not Base64`},
		{with(`"data_base64":"IA=="`), `data_base64: it is neither an array of changes nor one change`},
		{with(`"data_base64":"W11d"`), `data_base64: not valid JSON, something follows the changes at byte 2`},
		{with(`"data_base64":"` + base64.StdEncoding.EncodeToString([]byte(`["`+"\xff"+`"]`)) + `"`), `data_base64: changes are not valid UTF-8`},
		{withChange(`"schema":7`), `data: change 2 (a): schema is not a string`},
		{withChange(`"schema":"stream.>"`), `data: change 2 (a): schema "stream.>": it is not 32 hexadecimal digits`},
		{withChange(`"schema":"` + hash + `"`), `data: change 2 (a): schema "` + hash + `": it is not known here`},
		{withChange(`"schema":null,"schema":null`), `data: change 2 (a): field "schema" stands there twice`},
		{withChange(`"unchanged":{}`), `data: change 2 (a): unchanged is not an array`},
		{withChange(`"unchanged":["y",1]`), `data: change 2 (a): unchanged holds something that is not a string`},
		{withChange(`"unchanged":[ "y" , "\u0078" ]`), `data: change 2 (a): column "x" stands in row and in unchanged`},
		{with(`"waybillattempt":"t",` + data), `waybillattempt stands in an event that is not of kind part`},
		{with(`"waybillpart":1,` + data), `waybillpart stands in an event that is not of kind part`},
		{with(`"waybilllast":false,` + data), `waybilllast stands in an event that is not of kind part`},
		{with(`"waybillkind":"part",` + data), `waybillaction is missing or empty`},
		{with(part), `waybillpart is not a number from 1 to 2147483647`},
		{with(`"waybillpart":"1",` + part), `waybillpart is not a number from 1 to 2147483647`},
		{with(`"waybillpart":0,` + part), `waybillpart is not a number from 1 to 2147483647`},
		{with(`"waybillpart":1.0,` + part), `waybillpart is not a number from 1 to 2147483647`},
		{with(`"waybillpart":2147483648,` + part), `waybillpart is not a number from 1 to 2147483647`},
		{with(`"waybillpart":1,"waybilllast":"true",` + part), `waybilllast is not true or false`},
		{with(`"waybillpart":1,` + part), `id "1" is not that of part 1 of attempt "t" of action "x"`},
		{with(`"waybillkind":"position"`), `waybillposition is missing or empty in an event of kind position`},
		{with(`"waybillkind":"position","waybillposition":"p",` + data), `an event of kind position carries data`},
		{with(`"waybillkind":"schema"`), `data is missing`},
		{with(`"waybillkind":"schema","data":[]`), `data is not a schema: json: cannot unmarshal array into Go value of type waybill.Schema`},
		{with(`"waybillkind":"schema","data":{}`), `data is not a schema: entity is missing`},
		{with(`"waybillkind":"schema","data":{"entity":"a","columns":[{"name":"x"},{"name":"x"}]}`), `data is not a schema: column "x" has no name or stands there twice`},
		{with(`"waybillkind":"schema","data":{"entity":"a"}`), `id "1" is not that of the schema, schema/47f1f9b92cfd18ebdea9a06fb413fb03`},
	} {
		_, err := event.NewDecoder(nil).Decode([]byte(tc.in))
		if err == nil || err.Error() != tc.want {
			t.Errorf("%.300s\ngot  %v\nwant %s", tc.in, err, tc.want)
		}
	}
}

func many(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `"x%d":1,`, i)
	}
	return b.String()
}

// What other writers may do differently.
func TestDecodeTakes(t *testing.T) {
	dec := event.NewDecoder(nil)
	one := waybill.ChangeList{{Entity: "a", Op: waybill.Delete, Key: row("id", "1")}}
	for _, in := range []string{
		`"data":[` + change + `]`,
		`"data":` + change,
		`"data": [ { "key" : {"id":1} , "op":"delete","entity" : "a", "row":{}, "before":null, "schema":null, "unchanged":[ ] } ] `,
		`"data_base64":"` + base64.StdEncoding.EncodeToString([]byte(" ["+change+"]\n")) + `"`,
		`"data_base64":"` + base64.StdEncoding.EncodeToString([]byte(change)) + `","data":null`,
		`"datacontenttype":"application/vnd.shop+json; charset=utf-8","data":` + change + `,"subject":"x","dataschema":null,"partitionkey":"p","n":1,"b":true,"odd":{"x":[1]}`,
		many(256) + `"data":` + change,
	} {
		got, err := dec.Decode(foreign(in))
		if err != nil {
			t.Errorf("%.300s: %v", in, err)
			continue
		}
		requireEqual(t, got, event.Event{Source: "/shop", ID: "1", Name: "a.b", Changes: one})
	}
	got, err := dec.Decode([]byte("\n {\"data\":[],\"waybillkind\":\"part\",\"waybilllast\":null,\"waybillpart\":7,\"waybillattempt\":\"t\",\"waybillaction\":\"x/y\"," +
		`"sequence":"7","type":"waybill.action","\u0073ource":"s","id":"x/y/t/7","specversion":"1.0"} `))
	if err != nil {
		t.Fatal(err)
	}
	requireEqual(t, got, event.Event{Kind: event.Part, Source: "s", ID: "x/y", Seq: 7, Attempt: "t", Part: 7, Changes: waybill.ChangeList{}})
}

// An event cut short anywhere is refused.
func TestDecodeRefusesEveryPrefix(t *testing.T) {
	for _, g := range golden {
		message := readGolden(t, g.file)
		for n := range message {
			if _, err := event.NewDecoder(anySchema).Decode(message[:n]); err == nil {
				t.Fatalf("%s: %d bytes of %d are taken", g.file, n, len(message))
			}
		}
	}
}

// A schema is asked for once, its absence again and again, and the error is the caller's own.
func TestSchemasAreFound(t *testing.T) {
	with := readGolden(t, "action-with-schema.json")
	asked, down := 0, waybill.AsTransient(errors.New("the queue is away"))
	dec := event.NewDecoder(func(hash string) (*waybill.Schema, error) {
		if asked++; asked < 3 {
			return nil, down
		}
		return knows(customerSchema)(hash)
	})
	deepest := strings.Repeat("[", 64) + strings.Repeat("]", 64)
	for _, with := range [][]byte{with, bytes.Replace(with, []byte(`"Ann"`), []byte(deepest), 1)} {
		if _, err := dec.Decode(with); !errors.Is(err, down) || !waybill.Transient(err) {
			t.Fatalf("got %v", err)
		}
	}
	for range 3 {
		got, err := dec.Decode(with)
		if err != nil || got.Changes[1].Schema != customerSchema {
			t.Fatalf("%v, schema %p", err, got.Changes[1].Schema)
		}
	}
	if list, err := dec.Again()(with); err != nil || list[0].Schema != customerSchema {
		t.Errorf("again: %v", err)
	}
	if asked != 3 {
		t.Errorf("asked %d times", asked)
	}

	dec = event.NewDecoder(nil)
	got, err := dec.Decode(readGolden(t, "schema.json"))
	if err != nil || got.ID != "schema/"+event.SchemaHash(customerSchema) {
		t.Fatalf("%v, id %s", err, got.ID)
	}
	if _, err := dec.Decode(with); err != nil {
		t.Errorf("a schema that was decoded is not known: %v", err)
	}
}

// A newer version may say more about an entity; its hash covers what it said.
func TestSchemaOfNewerVersion(t *testing.T) {
	message := string(readGolden(t, "schema.json"))
	newer := strings.Replace(message, `"key":["id"]`, `"comment":"x","key":["id"]`, 1)
	_, err := event.NewDecoder(nil).Decode([]byte(newer))
	if err == nil {
		t.Fatal("data that is not what the hash says was taken")
	}
	_, after, _ := strings.Cut(err.Error(), "that of the schema, schema/")
	newer = strings.Replace(newer, event.SchemaHash(customerSchema), after, 1)
	got, err := event.NewDecoder(nil).Decode([]byte(newer))
	if err != nil {
		t.Fatal(err)
	}
	requireSchema(t, got.Schema, customerSchema)
}

// An entity of many columns with many unchanged takes no time to speak of.
func TestManyUnchanged(t *testing.T) {
	var columns, names []string
	for i := range 20_000 {
		columns = append(columns, fmt.Sprintf(`"c%d":1`, i))
		names = append(names, fmt.Sprintf(`"d%d"`, i))
	}
	_, err := event.NewDecoder(nil).Decode(foreign(`"data":{"unchanged":[` + strings.Join(names, ",") + `],"entity":"a","op":"update","key":{"id":1},"row":{` + strings.Join(columns, ",") + `}}`))
	if err != nil {
		t.Error(err)
	}
}
