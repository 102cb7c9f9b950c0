package pgvalue

import (
	"bytes"
	"encoding/binary"
	"strconv"
)

// appendWord appends a lexeme in quotes, with its quotes and backslashes doubled.
func appendWord(dst, word []byte) []byte {
	dst = append(dst, '\'')
	for _, c := range word {
		if c == '\'' || c == '\\' {
			dst = append(dst, c)
		}
		dst = append(dst, c)
	}
	return append(dst, '\'')
}

// appendTSVector appends 'word':1A,2 'other'.
func appendTSVector(dst, raw []byte) ([]byte, error) {
	if len(raw) < 4 {
		return nil, errLength
	}
	n := binary.BigEndian.Uint32(raw)
	raw = raw[4:]
	for i := range n {
		if i > 0 {
			dst = append(dst, ' ')
		}
		word, rest, ok := bytes.Cut(raw, []byte{0})
		if !ok || len(rest) < 2 {
			return nil, errLength
		}
		dst = appendWord(dst, word)
		positions := int(binary.BigEndian.Uint16(rest))
		raw = rest[2:]
		if len(raw) < 2*positions {
			return nil, errLength
		}
		for j := range positions {
			v := binary.BigEndian.Uint16(raw[2*j:])
			separator := byte(',')
			if j == 0 {
				separator = ':'
			}
			dst = strconv.AppendUint(append(dst, separator), uint64(v&0x3FFF), 10)
			if weight := v >> 14; weight > 0 {
				dst = append(dst, 'D'-byte(weight))
			}
		}
		raw = raw[2*positions:]
	}
	if len(raw) > 0 {
		return nil, errLength
	}
	return dst, nil
}

// The kind of a word among the items of a tsquery in binary, and the operators.
const (
	queryWord   = 1
	queryNot    = 1
	queryAnd    = 2
	queryOr     = 3
	queryPhrase = 4
)

// query is the rest of a tsquery in binary: operators before their operands, the right one first.
type query struct {
	rest  []byte
	items uint32
	depth int
}

// maxQueryDepth bounds the recursion; the server's own stack takes less than that.
const maxQueryDepth = 100_000

func appendTSQuery(dst, raw []byte) ([]byte, error) {
	if len(raw) < 4 {
		return nil, errLength
	}
	q := query{rest: raw[4:], items: binary.BigEndian.Uint32(raw)}
	if q.items == 0 && len(q.rest) == 0 {
		return dst, nil
	}
	dst, err := q.infix(dst, -1, false)
	if err == nil && (q.items > 0 || len(q.rest) > 0) {
		err = errLength
	}
	return dst, err
}

// infix appends the next operand; parent is the priority of the operator that it is one of.
func (q *query) infix(dst []byte, parent int, ofPhrase bool) ([]byte, error) {
	if q.depth++; q.depth > maxQueryDepth || q.items == 0 || len(q.rest) < 2 {
		return nil, errForm
	}
	defer func() { q.depth-- }()
	q.items--
	kind, operator := q.rest[0], q.rest[1]
	if kind == queryWord {
		return q.word(dst)
	}
	q.rest = q.rest[2:]
	var priority int
	separator := ""
	switch operator {
	case queryNot:
		priority = 4
	case queryOr:
		priority, separator = 1, " | "
	case queryAnd:
		priority, separator = 2, " & "
	case queryPhrase:
		if len(q.rest) < 2 {
			return nil, errLength
		}
		priority, separator = 3, " <-> "
		if distance := binary.BigEndian.Uint16(q.rest); distance != 1 {
			separator = " <" + strconv.Itoa(int(distance)) + "> "
		}
		q.rest = q.rest[2:]
	default:
		return nil, errForm
	}
	parentheses := priority < parent || operator == queryPhrase && ofPhrase
	if parentheses {
		dst = append(dst, "( "...)
	}
	var err error
	if operator == queryNot {
		dst, err = q.infix(append(dst, '!'), priority, false)
	} else {
		dst, err = q.both(dst, priority, separator, operator == queryPhrase)
	}
	if err == nil && parentheses {
		dst = append(dst, " )"...)
	}
	return dst, err
}

// both appends the two operands of an operator. The right one is stored first.
func (q *query) both(dst []byte, priority int, separator string, phrase bool) ([]byte, error) {
	right, err := q.infix(nil, priority, phrase)
	if err != nil {
		return nil, err
	}
	dst, err = q.infix(dst, priority, false)
	if err != nil {
		return nil, err
	}
	return append(append(dst, separator...), right...), nil
}

// word appends 'word':*AB.
func (q *query) word(dst []byte) ([]byte, error) {
	if len(q.rest) < 3 {
		return nil, errLength
	}
	weights, prefix := q.rest[1], q.rest[2] != 0
	word, rest, ok := bytes.Cut(q.rest[3:], []byte{0})
	if !ok {
		return nil, errLength
	}
	q.rest = rest
	dst = appendWord(dst, word)
	if prefix || weights&0xF != 0 {
		dst = append(dst, ':')
	}
	if prefix {
		dst = append(dst, '*')
	}
	for i := range 4 {
		if weights&(8>>i) != 0 {
			dst = append(dst, 'A'+byte(i))
		}
	}
	return dst, nil
}

// appendSnapshot appends xmin:xmax:xid,xid.
func appendSnapshot(dst, raw []byte) ([]byte, error) {
	if len(raw) < 20 || int64(len(raw)-20) != 8*int64(binary.BigEndian.Uint32(raw)) {
		return nil, errLength
	}
	dst = strconv.AppendUint(dst, binary.BigEndian.Uint64(raw[4:]), 10)
	dst = strconv.AppendUint(append(dst, ':'), binary.BigEndian.Uint64(raw[12:]), 10)
	dst = append(dst, ':')
	for i := 20; i < len(raw); i += 8 {
		if i > 20 {
			dst = append(dst, ',')
		}
		dst = strconv.AppendUint(dst, binary.BigEndian.Uint64(raw[i:]), 10)
	}
	return dst, nil
}
