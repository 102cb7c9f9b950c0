package sqlite

import (
	"strconv"
	"strings"

	waybill "github.com/waybill-data/waybill"
)

// sourceType is a source's type, taken apart.
type sourceType waybill.TypeParts

// typeOf reads the type of a column; of a type of the user's own, the one that it is read as.
func typeOf(c *waybill.SchemaColumn) sourceType { return sourceType(c.Parts()) }

// exactDigits is how many decimal digits always come back from a number that SQLite holds as a float,
// if it lies between ten to the exactPower and one over that.
const (
	exactDigits = 15
	exactPower  = 300
)

// wide: a decimal type whose numbers may have more digits than a float keeps, or may be beyond them.
func (t sourceType) wide() bool {
	if t.Name != "numeric" && t.Name != "decimal" {
		return false
	}
	return len(t.Args) == 0 || t.Args[0] > exactDigits || t.scale() > exactPower || t.Args[0]-t.scale() > exactPower
}

// declared is what a column of the PostgreSQL type is declared as; see the package documentation. Short
// names of types come from a mapping.
func (t sourceType) declared() string {
	if t.Array {
		return "TEXT"
	}
	switch t.Name {
	case "smallint", "integer", "bigint", "oid", "xid", "cid", "int", "int2", "int4", "int8":
		return "INTEGER"
	case "real", "double precision", "float4", "float8":
		return "REAL"
	case "numeric", "decimal":
		if t.wide() {
			return "TEXT"
		}
		if len(t.Args) > 1 {
			return "NUMERIC(" + strconv.Itoa(t.Args[0]) + "," + strconv.Itoa(t.Args[1]) + ")"
		}
		return "NUMERIC(" + strconv.Itoa(t.Args[0]) + ")"
	case "boolean", "bool":
		return "BOOLEAN"
	case "bytea", "blob":
		return "BLOB"
	}
	return "TEXT"
}

// declaredFor is the type that a new column gets.
func declaredFor(s *waybill.Schema, c *waybill.SchemaColumn) string {
	switch s.System {
	case "postgres":
		return typeOf(c).declared()
	case "sqlite":
		return plainType(c.Type)
	}
	return ""
}

// plainType is a declared type of another SQLite database, nothing where it is not words, numbers
// and brackets: then the column takes any value as it comes.
func plainType(t string) string {
	for _, r := range t {
		if (r < '0' || r > '9') && (r|32 < 'a' || r|32 > 'z') && !strings.ContainsRune(" _(),", r) {
			return ""
		}
	}
	if strings.Count(t, "(") > 1 || strings.Count(t, "(") != strings.Count(t, ")") || strings.Index(t, "(") > strings.Index(t, ")") {
		return ""
	}
	if open := strings.IndexByte(t, '('); open < 0 && strings.Contains(t, ",") || open >= 0 && strings.Contains(t[:open], ",") {
		return ""
	}
	return t
}

// ofSource is the type of a PostgreSQL source's column; none where that is not known.
func ofSource(s *waybill.Schema, name string) sourceType {
	if s == nil || s.System != "postgres" {
		return sourceType{}
	}
	for i := range s.Columns {
		if s.Columns[i].Name == name {
			return typeOf(&s.Columns[i])
		}
	}
	return sourceType{}
}

// isDocument: the column holds JSON documents.
func (t sourceType) isDocument() bool { return !t.Array && (t.Name == "json" || t.Name == "jsonb") }

// isFloat: the column holds floats, however many digits they are written with.
func (t sourceType) isFloat() bool {
	return !t.Array && (t.Name == "real" || t.Name == "double precision")
}

// numbers: values of the type travel as JSON numbers or booleans.
func (t sourceType) numbers() bool {
	d := t.declared()
	return !t.Array && (t.wide() || d != "TEXT" && d != "BLOB")
}

// garbles: the column would take strings of the type for the text form of something else.
func (t sourceType) garbles(c *column) bool {
	switch c.affinity {
	case blob:
		return !t.numbers() && t.declared() != "BLOB"
	case integer, numeric, double:
		return t.declared() == "BLOB"
	}
	return false
}

// fits: the column can hold every value of the type.
func (t sourceType) fits(c *column) bool {
	switch c.affinity {
	case integer, numeric, double:
	default:
		return true
	}
	switch {
	case t.Array:
		return true
	case t.wide(), t.Name == "text", t.Name == "character varying", t.Name == "character", t.Name == "name":
		return false
	case c.affinity == double:
		return t.Name != "bigint"
	}
	return true
}

// widens: every value of the type is the same one in the other type, so that the rows that were there
// when the source's column was changed have not changed with it.
func (t sourceType) widens(to sourceType) bool {
	if t.Array != to.Array {
		return false
	}
	size := map[string]int{"smallint": 1, "integer": 2, "bigint": 3, "real": 11, "double precision": 12}
	a, b := size[t.Name], size[to.Name]
	words := func(name string) bool { return name == "text" || name == "character varying" }
	switch {
	case a > 0 && b > 0:
		return a <= b && (a > 10) == (b > 10)
	case a > 0 && a < 10 && to.Name == "numeric":
		return len(to.Args) == 0
	case words(t.Name) && words(to.Name):
		return len(to.Args) == 0 || len(t.Args) > 0 && t.Args[0] <= to.Args[0]
	case t.Name != to.Name:
		return false
	case len(to.Args) == 0:
		return true
	case t.Name == "numeric" && len(t.Args) > 0:
		return t.scale() <= to.scale() && t.Args[0]-t.scale() <= to.Args[0]-to.scale()
	}
	return len(t.Args) > 0 && t.Args[0] <= to.Args[0]
}

func (t sourceType) scale() int {
	if len(t.Args) > 1 {
		return t.Args[1]
	}
	return 0
}
