package envelope

import (
	"unicode/utf8"

	waybill "github.com/waybill-data/waybill"
)

// AppendChanges appends the wire form of changes that could be decoded: without white space,
// fields in the order entity, op, key, row, before, values as they were written. It does not
// check them.
func AppendChanges(dst []byte, changes []waybill.Change) []byte {
	dst = append(dst, '[')
	for i := range changes {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = AppendChange(dst, &changes[i])
	}
	return append(dst, ']')
}

// AppendChange appends one change as AppendChanges does.
func AppendChange(dst []byte, c *waybill.Change) []byte {
	dst = AppendString(append(dst, `{"entity":`...), c.Entity)
	dst = append(append(append(dst, `,"op":"`...), c.Op.String()...), '"')
	dst = AppendRow(append(dst, `,"key":`...), c.Key)
	if c.Op != waybill.Delete {
		dst = AppendRow(append(dst, `,"row":`...), c.Row)
	}
	if c.Before != nil {
		dst = AppendRow(append(dst, `,"before":`...), c.Before)
	}
	return append(dst, '}')
}

// AppendRow appends the row as a JSON object: {"id":42}.
func AppendRow(dst []byte, r waybill.Row) []byte {
	dst = append(dst, '{')
	for i := range r {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(AppendString(dst, r[i].Name), ':')
		if r[i].Value.IsNull() {
			dst = append(dst, "null"...)
		} else {
			dst = append(dst, r[i].Value.Raw...)
		}
	}
	return append(dst, '}')
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
