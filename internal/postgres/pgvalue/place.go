package pgvalue

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"strconv"
)

// The address families of inet and cidr in binary, whatever the server's system calls them.
const (
	inet4 = 2
	inet6 = 3
)

// appendInet appends an inet or a cidr; a cidr, and a network, with its bits.
func appendInet(dst, raw []byte) ([]byte, error) {
	if len(raw) < 4 || len(raw) != 4+int(raw[3]) {
		return nil, errLength
	}
	family, width, isCIDR, address := raw[0], int(raw[1]), raw[2] != 0, raw[4:]
	switch {
	case family == inet4 && len(address) == 4 && width <= 32:
		dst = appendOctets(dst, address)
	case family == inet6 && len(address) == 16 && width <= 128:
		dst = appendInet6(dst, address)
	default:
		return nil, errForm
	}
	if isCIDR || width != 8*len(address) {
		dst = strconv.AppendInt(append(dst, '/'), int64(width), 10)
	}
	return dst, nil
}

func appendOctets(dst, address []byte) []byte {
	for i, b := range address {
		if i > 0 {
			dst = append(dst, '.')
		}
		dst = strconv.AppendUint(dst, uint64(b), 10)
	}
	return dst
}

// appendInet6 appends an IPv6 address as the server's inet_net_ntop does: the first longest run of
// two or more zero words is "::", and ::a.b.c.d and ::ffff:a.b.c.d show their last words as IPv4.
func appendInet6(dst, address []byte) []byte {
	var words [8]uint16
	for i := range words {
		words[i] = binary.BigEndian.Uint16(address[2*i:])
	}
	base, length := -1, 1
	for i := 0; i < len(words); i++ {
		n := 0
		for i+n < len(words) && words[i+n] == 0 {
			n++
		}
		if n > length {
			base, length = i, n
		}
		i += n
	}
	for i, w := range words {
		if base >= 0 && i >= base && i < base+length {
			if i == base {
				dst = append(dst, ':')
			}
			continue
		}
		if i > 0 {
			dst = append(dst, ':')
		}
		if i == 6 && base == 0 && (length == 6 || length == 5 && words[5] == 0xffff) {
			return appendOctets(dst, address[12:])
		}
		dst = strconv.AppendUint(dst, uint64(w), 16)
	}
	if base >= 0 && base+length == len(words) {
		dst = append(dst, ':')
	}
	return dst
}

func appendMacaddr(dst, raw []byte) []byte {
	for i := range raw {
		if i > 0 {
			dst = append(dst, ':')
		}
		dst = hex.AppendEncode(dst, raw[i:i+1])
	}
	return dst
}

func appendBits(dst, raw []byte) ([]byte, error) {
	if len(raw) < 4 {
		return nil, errLength
	}
	n := int64(int32(binary.BigEndian.Uint32(raw)))
	raw = raw[4:]
	if n < 0 || int64(len(raw)) != (n+7)/8 {
		return nil, errLength
	}
	for i := range n {
		dst = append(dst, '0'+raw[i/8]>>(7-i%8)&1)
	}
	return dst, nil
}

func appendLSN(dst, raw []byte) []byte {
	start := len(dst)
	dst = strconv.AppendUint(dst, uint64(binary.BigEndian.Uint32(raw)), 16)
	dst = append(dst, '/')
	dst = strconv.AppendUint(dst, uint64(binary.BigEndian.Uint32(raw[4:])), 16)
	copy(dst[start:], bytes.ToUpper(dst[start:]))
	return dst
}

// appendPoints appends the points of raw, sixteen bytes each, as (x,y),(x,y).
func appendPoints(dst, raw []byte) []byte {
	for i := 0; i+16 <= len(raw); i += 16 {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendFloat8(append(dst, '('), raw[i:])
		dst = appendFloat8(append(dst, ','), raw[i+8:])
		dst = append(dst, ')')
	}
	return dst
}

// appendShape appends a shape of a fixed number of points.
func appendShape(dst, raw []byte, c codec) []byte {
	switch c {
	case codecLseg:
		return append(appendPoints(append(dst, '['), raw), ']')
	case codecLine:
		dst = appendFloat8(append(dst, '{'), raw)
		dst = appendFloat8(append(dst, ','), raw[8:])
		dst = appendFloat8(append(dst, ','), raw[16:])
		return append(dst, '}')
	case codecCircle:
		dst = append(appendPoints(append(dst, '<'), raw[:16]), ',')
		return append(appendFloat8(dst, raw[16:]), '>')
	}
	return appendPoints(dst, raw) // point and box
}

func appendPath(dst, raw []byte) ([]byte, error) {
	if len(raw) < 5 {
		return nil, errLength
	}
	if raw[0] != 0 {
		return appendPolygon(dst, raw[1:])
	}
	out, err := appendPolygon(dst, raw[1:])
	if err != nil {
		return nil, err
	}
	out[len(dst)], out[len(out)-1] = '[', ']'
	return out, nil
}

func appendPolygon(dst, raw []byte) ([]byte, error) {
	if len(raw) < 4 {
		return nil, errLength
	}
	n := int64(binary.BigEndian.Uint32(raw))
	if int64(len(raw)-4) != 16*n {
		return nil, errLength
	}
	return append(appendPoints(append(dst, '('), raw[4:]), ')'), nil
}
