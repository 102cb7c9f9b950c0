package envelope

import (
	"bytes"
	"slices"
	"unicode/utf8"
)

// Kind is what a JSON value is.
type Kind uint8

// The kinds of JSON values that a waybill.Value can hold; null is none of them.
const (
	Invalid Kind = iota
	String
	Number
	Bool
	Object
	Array
)

var kindNames = [...]string{"invalid", "string", "number", "boolean", "object", "array"}

func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return kindNames[Invalid]
}

// KindOf tells by its first byte what a valid JSON value without white space around it is.
// null and anything else is Invalid.
func KindOf(raw []byte) Kind {
	if len(raw) == 0 {
		return Invalid
	}
	switch c := raw[0]; {
	case c == '"':
		return String
	case c == '-' || c >= '0' && c <= '9':
		return Number
	case c == 't' || c == 'f':
		return Bool
	case c == '{':
		return Object
	case c == '[':
		return Array
	}
	return Invalid
}

// Text is what a JSON string stands for. Where the string holds no escape the result is part
// of raw, otherwise it is allocated. ok is false if raw is no JSON string, or holds a lone
// surrogate, for which there is no text (encoding/json would put U+FFFD in its place, which
// changes the data); DecodeChanges lets neither through.
func Text(raw []byte) (text []byte, ok bool) {
	if len(raw) < 2 || raw[0] != '"' || raw[len(raw)-1] != '"' {
		return nil, false
	}
	inner := raw[1 : len(raw)-1]
	if bytes.IndexByte(inner, '\\') < 0 {
		return slices.Clip(inner), bytes.IndexByte(inner, '"') < 0
	}
	return AppendText(make([]byte, 0, len(inner)), raw)
}

// AppendText appends what the JSON string raw stands for. It returns dst unchanged and false
// where Text reports false.
func AppendText(dst, raw []byte) ([]byte, bool) {
	if len(raw) < 2 || raw[0] != '"' || raw[len(raw)-1] != '"' {
		return dst, false
	}
	start := len(dst)
	for b := raw[1 : len(raw)-1]; ; {
		i := bytes.IndexByte(b, '\\')
		if i < 0 {
			if bytes.IndexByte(b, '"') >= 0 {
				return dst[:start], false
			}
			return append(dst, b...), true
		}
		n, r := unescape(b[i:])
		if n == 0 || bytes.IndexByte(b[:i], '"') >= 0 {
			return dst[:start], false
		}
		dst = utf8.AppendRune(append(dst, b[:i]...), r)
		b = b[i+n:]
	}
}

// Compact is the valid JSON value raw without the white space between its tokens. It is raw
// itself where there is none, else allocated; strings and numbers keep their lexemes.
func Compact(raw []byte) []byte {
	var out []byte
	from := 0
	for i := 0; i < len(raw); {
		switch raw[i] {
		case '"':
			end, _, err := scanString(raw, i)
			if err != nil {
				return raw // not valid: leave it to whoever reads it
			}
			i = end
		case ' ', '\t', '\n', '\r':
			if out == nil {
				out = make([]byte, 0, len(raw))
			}
			out = append(out, raw[from:i]...)
			i = skipSpace(raw, i)
			from = i
		default:
			i++
		}
	}
	if out == nil {
		return raw
	}
	return append(out, raw[from:]...)
}
