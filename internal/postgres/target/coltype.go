package target

import (
	"strings"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/postgres/pgvalue"
)

// colType is a type taken apart, for comparing a source's column with the target's. Names that are not
// known stand for types that are not compared.
type colType waybill.TypeParts

// sourceColType reads the type of a source's column; of a type of the user's own, the one that it is
// read as.
func sourceColType(c *waybill.SchemaColumn) colType {
	t := colType(c.Parts())
	if t.Name == "numeric" && len(t.Args) == 1 {
		t.Args = append(t.Args, 0)
	}
	return t
}

// targetColType is the type of a target's column, under its domains.
func targetColType(c *targetColumn) colType {
	t, oid, mod := colType{}, c.base, int(c.typmod)
	if c.element != 0 {
		t.Array, oid, mod = true, c.element, int(c.elementMod)
	}
	if builtin, ok := pgvalue.Builtin(oid); ok {
		t.Name = builtin.Name
	}
	switch oid {
	case oidNumeric:
		if mod >= 4 {
			t.Args = []int{(mod - 4) >> 16 & 0xffff, numericScale(int32(mod))}
		}
		return t
	case oidVarchar, oidBPChar:
		mod -= 4
	case oidInterval:
		mod = -1
	}
	if mod >= 0 {
		t.Args = []int{mod}
	}
	return t
}

// integerDigits are those that every value of an integer type fits in.
func integerDigits(name string) (digits int, ok bool) {
	switch name {
	case "smallint":
		return 5, true
	case "integer":
		return 10, true
	case "bigint":
		return 19, true
	}
	return 0, false
}

// holds tells whether every value of type t is one of type in, unchanged. Not known: the types are of
// different sorts, and each value shows.
func (t colType) holds(in colType) (all, known bool) {
	if t.Array != in.Array {
		return false, false
	}
	digits, whole := integerDigits(t.Name)
	into, intoWhole := integerDigits(in.Name)
	words := func(name string) bool { return name == "text" || name == "character varying" || name == "character" }
	switch {
	case whole && intoWhole:
		return digits <= into, true
	case whole && in.Name == "numeric":
		return len(in.Args) == 0 || in.Args[0]-in.Args[1] >= digits, true
	case whole && in.Name == "double precision":
		return digits <= 10, true
	case whole && in.Name == "real":
		return digits <= 5, true
	case t.Name == "numeric" && intoWhole:
		return len(t.Args) == 2 && t.Args[1] <= 0 && t.Args[0]-t.Args[1] < into, true
	case t.Name == "numeric" && (in.Name == "double precision" || in.Name == "real"):
		return len(t.Args) > 0 && t.Args[0] <= map[string]int{"double precision": 15, "real": 6}[in.Name], true
	case t.Name == "double precision" && in.Name == "real", words(in.Name) && in.Name == "character" && t.Name == "text":
		return false, true
	case t.Name == "real" && in.Name == "double precision":
		return true, true
	case words(t.Name) && words(in.Name):
		return t.shorter(in), true
	case strings.HasPrefix(t.Name, "timestamp") && (in.Name == "date" || strings.HasPrefix(in.Name, "time ")):
		return false, true
	case t.Name != in.Name:
		return false, false
	}
	return t.narrowerThan(in), true
}

// shorter: strings of type t are no longer than those of type in may be.
func (t colType) shorter(in colType) bool {
	if in.Name == "character" && t.Name != "character" { // it would pad
		return false
	}
	return len(in.Args) == 0 || len(t.Args) > 0 && t.Args[0] <= in.Args[0]
}

// narrowerThan compares the modifiers of one type.
func (t colType) narrowerThan(in colType) bool {
	switch {
	case len(in.Args) == 0:
		return true
	case t.Name == "numeric":
		return len(t.Args) == 2 && t.Args[1] <= in.Args[1] && t.Args[0]-t.Args[1] <= in.Args[0]-in.Args[1]
	case t.Name == "bit":
		return len(t.Args) > 0 && t.Args[0] == in.Args[0]
	case strings.HasPrefix(t.Name, "time"):
		return in.Args[0] >= 6 || len(t.Args) > 0 && t.Args[0] <= in.Args[0]
	}
	return len(t.Args) > 0 && t.Args[0] <= in.Args[0]
}

// typeFrom is the type of a new column, for one of another system or of none that is known: the
// target's own where that has one of the name.
func typeFrom(s *waybill.Schema, c *waybill.SchemaColumn) string {
	if s.System != "sqlite" {
		return c.Type
	}
	t := sourceColType(c)
	has := func(part string) bool { return strings.Contains(t.Name, part) }
	switch {
	case has("bool"):
		return "boolean"
	case has("int"):
		return "bigint"
	case has("char"), has("clob"), has("text"):
		return "text"
	case has("blob"):
		return "bytea"
	case has("real"), has("floa"), has("doub"):
		return "double precision"
	case has("numeric"), has("decimal"):
		return "numeric"
	}
	return "text" // any value can be one there
}
