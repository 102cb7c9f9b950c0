package target

import (
	"bytes"
	"math/big"
	"strconv"
	"unicode/utf8"
)

// What the server would round, cut or take for something else without a word is refused here.

// More type OIDs.
const (
	oidSingleChar = 18
	oidName       = 19
	oidOID        = 26
	oidMoney      = 790
	oidTime       = 1083
	oidInterval   = 1186
	oidTimetz     = 1266
	oidRegclass   = 2205
)

// longestName is how many bytes a value of type name holds.
const longestName = 63

const reasonTooFine = "the value has more digits in the fraction of a second than the column keeps"

// narrowed says what the server would drop silently from a value that it reads as text.
func (c *targetColumn) narrowed(text []byte) string {
	switch c.base {
	case oidNumeric:
		if c.typmod >= 4 && decimals(text) > numericScale(c.typmod) {
			return "the value has more decimal places than the column keeps"
		}
	case oidMoney:
		plain := bytes.ReplaceAll(bytes.ReplaceAll(bytes.TrimSpace(text), []byte{'$'}, nil), []byte{','}, nil)
		if decimals(plain) > 2 {
			return "the value has more decimal places than the column keeps"
		}
	case oidFloat4, oidFloat8:
		return c.narrowedFloat(text)
	case oidDate, oidTimestamp, oidTimestamptz, oidTime, oidTimetz, oidInterval:
		return c.narrowedTime(text)
	case oidOID:
		if bytes.HasPrefix(bytes.TrimSpace(text), []byte{'-'}) {
			return "the value is negative, the column is not"
		}
	case oidName:
		if len(text) > longestName {
			return "the value is longer than 63 bytes"
		}
	case oidSingleChar:
		if len(text) > 1 && !isOctal(text) {
			return "the value is longer than one byte"
		}
	case oidVarchar, oidBPChar:
		width := int(c.typmod) - 4
		if width >= 0 && len(text) > width && utf8.RuneCount(text) > width && utf8.RuneCount(bytes.TrimRight(text, " ")) <= width {
			return "the value ends in more blanks than the column keeps"
		}
	}
	return ""
}

// isOctal tells whether the text is how the server writes a byte past 127, \351.
func isOctal(text []byte) bool {
	return len(text) == 4 && text[0] == '\\' && text[1]&^3 == '0' && text[2]&^7 == '0' && text[3]&^7 == '0'
}

func (c *targetColumn) narrowedFloat(text []byte) string {
	bits := 64
	if c.base == oidFloat4 {
		bits = 32
	}
	text = bytes.TrimSpace(text)
	if _, _, plain := significant(text); !plain {
		return "" // NaN, or what the server refuses
	}
	f, err := strconv.ParseFloat(string(text), bits)
	if err == nil && f != 0 && !holdsFloat(text, f, bits) {
		return "the value has more digits than the column keeps"
	}
	return ""
}

// holdsFloat tells whether f, which the decimal number text was read as, is that number: it
// prints as the same digits, or is equal to it. Printers do not always choose the fewest digits:
// 1e23 is 9.999999999999999e+22 to PostgreSQL, 0.1 is 0.10000000000000001 to those that take 17.
func holdsFloat(text []byte, f float64, bits int) bool {
	sure, most := 15, 17 // as many digits always come back, tell all floats apart
	if bits == 32 {
		sure, most = 6, 9
	}
	if len(text) <= sure || f == 0 {
		return true
	}
	digits, exponent, ok := significant(text)
	if !ok {
		return false
	}
	if len(digits) <= sure {
		return true
	}
	var room [32]byte
	shortest, e, _ := significant(strconv.AppendFloat(room[:0], f, 'e', -1, bits))
	if e == exponent && bytes.Equal(shortest, digits) {
		return true
	}
	if len(digits) <= most {
		as, e, _ := significant(strconv.AppendFloat(room[:0], f, 'e', len(digits)-1, bits))
		if e == exponent && bytes.Equal(as, digits) {
			return true
		}
	}
	given, ok := new(big.Rat).SetString(string(text))
	return ok && given.Cmp(new(big.Rat).SetFloat64(f)) == 0
}

// significant are the digits of a plain decimal number without zeros at either end; the number
// is 0.digits times ten to the exponent.
func significant(text []byte) (digits []byte, exponent int, ok bool) {
	if i := bytes.IndexAny(text, "eE"); i >= 0 {
		var err error
		if exponent, err = strconv.Atoi(string(text[i+1:])); err != nil {
			return nil, 0, false
		}
		text = text[:i]
	}
	text = bytes.TrimLeft(text, "+-")
	digits = make([]byte, 0, len(text))
	point := false
	for _, c := range text {
		switch {
		case c == '.' && !point:
			point = true
			continue
		case c < '0' || c > '9':
			return nil, 0, false
		case c == '0' && len(digits) == 0:
			if point {
				exponent--
			}
			continue
		}
		digits = append(digits, c)
		if !point {
			exponent++
		}
	}
	return bytes.TrimRight(digits, "0"), exponent, len(text) > 0
}

func (c *targetColumn) narrowedTime(text []byte) string {
	if c.base != oidInterval && namesMoment(text) {
		return "the value means another moment whenever it is read"
	}
	if c.tooFine(text) {
		return reasonTooFine
	}
	_, rest, dated := parseDate(text)
	switch c.base {
	case oidDate:
		if dated && hasTimeOfDay(rest) {
			return "the value has a time of day, which the column does not keep"
		}
	case oidTimestamp:
		if zoneOf(text) != 0 {
			return "the value has a zone other than UTC, which the column does not keep"
		}
	case oidTime, oidTimetz:
		if dated {
			return "the value has a date, which the column does not keep"
		}
		if i := bytes.LastIndexAny(text, "+-"); c.base == oidTime && i > 0 {
			if seconds, ok := parseZone(text[i:]); ok && seconds != 0 {
				return "the value has a zone other than UTC, which the column does not keep"
			}
		}
	}
	return ""
}

// namesMoment tells whether the server would read the value as the time of reading, or a day
// counted from that.
func namesMoment(text []byte) bool {
	for _, word := range bytes.FieldsFunc(text, func(r rune) bool { return (r|32) < 'a' || (r|32) > 'z' }) {
		switch string(bytes.ToLower(word)) {
		case "now", "today", "tomorrow", "yesterday", "allballs":
			return true
		}
	}
	return false
}

// tooFine tells whether a time has more digits in the fraction of a second than the column.
func (c *targetColumn) tooFine(text []byte) bool {
	keeps := 6
	switch c.base {
	case oidTimestamp, oidTimestamptz, oidTime, oidTimetz, oidInterval:
		if p := int(c.typmod) & 0xffff; c.typmod >= 0 && p < keeps {
			keeps = p
		}
	default:
		return false
	}
	i := bytes.LastIndexByte(text, '.')
	if i < 0 || c.base != oidInterval && bytes.IndexByte(text[:i], ':') < 0 {
		return false
	}
	end := i + 1
	for end < len(text) && text[end] >= '0' && text[end] <= '9' {
		end++
	}
	return len(bytes.TrimRight(text[i+1:end], "0")) > keeps
}
