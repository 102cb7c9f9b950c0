package envelope

import (
	"bytes"
	"errors"
	"fmt"
	"unicode/utf8"

	waybill "github.com/waybill-data/waybill"
)

// AppendChanges appends the wire form of changes that could be decoded, none of whose values is
// Native: without white space, fields in the order entity, op, key, row, before, values as they were
// written. It does not check them.
func AppendChanges(dst []byte, changes []waybill.Change) []byte {
	dst = append(dst, '[')
	for i := range changes {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst, _ = AppendChange(dst, &changes[i]) // only a Native value can fail
	}
	return append(dst, ']')
}

// AppendChange appends one change as AppendChanges does, Native values as JSON. The error is a
// *waybill.Refusal without the action, naming entity, key and column: a value that cannot be written
// as JSON, or that a Decoder would not take. The last bytes of what comes back are then half a change.
func AppendChange(dst []byte, c *waybill.Change) ([]byte, error) {
	dst = AppendString(append(dst, `{"entity":`...), c.Entity)
	dst = append(append(append(dst, `,"op":"`...), c.Op.String()...), '"')
	if c.Op == waybill.Truncate {
		if len(c.Key) > 0 { // it would come out as one of all rows
			return dst, &waybill.Refusal{Entity: c.Entity, Key: c.Key.String(), Reason: "a truncate with a key is for a target only"}
		}
		return append(dst, '}'), nil
	}
	dst, err := AppendRow(append(dst, `,"key":`...), c.Key)
	if err == nil && c.Op != waybill.Delete {
		dst, err = AppendRow(append(dst, `,"row":`...), c.Row)
	}
	if err == nil && c.Before != nil {
		dst, err = AppendRow(append(dst, `,"before":`...), c.Before)
	}
	if err != nil {
		return dst, &waybill.Refusal{Entity: c.Entity, Key: c.Key.String(), Reason: err.Error()}
	}
	return append(dst, '}'), nil
}

// AppendRow appends the row as a JSON object: {"id":42}. An error names the column and says what is
// wrong with its value, without the value.
func AppendRow(dst []byte, r waybill.Row) ([]byte, error) {
	dst = append(dst, '{')
	for i := range r {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(AppendString(dst, r[i].Name), ':')
		switch v := &r[i].Value; v.Form {
		case waybill.Null:
			dst = append(dst, "null"...)
		case waybill.Native:
			var err error
			if dst, err = appendNative(dst, v); err != nil {
				return dst, fmt.Errorf("column %q (%s) cannot be written as JSON: %w", shorten(r[i].Name), v.Encoding, err)
			}
		default:
			dst = append(dst, v.Raw...)
		}
	}
	return append(dst, '}'), nil
}

// appendNative makes sure that who reads the value will take it: a source may know values, such
// as json that is nested very deep, that the wire form has no room for.
func appendNative(dst []byte, v *waybill.Value) ([]byte, error) {
	start := len(dst)
	dst, err := v.Encoding.AppendJSON(dst, v.Raw)
	if err != nil {
		return dst, err
	}
	value := dst[start:]
	kind := KindOf(value)
	switch {
	case kind == Invalid:
		return dst, errors.New("its encoding gives no JSON value")
	case !utf8.Valid(value):
		return dst, errors.New("it is not valid UTF-8")
	case kind == Object, kind == Array, bytes.IndexByte(value, '\\') >= 0:
		if end, err := scanValue(value, 0, MaxDepth); err != nil {
			return dst, err
		} else if end != len(value) {
			return dst, errors.New("its encoding gives more than one JSON value")
		}
	}
	return dst, nil
}

// AppendString appends s as a JSON string; bytes that are not UTF-8 become U+FFFD.
func AppendString(dst []byte, s string) []byte {
	const digits = "0123456789abcdef"
	dst = append(dst, '"')
	for i := 0; i < len(s); {
		from := i
		for i < len(s) && s[i] < utf8.RuneSelf && plain[s[i]] {
			i++
		}
		if dst = append(dst, s[from:i]...); i == len(s) {
			break
		}
		c := s[i]
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRuneInString(s[i:])
			dst = utf8.AppendRune(dst, r)
			i += n
			continue
		}
		if c == '"' || c == '\\' {
			dst = append(dst, '\\', c)
		} else {
			dst = append(dst, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
		}
		i++
	}
	return append(dst, '"')
}
