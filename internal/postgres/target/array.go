package target

import (
	"bytes"
	"encoding/hex"
	"encoding/json"

	"github.com/waybill-data/waybill/internal/envelope"
)

// appendArrayLiteral writes a JSON array as an array literal of PostgreSQL: nested arrays are
// dimensions, null is NULL, and every other element is quoted, so that the input function
// of the element's type reads exactly its text.
func appendArrayLiteral(dst []byte, col *targetColumn, raw []byte) ([]byte, *refusedChange) {
	start := len(dst)
	var elements []json.RawMessage
	if err := json.Unmarshal(raw, &elements); err != nil {
		return dst, col.refuse("the value is no valid JSON array")
	}
	dst = append(dst, '{')
	for i, e := range elements {
		if i > 0 {
			dst = append(dst, col.delimiter)
		}
		e = bytes.TrimSpace(e)
		var refused *refusedChange
		switch {
		case string(e) == "null":
			dst = append(dst, "NULL"...)
		case envelope.KindOf(e) == envelope.Array && col.element != oidJSON && col.element != oidJSONB:
			dst, refused = appendArrayLiteral(dst, col, e)
		default:
			dst, refused = appendElement(dst, col, e)
		}
		if refused != nil {
			return dst[:start], refused
		}
	}
	return append(dst, '}'), nil
}

func appendElement(dst []byte, col *targetColumn, raw []byte) ([]byte, *refusedChange) {
	text := raw
	switch {
	case col.element == oidBytea:
		b, ok := appendBytes(nil, raw)
		if !ok {
			return dst, col.refuse("an element is neither base64 nor \\x and hexadecimal digits")
		}
		text = append([]byte(`\x`), hex.AppendEncode(nil, b)...)
	case envelope.KindOf(raw) == envelope.String && col.element != oidJSON && col.element != oidJSONB:
		var ok bool
		if text, ok = envelope.Text(raw); !ok {
			return dst, col.refuse("an element is no valid JSON string")
		}
	}
	if bytes.IndexByte(text, 0) >= 0 {
		return dst, col.refuse(`an element contains the character \u0000, which PostgreSQL cannot store`)
	}
	element := targetColumn{base: col.element, typmod: col.elementMod}
	if why := element.narrowed(text); why != "" {
		return dst, col.tooNarrow("in an element, " + why)
	}
	dst = append(dst, '"')
	for _, c := range text {
		if c == '"' || c == '\\' {
			dst = append(dst, '\\')
		}
		dst = append(dst, c)
	}
	return append(dst, '"'), nil
}
