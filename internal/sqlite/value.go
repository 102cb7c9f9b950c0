package sqlite

import (
	"bytes"
	"database/sql/driver"
	"encoding/base64"
	"encoding/hex"
	"math"
	"strconv"
	"strings"
	"unsafe"

	waybill "github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/envelope"
)

// affinity is how SQLite treats what is stored in a column, by its declared type
// (https://sqlite.org/datatype3.html, section 3.1).
type affinity uint8

const (
	none affinity = iota // no type declared, or ANY in a STRICT table: stored as it comes
	blob
	text
	integer
	numeric
	double // REAL
)

func affinityOf(declared string) affinity {
	d := strings.ToUpper(declared)
	has := func(s string) bool { return strings.Contains(d, s) }
	switch {
	case has("INT"):
		return integer
	case has("CHAR") || has("CLOB") || has("TEXT"):
		return text
	case has("BLOB"):
		return blob
	case d == "":
		return none
	case has("REAL") || has("FLOA") || has("DOUB"):
		return double
	}
	return numeric
}

// convert makes of a JSON value what is bound for the column. The text that it returns may
// share v's bytes. reason is empty, or says why the column cannot take the value without
// changing it; it does not hold the value.
func convert(v waybill.Value, c *column) (out driver.Value, reason string) {
	if v.Form == waybill.Null {
		return nil, ""
	}
	switch envelope.KindOf(v.Raw) {
	case envelope.String:
		t, ok := envelope.Text(v.Raw)
		if !ok {
			return nil, "the string is not valid"
		}
		return convertText(t, c)
	case envelope.Number:
		return convertNumber(v.Raw, c)
	case envelope.Bool:
		if v.Raw[0] == 't' {
			return int64(1), ""
		}
		return int64(0), ""
	case envelope.Object, envelope.Array:
		return view(v.Raw), ""
	case envelope.Invalid:
	}
	return nil, "the value is not valid JSON"
}

// view is b as a string. The driver copies what it binds, so b only has to stay as it is
// while the statement runs.
func view(b []byte) string {
	return unsafe.String(unsafe.SliceData(b), len(b)) //nolint:gosec // nothing keeps the string, and b is never modified
}

func convertText(t []byte, c *column) (driver.Value, string) {
	switch c.affinity {
	case none, text:
		return view(t), ""
	case blob:
		b, ok := decodeBinary(t)
		if !ok {
			return nil, `the string is neither base64 nor \x and hexadecimal digits`
		}
		return b, ""
	case integer, numeric, double:
	}
	// In columns of the numeric affinities SQLite makes a number of every text that looks
	// like one, cutting it to what a float can hold.
	if plainNumber(t) {
		return convertNumber(t, c)
	}
	if looksNumeric(t) {
		return nil, "SQLite would read the text as a number and store it changed; declare the column TEXT"
	}
	return view(t), ""
}

// decodeBinary reads padded base64 and the form \xDEADBEEF.
func decodeBinary(t []byte) ([]byte, bool) {
	if bytes.HasPrefix(t, []byte(`\x`)) {
		b, err := hex.AppendDecode(make([]byte, 0, len(t)/2), t[2:])
		return b, err == nil
	}
	b, err := base64.StdEncoding.Strict().AppendDecode(make([]byte, 0, len(t)), t)
	return b, err == nil
}

// convertNumber reads a number's lexeme. It is never narrowed: a float is bound only where
// the shortest decimal that stands for it is the number that was written.
func convertNumber(lexeme []byte, c *column) (driver.Value, string) {
	if c.affinity == text {
		return view(lexeme), ""
	}
	if i, ok := asInt(lexeme); ok {
		if c.affinity == double && (i > 1<<53 || i < -1<<53) && int64(float64(i)) != i {
			return nil, "the number has more digits than a floating point column holds"
		}
		return i, ""
	}
	f, exact := asFloat(lexeme)
	if exact {
		return f, ""
	}
	if c.affinity == none {
		return view(lexeme), "" // nothing converts it there
	}
	return nil, "SQLite cannot hold the number exactly in a numeric column; declare the column TEXT"
}

// asInt reads a lexeme that is an integer within 64 bits.
func asInt(s []byte) (int64, bool) {
	if len(s) == 0 || len(s) > 20 {
		return 0, false
	}
	digits := s
	if s[0] == '-' {
		digits = s[1:]
	}
	if len(digits) > 18 {
		i, err := strconv.ParseInt(view(s), 10, 64)
		return i, err == nil
	}
	var n int64
	for _, d := range digits {
		if d < '0' || d > '9' {
			return 0, false
		}
		n = n*10 + int64(d-'0')
	}
	if len(digits) < len(s) {
		n = -n
	}
	return n, len(digits) > 0
}

// asFloat reads a decimal and tells whether the float stands for just that decimal.
func asFloat(s []byte) (f float64, exact bool) {
	f, err := strconv.ParseFloat(view(s), 64)
	if err != nil || math.IsInf(f, 0) || math.IsNaN(f) {
		return 0, false
	}
	var short, given [32]byte
	a, expA, okA := decimal(given[:0], s)
	b, expB, okB := decimal(short[:0], strconv.AppendFloat(make([]byte, 0, 32), f, 'e', -1, 64))
	return f, okA && okB && bytes.Equal(a, b) && (expA == expB || len(a) == 0)
}

// decimal takes a number apart: its significant digits, without zeros at either end, and the
// power of ten of the last of them. The sign stands before the digits. Not ok: more digits
// than any float's shortest form has.
func decimal(dst, s []byte) (digits []byte, exp int, ok bool) {
	digits = dst
	if s[0] == '-' {
		s = s[1:]
		digits = append(digits, '-')
	}
	signed := len(digits)
	if i := bytes.IndexAny(s, "eE"); i >= 0 {
		e, err := strconv.Atoi(view(s[i+1:]))
		if err != nil {
			return nil, 0, false
		}
		exp, s = e, s[:i]
	}
	point := bytes.IndexByte(s, '.')
	if point >= 0 {
		exp -= len(s) - point - 1
	}
	zeros := 0 // trailing so far
	for i, c := range s {
		switch {
		case i == point:
		case c == '0':
			zeros++
		default:
			if len(digits) == signed {
				zeros = 0 // they led
			}
			if len(digits)+zeros >= cap(digits) {
				return nil, 0, false
			}
			for ; zeros > 0; zeros-- {
				digits = append(digits, '0')
			}
			digits = append(digits, c)
		}
	}
	if len(digits) == signed {
		return nil, 0, true // zero, whatever its sign
	}
	return digits, exp + zeros, true
}

// plainNumber reports whether t is written as a JSON number without exponent, as decimal
// types are often carried.
func plainNumber(t []byte) bool {
	if len(t) > 0 && t[0] == '-' {
		t = t[1:]
	}
	whole, frac, dot := bytes.Cut(t, []byte("."))
	if !digits(whole) || len(whole) > 1 && whole[0] == '0' {
		return false
	}
	return !dot || digits(frac)
}

func digits(t []byte) bool {
	for _, c := range t {
		if c < '0' || c > '9' {
			return false
		}
	}
	return len(t) > 0
}

// looksNumeric reports whether SQLite would make a number of t: an integer or decimal, also
// with leading zeros, a sign, an exponent, and white space around it.
func looksNumeric(t []byte) bool {
	t = bytes.Trim(t, " \t\n\v\f\r")
	if len(t) > 0 && (t[0] == '-' || t[0] == '+') {
		t = t[1:]
	}
	if i := bytes.IndexAny(t, "eE"); i >= 0 {
		e := t[i+1:]
		if len(e) > 0 && (e[0] == '-' || e[0] == '+') {
			e = e[1:]
		}
		if !digits(e) {
			return false
		}
		t = t[:i]
	}
	whole, frac, _ := bytes.Cut(t, []byte("."))
	return len(whole)+len(frac) > 0 && (len(whole) == 0 || digits(whole)) && (len(frac) == 0 || digits(frac))
}
