package waybill

import (
	"strconv"
	"strings"
)

// Schema describes the rows of one entity as its source knows them. Captured rows refer to
// it (Change.Schema), so that a consumer never needs to reach the source. It is shared,
// never modified.
type Schema struct {
	// Entity is the type name that the changes carry.
	Entity string `json:"entity"`
	// System is whose names the types are: "postgres", "sqlite".
	System string `json:"system,omitempty"`
	// Columns are in the source's order, each name once.
	Columns []SchemaColumn `json:"columns"`
	// Key are the columns of the primary key, or of what stands for one; may be empty.
	Key []string `json:"key,omitempty"`
	// Unique are the further unique keys.
	Unique [][]string `json:"unique,omitempty"`
	// Foreign are the foreign keys.
	Foreign []ForeignKey `json:"foreign,omitempty"`
}

// SchemaColumn is one column of an entity.
type SchemaColumn struct {
	Name string `json:"name"`
	// Type is the source's own name of the type, with its modifiers: "numeric(10,2)".
	Type string `json:"type"`
	// Base is the system's built-in type that a type of the user's own is read as: what is under
	// a domain, "text" for an enum or a type that an extension brought. Empty where Type is
	// built in.
	Base string `json:"base,omitempty"`
	// NotNull: the source holds no null in it.
	NotNull bool `json:"notnull,omitempty"`
}

// TypeParts is the name of a type taken apart: "timestamp(3) with time zone" is the name "timestamp
// with time zone" and the argument 3.
type TypeParts struct {
	Name  string // lower case, one space between words
	Args  []int  // the numbers in brackets
	Array bool
}

// Parts are those of Base, or of Type where there is none.
func (c *SchemaColumn) Parts() (t TypeParts) {
	s := c.Type
	if c.Base != "" {
		s = c.Base
	}
	s, t.Array = strings.CutSuffix(strings.ToLower(strings.TrimSpace(s)), "[]")
	if from := strings.IndexByte(s, '('); from >= 0 {
		if to := strings.IndexByte(s[from:], ')'); to > 0 {
			for arg := range strings.SplitSeq(s[from+1:from+to], ",") {
				if n, err := strconv.Atoi(strings.TrimSpace(arg)); err == nil {
					t.Args = append(t.Args, n)
				}
			}
			s = s[:from] + s[from+to+1:]
		}
	}
	t.Name = strings.TrimPrefix(strings.Join(strings.Fields(s), " "), "pg_catalog.")
	return t
}

// ForeignKey says that Columns hold the key of an Entity, in the order of its References.
type ForeignKey struct {
	Columns    []string `json:"columns"`
	Entity     string   `json:"entity"`
	References []string `json:"references"`
}
