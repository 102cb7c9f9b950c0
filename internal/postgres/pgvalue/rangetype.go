package pgvalue

import "encoding/binary"

// The flags of a range in binary.
const (
	rangeEmpty         = 0x01
	rangeLowerIncluded = 0x02
	rangeUpperIncluded = 0x04
	rangeLowerInfinite = 0x08
	rangeUpperInfinite = 0x10
)

func (t *Type) textOfRange(dst, raw []byte) ([]byte, error) {
	return appendRange(dst, raw, t.Element)
}

func appendRange(dst, raw []byte, bound *Type) ([]byte, error) {
	if len(raw) == 0 {
		return nil, errLength
	}
	flags := raw[0]
	raw = raw[1:]
	if flags&rangeEmpty != 0 {
		return append(dst, "empty"...), nil
	}
	open := byte('(')
	if flags&rangeLowerIncluded != 0 {
		open = '['
	}
	dst = append(dst, open)
	var err error
	if flags&rangeLowerInfinite == 0 {
		if dst, raw, err = appendBound(dst, raw, bound); err != nil {
			return nil, err
		}
	}
	dst = append(dst, ',')
	if flags&rangeUpperInfinite == 0 {
		if dst, raw, err = appendBound(dst, raw, bound); err != nil {
			return nil, err
		}
	}
	if len(raw) > 0 {
		return nil, errLength
	}
	if flags&rangeUpperIncluded != 0 {
		return append(dst, ']'), nil
	}
	return append(dst, ')'), nil
}

func appendBound(dst, raw []byte, bound *Type) (out, rest []byte, err error) {
	v, rest, err := takeSized(raw)
	if err != nil {
		return nil, nil, err
	}
	if v == nil {
		return nil, nil, errForm
	}
	start := len(dst)
	dst, err = bound.textOfBinary(dst, v)
	if err != nil {
		return nil, nil, err
	}
	return quoteBound(dst, start), rest, nil
}

// quoteBound puts what was appended since start in quotes, with its quotes and backslashes
// doubled, if a range's literal asks for it.
func quoteBound(dst []byte, start int) []byte {
	quote := len(dst) == start
	escapes := 0
	for _, c := range dst[start:] {
		switch {
		case c == '"' || c == '\\':
			quote = true
			escapes++
		case c == '(' || c == ')' || c == '[' || c == ']' || c == ',' || isSpace(c):
			quote = true
		}
	}
	if !quote {
		return dst
	}
	return quoteWith(dst, start, escapes, func(c byte) byte { return c })
}

func (t *Type) textOfMultirange(dst, raw []byte) ([]byte, error) {
	if len(raw) < 4 {
		return nil, errLength
	}
	bound := t.Element
	if bound.Kind == Range && bound.Element != nil {
		bound = bound.Element
	}
	n := binary.BigEndian.Uint32(raw)
	raw = raw[4:]
	dst = append(dst, '{')
	for i := range n {
		if i > 0 {
			dst = append(dst, ',')
		}
		v, rest, err := takeSized(raw)
		if err != nil {
			return nil, err
		}
		if dst, err = appendRange(dst, v, bound); err != nil {
			return nil, err
		}
		raw = rest
	}
	if len(raw) > 0 {
		return nil, errLength
	}
	return append(dst, '}'), nil
}
