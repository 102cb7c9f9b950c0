package pgvalue

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
)

// binaryArray is a one-dimensional array without nulls.
func binaryArray(element uint32, values [][]byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, 1)
	b = binary.BigEndian.AppendUint32(b, 0)
	b = binary.BigEndian.AppendUint32(b, element)
	b = binary.BigEndian.AppendUint32(b, uint32(len(values)))
	b = binary.BigEndian.AppendUint32(b, 1)
	for _, v := range values {
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(v))), v...)
	}
	return b
}

// TestRandomValuesAgainstServer sends arrays of random values, and compares each element.
func TestRandomValuesAgainstServer(t *testing.T) {
	const count = 20_000
	conn := connect(t)
	var random *rand.Rand // one per type: a map has no order
	u64, u32 := binary.BigEndian.AppendUint64, binary.BigEndian.AppendUint32
	float := func() float64 {
		switch random.IntN(4) {
		case 0: // where two decimals are equally near
			return math.Ldexp(float64(1+random.Int64N(1<<random.IntN(53))), -random.IntN(64))
		case 1:
			return math.Float64frombits(random.Uint64())
		case 2: // where decimals lie half-way between two floats
			f, _ := strconv.ParseFloat(strconv.FormatUint(random.Uint64()>>random.IntN(60), 10)+"e"+strconv.Itoa(random.IntN(46)-22), 64)
			return f
		}
		return math.Ldexp(float64(1+random.Int64N(4)), random.IntN(2000)-1000)
	}
	small := func(v int64) int64 { return v >> random.IntN(64) }
	for array, draw := range map[uint32]func() []byte{
		1021: func() []byte { return u32(nil, math.Float32bits(float32(float()))) },
		1022: func() []byte { return u64(nil, math.Float64bits(float())) },
		1115: func() []byte { return u64(nil, uint64(random.Int64N(9e18)-2e17)) },
		1185: func() []byte { return u64(nil, uint64(random.Int64N(8e17)-2e17)) },
		1182: func() []byte { return u32(nil, uint32(random.Int32N(2145031948)-2451507)) },
		1187: func() []byte {
			b := u64(nil, uint64(small(int64(random.Uint64()))))
			return u32(u32(b, uint32(small(int64(int32(random.Uint32()))))), uint32(small(int64(int32(random.Uint32())))))
		},
		1041: func() []byte {
			b := []byte{3, 128, 0, 16}
			for range 8 {
				word := uint16(0)
				if random.IntN(3) == 0 {
					word = uint16(random.Uint32()) >> random.IntN(16)
				}
				b = binary.BigEndian.AppendUint16(b, word)
			}
			return b
		},
		791: func() []byte { return u64(nil, uint64(small(int64(random.Uint64())))) },
	} {
		typ, _ := Builtin(array)
		random = rand.New(rand.NewPCG(4, uint64(array)))
		values := make([][]byte, count)
		for i := range values {
			values[i] = draw()
		}
		param := binaryArray(typ.Element.OID, values)
		var results [2][]byte
		for format := range int16(2) {
			r := conn.ExecParams(t.Context(), "select $1", [][]byte{param}, []uint32{array}, []int16{1}, []int16{format}).Read()
			if r.Err != nil {
				t.Fatal(typ.Name, r.Err)
			}
			results[format] = r.Rows[0][0]
		}
		compareElements(t, typ, results[0], results[1])
	}
}

// compareElements compares an array element by element, so that a fault shows just that.
func compareElements(t *testing.T, typ *Type, text, bin []byte) {
	t.Helper()
	got, err := (&Encoding{Type: typ, Binary: true}).AppendText(nil, bin)
	if err != nil {
		t.Fatal(typ.Name, err)
	}
	wants, gots := strings.Split(string(text), ","), strings.Split(string(got), ",")
	faults := 0
	for i := range min(len(wants), len(gots)) {
		if wants[i] != gots[i] && faults < 5 {
			faults++
			t.Errorf("%s: the server writes %s, this package %s", typ.Name, wants[i], gots[i])
		}
	}
	if len(wants) != len(gots) {
		t.Errorf("%s: %d elements, not %d", typ.Name, len(gots), len(wants))
	}
	if faults == 0 {
		checkValue(t, typ, value{text: text, binary: bin})
	}
}

// TestRandomNumericsAgainstServer draws numbers of any scale.
func TestRandomNumericsAgainstServer(t *testing.T) {
	conn := connect(t)
	random := rand.New(rand.NewPCG(4, 3))
	var literal strings.Builder
	for i := range 20_000 {
		if i > 0 {
			literal.WriteByte(',')
		}
		if random.IntN(2) == 0 {
			literal.WriteByte('-')
		}
		literal.WriteByte('0')
		for _, length := range []int{random.IntN(12), random.IntN(12)} {
			for range length {
				digit := 0
				if random.IntN(3) == 0 {
					digit = random.IntN(10)
				}
				literal.WriteByte('0' + byte(digit))
			}
			if !strings.Contains(literal.String()[max(0, literal.Len()-14):], ".") && length%2 == 0 {
				literal.WriteString(".0")
			}
		}
	}
	values, err := fetch(t, conn, "select array(select case when l ~ '\\..*\\.' then '0' else l end::numeric from unnest(string_to_array('"+literal.String()+"', ',')) l)")
	if err != nil {
		t.Fatal(err)
	}
	typ, _ := Builtin(1231)
	compareElements(t, typ, values[0].text, values[0].binary)
}
