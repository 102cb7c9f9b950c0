package waybill

import (
	"bytes"
	"encoding/json"
	"strings"
)

// Form says how the bytes of a Value are encoded.
type Form uint8

const (
	// Null is the SQL null; a null Value has no bytes.
	Null Form = iota
	// JSON is one JSON value (RFC 8259) that is not the literal null. Numbers keep the
	// lexeme they were written with and are never read as floating point on the way.
	// By convention a timestamp with time zone is RFC 3339 in UTC with microseconds, binary
	// data base64 (or `\x` and hexadecimal digits), NaN and infinities are strings.
	JSON
	// Native is the source's own encoding, as its wire protocol carries it; Encoding reads it.
	// Whoever does not know that encoding takes the value as JSON.
	Native
)

// Encoding is how a source encodes the values of one of its types. It is shared by all values
// of a column and safe for concurrent use.
type Encoding interface {
	// AppendJSON appends the value as JSON (see JSON; never the literal null). The error is for
	// bytes that are not of this encoding and holds no value.
	AppendJSON(dst, raw []byte) ([]byte, error)
	// String names the type for people: "numeric(10,2)".
	String() string
}

// Value is the content of one column, in the form in which it was captured. A column
// that is absent from a Row is unchanged; a Value that is Null is null.
type Value struct {
	Form Form
	// Raw is the encoded value. It is shared, never modified.
	Raw []byte
	// Encoding is set for Native, and for nothing else.
	Encoding Encoding
}

// IsNull reports whether v is the SQL null.
func (v Value) IsNull() bool { return v.Form == Null }

// AppendJSON appends the value as JSON; null as the literal null.
func (v Value) AppendJSON(dst []byte) ([]byte, error) {
	switch v.Form {
	case Null:
		return append(dst, "null"...), nil
	case Native:
		return v.Encoding.AppendJSON(dst, v.Raw)
	}
	return append(dst, v.Raw...), nil
}

// AsJSON is the value in the form JSON, or Null.
func (v Value) AsJSON() (Value, error) {
	if v.Form != Native {
		return v, nil
	}
	raw, err := v.Encoding.AppendJSON(nil, v.Raw)
	return Value{Form: JSON, Raw: raw}, err
}

// String is the value as JSON text, for messages meant for people.
func (v Value) String() string {
	text, err := v.AppendJSON(nil)
	if err != nil {
		return "?"
	}
	return string(text)
}

// Column is a named value.
type Column struct {
	Name  string
	Value Value
}

// Row is an ordered list of columns, each name at most once.
type Row []Column

// Get returns the value of the named column and whether the row has it.
func (r Row) Get(name string) (Value, bool) {
	for i := range r {
		if r[i].Name == name {
			return r[i].Value, true
		}
	}
	return Value{}, false
}

// Size is an estimate of the row's size in bytes, used to bound batches.
func (r Row) Size() int {
	n := 0
	for i := range r {
		n += len(r[i].Name) + len(r[i].Value.Raw) + 32
	}
	return n
}

// Equal reports whether two rows have the same columns in the same order with the same
// bytes in the same form. 1.0 and 1 are different.
func (r Row) Equal(o Row) bool {
	if len(r) != len(o) {
		return false
	}
	for i := range r {
		if r[i].Name != o[i].Name || r[i].Value.Form != o[i].Value.Form || !bytes.Equal(r[i].Value.Raw, o[i].Value.Raw) {
			return false
		}
	}
	return true
}

// String is the row as a JSON object, for messages meant for people: {"id":42}.
func (r Row) String() string {
	var b strings.Builder
	b.WriteByte('{')
	for i := range r {
		if i > 0 {
			b.WriteByte(',')
		}
		name, err := json.Marshal(r[i].Name)
		if err != nil { // cannot be: a string
			name = []byte(`"?"`)
		}
		b.Write(name)
		b.WriteByte(':')
		b.WriteString(r[i].Value.String())
	}
	b.WriteByte('}')
	return b.String()
}
