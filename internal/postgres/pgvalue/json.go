package pgvalue

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"unicode/utf8"

	"github.com/waybill-data/waybill"
)

// jsonOfBinary appends a binary value as JSON.
func (t *Type) jsonOfBinary(dst, raw []byte) ([]byte, error) {
	c := t.read()
	switch c {
	case codecText:
		return appendString(dst, raw)
	case codecInt2, codecInt4, codecInt8, codecUint4, codecUint8:
		return t.textOfBinary(dst, raw)
	case codecNumeric, codecFloat4, codecFloat8:
		start := len(dst)
		dst, err := t.textOfBinary(dst, raw)
		if err != nil {
			return nil, err
		}
		return quoteSpecial(dst, start), nil
	case codecBool:
		if len(raw) != 1 {
			return nil, errLength
		}
		return appendBool(dst, raw[0] != 0), nil
	case codecTimestamptz:
		if len(raw) != 8 {
			return nil, errLength
		}
		return appendMoment(dst, int64(binary.BigEndian.Uint64(raw))), nil
	case codecBytea:
		return appendBase64(dst, raw), nil
	case codecJSON:
		return appendDocument(dst, raw)
	case codecJSONB:
		if len(raw) == 0 || raw[0] != 1 {
			return nil, errForm
		}
		return appendDocument(dst, raw[1:])
	case codecArray:
		return t.jsonOfArray(dst, raw)
	case codecRange, codecMultirange, codecTSVector, codecTSQuery, codecChar, codecJSONPath:
		text, err := t.textOfBinary(nil, raw)
		if err != nil {
			return nil, err
		}
		return appendString(dst, text)
	}
	// The text of the others is ASCII, with nothing in it to escape.
	dst, err := t.textOfBinary(append(dst, '"'), raw)
	if err != nil {
		return nil, err
	}
	return append(dst, '"'), nil
}

// jsonOfText appends a value in the text format as JSON.
func (t *Type) jsonOfText(dst, raw []byte) ([]byte, error) {
	switch t.read() {
	case codecInt2, codecInt4, codecInt8, codecUint4, codecUint8:
		if !isNumber(raw) {
			return nil, errForm
		}
		return append(dst, raw...), nil
	case codecNumeric, codecFloat4, codecFloat8:
		if isNumber(raw) {
			return append(dst, raw...), nil
		}
		switch string(raw) {
		case "NaN", "Infinity", "-Infinity":
			return append(append(append(dst, '"'), raw...), '"'), nil
		}
		return nil, errForm
	case codecBool:
		if len(raw) != 1 || raw[0] != 't' && raw[0] != 'f' {
			return nil, errForm
		}
		return appendBool(dst, raw[0] == 't'), nil
	case codecTimestamptz:
		moment, ok, err := parseMoment(raw)
		if err != nil {
			return nil, err
		}
		if !ok {
			return appendString(dst, raw)
		}
		return appendMoment(dst, moment), nil
	case codecBytea:
		return base64OfText(dst, raw)
	case codecJSON, codecJSONB:
		return appendDocument(dst, raw)
	case codecArray:
		return t.jsonOfLiteral(dst, raw)
	}
	return appendString(dst, raw)
}

func appendBool(dst []byte, v bool) []byte {
	if v {
		return append(dst, "true"...)
	}
	return append(dst, "false"...)
}

// quoteSpecial puts what was appended since start in quotes if it is no number.
func quoteSpecial(dst []byte, start int) []byte {
	if c := dst[len(dst)-1]; c >= '0' && c <= '9' {
		return dst
	}
	dst = append(dst, 0, '"')
	copy(dst[start+1:], dst[start:len(dst)-2])
	dst[start] = '"'
	return dst
}

func appendBase64(dst, raw []byte) []byte {
	dst = base64.StdEncoding.AppendEncode(append(dst, '"'), raw)
	return append(dst, '"')
}

// base64OfText reads a bytea in either of its text forms, \xdead or \336\255.
func base64OfText(dst, raw []byte) ([]byte, error) {
	if digits, ok := bytes.CutPrefix(raw, []byte(`\x`)); ok {
		bin := make([]byte, hex.DecodedLen(len(digits)))
		if _, err := hex.Decode(bin, digits); err != nil {
			return nil, errForm // err shows a digit
		}
		return appendBase64(dst, bin), nil
	}
	bin := make([]byte, 0, len(raw))
	for i := 0; i < len(raw); i++ {
		c := raw[i]
		if c != '\\' {
			bin = append(bin, c)
			continue
		}
		rest := raw[i+1:]
		switch {
		case len(rest) > 0 && rest[0] == '\\':
			bin = append(bin, '\\')
			i++
		case len(rest) >= 3 && rest[0]&^3 == '0' && rest[1]&^7 == '0' && rest[2]&^7 == '0':
			bin = append(bin, rest[0]&3<<6|rest[1]&7<<3|rest[2]&7)
			i += 3
		default:
			return nil, errForm
		}
	}
	return appendBase64(dst, bin), nil
}

// appendDocument appends a json or jsonb, without the white space that may stand around a json. The
// document null is refused: the literal is the SQL null to whoever reads it.
func appendDocument(dst, raw []byte) ([]byte, error) {
	if !utf8.Valid(raw) {
		return nil, errUTF8
	}
	if !json.Valid(raw) {
		return nil, errForm
	}
	if raw = bytes.Trim(raw, " \t\r\n"); string(raw) == "null" {
		return nil, waybill.ErrNullDocument
	}
	return append(dst, raw...), nil
}

// appendString appends text as a JSON string.
func appendString(dst, text []byte) ([]byte, error) {
	const digits = "0123456789abcdef"
	if !utf8.Valid(text) {
		return nil, errUTF8
	}
	dst = append(dst, '"')
	from := 0
	for i, c := range text {
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, text[from:i]...)
		from = i + 1
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
		}
	}
	return append(append(dst, text[from:]...), '"'), nil
}
