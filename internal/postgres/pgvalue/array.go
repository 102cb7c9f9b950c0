package pgvalue

import (
	"bytes"
	"encoding/binary"
	"strconv"
)

const maxDimensions = 6

// array is the head of an array in binary, and the elements behind it.
type array struct {
	dimensions int
	lengths    [maxDimensions]int
	lower      [maxDimensions]int32
	count      int    // of elements
	elements   []byte // each four bytes of length (-1: null) and the value
}

// openArray reads the head of an array. All its elements are known to have at least a length.
func openArray(raw []byte) (a array, err error) {
	if len(raw) < 12 {
		return a, errLength
	}
	n := binary.BigEndian.Uint32(raw)
	raw = raw[12:] // the number of dimensions, whether there are nulls, the type of the elements
	if n > maxDimensions || len(raw) < 8*int(n) {
		return a, errForm
	}
	a.dimensions = int(n)
	if n > 0 {
		a.count = 1
	}
	for i := range a.dimensions {
		length := int32(binary.BigEndian.Uint32(raw))
		a.lengths[i], a.lower[i] = int(length), int32(binary.BigEndian.Uint32(raw[4:]))
		raw = raw[8:]
		if length < 0 || int(length) > len(raw) {
			return a, errLength
		}
		a.count *= int(length)
		if a.count > len(raw) {
			return a, errLength
		}
	}
	if a.count == 0 {
		a.dimensions = 0
	}
	if len(raw) < 4*a.count {
		return a, errLength
	}
	a.elements = raw
	return a, nil
}

// next takes the next element; nil is null.
func (a *array) next() ([]byte, error) {
	v, rest, err := takeSized(a.elements)
	a.elements = rest
	return v, err
}

// takeSized takes four bytes of length and as many bytes; nil where the length is -1.
func takeSized(raw []byte) (v, rest []byte, err error) {
	if len(raw) < 4 {
		return nil, nil, errLength
	}
	n := int32(binary.BigEndian.Uint32(raw))
	raw = raw[4:]
	if n == -1 {
		return nil, raw, nil
	}
	if n < 0 || int(n) > len(raw) {
		return nil, nil, errLength
	}
	return raw[:n:n], raw[n:], nil
}

// isPlain tells whether all lower bounds are 1, as those of an array in JSON are.
func (a *array) isPlain() bool {
	for _, lower := range a.lower[:a.dimensions] {
		if lower != 1 {
			return false
		}
	}
	return true
}

// walk appends the elements, each with element, in the brackets of their dimensions.
func (a *array) walk(dst []byte, brackets [2]byte, delimiter byte, element func(dst, raw []byte) ([]byte, error)) ([]byte, error) {
	if a.dimensions == 0 {
		return append(dst, brackets[0], brackets[1]), nil
	}
	var at [maxDimensions]int
	for range a.dimensions {
		dst = append(dst, brackets[0])
	}
	for i := range a.count {
		raw, err := a.next()
		if err != nil {
			return nil, err
		}
		if dst, err = element(dst, raw); err != nil {
			return nil, err
		}
		depth := a.dimensions - 1
		for depth >= 0 {
			if at[depth]++; at[depth] < a.lengths[depth] {
				break
			}
			at[depth] = 0
			dst = append(dst, brackets[1])
			depth--
		}
		if i+1 == a.count {
			break
		}
		dst = append(dst, delimiter)
		for ; depth < a.dimensions-1; depth++ {
			dst = append(dst, brackets[0])
		}
	}
	if len(a.elements) > 0 {
		return nil, errLength
	}
	return dst, nil
}

// blurs tells whether a JSON array would not say where the dimensions end and the elements begin:
// elements may be JSON arrays themselves.
func (t *Type) blurs(deep bool) bool {
	switch t.Element.read() {
	case codecArray:
		return true
	case codecJSON, codecJSONB:
		return deep
	}
	return false
}

// delimiter stands between the elements of the literal.
func (t *Type) delimiter() byte {
	if t.Delimiter == 0 {
		return ','
	}
	return t.Delimiter
}

func (t *Type) textOfArray(dst, raw []byte) ([]byte, error) {
	a, err := openArray(raw)
	if err != nil {
		return nil, err
	}
	if !a.isPlain() {
		for i := range a.dimensions {
			dst = strconv.AppendInt(append(dst, '['), int64(a.lower[i]), 10)
			dst = strconv.AppendInt(append(dst, ':'), int64(a.lower[i])+int64(a.lengths[i])-1, 10)
			dst = append(dst, ']')
		}
		dst = append(dst, '=')
	}
	delimiter := t.delimiter()
	return a.walk(dst, [2]byte{'{', '}'}, delimiter, func(dst, raw []byte) ([]byte, error) {
		if raw == nil {
			return append(dst, "NULL"...), nil
		}
		start := len(dst)
		dst, err := t.Element.textOfBinary(dst, raw)
		if err != nil {
			return nil, err
		}
		return quoteElement(dst, start, delimiter), nil
	})
}

func (t *Type) jsonOfArray(dst, raw []byte) ([]byte, error) {
	a, err := openArray(raw)
	if err != nil {
		return nil, err
	}
	if !a.isPlain() || t.blurs(a.dimensions > 1) {
		text, err := t.textOfArray(nil, raw)
		if err != nil {
			return nil, err
		}
		return appendString(dst, text)
	}
	return a.walk(dst, [2]byte{'[', ']'}, ',', func(dst, raw []byte) ([]byte, error) {
		if raw == nil {
			return append(dst, "null"...), nil
		}
		return t.Element.jsonOfBinary(dst, raw)
	})
}

// isSpace is the server's notion of it.
func isSpace(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' }

// quoteElement puts what was appended since start in quotes, with backslashes, if an array's
// literal asks for it.
func quoteElement(dst []byte, start int, delimiter byte) []byte {
	s := dst[start:]
	quote := len(s) == 0 || len(s) == 4 && bytes.EqualFold(s, []byte("NULL"))
	escapes := 0
	for _, c := range s {
		switch {
		case c == '"' || c == '\\':
			quote = true
			escapes++
		case c == '{' || c == '}' || c == delimiter || isSpace(c):
			quote = true
		}
	}
	if !quote {
		return dst
	}
	return quoteWith(dst, start, escapes, func(byte) byte { return '\\' })
}

// quoteWith puts what was appended since start in quotes, and before each of the quotes and
// backslashes in it, of which there are so many, what escape says.
func quoteWith(dst []byte, start, escapes int, escape func(byte) byte) []byte {
	from := len(dst) - 1
	for range escapes + 2 {
		dst = append(dst, '"')
	}
	to := len(dst) - 2
	for ; from >= start; from-- {
		c := dst[from]
		dst[to] = c
		to--
		if c == '"' || c == '\\' {
			dst[to] = escape(c)
			to--
		}
	}
	dst[start] = '"'
	return dst
}

// jsonOfLiteral appends an array's literal as a JSON array.
func (t *Type) jsonOfLiteral(dst, raw []byte) ([]byte, error) {
	// A lower bound is not 1; in a literal only braces of dimensions stand without quotes.
	if len(raw) > 0 && raw[0] == '[' || t.blurs(bytes.HasPrefix(raw, []byte("{{"))) {
		return appendString(dst, raw)
	}
	l := literal{rest: raw, delimiter: t.delimiter()}
	depth := 0
	separated := true // the next thing may be an element or an opening brace
	for {
		if len(l.rest) == 0 {
			return nil, errForm
		}
		switch c := l.rest[0]; {
		case c == '{' && separated:
			if depth++; depth > maxDimensions {
				return nil, errForm
			}
			dst = append(dst, '[')
			l.rest = l.rest[1:]
			if len(l.rest) > 0 && l.rest[0] == '}' {
				separated = false
			}
		case c == '}' && !separated:
			depth--
			dst = append(dst, ']')
			l.rest = l.rest[1:]
			if depth == 0 {
				if len(l.rest) > 0 {
					return nil, errForm
				}
				return dst, nil
			}
		case c == l.delimiter && !separated && depth > 0:
			dst = append(dst, ',')
			l.rest = l.rest[1:]
			separated = true
		case separated && depth > 0:
			element, null, err := l.element()
			if err != nil {
				return nil, err
			}
			if null {
				dst = append(dst, "null"...)
			} else if dst, err = t.Element.jsonOfText(dst, element); err != nil {
				return nil, err
			}
			separated = false
		default:
			return nil, errForm
		}
	}
}

// literal is the rest of an array's literal.
type literal struct {
	rest      []byte
	delimiter byte
	scratch   []byte
}

// element takes an element, unquoted; it is valid until the next.
func (l *literal) element() (text []byte, null bool, err error) {
	if l.rest[0] == '"' {
		text, err = l.quoted()
		return text, false, err
	}
	i := 0
	for i < len(l.rest) && l.rest[i] != l.delimiter && l.rest[i] != '}' {
		if c := l.rest[i]; c == '{' || c == '"' || c == '\\' {
			return nil, false, errForm
		}
		i++
	}
	if i == 0 {
		return nil, false, errForm
	}
	text, l.rest = l.rest[:i], l.rest[i:]
	return text, string(text) == "NULL", nil
}

func (l *literal) quoted() ([]byte, error) {
	body := l.rest[1:]
	i := bytes.IndexAny(body, `"\`)
	if i >= 0 && body[i] == '"' {
		l.rest = body[i+1:]
		return body[:i], nil
	}
	l.scratch = l.scratch[:0]
	for i := 0; i < len(body); i++ {
		switch c := body[i]; c {
		case '"':
			l.rest = body[i+1:]
			return l.scratch, nil
		case '\\':
			if i++; i == len(body) {
				return nil, errForm
			}
			l.scratch = append(l.scratch, body[i])
		default:
			l.scratch = append(l.scratch, c)
		}
	}
	return nil, errForm
}
