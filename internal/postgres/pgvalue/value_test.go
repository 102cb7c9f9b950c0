package pgvalue

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/waybill-data/waybill"
)

var _ waybill.Encoding = (*Encoding)(nil)

func encoding(t testing.TB, oid uint32, isBinary bool) *Encoding {
	t.Helper()
	typ, ok := Builtin(oid)
	if !ok {
		t.Fatalf("type %d is not built in", oid)
	}
	return &Encoding{Type: typ, Binary: isBinary}
}

func TestJSONOfText(t *testing.T) {
	for _, c := range []struct {
		oid       uint32
		raw, want string
	}{
		{16, "t", "true"},
		{23, "-5", "-5"},
		{1700, "1.500", "1.500"},
		{1700, "NaN", `"NaN"`},
		{701, "1e+23", "1e+23"},
		{701, "-Infinity", `"-Infinity"`},
		{17, `\x00ff`, `"AP8="`},
		{17, `a\\b\001\377`, `"YVxiAf8="`},
		{1184, "2024-01-02 03:04:05.6+00", `"2024-01-02T03:04:05.600000Z"`},
		{1184, "2024-01-02 03:04:05-05:30", `"2024-01-02T08:34:05.000000Z"`},
		{1184, "9999-12-31 23:00:00-05", `"10000-01-01 04:00:00+00"`},
		{1184, "infinity", `"infinity"`},
		{1184, "0044-03-15 12:00:00+00 BC", `"0044-03-15 12:00:00+00 BC"`},
		{114, ` {"a": null}`, `{"a": null}`},
		{1007, "{{1,2},{NULL,4}}", "[[1,2],[null,4]]"},
		{1007, "[0:1]={1,2}", `"[0:1]={1,2}"`},
		{1009, `{"a\"b\\",NULL,"NULL"}`, `["a\"b\\",null,"NULL"]`},
		{25, "\x00\x1f\"\\é", `"\u0000\u001f\"\\é"`},
	} {
		got, err := encoding(t, c.oid, false).AppendJSON(nil, []byte(c.raw))
		if err != nil || string(got) != c.want {
			t.Errorf("%d %q: %s (%v), want %s", c.oid, c.raw, got, err, c.want)
		}
	}
}

func TestMalformed(t *testing.T) {
	for _, c := range []struct {
		oid      uint32
		isBinary bool
		raw      string
	}{
		{16, false, "secret"},
		{23, false, "secret"},
		{23, false, "01"},
		{1700, false, "1."},
		{701, false, "inf"},
		{17, false, `\xzz`},
		{17, false, `secret\9`},
		{1184, false, "2024-13-02 03:04:05+00"},
		{1184, false, "secret"},
		{3802, false, "{secret"},
		{25, false, "secret\xff"},
		{1007, false, "{1,secret}"},
		{1007, false, "{1,}"},
		{1007, false, "{1}}"},
		{1009, false, `{"secret`},
		{1009, false, `{secret`},
		{1009, false, `}`},
		{1009, false, ``},
		{16, true, "secret"},
		{23, true, "secret"},
		{1700, true, "\x00\x01\x00\x00\x00\x00\x00\x00\x27\x10"},
		{1700, true, "secret"},
		{1700, true, "\x00\x00\x00\x00\x12\x34\x00\x00"},
		{1083, true, "secret!!"},
		{3802, true, "\x02{}"},
		{1007, true, "\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x17\x7f\xff\xff\xff\x00\x00\x00\x01"},
		{1007, true, "\x00\x00\x00\x07\x00\x00\x00\x00\x00\x00\x00\x17"},
		{3904, true, "\x02\x00\x00"},
		{4451, true, "\xff\xff\xff\xff"},
		{602, true, "\x01\xff\xff\xff\xff"},
		{869, true, "\x02\x21\x00\x04abcd"},
		{1562, true, "\xff\xff\xff\xff"},
		{3615, true, "secret"},
		{2205, true, "secret"},
	} {
		e := encoding(t, c.oid, c.isBinary)
		got, err := e.AppendJSON([]byte("before"), []byte(c.raw))
		if err == nil || string(got) != "before" {
			t.Errorf("%s %q: %q, %v", e, c.raw, got, err)
			continue
		}
		if strings.Contains(err.Error(), "secret") || !strings.Contains(err.Error(), e.Name) {
			t.Errorf("%s: the error is %q", e, err)
		}
	}
}

func TestHotTypesDoNotAllocate(t *testing.T) {
	dst := make([]byte, 0, 256)
	for _, c := range []struct {
		oid    uint32
		text   string
		binary string
	}{
		{16, "t", "01"},
		{23, "42", "0000002a"},
		{20, "42", "000000000000002a"},
		{25, "hello \"you\"", "68656c6c6f"},
		{1700, "12345.67", "0003000100000002000109291a2c"},
		{1114, "2024-01-02 03:04:05.6", "0002b0dd7c7c5c00"},
		{1184, "2024-01-02 03:04:05.6+00", "0002b0dd7c7c5c00"},
		{701, "1.5", "3ff8000000000000"},
		{2950, "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "a0eebc999c0b4ef8bb6d6bb9bd380a11"},
	} {
		bin, err := hex.DecodeString(c.binary)
		if err != nil {
			t.Fatal(err)
		}
		for e, raw := range map[*Encoding][]byte{encoding(t, c.oid, false): []byte(c.text), encoding(t, c.oid, true): bin} {
			n := testing.AllocsPerRun(100, func() {
				if _, err := e.AppendJSON(dst, raw); err != nil {
					t.Fatal(e, err)
				}
				if _, err := e.AppendText(dst, raw); err != nil {
					t.Fatal(e, err)
				}
			})
			if n != 0 {
				t.Errorf("%s (binary %v): %v allocations", e, e.Binary, n)
			}
		}
	}
}

// fuzzTypes are all built-in types and an enum, in a fixed order.
func fuzzTypes() []*Type {
	types := []*Type{New(90001, 0, "mood", -1, Enum, nil, 0)}
	for _, typ := range builtin {
		types = append(types, typ)
	}
	text := builtin[25]
	types = append(types, New(90002, 0, "words", -1, Range, text, 0))
	slices.SortFunc(types, func(a, b *Type) int { return int(a.OID) - int(b.OID) })
	return types
}

// checkAny holds an encoding against any bytes: no panic, JSON or an error, dst kept.
func checkAny(t *testing.T, e *Encoding, raw []byte) (asJSON []byte, ok bool) {
	t.Helper()
	before := []byte("[")
	got, err := e.AppendJSON(before, raw)
	if err != nil {
		if string(got) != "[" {
			t.Fatalf("%s: dst is %q after an error", e, got)
		}
		return nil, false
	}
	asJSON, ok = bytes.CutPrefix(got, before)
	if !ok || !json.Valid(asJSON) || string(bytes.TrimSpace(asJSON)) == "null" {
		t.Fatalf("%s (binary %v): %q became %q", e, e.Binary, raw, asJSON)
	}
	return asJSON, true
}

func FuzzText(f *testing.F) {
	types := fuzzTypes()
	for i, typ := range types {
		for _, literal := range slices.Concat(literals["int4[]"][:3], literals["timestamptz"][:3], []string{`{"a\"",NULL}`, "1.5", typ.Name}) {
			f.Add(uint16(i), []byte(literal))
		}
	}
	f.Fuzz(func(t *testing.T, i uint16, raw []byte) {
		checkAny(t, &Encoding{Type: types[int(i)%len(types)]}, raw)
	})
}

func FuzzBinary(f *testing.F) {
	types := fuzzTypes()
	for i, typ := range types {
		f.Add(uint16(i), make([]byte, typ.read().size()))
		f.Add(uint16(i), bytes.Repeat([]byte{0x7f}, max(typ.read().size(), 8)))
		f.Add(uint16(i), binaryArray(25, [][]byte{[]byte("a\"b"), make([]byte, 8)}))
	}
	f.Fuzz(func(t *testing.T, i uint16, raw []byte) {
		typ := types[int(i)%len(types)]
		asJSON, ok := checkAny(t, &Encoding{Type: typ, Binary: true}, raw)
		if !ok {
			return
		}
		text, err := (&Encoding{Type: typ, Binary: true}).AppendText(nil, raw)
		if err != nil {
			t.Fatalf("%s: %q has JSON and no text: %v", typ.Name, raw, err)
		}
		if again, ok := checkAny(t, &Encoding{Type: typ}, text); !ok || !bytes.Equal(again, asJSON) {
			t.Fatalf("%s: %q is the JSON %s, its text %q is the JSON %s", typ.Name, raw, asJSON, text, again)
		}
	})
}
