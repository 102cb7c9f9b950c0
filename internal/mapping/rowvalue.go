package mapping

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"

	waybill "github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/envelope"
)

// rowValue is the variable row: a map of the columns that are known, decoded when asked for. It is
// the activation of one evaluation too.
type rowValue struct {
	layers [3]waybill.Row // a column is that of the first that has it
	schema *waybill.Schema
	types  map[string]string
	// strict: a column that is not there was left out, whether or not has() asks first.
	strict bool

	left    string // a column that was asked for and left out
	missing string // a column that was asked for and is not there
	broken  error  // a value that cannot be read
}

// ResolveName is cel.Activation's.
func (r *rowValue) ResolveName(name string) (any, bool) { return r, name == "row" }

// Parent is cel.Activation's.
func (r *rowValue) Parent() cel.Activation { return nil }

func (r *rowValue) column(name string) (waybill.Value, bool) {
	for _, layer := range r.layers {
		if v, ok := layer.Get(name); ok {
			return v, true
		}
	}
	return waybill.Value{}, false
}

// Find is traits.Mapper's.
func (r *rowValue) Find(key ref.Val) (ref.Val, bool) {
	name, ok := key.(types.String)
	if !ok {
		return nil, false
	}
	v, ok := r.column(string(name))
	if !ok {
		r.missing = string(name)
		if r.strict && r.schema == nil || r.schema != nil && typeOf(r.schema, string(name)) != nil {
			r.left = string(name)
		}
		return nil, false
	}
	return r.decode(string(name), v), true
}

func typeOf(s *waybill.Schema, name string) *waybill.SchemaColumn {
	for i := range s.Columns {
		if s.Columns[i].Name == name {
			return &s.Columns[i]
		}
	}
	return nil
}

func (r *rowValue) decode(name string, v waybill.Value) ref.Val {
	if v.IsNull() {
		return types.NullValue
	}
	v, err := v.AsJSON()
	if err != nil {
		r.broken = fmt.Errorf("read column %s: %w", name, err)
		return types.WrapErr(r.broken)
	}
	raw := bytes.TrimSpace(v.Raw)
	switch envelope.KindOf(raw) {
	case envelope.String:
		if text, ok := envelope.Text(raw); ok {
			return types.String(text)
		}
	case envelope.Bool:
		return types.Bool(raw[0] == 't')
	case envelope.Number:
		return number(string(raw), r.integral(name))
	case envelope.Array, envelope.Object:
		d := json.NewDecoder(bytes.NewReader(raw))
		d.UseNumber()
		var tree any
		if err := d.Decode(&tree); err == nil {
			return types.DefaultTypeAdapter.NativeToValue(withNumbers(tree))
		}
	}
	r.broken = fmt.Errorf("read column %s: it is no JSON value", name)
	return types.WrapErr(r.broken)
}

// integral tells whether numbers of the column are read as CEL's int.
func (r *rowValue) integral(name string) bool {
	declared := ""
	if r.schema != nil {
		if c := typeOf(r.schema, name); c != nil {
			declared = c.Type
			if c.Base != "" {
				declared = c.Base
			}
		}
	}
	if declared == "" {
		declared = r.types[name]
	}
	if declared == "" {
		return true // by the lexeme alone
	}
	switch word, _, _ := strings.Cut(strings.ToLower(strings.ReplaceAll(declared, "(", " ")), " "); word {
	case "smallint", "integer", "bigint", "int", "int2", "int4", "int8", "oid", "tinyint", "mediumint", "smallserial", "serial", "bigserial":
		return true
	}
	return false
}

func number(lexeme string, integral bool) ref.Val {
	if integral {
		if n, err := strconv.ParseInt(lexeme, 10, 64); err == nil {
			return types.Int(n)
		}
	}
	return types.String(lexeme)
}

// withNumbers replaces the numbers of a JSON value by ints and strings.
func withNumbers(v any) any {
	switch v := v.(type) {
	case json.Number:
		return number(v.String(), true)
	case []any:
		for i := range v {
			v[i] = withNumbers(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = withNumbers(v[k])
		}
	}
	return v
}

// names are the columns that are there.
func (r *rowValue) names() []string {
	var names []string
	for _, layer := range r.layers {
		for i := range layer {
			if !slices.Contains(names, layer[i].Name) {
				names = append(names, layer[i].Name)
			}
		}
	}
	return names
}

// all is the row as an ordinary map, for what needs all of it.
func (r *rowValue) all() traits.Mapper {
	m := map[ref.Val]ref.Val{}
	for _, name := range r.names() {
		v, _ := r.column(name)
		m[types.String(name)] = r.decode(name, v)
	}
	return types.NewRefValMap(types.DefaultTypeAdapter, m)
}

// Get is traits.Indexer's.
func (r *rowValue) Get(key ref.Val) ref.Val {
	if v, ok := r.Find(key); ok {
		return v
	}
	return types.NewErr("no such key")
}

// Contains is traits.Container's.
func (r *rowValue) Contains(key ref.Val) ref.Val {
	_, ok := r.Find(key)
	return types.Bool(ok)
}

// Iterator is traits.Iterable's.
func (r *rowValue) Iterator() traits.Iterator { return r.all().Iterator() }

// Size is traits.Sizer's.
func (r *rowValue) Size() ref.Val { return types.Int(len(r.names())) }

// Equal is ref.Val's.
func (r *rowValue) Equal(other ref.Val) ref.Val {
	if o, ok := other.(*rowValue); ok {
		other = o.all()
	}
	return r.all().Equal(other)
}

// ConvertToNative is ref.Val's.
func (r *rowValue) ConvertToNative(t reflect.Type) (any, error) { return r.all().ConvertToNative(t) }

// ConvertToType is ref.Val's.
func (r *rowValue) ConvertToType(t ref.Type) ref.Val { return r.all().ConvertToType(t) }

// Type is ref.Val's.
func (r *rowValue) Type() ref.Type { return types.MapType }

// Value is ref.Val's.
func (r *rowValue) Value() any { return r.all().Value() }

// asValue is the result of an expression as a column's value.
func asValue(v ref.Val) (waybill.Value, error) {
	if v == types.NullValue {
		return waybill.Value{}, nil
	}
	raw, err := appendJSON(nil, v)
	return waybill.Value{Form: waybill.JSON, Raw: raw}, err
}

func appendJSON(dst []byte, v ref.Val) ([]byte, error) {
	switch v := v.(type) {
	case types.Null:
		return append(dst, "null"...), nil
	case types.Bool:
		return strconv.AppendBool(dst, bool(v)), nil
	case types.Int:
		return strconv.AppendInt(dst, int64(v), 10), nil
	case types.Uint:
		return strconv.AppendUint(dst, uint64(v), 10), nil
	case types.Double:
		if f := float64(v); finite(f) {
			return strconv.AppendFloat(dst, f, 'g', -1, 64), nil
		}
		d, _ := toDecimal(v).(*decimal)
		return envelope.AppendString(dst, d.lexeme), nil
	case *decimal:
		if v.class != 0 {
			return envelope.AppendString(dst, v.lexeme), nil
		}
		return append(dst, v.lexeme...), nil
	case types.String:
		return envelope.AppendString(dst, string(v)), nil
	case types.Bytes:
		return envelope.AppendString(dst, base64.StdEncoding.EncodeToString(v)), nil
	case types.Timestamp:
		return envelope.AppendString(dst, v.UTC().Format("2006-01-02T15:04:05.000000Z07:00")), nil
	case types.Duration:
		return envelope.AppendString(dst, v.Duration.String()), nil
	case traits.Lister:
		return appendList(dst, v)
	case traits.Mapper:
		return appendMap(dst, v)
	}
	return nil, errors.New("the expression's value is nothing that a column can hold")
}

func appendList(dst []byte, list traits.Lister) (_ []byte, err error) {
	dst = append(dst, '[')
	for i, it := 0, list.Iterator(); it.HasNext() == types.True; i++ {
		if i > 0 {
			dst = append(dst, ',')
		}
		if dst, err = appendJSON(dst, it.Next()); err != nil {
			return nil, err
		}
	}
	return append(dst, ']'), nil
}

// appendMap writes the members in the order of their names: the same map is the same text.
func appendMap(dst []byte, m traits.Mapper) (_ []byte, err error) {
	var names []string
	for it := m.Iterator(); it.HasNext() == types.True; {
		name, ok := it.Next().(types.String)
		if !ok {
			return nil, errors.New("the expression's value is a map with names that are no strings")
		}
		names = append(names, string(name))
	}
	slices.Sort(names)
	dst = append(dst, '{')
	for i, name := range names {
		if i > 0 {
			dst = append(dst, ',')
		}
		if dst, err = appendJSON(append(envelope.AppendString(dst, name), ':'), m.Get(types.String(name))); err != nil {
			return nil, err
		}
	}
	return append(dst, '}'), nil
}
