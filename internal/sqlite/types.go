package sqlite

import (
	"strconv"
	"strings"

	waybill "github.com/waybill-data/waybill"
)

// sourceType is a source's type, taken apart: "timestamp(3) with time zone" is the name
// "timestamp with time zone" and the argument 3.
type sourceType struct {
	name  string // lower case
	args  []int
	array bool
}

// typeOf reads the type of a column; of a type of the user's own, the one that it is read as.
func typeOf(c *waybill.SchemaColumn) sourceType {
	s := c.Type
	if c.Base != "" {
		s = c.Base
	}
	var t sourceType
	s, t.array = strings.CutSuffix(strings.ToLower(strings.TrimSpace(s)), "[]")
	if from := strings.IndexByte(s, '('); from >= 0 {
		if to := strings.IndexByte(s[from:], ')'); to > 0 {
			for arg := range strings.SplitSeq(s[from+1:from+to], ",") {
				n, err := strconv.Atoi(strings.TrimSpace(arg))
				if err == nil {
					t.args = append(t.args, n)
				}
			}
			s = s[:from] + s[from+to+1:]
		}
	}
	t.name = strings.TrimPrefix(strings.Join(strings.Fields(s), " "), "pg_catalog.")
	return t
}

// exactDigits is how many decimal digits always come back from a number that SQLite holds as a float.
const exactDigits = 15

// wide: a decimal type whose numbers may have more digits than a float keeps.
func (t sourceType) wide() bool {
	return (t.name == "numeric" || t.name == "decimal") && (len(t.args) == 0 || t.args[0] > exactDigits)
}

// declared is what a column of the PostgreSQL type is declared as; see the package documentation.
func (t sourceType) declared() string {
	if t.array {
		return "TEXT"
	}
	switch t.name {
	case "smallint", "integer", "bigint", "oid", "xid", "cid":
		return "INTEGER"
	case "real", "double precision":
		return "REAL"
	case "numeric", "decimal":
		if t.wide() {
			return "TEXT"
		}
		if len(t.args) > 1 {
			return "NUMERIC(" + strconv.Itoa(t.args[0]) + "," + strconv.Itoa(t.args[1]) + ")"
		}
		return "NUMERIC(" + strconv.Itoa(t.args[0]) + ")"
	case "boolean":
		return "BOOLEAN"
	case "bytea":
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

// isDocument: the column holds JSON documents at the source.
func isDocument(s *waybill.Schema, name string) bool {
	if s == nil || s.System != "postgres" {
		return false
	}
	for i := range s.Columns {
		if s.Columns[i].Name == name {
			t := typeOf(&s.Columns[i])
			return !t.array && (t.name == "json" || t.name == "jsonb")
		}
	}
	return false
}

// numbers: values of the type travel as JSON numbers or booleans.
func (t sourceType) numbers() bool {
	d := t.declared()
	return !t.array && (t.wide() || d != "TEXT" && d != "BLOB")
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
	case t.array:
		return true
	case t.wide(), t.name == "text", t.name == "character varying", t.name == "character", t.name == "name":
		return false
	case c.affinity == double:
		return t.name != "bigint"
	}
	return true
}

// widens: every value of the type is the same one in the other type, so that the rows that were there
// when the source's column was changed have not changed with it.
func (t sourceType) widens(to sourceType) bool {
	if t.array != to.array {
		return false
	}
	size := map[string]int{"smallint": 1, "integer": 2, "bigint": 3, "real": 11, "double precision": 12}
	a, b := size[t.name], size[to.name]
	words := func(name string) bool { return name == "text" || name == "character varying" }
	switch {
	case a > 0 && b > 0:
		return a <= b && (a > 10) == (b > 10)
	case a > 0 && a < 10 && to.name == "numeric":
		return len(to.args) == 0
	case words(t.name) && words(to.name):
		return len(to.args) == 0 || len(t.args) > 0 && t.args[0] <= to.args[0]
	case t.name != to.name:
		return false
	case len(to.args) == 0:
		return true
	case t.name == "numeric" && len(t.args) > 0:
		return t.scale() <= to.scale() && t.args[0]-t.scale() <= to.args[0]-to.scale()
	}
	return len(t.args) > 0 && t.args[0] <= to.args[0]
}

func (t sourceType) scale() int {
	if len(t.args) > 1 {
		return t.args[1]
	}
	return 0
}
