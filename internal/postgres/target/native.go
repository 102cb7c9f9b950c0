package target

import (
	"bytes"
	"encoding/hex"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/postgres/pgvalue"
)

// pinnedOIDs is where the catalog's fixed OIDs end: below, one OID is the same type everywhere.
const pinnedOIDs = 10000

// passTypes travel as arrays in binary form where all values come from a column of the same type;
// what comes as JSON has no exact binary form here.
var passTypes = map[uint32]wireType{
	oidNumeric: {oidNumeric, 1231}, oidInterval: {oidInterval, 1187}, oidJSONB: {oidJSONB, 3807}, oidTime: {oidTime, 1183},
	oidTimetz: {oidTimetz, 1270}, oidName: {oidName, 1003}, oidOID: {oidOID, 1028},
	869: {869, 1041}, 650: {650, 651}, 829: {829, 1040}, 774: {774, 775}, // inet, cidr, macaddr, macaddr8
	600: {600, 1017}, 601: {601, 1018}, 602: {602, 1019}, 603: {603, 1020}, // point, lseg, path, box
	604: {604, 1027}, 628: {628, 629}, 718: {718, 719}, // polygon, line, circle
	1560: {1560, 1561}, 1562: {1562, 1563}, 3220: {3220, 3221}, // bit, varbit, pg_lsn
	3904: {3904, 3905}, 3906: {3906, 3907}, 3908: {3908, 3909}, // int4range, numrange, tsrange
	3910: {3910, 3911}, 3912: {3912, 3913}, 3926: {3926, 3927}, // tstzrange, daterange, int8range
}

// passOnly tells whether the column has a binary form for values of its own type alone.
func (c *targetColumn) passOnly() bool {
	_, ok := passTypes[c.base]
	return ok
}

func isText(oid uint32) bool { return oid == oidText || oid == oidVarchar }

// native is the encoding of a value that the column's type has too, so that the server reads the
// value's bytes or text as they are; nil where the value must be taken as JSON. What a narrower
// modifier would drop silently is looked at there.
func (c *targetColumn) native(v waybill.Value) *pgvalue.Encoding {
	enc, ok := v.Encoding.(*pgvalue.Encoding)
	if !ok {
		return nil
	}
	switch {
	case isText(enc.Under) && isText(c.base):
		return enc
	case c.typmod >= 0 && enc.Modifier != c.typmod:
		return nil
	case c.base < pinnedOIDs && enc.Under == c.base,
		c.base >= pinnedOIDs && enc.Under >= pinnedOIDs && bareName(enc.Name) == bareName(c.shown):
		return enc
	}
	return nil
}

// bareName is the name of a type without its schema, which a search path hides, and modifiers.
func bareName(shown string) string {
	depth, start := false, 0
	for i := range len(shown) {
		switch shown[i] {
		case '"':
			depth = !depth
		case '.':
			if !depth {
				start = i + 1
			}
		}
	}
	return shown[start:]
}

// appendTextValue appends what the server's input function for the column's type shall read.
func appendTextValue(dst []byte, col *targetColumn, v waybill.Value) ([]byte, *refusedChange) {
	if v.Form != waybill.Native {
		return appendAsText(dst, col, v.Raw)
	}
	enc := col.native(v)
	if enc == nil {
		j, err := v.AsJSON()
		if err != nil {
			return dst, col.undecodable(v)
		}
		return appendAsText(dst, col, j.Raw)
	}
	start := len(dst)
	switch {
	case isText(col.base):
		dst = append(dst, v.Raw...)
		if why := col.narrowed(dst[start:]); why != "" {
			return dst[:start], col.tooNarrow(why)
		}
	case enc.Binary:
		var err error
		if dst, err = enc.AppendText(dst, v.Raw); err != nil {
			return dst[:start], col.undecodable(v)
		}
	default:
		dst = append(dst, v.Raw...)
	}
	return dst, nil
}

// undecodable refuses bytes that are not of the encoding they claim.
func (c *targetColumn) undecodable(v waybill.Value) *refusedChange {
	return c.refuse("the value is not what the source's type " + v.Encoding.String() + " looks like")
}

// appendBinaryValue appends the binary form of a value; not ok if it has none that is exact.
func appendBinaryValue(dst []byte, col *targetColumn, v waybill.Value) ([]byte, bool) {
	raw := v.Raw
	if v.Form == waybill.Native {
		switch enc := col.native(v); {
		case enc == nil:
			j, err := v.AsJSON()
			if err != nil {
				return dst, false
			}
			raw = j.Raw
		case enc.Binary:
			return append(dst, raw...), true
		default:
			return appendFromText(dst, col.base, raw)
		}
	}
	if col.tooFine(raw) {
		return dst, false
	}
	return appendBinary(dst, col.base, raw)
}

// appendFromText appends the binary form of what an output function wrote.
func appendFromText(dst []byte, base uint32, text []byte) ([]byte, bool) {
	if len(text) == 0 {
		return dst, false
	}
	switch base {
	case oidBool:
		if text[0] == 't' {
			return append(dst, 1), true
		}
		return append(dst, 0), true
	case oidBytea:
		digits, found := bytes.CutPrefix(text, []byte(`\x`))
		if !found {
			return dst, false
		}
		start := len(dst)
		dst, err := hex.AppendDecode(dst, digits)
		if err != nil {
			return dst[:start], false
		}
		return dst, true
	}
	return appendBinary(dst, base, text)
}

// appendKeyValue appends bytes that are the same for equal values of the column, whatever form
// they come in.
func appendKeyValue(dst []byte, col *targetColumn, v waybill.Value) ([]byte, bool) {
	if v.Form != waybill.Native {
		return appendKey(dst, col, v.Raw)
	}
	if col.ownKey(v) {
		return append(dst, v.Raw...), true
	}
	j, err := v.AsJSON()
	if err != nil {
		return dst, false
	}
	return appendKey(dst, col, j.Raw)
}

// ownKey tells whether the bytes of a native value identify it.
func (c *targetColumn) ownKey(v waybill.Value) bool {
	enc := c.native(v)
	_, fixed := wireTypes[c.base]
	return enc != nil && (isText(c.base) || fixed && enc.Binary)
}

// ownForm tells whether the bytes of a native value are what the column's type receives.
func (c *targetColumn) ownForm(v waybill.Value) bool {
	switch enc := c.native(v); {
	case enc == nil:
		return false
	case isText(c.base): // in a narrower one each value is looked at
		return c.base == oidText || c.typmod < 0
	default:
		return enc.Binary && c.wire(false) != wireText
	}
}

// knownForm remembers what holds for the values of an encoding.
type knownForm struct {
	encoding waybill.Encoding
	holds    bool
}

// asItIs tells whether what own says of native values holds for v.
func (k *knownForm) asItIs(v waybill.Value, col *targetColumn, own func(*targetColumn, waybill.Value) bool) bool {
	if v.Form != waybill.Native {
		return false
	}
	if v.Encoding != k.encoding {
		k.encoding, k.holds = v.Encoding, own(col, v)
	}
	return k.holds
}

// sameValue tells whether two values are written alike; bytes are compared only where both are
// of one encoding.
func sameValue(a, b waybill.Value) bool {
	if a.Form == b.Form && a.Encoding == b.Encoding {
		return bytes.Equal(a.Raw, b.Raw)
	}
	if a.IsNull() || b.IsNull() {
		return false
	}
	x, err := a.AsJSON()
	if err != nil {
		return false
	}
	y, err := b.AsJSON()
	return err == nil && bytes.Equal(x.Raw, y.Raw)
}

// travel tells how a column of a group is to be tried first: 1 as text. Nulls alone go as what was
// there before, so that a statement has few variants.
func (p *applyPlan) travel(g *changeGroup, col *targetColumn, at int) byte {
	if !col.passOnly() {
		return 0
	}
	for _, item := range g.items {
		c := &p.changes[item]
		v := c.value(c.sources()[at])
		if v.IsNull() {
			continue
		}
		g.kind.former[at] = 1
		if enc := col.native(v); enc != nil && enc.Binary {
			g.kind.former[at] = 0
		}
		break
	}
	return g.kind.former[at]
}
