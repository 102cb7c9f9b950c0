package outbox

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	waybill "github.com/waybill-data/waybill"
)

// maxIDBytes bounds an action's ID.
const maxIDBytes = 200

// encode validates the action and returns its changes in the wire form.
func encode(a *Action) ([]byte, error) {
	for what, s := range map[string]string{"name": a.Name, "ID": a.ID} {
		if !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl) {
			return nil, fmt.Errorf("the action's %s is not valid UTF-8 or contains control characters", what)
		}
	}
	if len(a.ID) > maxIDBytes {
		return nil, fmt.Errorf("the action's ID is longer than %d bytes", maxIDBytes)
	}
	if len(a.Changes) == 0 {
		return nil, errors.New("the action has no changes")
	}
	wire := []byte{'['}
	for i := range a.Changes {
		if i > 0 {
			wire = append(wire, ',')
		}
		var err error
		if wire, err = appendChange(wire, &a.Changes[i]); err != nil {
			if e := a.Changes[i].Entity; e != "" && utf8.ValidString(e) {
				return nil, fmt.Errorf("change %d (%s): %w", i+1, e, err)
			}
			return nil, fmt.Errorf("change %d: %w", i+1, err)
		}
	}
	return append(wire, ']'), nil
}

func appendChange(wire []byte, c *Change) ([]byte, error) {
	if c.Entity == "" {
		return nil, errors.New("entity is empty")
	}
	if err := checkText(c.Entity); err != nil {
		return nil, fmt.Errorf("entity: %w", err)
	}
	if c.Op < waybill.Insert || c.Op > waybill.Delete {
		return nil, fmt.Errorf("%s is not one of insert, update, upsert, delete", c.Op)
	}
	key, err := columns("key", c.Key)
	if err != nil {
		return nil, err
	}
	row, err := columns("row", c.Row)
	if err != nil {
		return nil, err
	}
	before, err := columns("before", c.Before)
	if err != nil {
		return nil, err
	}
	if err := check(c.Op, key, row); err != nil {
		return nil, err
	}
	wire = append(wire, `{"entity":`...)
	wire = appendText(wire, c.Entity)
	wire = append(wire, `,"op":"`+c.Op.String()+`","key":`...)
	wire = appendColumns(wire, key)
	if c.Op != waybill.Delete {
		wire = appendColumns(append(wire, `,"row":`...), row)
	}
	if before != nil {
		wire = appendColumns(append(wire, `,"before":`...), before)
	}
	return append(wire, '}'), nil
}

// check applies the rules that the readers of the outbox apply, while there is somebody who
// can still do something about it.
func check(op waybill.Op, key, row []column) error {
	switch {
	case len(key) == 0:
		return errors.New("key is missing or empty")
	case op == waybill.Delete && len(row) > 0:
		return errors.New("a delete has no row (what was deleted goes into before)")
	case op != waybill.Delete && row == nil:
		return fmt.Errorf("row is missing, %s needs it", op)
	}
	for _, k := range key {
		switch k.raw[0] {
		case 'n':
			return fmt.Errorf("key column %q is null", k.name)
		case '{', '[':
			return fmt.Errorf("key column %q is not a string, number or boolean", k.name)
		}
		if op != waybill.Insert && op != waybill.Upsert {
			continue
		}
		i := slices.IndexFunc(row, func(c column) bool { return c.name == k.name })
		if i >= 0 && !sameScalar(k.raw, row[i].raw) {
			return fmt.Errorf("column %q has one value in key and another in row, which %s does not allow (an update changes a key)", k.name, op)
		}
	}
	return nil
}

func sameScalar(a, b []byte) bool {
	var s, t *string
	return bytes.Equal(a, b) ||
		json.Unmarshal(a, &s) == nil && json.Unmarshal(b, &t) == nil && s != nil && t != nil && *s == *t
}

// column is a column of a key or a row with its value as JSON.
type column struct {
	name   string
	raw    []byte
	embeds int // how deep in embedded structs the field was
}

func appendColumns(wire []byte, cols []column) []byte {
	wire = append(wire, '{')
	for i, c := range cols {
		if i > 0 {
			wire = append(wire, ',')
		}
		wire = append(append(appendText(wire, c.name), ':'), c.raw...)
	}
	return append(wire, '}')
}

// columns are the columns of a key, row or before; nil where there is none. What has no order
// of its own is ordered by name.
func columns(what string, value any) ([]column, error) {
	v, raw, err := resolve(reflect.ValueOf(value), MaxDepth+1)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	var cols []column
	switch {
	case string(raw) == "null":
		return nil, nil
	case raw != nil:
		cols, err = objectColumns(raw)
	case v.Kind() == reflect.Map:
		cols, err = mapColumns(v, MaxDepth)
	case v.Kind() == reflect.Struct:
		cols, err = structColumns([]column{}, v, MaxDepth, 0)
	default:
		err = fmt.Errorf("%T is not a map, a struct or a JSON object", value)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	for _, c := range cols {
		if c.name == "" {
			return nil, fmt.Errorf("%s: a column has no name", what)
		}
		if err := checkText(c.name); err != nil {
			return nil, fmt.Errorf("%s: name of column %q: %w", what, c.name, err)
		}
	}
	return cols, nil
}

// objectColumns are those of JSON that appendRaw let through.
func objectColumns(raw []byte) ([]column, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	if open, err := dec.Token(); err != nil || open != json.Delim('{') {
		return nil, errors.New("it is not a JSON object")
	}
	cols := []column{}
	seen := map[string]bool{}
	for dec.More() {
		tok, err := dec.Token()
		name, ok := tok.(string)
		var value json.RawMessage
		if err == nil {
			err = dec.Decode(&value)
		}
		if err != nil || !ok {
			return nil, errInvalid
		}
		c := column{name: name}
		if seen[c.name] {
			return nil, fmt.Errorf("column %q stands there twice", c.name)
		}
		seen[c.name] = true
		c.raw = value
		cols = append(cols, c)
	}
	return cols, nil
}

// mapColumns are those of a map, ordered by name. Their values nest at most depth deep.
func mapColumns(v reflect.Value, depth int) ([]column, error) {
	if v.IsNil() {
		return nil, nil
	}
	text := func(k reflect.Value) string { return k.String() }
	switch k := reflect.Zero(v.Type().Key()); {
	case k.CanInt():
		text = func(k reflect.Value) string { return strconv.FormatInt(k.Int(), 10) }
	case k.CanUint():
		text = func(k reflect.Value) string { return strconv.FormatUint(k.Uint(), 10) }
	case k.Kind() != reflect.String:
		return nil, fmt.Errorf("%s has keys that are neither strings nor integers", v.Type())
	}
	cols := make([]column, 0, v.Len())
	for it := v.MapRange(); it.Next(); {
		c := column{name: text(it.Key())}
		var err error
		if c.raw, err = appendValue(nil, it.Value(), depth); err != nil {
			return nil, inColumn(c.name, err)
		}
		cols = append(cols, c)
	}
	slices.SortFunc(cols, func(a, b column) int { return strings.Compare(a.name, b.name) })
	return cols, nil
}

// structColumns appends the fields of v, whose values nest at most depth deep. Of several
// fields with one name the least embedded counts; it is an error where that does not tell.
func structColumns(cols []column, v reflect.Value, depth, embeds int) ([]column, error) {
	for i := range v.NumField() {
		field := v.Type().Field(i)
		name, opts, _ := strings.Cut(field.Tag.Get("json"), ",")
		if field.Tag.Get("json") == "-" {
			continue
		}
		if inner, ok := embedded(field, name, v.Field(i)); ok {
			if inner.IsValid() && embeds < MaxDepth {
				var err error
				if cols, err = structColumns(cols, inner, depth, embeds+1); err != nil {
					return nil, err
				}
			}
			continue
		}
		if !field.IsExported() || omitted(opts, v.Field(i)) {
			continue
		}
		if name == "" {
			name = field.Name
		}
		c := column{name: name, embeds: embeds}
		var err error
		if c.raw, err = appendValue(nil, v.Field(i), depth); err != nil {
			return nil, inColumn(name, err)
		}
		if has(opts, "string") && (c.raw[0] == '-' || c.raw[0] >= '0' && c.raw[0] <= '9' || c.raw[0] == 't' || c.raw[0] == 'f') {
			c.raw = append(append([]byte{'"'}, c.raw...), '"')
		}
		at := slices.IndexFunc(cols, func(o column) bool { return o.name == name })
		switch {
		case at < 0:
			cols = append(cols, c)
		case cols[at].embeds == embeds:
			return nil, fmt.Errorf("column %q stands there twice", name)
		case cols[at].embeds > embeds:
			cols[at] = c
		}
	}
	return cols, nil
}

// inColumn names the column, and of a value that nests too deep only the outermost.
func inColumn(name string, err error) error {
	if errors.Is(err, errDepth) {
		err = errDepth
	}
	return fmt.Errorf("column %q: %w", name, err)
}

// embedded reports whether the field's fields belong to the struct around it; inner is
// invalid for a nil pointer.
func embedded(field reflect.StructField, name string, v reflect.Value) (inner reflect.Value, ok bool) {
	if !field.Anonymous || name != "" {
		return inner, false
	}
	if v.Kind() == reflect.Pointer && v.Type().Elem().Kind() == reflect.Struct {
		return v.Elem(), true
	}
	return v, v.Kind() == reflect.Struct
}

func has(opts, option string) bool {
	return slices.Contains(strings.Split(opts, ","), option)
}

func omitted(opts string, v reflect.Value) bool {
	if has(opts, "omitempty") {
		switch v.Kind() {
		case reflect.Array, reflect.Map, reflect.Slice, reflect.String:
			if v.Len() == 0 {
				return true
			}
		case reflect.Struct:
		default:
			if v.IsZero() {
				return true
			}
		}
	}
	if !has(opts, "omitzero") {
		return false
	}
	if z, ok := reflect.TypeAssert[interface{ IsZero() bool }](v); ok && (v.Kind() != reflect.Pointer || !v.IsNil()) {
		return z.IsZero()
	}
	return v.IsZero()
}
