package outbox

import (
	"database/sql/driver"
	"encoding"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"time"
)

// MaxDepth is how many arrays and objects the value of a column may nest.
const MaxDepth = 64

var (
	errDepth    = fmt.Errorf("it nests deeper than %d", MaxDepth)
	errDuration = errors.New("a time.Duration is ambiguous; write the number or the text that the column holds")
	errNumber   = errors.New("the json.Number is not a number")
	errYear     = errors.New("the time is not within the years 0 to 9999")
)

// resolve follows pointers and interfaces, and asks values that know their own form for it. It
// returns either JSON that nests at most depth deep, or a value to be written by its kind.
func resolve(v reflect.Value, depth int) (rest reflect.Value, raw []byte, err error) {
	for range MaxDepth {
		if !v.IsValid() || (v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface) && v.IsNil() {
			return v, []byte("null"), nil
		}
		if v.Kind() == reflect.Interface {
			v = v.Elem()
			continue
		}
		next, raw, err := ownForm(v, depth)
		switch {
		case raw != nil || err != nil:
			return v, raw, err
		case next != nil:
			v = reflect.ValueOf(next)
		case v.Kind() == reflect.Pointer:
			v = v.Elem()
		default:
			return v, nil, nil
		}
	}
	return v, nil, errDepth
}

// ownForm is what v says of itself: its JSON, or another value that stands for it, or
// neither. v is neither an interface nor nil.
func ownForm(v reflect.Value, depth int) (next any, raw []byte, err error) {
	if v.Type().PkgPath() == "" && v.Kind() != reflect.Pointer && v.Kind() != reflect.Struct {
		return nil, nil, nil // built in, without methods
	}
	x := v.Interface()
	switch x := x.(type) {
	case time.Time:
		raw, err = appendTime(nil, x)
		return nil, raw, err
	case time.Duration:
		return nil, nil, errDuration
	case json.Number:
		if raw = []byte(x); !json.Valid(raw) || raw[0] != '-' && (raw[0] < '0' || raw[0] > '9') {
			return nil, nil, errNumber
		}
		return nil, raw, nil
	case *time.Time, *time.Duration, *json.Number, *json.RawMessage:
		return nil, nil, nil // to be followed
	case json.RawMessage:
		if x == nil {
			return nil, []byte("null"), nil
		}
	}
	if !speaks(x) && v.Kind() != reflect.Pointer && speaks(reflect.Zero(reflect.PointerTo(v.Type())).Interface()) {
		p := reflect.New(v.Type())
		p.Elem().Set(v)
		x = p.Interface()
	}
	switch x := x.(type) {
	case json.Marshaler:
		if raw, err = x.MarshalJSON(); err == nil {
			raw, err = appendRaw(nil, raw, depth)
		}
		return nil, raw, err
	case driver.Valuer:
		if next, err = x.Value(); next == nil && err == nil {
			raw = []byte("null")
		}
		return next, raw, err
	case encoding.TextMarshaler:
		text, err := x.MarshalText()
		return string(text), nil, err
	}
	return nil, nil, nil
}

// speaks reports whether x has a form of its own.
func speaks(x any) bool {
	switch x.(type) {
	case json.Marshaler, driver.Valuer, encoding.TextMarshaler:
		return true
	}
	return false
}

// appendValue appends v as JSON that nests at most depth deep.
func appendValue(dst []byte, v reflect.Value, depth int) ([]byte, error) {
	v, raw, err := resolve(v, depth)
	if raw != nil || err != nil {
		return append(dst, raw...), err
	}
	switch v.Kind() {
	case reflect.Bool:
		return strconv.AppendBool(dst, v.Bool()), nil
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return strconv.AppendInt(dst, v.Int(), 10), nil
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		return strconv.AppendUint(dst, v.Uint(), 10), nil
	case reflect.Float32, reflect.Float64:
		return appendFloat(dst, v.Float(), v.Type().Bits()), nil
	case reflect.String:
		if err := checkText(v.String()); err != nil {
			return dst, err
		}
		return appendText(dst, v.String()), nil
	case reflect.Slice, reflect.Array:
		return appendList(dst, v, depth)
	case reflect.Map, reflect.Struct:
		if depth == 0 {
			return dst, errDepth
		}
		return appendObject(dst, v, depth-1)
	default:
		return dst, fmt.Errorf("a %s cannot be written as JSON", v.Type())
	}
}

func appendList(dst []byte, v reflect.Value, depth int) ([]byte, error) {
	if v.Kind() == reflect.Slice && v.IsNil() {
		return append(dst, "null"...), nil
	}
	if v.Type().Elem().Kind() == reflect.Uint8 {
		b := make([]byte, v.Len())
		for i := range b {
			b[i] = byte(v.Index(i).Uint())
		}
		return append(base64.StdEncoding.AppendEncode(append(dst, '"'), b), '"'), nil
	}
	if depth == 0 {
		return dst, errDepth
	}
	dst = append(dst, '[')
	for i := range v.Len() {
		if i > 0 {
			dst = append(dst, ',')
		}
		var err error
		if dst, err = appendValue(dst, v.Index(i), depth-1); err != nil {
			return dst, err
		}
	}
	return append(dst, ']'), nil
}

// appendObject appends a map or struct whose values nest at most depth deep.
func appendObject(dst []byte, v reflect.Value, depth int) ([]byte, error) {
	if v.Kind() == reflect.Struct {
		cols, err := structColumns(nil, v, depth, 0)
		if err != nil {
			return dst, err
		}
		return appendColumns(dst, cols), nil
	}
	if v.IsNil() {
		return append(dst, "null"...), nil
	}
	cols, err := mapColumns(v, depth)
	if err != nil {
		return dst, err
	}
	return appendColumns(dst, cols), nil
}

func appendFloat(dst []byte, f float64, bits int) []byte {
	switch {
	case math.IsNaN(f):
		return append(dst, `"NaN"`...)
	case math.IsInf(f, 1):
		return append(dst, `"Infinity"`...)
	case math.IsInf(f, -1):
		return append(dst, `"-Infinity"`...)
	}
	if abs := math.Abs(f); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		return strconv.AppendFloat(dst, f, 'e', -1, bits)
	}
	return strconv.AppendFloat(dst, f, 'f', -1, bits)
}

func appendTime(dst []byte, t time.Time) ([]byte, error) {
	t = t.UTC()
	if y := t.Year(); y < 0 || y > 9999 {
		return dst, errYear
	}
	return t.AppendFormat(dst, `"2006-01-02T15:04:05.000000Z"`), nil
}
