package pgvalue

import (
	"encoding/binary"
	"math"
	"math/bits"
	"strconv"
)

// The signs of a numeric in binary.
const (
	numericPositive    = 0x0000
	numericNegative    = 0x4000
	numericNaN         = 0xC000
	numericInfinity    = 0xD000
	numericNegInfinity = 0xF000
	numericScaleMask   = 0x3FFF
	numericHeader      = 8 // digits, weight, sign and scale, two bytes each
)

// appendNumeric appends a numeric: groups of four decimal digits, the first of which counts
// 10000^weight, with as many decimals as its scale says.
func appendNumeric(dst, raw []byte) ([]byte, error) {
	if len(raw) < numericHeader {
		return nil, errLength
	}
	groups := int(binary.BigEndian.Uint16(raw))
	weight := int(int16(binary.BigEndian.Uint16(raw[2:])))
	sign := binary.BigEndian.Uint16(raw[4:])
	scale := int(binary.BigEndian.Uint16(raw[6:]))
	raw = raw[numericHeader:]
	if len(raw) != 2*groups || scale > numericScaleMask {
		return nil, errForm
	}
	switch sign {
	case numericPositive:
	case numericNegative:
		dst = append(dst, '-')
	case numericNaN:
		return append(dst, "NaN"...), nil
	case numericInfinity:
		return append(dst, "Infinity"...), nil
	case numericNegInfinity:
		return append(dst, "-Infinity"...), nil
	default:
		return nil, errForm
	}
	for i := 0; i < len(raw); i += 2 {
		if binary.BigEndian.Uint16(raw[i:]) > 9999 {
			return nil, errRange
		}
	}
	group := func(i int) uint16 {
		if i < 0 || i >= groups {
			return 0
		}
		return binary.BigEndian.Uint16(raw[2*i:])
	}
	start := len(dst)
	for i := 0; i <= weight; i++ {
		v := group(i)
		if len(dst) > start {
			dst = appendGroup(dst, v, 4)
		} else if v != 0 {
			dst = strconv.AppendUint(dst, uint64(v), 10)
		}
	}
	if len(dst) == start {
		dst = append(dst, '0')
	}
	if scale == 0 {
		return dst, nil
	}
	dst = append(dst, '.')
	for i := weight + 1; scale > 0; i++ {
		dst = appendGroup(dst, group(i), min(scale, 4))
		scale -= 4
	}
	return dst, nil
}

// appendGroup appends the first n of the four digits of v.
func appendGroup(dst []byte, v uint16, n int) []byte {
	digits := [4]byte{'0' + byte(v/1000), '0' + byte(v/100%10), '0' + byte(v/10%10), '0' + byte(v%10)}
	return append(dst, digits[:n]...)
}

func appendFloat4(dst, raw []byte) []byte {
	return appendFloat(dst, float64(math.Float32frombits(binary.BigEndian.Uint32(raw))), 32)
}

func appendFloat8(dst, raw []byte) []byte {
	return appendFloat(dst, math.Float64frombits(binary.BigEndian.Uint64(raw)), 64)
}

// appendFloat appends the shortest digits that read back as f, as the server chooses them: with
// an exponent below 1e-4 and from 1e15 (32 bits: 1e6) on. Unlike strconv the server never takes
// digits that lie exactly half-way to a neighbour (1e23 is 9.999999999999999e+22 to it).
func appendFloat(dst []byte, f float64, size int) []byte {
	switch {
	case math.IsNaN(f):
		return append(dst, "NaN"...)
	case math.IsInf(f, 1):
		return append(dst, "Infinity"...)
	case math.IsInf(f, -1):
		return append(dst, "-Infinity"...)
	}
	start := len(dst)
	dst = strconv.AppendFloat(dst, f, 'e', -1, size)
	limit := 15
	if size == 32 {
		limit = 6
	}
	digits, count, exponent := takeApart(dst[start:])
	if exponent >= -4 && exponent < limit {
		return strconv.AppendFloat(dst[:start], f, 'f', -1, size)
	}
	if isHalfway(digits, exponent-(count-1), size) {
		return appendWithin(dst[:start], f, digits, size)
	}
	return dst
}

// takeApart reads d.ddde±dd: the digits as a number, how many they are, and the exponent.
func takeApart(s []byte) (digits uint64, count, exponent int) {
	i := 0
	for ; i < len(s) && s[i] != 'e'; i++ {
		if c := s[i]; c >= '0' && c <= '9' {
			digits = digits*10 + uint64(c-'0')
			count++
		}
	}
	for i++; i < len(s); i++ {
		if c := s[i]; c >= '0' && c <= '9' {
			exponent = exponent*10 + int(c-'0')
		}
	}
	if j := len(s) - 1; j > 0 {
		for ; s[j] != 'e'; j-- {
			if s[j] == '-' {
				exponent = -exponent
			}
		}
	}
	return digits, count, exponent
}

// isHalfway tells whether digits times ten to the e lies exactly between two neighbours: whether
// it has one bit more than the mantissa has. Shortest digits do so
// with a positive e only, and no more than 5^23 fits.
func isHalfway(digits uint64, e, size int) bool {
	if e <= 0 || e > 23 {
		return false
	}
	five := uint64(1)
	for range e {
		five *= 5
	}
	hi, lo := bits.Mul64(digits, five)
	if lo == 0 {
		hi, lo = 0, hi
	}
	width := bits.Len64(lo)
	if hi != 0 {
		width = 64 + bits.Len64(hi)
	}
	width -= bits.TrailingZeros64(lo)
	mantissa := 53
	if size == 32 {
		mantissa = 24
	}
	return width == mantissa+1
}

// appendWithin appends the fewest digits, other than the given ones, that read back as f.
func appendWithin(dst []byte, f float64, not uint64, size int) []byte {
	start := len(dst)
	for precision := range 17 {
		dst = strconv.AppendFloat(dst[:start], f, 'e', precision, size)
		digits, _, _ := takeApart(dst[start:])
		for digits > not && digits%10 == 0 {
			digits /= 10
		}
		if digits == not {
			continue
		}
		if back, err := strconv.ParseFloat(string(dst[start:]), size); err == nil && back == f {
			return dst
		}
	}
	return strconv.AppendFloat(dst[:start], f, 'e', -1, size) // cannot be: 17 digits are enough
}

// appendMoney appends cents as lc_monetary C shows them: -$1,234.56.
func appendMoney(dst []byte, cents int64) []byte {
	magnitude := uint64(cents)
	if cents < 0 {
		dst = append(dst, '-')
		magnitude = -magnitude
	}
	dst = append(dst, '$')
	var digits [20]byte
	whole := strconv.AppendUint(digits[:0], magnitude/100, 10)
	for i, c := range whole {
		if i > 0 && (len(whole)-i)%3 == 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, c)
	}
	return append(dst, '.', '0'+byte(magnitude/10%10), '0'+byte(magnitude%10))
}

// isNumber tells whether s is a number as RFC 8259 writes it.
func isNumber(s []byte) bool {
	i := 0
	digits := func() bool {
		from := i
		for i < len(s) && s[i] >= '0' && s[i] <= '9' {
			i++
		}
		return i > from
	}
	if i < len(s) && s[i] == '-' {
		i++
	}
	if i < len(s) && s[i] == '0' {
		i++
	} else if !digits() {
		return false
	}
	if i < len(s) && s[i] == '.' {
		i++
		if !digits() {
			return false
		}
	}
	if i < len(s) && (s[i] == 'e' || s[i] == 'E') {
		i++
		if i < len(s) && (s[i] == '+' || s[i] == '-') {
			i++
		}
		if !digits() {
			return false
		}
	}
	return i == len(s)
}
