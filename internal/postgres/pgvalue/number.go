package pgvalue

import (
	"bytes"
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
// an exponent below 1e-4 and from 1e15 (32 bits: 1e6) on.
func appendFloat(dst []byte, f float64, size int) []byte {
	switch {
	case math.IsNaN(f):
		return append(dst, "NaN"...)
	case math.IsInf(f, 1):
		return append(dst, "Infinity"...)
	case math.IsInf(f, -1):
		return append(dst, "-Infinity"...)
	}
	if math.Signbit(f) {
		dst = append(dst, '-')
		f = -f
	}
	digits, exponent := shortest(f, size)
	var buffer [20]byte
	s := strconv.AppendUint(buffer[:0], digits, 10)
	limit := 15
	if size == 32 {
		limit = 6
	}
	switch {
	case exponent < -4 || exponent >= limit:
		dst = append(dst, s[0])
		if len(s) > 1 {
			dst = append(append(dst, '.'), s[1:]...)
		}
		sign := byte('+')
		if exponent < 0 {
			sign, exponent = '-', -exponent
		}
		return appendTwo(append(dst, 'e', sign), int64(exponent))
	case exponent < 0:
		dst = append(dst, "0.000"[:1-exponent]...)
		return append(dst, s...)
	case exponent >= len(s)-1:
		dst = append(dst, s...)
		for range exponent - (len(s) - 1) {
			dst = append(dst, '0')
		}
		return dst
	}
	dst = append(append(dst, s[:exponent+1]...), '.')
	return append(dst, s[exponent+1:]...)
}

// shortest is the fewest digits that read back as f, and the exponent of the first. Where strconv
// has a choice the server's differs: it never takes digits that lie exactly half-way to a neighbour
// of f (1e23 is 9.999999999999999e+22 to it), and of two that are equally near it takes the even.
func shortest(f float64, size int) (digits uint64, exponent int) {
	var buffer [32]byte
	digits, count, exponent := takeApart(strconv.AppendFloat(buffer[:0], f, 'e', -1, size))
	if isHalfway(digits, exponent-(count-1), size) {
		return within(f, digits, size)
	}
	if even := evenOf(f, count); even != 0 && even != digits {
		s := strconv.AppendUint(buffer[:0], even, 10)
		s = strconv.AppendInt(append(s, 'e'), int64(exponent-(count-1)), 10)
		if back, err := strconv.ParseFloat(string(s), size); err == nil && back == f {
			return even, exponent
		}
	}
	return digits, exponent
}

// evenOf is the even one of the two numbers of count digits that are equally near to f; 0 if there
// are none. Then f has one digit more, a 5: it is m/2^k, which is m*5^k/10^k.
func evenOf(f float64, count int) uint64 {
	fraction, e := math.Frexp(f)
	m := uint64(math.Ldexp(fraction, 53))
	zeros := bits.TrailingZeros64(m)
	k := 53 - zeros - e
	if m == 0 || k < 1 || k > 27 {
		return 0
	}
	hi, exact := bits.Mul64(m>>zeros, powerOf5(k))
	if hi != 0 {
		return 0
	}
	n := 0
	for v := exact; v > 0; v /= 10 {
		n++
	}
	if n != count+1 {
		return 0
	}
	near := exact / 10
	return near + near%2
}

// powerOf5 is 5^k, k at most 27.
func powerOf5(k int) uint64 {
	power := uint64(1)
	for range k {
		power *= 5
	}
	return power
}

// takeApart reads d.ddde±dd: the digits as a number, how many they are, and the exponent.
func takeApart(s []byte) (digits uint64, count, exponent int) {
	mantissa, power, _ := bytes.Cut(s, []byte{'e'})
	for _, c := range mantissa {
		if c != '.' {
			digits = digits*10 + uint64(c-'0')
			count++
		}
	}
	for _, c := range power[1:] {
		exponent = exponent*10 + int(c-'0')
	}
	if power[0] == '-' {
		exponent = -exponent
	}
	return digits, count, exponent
}

// isHalfway tells whether digits times ten to the e lies exactly between two neighbours: whether
// it has one bit more than the mantissa has. Shortest digits do so with a positive e only, and no
// more than 5^23 fits.
func isHalfway(digits uint64, e, size int) bool {
	if e <= 0 || e > 23 {
		return false
	}
	hi, lo := bits.Mul64(digits, powerOf5(e))
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

// within is the fewest digits, other than the given ones, that read back as f.
func within(f float64, not uint64, size int) (digits uint64, exponent int) {
	var buffer [32]byte
	for precision := range 17 {
		s := strconv.AppendFloat(buffer[:0], f, 'e', precision, size)
		digits, _, exponent = takeApart(s)
		for digits > not && digits%10 == 0 {
			digits /= 10
		}
		if digits == not {
			continue
		}
		if back, err := strconv.ParseFloat(string(s), size); err == nil && back == f {
			break
		}
	}
	return digits, exponent // 17 digits are always enough
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
