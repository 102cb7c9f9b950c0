package envelope

import (
	"errors"
	"fmt"
	"unicode/utf8"

	waybill "github.com/waybill-data/waybill"
)

// changeDepth is how deep the value of a column stands: list, change, row.
const changeDepth = 3

var errNoChanges = errors.New("it is neither an array of changes nor one change")

// Members reads those of one JSON object in the order in which they stand. After each Name
// comes one Value or Changes. All that it hands out is part of the data that it was made from.
type Members struct {
	data []byte
	at   int
	more bool
}

// ReadMembers opens the object that data is, white space around it aside. data must be valid UTF-8.
func ReadMembers(data []byte) (Members, error) {
	i := skipSpace(data, 0)
	if i >= len(data) || data[i] != '{' {
		return Members{}, orTooEarly(data, i, "it is not a JSON object")
	}
	i = skipSpace(data, i+1)
	if i < len(data) && data[i] == '}' {
		return Members{data: data, at: i + 1}, nil
	}
	return Members{data: data, at: i, more: true}, nil
}

// More tells whether another member follows.
func (o *Members) More() bool { return o.more }

// Name reads the name of the next member. Where the name holds escapes it is allocated.
func (o *Members) Name() ([]byte, error) {
	name, end, err := readText(o.data, o.at)
	if err != nil {
		return nil, err
	}
	o.at, err = scanColon(o.data, end)
	return name, err
}

// Value reads the member's value, which may nest MaxDepth deep, and returns it as it stands.
func (o *Members) Value() ([]byte, error) {
	start := o.at
	end, err := scanValue(o.data, start, MaxDepth)
	if err != nil {
		return nil, err
	}
	return o.data[start:end:end], o.next(end)
}

// Changes reads the member's value as Value does and decodes it, an array of changes or one
// change. refused says why they were not taken, and is no hindrance to reading on.
func (o *Members) Changes(d *Decoder) (list waybill.ChangeList, raw []byte, refused, err error) {
	start := o.at
	end, refused := 0, errNoChanges
	if k := KindOf(o.data[start:]); k == Array || k == Object {
		d.reused = true
		list, end, refused = d.decodeAt(o.data, start)
	}
	if refused != nil {
		if end, err = scanValue(o.data, start, MaxDepth+changeDepth); err != nil {
			return nil, nil, refused, err
		}
	}
	return list, o.data[start:end:end], refused, o.next(end)
}

func (o *Members) next(end int) (err error) {
	o.at, o.more, err = scanNext(o.data, end)
	return err
}

// End verifies that nothing follows the object.
func (o *Members) End() error {
	if i := skipSpace(o.data, o.at); i < len(o.data) {
		return syntax(o.data, i, "something follows the object")
	}
	return nil
}

// DecodeData is Decode for an array of changes, or one change.
func (d *Decoder) DecodeData(data []byte) (waybill.ChangeList, error) {
	if !utf8.Valid(data) {
		return nil, errors.New("changes are not valid UTF-8")
	}
	i := skipSpace(data, 0)
	if k := KindOf(data[i:]); k != Array && k != Object {
		return nil, errNoChanges
	}
	d.reused = true
	list, i, err := d.decodeAt(data, i)
	if err != nil {
		return nil, err
	}
	if i = skipSpace(data, i); i < len(data) {
		return nil, syntax(data, i, "something follows the changes")
	}
	return list, nil
}

// Name returns text as a string, the same one for a text that d saw before.
func (d *Decoder) Name(text []byte) string {
	name, _ := d.intern(text)
	return name
}

// readSchema resolves a change's reference to its schema.
func (d *Decoder) readSchema(b []byte, i int, c *waybill.Change) (int, error) {
	if d.Schemas == nil {
		return 0, unknownField([]byte("schema"))
	}
	if i < len(b) && b[i] == 'n' {
		return scanWord(b, i, "null")
	}
	if i < len(b) && b[i] != '"' {
		return 0, errors.New("schema is not a string")
	}
	hash, end, err := readText(b, i)
	if err != nil {
		return 0, err
	}
	if c.Schema, err = d.Schemas(hash); err != nil {
		return 0, fmt.Errorf("schema %s: %w", quote(hash), err)
	}
	return end, nil
}

func (d *Decoder) skipUnchanged(b []byte, i int) (int, error) {
	if d.Schemas == nil {
		return 0, unknownField([]byte("unchanged"))
	}
	if i < len(b) && b[i] != '[' && b[i] != 'n' {
		return 0, errors.New("unchanged is not an array")
	}
	return scanValue(b, i, MaxDepth)
}

// checkUnchanged verifies that the array that begins at b[i], scanned before, names no column
// that the row holds. Nothing of it is kept: it follows from schema and row.
func (d *Decoder) checkUnchanged(b []byte, i int, row waybill.Row) error {
	if b[i] == 'n' {
		return nil
	}
	var wide map[string]struct{}
	for i = skipSpace(b, i+1); b[i] != ']'; i = skipSpace(b, i) {
		if b[i] != '"' {
			return errors.New("unchanged holds something that is not a string")
		}
		name, end, err := readText(b, i)
		if err != nil {
			return err
		}
		if holds(row, &wide, d.Name(name)) {
			return fmt.Errorf("column %s stands in row and in unchanged", quote(name))
		}
		if i = skipSpace(b, end); b[i] == ',' {
			i = skipSpace(b, i+1)
		}
	}
	return nil
}
