package pgvalue

import (
	"errors"
	"testing"

	"github.com/waybill-data/waybill"
)

// What a JSON array could not tell apart stays as PostgreSQL writes it.
func TestArraysThatBlur(t *testing.T) {
	documents, _ := Builtin(199) // json[]
	ints, _ := Builtin(1007)
	domain := *ints
	domain.OID, domain.Name = 70_000, "ints"
	nested := New(70_001, 0, "ints[]", -1, Array, &domain, ',')
	for _, c := range []struct {
		typ       *Type
		raw, want string
	}{
		{documents, `{"[1, 2]",NULL}`, `[[1, 2],null]`},
		{documents, `{" {\"a\":1} "}`, `[{"a":1}]`},
		{documents, `{{1,2}}`, `"{{1,2}}"`},
		{nested, `{"{1,2}","{3}"}`, `"{\"{1,2}\",\"{3}\"}"`},
	} {
		got, err := (&Encoding{Type: c.typ}).AppendJSON(nil, []byte(c.raw))
		if err != nil || string(got) != c.want {
			t.Errorf("%s %s is %s (%v), want %s", c.typ.Name, c.raw, got, err, c.want)
		}
	}
}

// The document null is not taken for a value, nor for none.
func TestNullDocument(t *testing.T) {
	for _, e := range []struct {
		oid    uint32
		binary bool
		raw    string
	}{{3802, false, "null"}, {3802, true, "\x01null"}, {114, false, " null "}, {114, true, "null"}} {
		typ, _ := Builtin(e.oid)
		if got, err := (&Encoding{Type: typ, Binary: e.binary}).AppendJSON(nil, []byte(e.raw)); !errors.Is(err, waybill.ErrNullDocument) {
			t.Errorf("%s %q is %s, %v", typ.Name, e.raw, got, err)
		}
	}
}
