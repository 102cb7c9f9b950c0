package pgvalue

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"strconv"
)

// codec is a way to read the bytes of a type.
type codec uint8

const (
	codecUnset codec = iota
	codecOther       // text only
	codecText
	codecChar
	codecBool
	codecInt2
	codecInt4
	codecInt8
	codecUint4
	codecUint8
	codecFloat4
	codecFloat8
	codecNumeric
	codecMoney
	codecBytea
	codecDate
	codecTime
	codecTimetz
	codecTimestamp
	codecTimestamptz
	codecInterval
	codecUUID
	codecJSON
	codecJSONB
	codecJSONPath
	codecInet
	codecMacaddr
	codecMacaddr8
	codecBit
	codecLSN
	codecTID
	codecPoint
	codecLine
	codecLseg
	codecBox
	codecPath
	codecPolygon
	codecCircle
	codecTSVector
	codecTSQuery
	codecSnapshot
	codecArray
	codecRange
	codecMultirange
)

// What can be wrong with the bytes of a value. None holds any of them.
var (
	errLength = errors.New("the length is not the type's")
	errForm   = errors.New("the form is not the type's")
	errRange  = errors.New("a number in it is out of range")
	errUTF8   = errors.New("the text is not UTF-8")
	errFormat = errors.New("the binary format of this type is not known")
)

const (
	oidInt2Vector = 22
	oidOIDVector  = 30
	oidBox        = 603
)

// codecOf is the codec of a built-in type.
func codecOf(oid uint32) codec {
	switch oid {
	case 16:
		return codecBool
	case 17:
		return codecBytea
	case 18:
		return codecChar
	case 19, 25, 142, 705, 1042, 1043, 1790: // name text xml unknown bpchar varchar refcursor
		return codecText
	case 20:
		return codecInt8
	case 21:
		return codecInt2
	case 23:
		return codecInt4
	case 26, 28, 29: // oid xid cid
		return codecUint4
	case 27:
		return codecTID
	case 114:
		return codecJSON
	case 700:
		return codecFloat4
	case 701:
		return codecFloat8
	case 790:
		return codecMoney
	case 1082:
		return codecDate
	case 1083:
		return codecTime
	case 1114:
		return codecTimestamp
	case 1184:
		return codecTimestamptz
	case 1186:
		return codecInterval
	case 1266:
		return codecTimetz
	case 1560, 1562: // bit varbit
		return codecBit
	case 1700:
		return codecNumeric
	case 2950:
		return codecUUID
	case 3220:
		return codecLSN
	case 2970, 5038: // txid_snapshot pg_snapshot
		return codecSnapshot
	case 3614:
		return codecTSVector
	case 3615:
		return codecTSQuery
	case 3802:
		return codecJSONB
	case 4072:
		return codecJSONPath
	case 5069: // xid8
		return codecUint8
	}
	return codecOfPlace(oid)
}

// codecOfPlace is the codec of a built-in type of places, on a plane or in a network.
func codecOfPlace(oid uint32) codec {
	switch oid {
	case 600:
		return codecPoint
	case 601:
		return codecLseg
	case 602:
		return codecPath
	case oidBox:
		return codecBox
	case 604:
		return codecPolygon
	case 628:
		return codecLine
	case 718:
		return codecCircle
	case 650, 869: // cidr inet
		return codecInet
	case 774:
		return codecMacaddr8
	case 829:
		return codecMacaddr
	}
	return codecOther
}

// size is the length in bytes that every value of a codec has; 0 where it varies.
func (c codec) size() int {
	switch c {
	case codecBool, codecChar:
		return 1
	case codecInt2:
		return 2
	case codecInt4, codecUint4, codecFloat4, codecDate:
		return 4
	case codecMacaddr, codecTID:
		return 6
	case codecInt8, codecUint8, codecFloat8, codecMoney, codecTime, codecTimestamp, codecTimestamptz, codecMacaddr8, codecLSN:
		return 8
	case codecTimetz:
		return 12
	case codecInterval, codecUUID, codecPoint:
		return 16
	case codecLine, codecCircle:
		return 24
	case codecLseg, codecBox:
		return 32
	}
	return 0
}

// textOfBinary appends what the server's output function makes of a binary value.
func (t *Type) textOfBinary(dst, raw []byte) ([]byte, error) {
	c := t.read()
	if n := c.size(); n != 0 && len(raw) != n {
		return nil, errLength
	}
	switch c {
	case codecText, codecJSON:
		return append(dst, raw...), nil
	case codecInt4:
		return strconv.AppendInt(dst, int64(int32(binary.BigEndian.Uint32(raw))), 10), nil
	case codecInt8:
		return strconv.AppendInt(dst, int64(binary.BigEndian.Uint64(raw)), 10), nil
	case codecInt2:
		return strconv.AppendInt(dst, int64(int16(binary.BigEndian.Uint16(raw))), 10), nil
	case codecNumeric:
		return appendNumeric(dst, raw)
	case codecTimestamp:
		return appendTimestamp(dst, int64(binary.BigEndian.Uint64(raw)), ""), nil
	case codecTimestamptz:
		return appendTimestamp(dst, int64(binary.BigEndian.Uint64(raw)), "+00"), nil
	case codecBool:
		if raw[0] != 0 {
			return append(dst, 't'), nil
		}
		return append(dst, 'f'), nil
	case codecUint4:
		return strconv.AppendUint(dst, uint64(binary.BigEndian.Uint32(raw)), 10), nil
	case codecUint8:
		return strconv.AppendUint(dst, binary.BigEndian.Uint64(raw), 10), nil
	case codecFloat4:
		return appendFloat4(dst, raw), nil
	case codecFloat8:
		return appendFloat8(dst, raw), nil
	case codecMoney:
		return appendMoney(dst, int64(binary.BigEndian.Uint64(raw))), nil
	case codecBytea:
		return hex.AppendEncode(append(dst, `\x`...), raw), nil
	case codecUUID:
		return appendUUID(dst, raw), nil
	case codecJSONB, codecJSONPath:
		if len(raw) == 0 || raw[0] != 1 {
			return nil, errForm
		}
		return append(dst, raw[1:]...), nil
	case codecArray:
		return t.textOfArray(dst, raw)
	case codecRange:
		return t.textOfRange(dst, raw)
	case codecMultirange:
		return t.textOfMultirange(dst, raw)
	}
	return t.textOfRare(dst, raw, c)
}

// textOfRare is textOfBinary for the types that are seldom met.
func (t *Type) textOfRare(dst, raw []byte, c codec) ([]byte, error) {
	switch c {
	case codecDate:
		return appendDate(dst, int32(binary.BigEndian.Uint32(raw))), nil
	case codecTime:
		return appendTime(dst, int64(binary.BigEndian.Uint64(raw)))
	case codecTimetz:
		return appendTimetz(dst, raw)
	case codecInterval:
		return appendInterval(dst, raw), nil
	case codecInet:
		return appendInet(dst, raw)
	case codecMacaddr, codecMacaddr8:
		return appendMacaddr(dst, raw), nil
	case codecBit:
		return appendBits(dst, raw)
	case codecLSN:
		return appendLSN(dst, raw), nil
	case codecTID:
		dst = strconv.AppendUint(append(dst, '('), uint64(binary.BigEndian.Uint32(raw)), 10)
		dst = strconv.AppendUint(append(dst, ','), uint64(binary.BigEndian.Uint16(raw[4:])), 10)
		return append(dst, ')'), nil
	case codecChar:
		return appendChar(dst, raw[0]), nil
	case codecPoint, codecLine, codecLseg, codecBox, codecCircle:
		return appendShape(dst, raw, c), nil
	case codecPath:
		return appendPath(dst, raw)
	case codecPolygon:
		return appendPolygon(dst, raw)
	case codecTSVector:
		return appendTSVector(dst, raw)
	case codecTSQuery:
		return appendTSQuery(dst, raw)
	case codecSnapshot:
		return appendSnapshot(dst, raw)
	}
	return nil, errFormat
}

// appendChar appends a "char": the zero byte is the empty text, bytes past ASCII are octal.
func appendChar(dst []byte, c byte) []byte {
	switch {
	case c == 0:
		return dst
	case c < 0x80:
		return append(dst, c)
	}
	return append(dst, '\\', '0'+c>>6, '0'+c>>3&7, '0'+c&7)
}

func appendUUID(dst, raw []byte) []byte {
	dst = hex.AppendEncode(dst, raw[:4])
	for i := 4; i < 10; i += 2 {
		dst = hex.AppendEncode(append(dst, '-'), raw[i:i+2])
	}
	return hex.AppendEncode(append(dst, '-'), raw[10:16])
}
