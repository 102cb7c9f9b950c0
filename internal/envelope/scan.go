package envelope

import "fmt"

// MaxDepth is how many arrays and objects the value of a column may nest.
const MaxDepth = 64

// syntaxError says what is wrong with the JSON and where. Pos counts bytes from 0.
type syntaxError struct {
	pos  int
	what string
}

func (e *syntaxError) Error() string { return fmt.Sprintf("%s at byte %d", e.what, e.pos) }

func syntax(b []byte, pos int, what string) error {
	if pos >= len(b) {
		return &syntaxError{len(b), "JSON ends too early"}
	}
	return &syntaxError{pos, "not valid JSON, " + what}
}

// plain marks the bytes that stand for themselves inside a JSON string.
var plain = func() (t [256]bool) {
	for c := 0x20; c < 256; c++ {
		t[c] = c != '"' && c != '\\'
	}
	return t
}()

func skipSpace(b []byte, i int) int {
	for i < len(b) && b[i] <= ' ' && (b[i] == ' ' || b[i] == '\n' || b[i] == '\r' || b[i] == '\t') {
		i++
	}
	return i
}

// scanString returns the index after the string that opens at b[i], and whether it holds
// escapes. It does not look at the encoding: the caller has checked that b is UTF-8.
func scanString(b []byte, i int) (end int, escaped bool, err error) {
	if i >= len(b) || b[i] != '"' {
		return 0, false, syntax(b, i, "a string was expected")
	}
	i++
	for {
		for i < len(b) && plain[b[i]] {
			i++
		}
		switch {
		case i >= len(b):
			return 0, false, syntax(b, i, "")
		case b[i] == '"':
			return i + 1, escaped, nil
		case b[i] != '\\':
			return 0, false, syntax(b, i, "control character in a string")
		}
		n, _ := unescape(b[i:])
		if n == 0 {
			return 0, false, syntax(b, i, "escape sequence that stands for no character")
		}
		escaped = true
		i += n
	}
}

// unescape reads the escape sequence (a surrogate pair is one) with which b begins: how many
// bytes it takes and the character it stands for. n is 0 if it is malformed or a surrogate
// without its other half.
func unescape(b []byte) (n int, r rune) {
	if len(b) < 2 {
		return 0, 0
	}
	switch b[1] {
	case '"', '\\', '/':
		return 2, rune(b[1])
	case 'b':
		return 2, '\b'
	case 'f':
		return 2, '\f'
	case 'n':
		return 2, '\n'
	case 'r':
		return 2, '\r'
	case 't':
		return 2, '\t'
	case 'u':
	default:
		return 0, 0
	}
	hi := hex4(b)
	switch {
	case hi < 0 || hi >= 0xDC00 && hi <= 0xDFFF:
		return 0, 0
	case hi < 0xD800 || hi > 0xDFFF:
		return 6, hi
	}
	lo := hex4(b[6:])
	if lo < 0xDC00 || lo > 0xDFFF {
		return 0, 0
	}
	return 12, 0x10000 + (hi-0xD800)<<10 + (lo - 0xDC00)
}

// hex4 is the number in the \uXXXX with which b begins, or -1.
func hex4(b []byte) rune {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return -1
	}
	var r rune
	for _, c := range b[2:6] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return -1
		}
		r = r<<4 | rune(c)
	}
	return r
}

// scanValue returns the index after the JSON value that begins at b[i], where no white space
// is. depth is how many arrays and objects it may still open.
func scanValue(b []byte, i, depth int) (int, error) {
	if i >= len(b) {
		return 0, syntax(b, i, "")
	}
	switch c := b[i]; {
	case c == '"':
		end, _, err := scanString(b, i)
		return end, err
	case c == '-' || c >= '0' && c <= '9':
		return scanNumber(b, i)
	case c == '{' || c == '[':
		if depth == 0 {
			return 0, &syntaxError{i, fmt.Sprintf("a value nests deeper than %d", MaxDepth)}
		}
		if c == '{' {
			return scanObject(b, i, depth-1)
		}
		return scanArray(b, i, depth-1)
	case c == 't':
		return scanWord(b, i, "true")
	case c == 'f':
		return scanWord(b, i, "false")
	case c == 'n':
		return scanWord(b, i, "null")
	}
	return 0, syntax(b, i, "a value was expected")
}

func scanWord(b []byte, i int, word string) (int, error) {
	if len(b)-i < len(word) || string(b[i:i+len(word)]) != word {
		return 0, syntax(b, i, "a value was expected")
	}
	return i + len(word), nil
}

func scanDigits(b []byte, i int) int {
	for i < len(b) && b[i] >= '0' && b[i] <= '9' {
		i++
	}
	return i
}

func scanNumber(b []byte, i int) (int, error) {
	if b[i] == '-' {
		i++
	}
	end := scanDigits(b, i)
	if end == i {
		return 0, syntax(b, i, "a digit was expected")
	}
	if b[i] == '0' && end > i+1 {
		return 0, syntax(b, i, "a number begins with 0")
	}
	if end < len(b) && b[end] == '.' {
		i = end + 1
		if end = scanDigits(b, i); end == i {
			return 0, syntax(b, i, "a digit was expected")
		}
	}
	if end < len(b) && (b[end] == 'e' || b[end] == 'E') {
		i = end + 1
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		if end = scanDigits(b, i); end == i {
			return 0, syntax(b, i, "a digit was expected")
		}
	}
	return end, nil
}

func scanArray(b []byte, i, depth int) (int, error) {
	i = skipSpace(b, i+1)
	if i < len(b) && b[i] == ']' {
		return i + 1, nil
	}
	for {
		end, err := scanValue(b, skipSpace(b, i), depth)
		if err != nil {
			return 0, err
		}
		i = skipSpace(b, end)
		if i < len(b) && b[i] == ']' {
			return i + 1, nil
		}
		if i >= len(b) || b[i] != ',' {
			return 0, syntax(b, i, "a comma or ] was expected")
		}
		i++
	}
}

func scanObject(b []byte, i, depth int) (int, error) {
	i = skipSpace(b, i+1)
	if i < len(b) && b[i] == '}' {
		return i + 1, nil
	}
	for {
		end, _, err := scanString(b, skipSpace(b, i))
		if err != nil {
			return 0, err
		}
		if i, err = scanColon(b, end); err != nil {
			return 0, err
		}
		if end, err = scanValue(b, i, depth); err != nil {
			return 0, err
		}
		var more bool
		if i, more, err = scanNext(b, end); err != nil || !more {
			return i, err
		}
	}
}

// scanColon returns the index of the value after the colon after b[i].
func scanColon(b []byte, i int) (int, error) {
	i = skipSpace(b, i)
	if i >= len(b) || b[i] != ':' {
		return 0, syntax(b, i, "a colon was expected")
	}
	return skipSpace(b, i+1), nil
}

// scanNext returns the index after the comma (more) or the closing brace after b[i].
func scanNext(b []byte, i int) (next int, more bool, err error) {
	i = skipSpace(b, i)
	if i < len(b) && b[i] == '}' {
		return i + 1, false, nil
	}
	if i >= len(b) || b[i] != ',' {
		return 0, false, syntax(b, i, "a comma or } was expected")
	}
	return skipSpace(b, i+1), true, nil
}
