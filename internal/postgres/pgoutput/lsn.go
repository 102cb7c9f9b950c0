package pgoutput

import (
	"fmt"
	"math/bits"
	"strconv"
	"strings"
)

// LSN is a place in the write-ahead log, in bytes.
type LSN uint64

func (l LSN) String() string { return string(l.Append(nil)) }

// Append appends the server's form.
func (l LSN) Append(b []byte) []byte {
	return appendHex(append(appendHex(b, uint32(l>>32)), '/'), uint32(l))
}

func appendHex(b []byte, n uint32) []byte {
	const digits = "0123456789ABCDEF"
	for shift := max(bits.Len32(n)-1, 0) / 4 * 4; shift >= 0; shift -= 4 {
		b = append(b, digits[n>>shift&15])
	}
	return b
}

// ParseLSN reads the server's form: 16/B374D848.
func ParseLSN(s string) (LSN, error) {
	high, low, ok := strings.Cut(s, "/")
	h, err := strconv.ParseUint(high, 16, 32)
	if err != nil || !ok {
		return 0, fmt.Errorf("%.40q is no place in a write-ahead log", s)
	}
	l, err := strconv.ParseUint(low, 16, 32)
	if err != nil {
		return 0, fmt.Errorf("%.40q is no place in a write-ahead log", s)
	}
	return LSN(h<<32 | l), nil
}
