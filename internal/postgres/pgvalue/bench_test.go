package pgvalue

import (
	"encoding/hex"
	"testing"
)

// BenchmarkJSONOfBinary says what a captured value costs where it becomes JSON.
func BenchmarkJSONOfBinary(b *testing.B) {
	for _, c := range []struct {
		oid uint32
		hex string
	}{
		{23, "075bcd15"},
		{25, "68656c6c6f2c20776f726c64"},
		{1700, "0003000100000002000109291a2c"},
		{1184, "0002b0dd7c7c5c00"},
		{701, "3fbf9add3746f65f"},
		{2950, "a0eebc999c0b4ef8bb6d6bb9bd380a11"},
		{3802, "017b2261223a20312c202262223a205b312e352c202278225d7d"},
		{1007, "0000000100000000000000170000000200000001000000040000000100000004000000ff"},
	} {
		e := encoding(b, c.oid, true)
		raw, err := hex.DecodeString(c.hex)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(e.Name, func(b *testing.B) {
			b.ReportAllocs()
			dst := make([]byte, 0, 256)
			for b.Loop() {
				if _, err := e.AppendJSON(dst, raw); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
