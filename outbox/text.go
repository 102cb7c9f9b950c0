package outbox

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"unicode/utf8"
)

var (
	errUTF8      = errors.New("it is not valid UTF-8")
	errZero      = errors.New("it contains the character U+0000, which PostgreSQL cannot store")
	errSurrogate = errors.New("it contains half of a surrogate pair, which is no character")
	errInvalid   = errors.New("it is not valid JSON")
)

func checkText(s string) error {
	if !utf8.ValidString(s) {
		return errUTF8
	}
	if strings.IndexByte(s, 0) >= 0 {
		return errZero
	}
	return nil
}

// appendText appends valid UTF-8 as a JSON string.
func appendText(dst []byte, s string) []byte {
	const digits = "0123456789abcdef"
	dst = append(dst, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c < ' ':
			dst = append(dst, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '"')
}

// appendRaw appends JSON that somebody else wrote, without its white space, if it is valid, if
// every string in it stands for text and if it nests at most depth deep.
func appendRaw(dst, raw []byte, depth int) ([]byte, error) {
	if !json.Valid(raw) {
		return dst, errInvalid
	}
	if !utf8.Valid(raw) {
		return dst, errUTF8
	}
	inString, open := false, 0
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case c == '"':
			inString = !inString
		case c == '\\':
			n, err := checkEscape(raw[i:])
			if err != nil {
				return dst, err
			}
			i += n - 1
		case inString:
		case c == '{' || c == '[':
			if open++; open > depth {
				return dst, errDepth
			}
		case c == '}' || c == ']':
			open--
		}
	}
	out := bytes.NewBuffer(dst)
	err := json.Compact(out, raw)
	return out.Bytes(), err
}

// checkEscape returns the length of the escape sequence with which b, valid JSON, goes on.
func checkEscape(b []byte) (int, error) {
	if b[1] != 'u' {
		return 2, nil
	}
	surrogate := func(b []byte, second string) bool {
		return len(b) >= 6 && b[0] == '\\' && b[1] == 'u' && (b[2] == 'd' || b[2] == 'D') && strings.IndexByte(second, b[3]) >= 0
	}
	switch {
	case string(b[2:6]) == "0000":
		return 0, errZero
	case surrogate(b, "89abAB"):
		if !surrogate(b[6:], "cdefCDEF") {
			return 0, errSurrogate
		}
		return 12, nil
	case surrogate(b, "cdefCDEF"):
		return 0, errSurrogate
	}
	return 6, nil
}
