package pgoutput

import (
	"fmt"
	"strconv"
	"strings"
)

// LSN is a place in the write-ahead log, in bytes.
type LSN uint64

func (l LSN) String() string { return fmt.Sprintf("%X/%X", uint32(l>>32), uint32(l)) }

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
