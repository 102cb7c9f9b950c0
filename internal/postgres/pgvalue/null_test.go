package pgvalue

import "testing"

// The document null is not taken for a value, nor for none.
func TestNullDocument(t *testing.T) {
	for _, e := range []struct {
		oid    uint32
		binary bool
		raw    string
	}{{3802, false, "null"}, {3802, true, "\x01null"}, {114, false, " null "}, {114, true, "null"}} {
		typ, _ := Builtin(e.oid)
		if got, err := (&Encoding{Type: typ, Binary: e.binary}).AppendJSON(nil, []byte(e.raw)); err == nil {
			t.Errorf("%s %q is %s", typ.Name, e.raw, got)
		}
	}
}
