package target

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"math"
	"strconv"

	"github.com/waybill-data/waybill/internal/envelope"
	"github.com/waybill-data/waybill/internal/postgres/server"
)

// Type OIDs, fixed in PostgreSQL's catalog.
const (
	oidBool        = 16
	oidBytea       = 17
	oidInt8        = 20
	oidInt2        = 21
	oidInt4        = 23
	oidText        = 25
	oidJSON        = 114
	oidFloat4      = 700
	oidFloat8      = 701
	oidBPChar      = 1042
	oidVarchar     = 1043
	oidDate        = 1082
	oidTimestamp   = 1114
	oidTimestamptz = 1184
	oidNumeric     = 1700
	oidUUID        = 2950
	oidJSONB       = 3802
)

// wireType is how a column's values travel: as arrays of element in binary form, cast from
// text or not. A value that has no exact binary form here (an integer written as " 7", a
// date before Christ) makes the whole column of its statement travel as text, and the server
// reads it, or refuses it, as it does any literal.
type wireType struct {
	element, array uint32
}

var (
	wireText  = wireType{oidText, 1009}
	wireTypes = map[uint32]wireType{
		oidBool: {oidBool, 1000}, oidBytea: {oidBytea, 1001}, oidInt2: {oidInt2, 1005}, oidInt4: {oidInt4, 1007},
		oidInt8: {oidInt8, 1016}, oidFloat4: {oidFloat4, 1021}, oidFloat8: {oidFloat8, 1022}, oidDate: {oidDate, 1182},
		oidTimestamp: {oidTimestamp, 1115}, oidTimestamptz: {oidTimestamptz, 1185}, oidUUID: {oidUUID, 2951},
		oidText: wireText, oidVarchar: wireText,
	}
)

// wire is how the column travels; text where asked to, or where there is no other way.
func (c *targetColumn) wire(asText bool) wireType {
	if asText {
		return wireText
	}
	if w, ok := wireTypes[c.base]; ok {
		return w
	}
	if w, ok := passTypes[c.base]; ok {
		return w
	}
	return wireText
}

// exact tells whether two values of the column are equal only if appendKey gives the same
// bytes for them.
func (c *targetColumn) exact() bool {
	switch c.base {
	case oidFloat4, oidFloat8:
		return false
	case oidNumeric:
		return true
	}
	_, ok := wireTypes[c.base]
	return ok && c.plainOrder
}

// appendArray encodes one column of the changes as an array in PostgreSQL's binary format.
// ok is false if some value has no exact binary form; nothing is appended then.
func appendArray(dst []byte, col *targetColumn, asText bool, p *applyPlan, g *changeGroup, at int) (_ []byte, ok bool, _ *refusedChange) {
	start := len(dst)
	dst = binary.BigEndian.AppendUint32(dst, 1) // dimensions
	dst = append(dst, 0, 0, 0, 0)               // whether there are nulls
	dst = binary.BigEndian.AppendUint32(dst, col.wire(asText).element)
	dst = appendLength(dst, len(g.items))
	dst = binary.BigEndian.AppendUint32(dst, 1) // lower bound
	text := asText || col.wire(false) == wireText
	var form knownForm
	for _, item := range g.items {
		c := &p.changes[item]
		v := c.value(c.sources()[at])
		if v.IsNull() {
			dst = append(dst, 0xff, 0xff, 0xff, 0xff)
			dst[start+7] = 1
			continue
		}
		if (!asText || isText(col.base)) && form.asItIs(v, col, (*targetColumn).ownForm) {
			dst = append(appendLength(dst, len(v.Raw)), v.Raw...)
			continue
		}
		mark := len(dst)
		dst = append(dst, 0, 0, 0, 0)
		if text {
			var refused *refusedChange
			if dst, refused = appendTextValue(dst, col, v); refused != nil {
				refused.change = c
				return dst[:start], true, refused
			}
		} else if dst, ok = appendBinaryValue(dst, col, v); !ok {
			return dst[:start], false, nil
		}
		putLength(dst[mark:], len(dst)-mark-4)
	}
	return dst, true, nil
}

// Lengths are bounded by the size of a plan, far below what 32 bits hold; negative numbers
// are two's complement on the wire.

func appendLength(dst []byte, n int) []byte { return binary.BigEndian.AppendUint32(dst, uint32(n)) }

func putLength(dst []byte, n int) { binary.BigEndian.PutUint32(dst, uint32(n)) }

func appendInt4(dst []byte, n int32) []byte { return binary.BigEndian.AppendUint32(dst, uint32(n)) }

func appendInt8(dst []byte, n int64) []byte { return binary.BigEndian.AppendUint64(dst, uint64(n)) }

// appendKey appends bytes that are the same for equal values of the column.
func appendKey(dst []byte, col *targetColumn, raw []byte) ([]byte, bool) {
	switch col.base {
	case oidNumeric:
		return appendPlainNumeric(dst, raw)
	case oidText, oidVarchar:
		var refused *refusedChange
		dst, refused = appendAsText(dst, col, raw)
		return dst, refused == nil
	}
	return appendBinary(dst, col.base, raw)
}

// appendBinary appends the binary form of a JSON value; not ok if it has none that is exact.
func appendBinary(dst []byte, base uint32, raw []byte) ([]byte, bool) {
	if base == oidBool {
		switch string(raw) {
		case "true":
			return append(dst, 1), true
		case "false":
			return append(dst, 0), true
		}
		return dst, false
	}
	if base == oidBytea {
		return appendBytes(dst, raw)
	}
	if raw[0] == '"' { // without escapes, or not exact
		raw = raw[1 : len(raw)-1]
	}
	switch base {
	case oidInt2, oidInt4, oidInt8:
		return appendInteger(dst, base, raw)
	case oidFloat4:
		f, ok := parseFloat(raw, 32)
		return binary.BigEndian.AppendUint32(dst, math.Float32bits(float32(f))), ok
	case oidFloat8:
		f, ok := parseFloat(raw, 64)
		return binary.BigEndian.AppendUint64(dst, math.Float64bits(f)), ok
	case oidUUID:
		return appendUUID(dst, raw)
	case oidDate:
		days, rest, ok := parseDate(raw)
		return appendInt4(dst, days), ok && len(rest) == 0
	case oidTimestamp, oidTimestamptz:
		micros, ok := parseTimestamp(raw, base == oidTimestamptz)
		return appendInt8(dst, micros), ok
	}
	return dst, false
}

func appendInteger(dst []byte, base uint32, raw []byte) ([]byte, bool) {
	digits := raw
	negative := len(raw) > 0 && raw[0] == '-'
	if negative {
		digits = raw[1:]
	}
	if len(digits) == 0 || len(digits) > 19 {
		return dst, false
	}
	var n uint64
	for _, c := range digits {
		if c < '0' || c > '9' {
			return dst, false
		}
		n = n*10 + uint64(c-'0')
	}
	limit, width := uint64(math.MaxInt64), 8
	switch base {
	case oidInt2:
		limit, width = math.MaxInt16, 2
	case oidInt4:
		limit, width = math.MaxInt32, 4
	}
	if negative {
		limit++
	}
	if n > limit {
		return dst, false
	}
	if negative {
		n = -n
	}
	switch width {
	case 2:
		return binary.BigEndian.AppendUint16(dst, uint16(n)), true
	case 4:
		return binary.BigEndian.AppendUint32(dst, uint32(n)), true
	}
	return binary.BigEndian.AppendUint64(dst, n), true
}

// parseFloat reads a lexeme as the server does. What under- or overflows is left to the server.
func parseFloat(raw []byte, bits int) (float64, bool) {
	switch string(raw) {
	case "Infinity":
		return math.Inf(1), true
	case "-Infinity":
		return math.Inf(-1), true
	}
	if len(raw) == 0 || raw[0] != '-' && (raw[0] < '0' || raw[0] > '9') || bytes.ContainsAny(raw, "_xXpP") {
		return 0, false
	}
	f, err := strconv.ParseFloat(string(raw), bits)
	tiny := math.SmallestNonzeroFloat32 * (1 << 24)
	if bits == 64 {
		tiny = math.SmallestNonzeroFloat64 * (1 << 53)
	}
	if err != nil || math.Abs(f) < tiny && bytes.ContainsAny(raw, "123456789") {
		return 0, false
	}
	return f, holdsFloat(raw, f, bits)
}

func appendUUID(dst, raw []byte) ([]byte, bool) {
	if len(raw) != 36 || raw[8] != '-' || raw[13] != '-' || raw[18] != '-' || raw[23] != '-' {
		return dst, false
	}
	start := len(dst)
	for _, part := range [...][]byte{raw[:8], raw[9:13], raw[14:18], raw[19:23], raw[24:]} {
		var err error
		if dst, err = hex.AppendDecode(dst, part); err != nil {
			return dst[:start], false
		}
	}
	return dst, true
}

// appendBytes decodes base64, or \x and hexadecimal digits.
func appendBytes(dst, raw []byte) ([]byte, bool) {
	text, ok := envelope.Text(raw)
	if !ok {
		return dst, false
	}
	start := len(dst)
	var err error
	if digits, found := bytes.CutPrefix(text, []byte(`\x`)); found {
		dst, err = hex.AppendDecode(dst, digits)
	} else {
		dst, err = base64.StdEncoding.AppendDecode(dst, text)
	}
	if err != nil {
		return dst[:start], false
	}
	return dst, true
}

// appendAsText appends what the server's input function for the column's type shall read.
func appendAsText(dst []byte, col *targetColumn, raw []byte) ([]byte, *refusedChange) {
	start := len(dst)
	kind := envelope.KindOf(raw)
	switch {
	case col.base == oidJSON || col.base == oidJSONB:
		return append(dst, raw...), nil
	case col.base == oidBytea:
		if b, ok := appendBytes(nil, raw); ok {
			return hex.AppendEncode(append(dst, `\x`...), b), nil
		}
		return dst, col.refuse("the value is neither base64 nor \\x and hexadecimal digits")
	case col.element != 0 && kind == envelope.Array:
		return appendArrayLiteral(dst, col, raw)
	case kind != envelope.String:
		dst = append(dst, raw...)
	default:
		var ok bool
		if dst, ok = envelope.AppendText(dst, raw); !ok {
			return dst[:start], col.refuse("the value is no valid JSON string")
		}
		if bytes.IndexByte(dst[start:], 0) >= 0 {
			return dst[:start], col.refuse(`the text contains the character \u0000, which PostgreSQL cannot store`)
		}
	}
	if why := col.narrowed(dst[start:]); why != "" {
		return dst[:start], col.tooNarrow(why)
	}
	return dst, nil
}

// tooNarrow refuses a value that only a wider column holds.
func (c *targetColumn) tooNarrow(why string) *refusedChange {
	r := c.refuse(why)
	r.remedy = remedyWider
	return r
}

const remedyWider = "give the column a type that holds it, or correct the value at the source"

func (c *targetColumn) refuse(why string) *refusedChange {
	return &refusedChange{reason: "column " + c.name + " (" + c.shown + "): " + why}
}

// numericScale is the number of decimal places in a numeric column's type modifier.
func numericScale(typmod int32) int {
	return int((typmod-4)&0x7ff^1024) - 1024
}

// noDecimals is less than any number has.
const noDecimals = math.MinInt32

// decimals is how many digits after the point a number has, without zeros at the end;
// negative for round numbers. noDecimals for zero, and if it is not a plain number.
func decimals(text []byte) int {
	mantissa, exponent := text, 0
	if i := bytes.IndexAny(text, "eE"); i >= 0 {
		e, err := strconv.Atoi(string(text[i+1:]))
		if err != nil {
			return noDecimals
		}
		mantissa, exponent = text[:i], e
	}
	whole, fraction, _ := bytes.Cut(mantissa, []byte{'.'})
	for _, c := range whole {
		if (c < '0' || c > '9') && c != '-' && c != '+' {
			return noDecimals
		}
	}
	fraction = bytes.TrimRight(fraction, "0")
	if len(fraction) > 0 {
		return len(fraction) - exponent
	}
	digits := bytes.TrimLeft(whole, "+-")
	significant := bytes.TrimRight(digits, "0")
	if len(significant) == 0 {
		return noDecimals
	}
	return len(significant) - len(digits) - exponent
}

// appendPlainNumeric appends a decimal number without superfluous zeros.
func appendPlainNumeric(dst, raw []byte) ([]byte, bool) {
	if len(raw) > 1 && raw[0] == '"' {
		raw = raw[1 : len(raw)-1]
	}
	if len(raw) > 0 && raw[0] == '-' {
		dst, raw = append(dst, '-'), raw[1:]
	}
	whole, fraction, _ := bytes.Cut(raw, []byte{'.'})
	for _, part := range [...][]byte{whole, fraction} {
		for _, c := range part {
			if c < '0' || c > '9' {
				return dst, false
			}
		}
	}
	whole, fraction = bytes.TrimLeft(whole, "0"), bytes.TrimRight(fraction, "0")
	if len(whole)+len(fraction) == 0 {
		if n := len(dst); n > 0 && dst[n-1] == '-' {
			dst = dst[:n-1] // -0 is 0
		}
		return append(dst, '0'), len(raw) > 0
	}
	dst = append(dst, whole...)
	if len(fraction) > 0 {
		dst = append(append(dst, '.'), fraction...)
	}
	return dst, true
}

// refusedChange is why the target can not take a change, found without asking the server.
type refusedChange struct {
	change         *plannedChange // where known
	reason, remedy string
	schema         bool // it depends on the tables' definition
	noTable        bool
	noColumn       string // the name of one that the table lacks
}

// cured tells whether the table has what was missing by now: another stream may have made it.
func (r *refusedChange) cured(t *targetTable) bool {
	return t != nil && (r.noTable || r.noColumn != "" && t.column(r.noColumn) >= 0)
}

func unknownColumn(t *targetTable, name string) *refusedChange {
	return &refusedChange{
		schema: true, noColumn: name,
		reason: "table " + t.schema + "." + t.name + " has no column " + name,
		remedy: "ALTER TABLE " + t.ident() + " ADD COLUMN " + server.Quote(name) + " …",
	}
}
