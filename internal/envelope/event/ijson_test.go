package event_test

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strconv"
	"unicode/utf16"
)

func depth(raw []byte) int {
	deepest, now := 0, 0
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	for {
		tok, err := dec.Token()
		if err != nil {
			return deepest
		}
		switch tok {
		case json.Delim('{'), json.Delim('['):
			now++
			deepest = max(deepest, now)
		case json.Delim('}'), json.Delim(']'):
			now--
		}
	}
}

var escape = regexp.MustCompile(`\\(?:u[0-9a-fA-F]{4}|[^u])`)

func loneSurrogate(data []byte) bool {
	end, high := -1, false
	for _, at := range escape.FindAllIndex(data, -1) {
		var r rune
		if at[1]-at[0] == 6 {
			n, _ := strconv.ParseUint(string(data[at[0]+2:at[1]]), 16, 16)
			r = rune(n)
		}
		low := utf16.IsSurrogate(r) && r >= 0xDC00
		if low != (high && at[0] == end) || high && at[0] != end {
			return true
		}
		high = utf16.IsSurrogate(r) && !low
		end = at[1]
	}
	return high
}
