// Package pgvalue reads PostgreSQL's encodings of values, text and binary.
//
// It promises that the text it makes of a binary value is what the server's output function
// writes (ISO dates, TimeZone UTC, intervalstyle postgres, extra_float_digits 1 or more,
// bytea_output hex, lc_monetary C, client_encoding UTF8), byte for byte, and that a value gives
// the same JSON from either format. Bytes that are no such value are an error that tells the type
// and what is wrong and holds nothing of the value. All of it is safe for concurrent use.
package pgvalue

import "fmt"

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
	Element   *Type // of Array, Range (the subtype), Multirange (the range)
	Delimiter byte  // of Array; 0 is a comma

	codec codec // 0: made without New
}

// New is a Type that knows its encodings; under 0 is oid. The element of a multirange is its
// range, or the range's subtype.
func New(oid, under uint32, name string, modifier int32, kind Kind, element *Type, delimiter byte) *Type {
	if under == 0 {
		under = oid
	}
	t := &Type{OID: oid, Under: under, Name: name, Modifier: modifier, Kind: kind, Element: element, Delimiter: delimiter}
	t.codec = t.find()
	return t
}

// read is the codec of a type, however it was made.
func (t *Type) read() codec {
	if t.codec != 0 {
		return t.codec
	}
	return t.find()
}

// find chooses the codec.
func (t *Type) find() codec {
	switch t.Kind {
	case Base:
		return codecOf(t.Under)
	case Enum:
		return codecText
	case Array:
		if t.Under == oidInt2Vector || t.Under == oidOIDVector {
			return codecOther // arrays by their binary format only
		}
		if t.Element != nil {
			return codecArray
		}
	case Range:
		if t.Element != nil {
			return codecRange
		}
	case Multirange:
		if t.Element != nil {
			return codecMultirange
		}
	case Composite:
	}
	return codecOther
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
func (t *Type) HasBinary() bool {
	switch t.read() {
	case codecOther:
		return false
	case codecArray, codecRange, codecMultirange:
		return t.Element.HasBinary()
	}
	return true
}

// AppendJSON appends the value as JSON, as waybill.JSON asks: numbers as numbers (NaN and
// infinities as strings), booleans, timestamptz as UTC RFC 3339 with microseconds (as text what
// that cannot say: infinity, BC, years past 9999), bytea as base64, json and jsonb as they are
// without white space around them (but not the document null, which is an error: the literal is the
// SQL null), arrays as JSON arrays (as text where a lower bound is not 1, or where dimensions could
// be taken for elements: json and arrays within arrays), anything else as a string of its text form.
// With an error dst is returned as it was.
func (e *Encoding) AppendJSON(dst, raw []byte) ([]byte, error) {
	var out []byte
	var err error
	if e.Binary {
		out, err = e.jsonOfBinary(dst, raw)
	} else {
		out, err = e.jsonOfText(dst, raw)
	}
	if err != nil {
		return dst, e.fail(raw, err)
	}
	return out, nil
}

// AppendText appends the value as the server's output function writes it (ISO dates, UTC). With an
// error dst is returned as it was.
func (e *Encoding) AppendText(dst, raw []byte) ([]byte, error) {
	if !e.Binary {
		return append(dst, raw...), nil
	}
	out, err := e.textOfBinary(dst, raw)
	if err != nil {
		return dst, e.fail(raw, err)
	}
	return out, nil
}

func (e *Encoding) fail(raw []byte, err error) error {
	format := "text"
	if e.Binary {
		format = "binary"
	}
	return fmt.Errorf("read %s of %d bytes in %s format: %w", e.Name, len(raw), format, err)
}
