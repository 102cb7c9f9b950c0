package target

import (
	"strconv"
	"strings"

	"github.com/waybill-data/waybill"
)

// colType is a type taken apart, for comparing a source's column with the target's:
// "timestamp(3) with time zone" is "timestamp with time zone" and 3. Names that are not known
// stand for types that are not compared.
type colType struct {
	name  string
	args  []int
	array bool
}

// sourceColType reads the type of a source's column; of a type of the user's own, the one that it is
// read as.
func sourceColType(c *waybill.SchemaColumn) colType {
	s := c.Type
	if c.Base != "" {
		s = c.Base
	}
	var t colType
	s, t.array = strings.CutSuffix(strings.ToLower(strings.TrimSpace(s)), "[]")
	if from := strings.IndexByte(s, '('); from >= 0 {
		if to := strings.IndexByte(s[from:], ')'); to > 0 {
			for arg := range strings.SplitSeq(s[from+1:from+to], ",") {
				if n, err := strconv.Atoi(strings.TrimSpace(arg)); err == nil {
					t.args = append(t.args, n)
				}
			}
			s = s[:from] + s[from+to+1:]
		}
	}
	t.name = strings.TrimPrefix(strings.Join(strings.Fields(s), " "), "pg_catalog.")
	if t.name == "numeric" && len(t.args) == 1 {
		t.args = append(t.args, 0)
	}
	return t
}

// targetColType is the type of a target's column, under its domains.
func targetColType(c *targetColumn) colType {
	t, oid := colType{}, c.base
	if c.element != 0 {
		t.array, oid = true, c.element
	}
	mod := int(c.typmod)
	switch oid {
	case 21:
		t.name = "smallint"
	case 23:
		t.name = "integer"
	case 20:
		t.name = "bigint"
	case oidFloat4:
		t.name = "real"
	case oidFloat8:
		t.name = "double precision"
	case oidNumeric:
		t.name = "numeric"
		if mod >= 4 {
			t.args = []int{(mod - 4) >> 16 & 0xffff, numericScale(c.typmod)}
		}
		return t
	case 25:
		t.name = "text"
	case oidVarchar:
		t.name, mod = "character varying", mod-4
	case oidBPChar:
		t.name, mod = "character", mod-4
	case oidDate:
		t.name = "date"
	case oidTime:
		t.name = "time without time zone"
	case oidTimetz:
		t.name = "time with time zone"
	case oidTimestamp:
		t.name = "timestamp without time zone"
	case oidTimestamptz:
		t.name = "timestamp with time zone"
	case 1560:
		t.name = "bit"
	case 1562:
		t.name = "bit varying"
	case oidInterval:
		t.name, mod = "interval", -1
	}
	if mod >= 0 {
		t.args = []int{mod}
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
	if t.array != in.array {
		return false, false
	}
	digits, whole := integerDigits(t.name)
	into, intoWhole := integerDigits(in.name)
	words := func(name string) bool { return name == "text" || name == "character varying" || name == "character" }
	switch {
	case whole && intoWhole:
		return digits <= into, true
	case whole && in.name == "numeric":
		return len(in.args) == 0 || in.args[0]-in.args[1] >= digits, true
	case whole && in.name == "double precision":
		return digits <= 10, true
	case whole && in.name == "real":
		return digits <= 5, true
	case t.name == "numeric" && intoWhole:
		return len(t.args) == 2 && t.args[1] <= 0 && t.args[0]-t.args[1] < into, true
	case t.name == "numeric" && (in.name == "double precision" || in.name == "real"):
		return len(t.args) > 0 && t.args[0] <= map[string]int{"double precision": 15, "real": 6}[in.name], true
	case t.name == "double precision" && in.name == "real", words(in.name) && in.name == "character" && t.name == "text":
		return false, true
	case t.name == "real" && in.name == "double precision":
		return true, true
	case words(t.name) && words(in.name):
		return t.shorter(in), true
	case strings.HasPrefix(t.name, "timestamp") && (in.name == "date" || strings.HasPrefix(in.name, "time ")):
		return false, true
	case t.name != in.name:
		return false, false
	}
	return t.narrowerThan(in), true
}

// shorter: strings of type t are no longer than those of type in may be.
func (t colType) shorter(in colType) bool {
	if in.name == "character" && t.name != "character" { // it would pad
		return false
	}
	return len(in.args) == 0 || len(t.args) > 0 && t.args[0] <= in.args[0]
}

// narrowerThan compares the modifiers of one type.
func (t colType) narrowerThan(in colType) bool {
	switch {
	case len(in.args) == 0:
		return true
	case t.name == "numeric":
		return len(t.args) == 2 && t.args[1] <= in.args[1] && t.args[0]-t.args[1] <= in.args[0]-in.args[1]
	case t.name == "bit":
		return len(t.args) > 0 && t.args[0] == in.args[0]
	case strings.HasPrefix(t.name, "time"):
		return in.args[0] >= 6 || len(t.args) > 0 && t.args[0] <= in.args[0]
	}
	return len(t.args) > 0 && t.args[0] <= in.args[0]
}

// typeFrom is the type of a new column, for one of another system or of none that is known: the
// target's own where that has one of the name.
func typeFrom(s *waybill.Schema, c *waybill.SchemaColumn) string {
	if s.System != "sqlite" {
		return c.Type
	}
	t := sourceColType(c)
	has := func(part string) bool { return strings.Contains(t.name, part) }
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
