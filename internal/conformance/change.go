package conformance

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/big"
	"reflect"
	"strings"

	"github.com/waybill-data/waybill"
)

// Change makes a change from JSON objects, keeping columns in order and scalars as written.
// An empty row stands for none. It panics on bad JSON: the text is the test's own.
func Change(op waybill.Op, entity, key, row string) waybill.Change {
	return waybill.Change{Entity: entity, Op: op, Key: Row(key), Row: Row(row)}
}

// Schema makes one of columns written as "name type" or "name type not null"; names hold no blanks.
func Schema(entity string, key []string, columns ...string) *waybill.Schema {
	s := &waybill.Schema{Entity: entity, System: "postgres", Key: key}
	for _, c := range columns {
		name, typ, _ := strings.Cut(c, " ")
		typ, notNull := strings.CutSuffix(typ, " not null")
		s.Columns = append(s.Columns, waybill.SchemaColumn{Name: name, Type: typ, NotNull: notNull})
	}
	return s
}

// Captured makes a change as a log tells it, of a row that the schema describes.
func Captured(s *waybill.Schema, op waybill.Op, key, row string) waybill.Change {
	c := Change(op, s.Entity, key, row)
	c.Schema = s
	return c
}

// Row makes a row from a JSON object; empty text is no row.
func Row(object string) waybill.Row {
	if object == "" {
		return nil
	}
	d := json.NewDecoder(strings.NewReader(object))
	if tok, err := d.Token(); err != nil || tok != json.Delim('{') {
		panic(fmt.Sprintf("conformance: %s is no JSON object", object))
	}
	row := waybill.Row{}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			panic(err)
		}
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			panic(err)
		}
		v := waybill.Value{Form: waybill.JSON, Raw: raw}
		if string(raw) == "null" {
			v = waybill.Value{}
		}
		row = append(row, waybill.Column{Name: name.(string), Value: v})
	}
	return row
}

// sameRow compares rows: byte by byte in order if exact, else by name and by JSON meaning,
// with numbers as exact decimals.
func sameRow(a, b waybill.Row, exact bool) bool {
	if exact {
		return a.Equal(b)
	}
	if len(a) != len(b) {
		return false
	}
	for _, c := range a {
		v, ok := b.Get(c.Name)
		if !ok || v.Form != c.Value.Form || !sameJSON(c.Value.Raw, v.Raw) {
			return false
		}
	}
	return true
}

func sameChange(a, b *waybill.Change, exact bool) bool {
	return a.Entity == b.Entity && a.Op == b.Op && sameRow(a.Key, b.Key, exact) &&
		sameRow(a.Row, b.Row, exact) && sameRow(a.Before, b.Before, exact)
}

func sameJSON(a, b []byte) bool {
	if bytes.Equal(a, b) {
		return true
	}
	x, errA := meaning(a)
	y, errB := meaning(b)
	return errA == nil && errB == nil && reflect.DeepEqual(x, y)
}

// meaning decodes JSON with every number as a fraction in lowest terms.
func meaning(raw []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	return exactNumbers(v), nil
}

func exactNumbers(v any) any {
	switch v := v.(type) {
	case json.Number:
		if r, ok := new(big.Rat).SetString(v.String()); ok {
			return "number " + r.RatString()
		}
	case []any:
		for i := range v {
			v[i] = exactNumbers(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = exactNumbers(v[k])
		}
	case string:
		return "string " + v
	}
	return v
}
