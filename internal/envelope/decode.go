package envelope

import (
	"bytes"
	"errors"
	"fmt"
	"unicode/utf8"

	waybill "github.com/waybill-data/waybill"
)

// mapFrom is the number of columns from which duplicates are looked for in a map.
const mapFrom = 64

// Decoder decodes messages of one reader and remembers the names of entities and columns. The
// zero Decoder is ready; one goroutine uses it at a time. What it returned stays valid.
type Decoder struct {
	// Schemas, where set, finds the schema that a change refers to by its hash, which is only
	// valid during the call. Changes may then hold schema and unchanged, and truncate; and the key
	// of one that has a schema may be any columns: a table without a key is known by whole rows.
	Schemas func(hash []byte) (*waybill.Schema, error)

	names   [nameSlots]string
	columns []waybill.Column // the rest is free for further rows
	changes []waybill.Change
	reused  bool

	// Scratch for the row and the list being read.
	row  []waybill.Column
	list []waybill.Change
	buf  [24]waybill.Column
}

// DecodeChanges reads one message. The values' Raw are parts of data, which must not be
// modified afterwards. An error is one clause naming the change, counted from 1, without values
// of its row: `change 3: op "upsrt" is not one of insert, update, upsert, delete`.
func DecodeChanges(data []byte) (waybill.ChangeList, error) {
	return new(Decoder).decode(data)
}

// Decode is DecodeChanges for a reader of many messages.
func (d *Decoder) Decode(data []byte) (waybill.ChangeList, error) {
	d.reused = true
	return d.decode(data)
}

func (d *Decoder) decode(data []byte) (waybill.ChangeList, error) {
	if !utf8.Valid(data) {
		return nil, errors.New("changes are not valid UTF-8")
	}
	i := skipSpace(data, 0)
	if i >= len(data) || data[i] != '[' {
		return nil, errors.New("changes are not a JSON array")
	}
	list, i, err := d.decodeAt(data, i)
	if err != nil {
		return nil, err
	}
	if i = skipSpace(data, i); i < len(data) {
		return nil, syntax(data, i, "something follows the array")
	}
	return list, nil
}

// decodeAt reads the array of changes, or the one change, that begins at b[i].
func (d *Decoder) decodeAt(b []byte, i int) (list waybill.ChangeList, end int, err error) {
	if d.row == nil {
		d.row = d.buf[:0]
	}
	if b[i] == '[' {
		d.list = d.list[:0]
		end, err = d.readList(b, skipSpace(b, i+1))
	} else {
		d.list = append(d.list[:0], waybill.Change{})
		end, err = d.readChange(b, i, &d.list[0])
	}
	if err != nil {
		return nil, 0, fmt.Errorf("change %d%s: %w", len(d.list), d.entity(), err)
	}
	return d.keepChanges(d.list), end, nil
}

// entity names the entity of the change that is being read, where it was read already.
func (d *Decoder) entity() string {
	if n := len(d.list); n > 0 && d.list[n-1].Entity != "" {
		q := quote([]byte(d.list[n-1].Entity))
		return " (" + q[1:len(q)-1] + ")"
	}
	return ""
}

// readList appends the changes to d.list; the last of them is the one that an error is about.
func (d *Decoder) readList(b []byte, i int) (int, error) {
	if i < len(b) && b[i] == ']' {
		return i + 1, nil
	}
	for {
		d.list = append(d.list, waybill.Change{})
		var err error
		if i, err = d.readChange(b, i, &d.list[len(d.list)-1]); err != nil {
			return 0, err
		}
		i = skipSpace(b, i)
		if i < len(b) && b[i] == ']' {
			return i + 1, nil
		}
		if i >= len(b) || b[i] != ',' {
			return 0, syntax(b, i, "a comma or ] was expected")
		}
		i = skipSpace(b, i+1)
	}
}

// The fields of a change, for finding duplicates.
const (
	hasEntity = 1 << iota
	hasOp
	hasKey
	hasRow
	hasBefore
	hasSchema
	hasUnchanged
)

func (d *Decoder) readChange(b []byte, i int, c *waybill.Change) (int, error) {
	if i >= len(b) || b[i] != '{' {
		if i < len(b) && KindOf(b[i:]) == Invalid && b[i] != 'n' {
			return 0, syntax(b, i, "a value was expected")
		}
		return 0, orTooEarly(b, i, "it is not a JSON object")
	}
	i = skipSpace(b, i+1)
	if i < len(b) && b[i] == '}' {
		return i + 1, check(c, 0)
	}
	fields, unchanged := 0, 0
	for more := true; more; {
		name, end, err := readText(b, i)
		if err != nil {
			return 0, err
		}
		if i, err = scanColon(b, end); err != nil {
			return 0, err
		}
		field := 0
		switch string(name) {
		case "entity":
			field = hasEntity
			i, err = d.readEntity(b, i, c)
		case "op":
			field = hasOp
			i, err = d.readOp(b, i, c)
		case "key":
			field = hasKey
			c.Key, i, err = d.readRow(b, i, "key")
		case "row":
			field = hasRow
			c.Row, i, err = d.readRow(b, i, "row")
		case "before":
			field = hasBefore
			c.Before, i, err = d.readRow(b, i, "before")
		case "schema":
			field = hasSchema
			i, err = d.readSchema(b, i, c)
		case "unchanged":
			field, unchanged = hasUnchanged, i
			i, err = d.skipUnchanged(b, i)
		default:
			err = unknownField(name)
		}
		if err != nil {
			return 0, err
		}
		if fields&field != 0 {
			return 0, fmt.Errorf("field %s stands there twice", quote(name))
		}
		fields |= field
		if i, more, err = scanNext(b, i); err != nil {
			return 0, err
		}
	}
	if err := check(c, fields); err != nil || fields&hasUnchanged == 0 {
		return i, err
	}
	return i, d.checkUnchanged(b, unchanged, c.Row)
}

func unknownField(name []byte) error {
	return fmt.Errorf("field %s is none of entity, op, key, row, before", quote(name))
}

// check verifies what only shows when all fields of the change are known.
func check(c *waybill.Change, fields int) error {
	switch {
	case fields&hasEntity == 0:
		return errors.New("field entity is missing")
	case fields&hasOp == 0:
		return errors.New("field op is missing")
	case c.Op == waybill.Truncate:
		return checkTruncate(c)
	case len(c.Key) == 0:
		return errors.New("key is missing or empty")
	case c.Op == waybill.Delete && len(c.Row) > 0:
		return errors.New("a delete has no row (what was deleted goes into before)")
	case c.Op != waybill.Delete && c.Row == nil:
		return fmt.Errorf("row is missing, %s needs it", c.Op)
	}
	if c.Op == waybill.Delete {
		c.Row = nil
	}
	for i := range c.Key {
		k := &c.Key[i]
		switch KindOf(k.Value.Raw) {
		case String, Number, Bool:
		case Invalid:
			if c.Schema == nil {
				return fmt.Errorf("key column %q is null", shorten(k.Name))
			}
		default:
			if c.Schema != nil {
				break
			}
			return fmt.Errorf("key column %q is not a string, number or boolean", shorten(k.Name))
		}
		if c.Op != waybill.Insert && c.Op != waybill.Upsert {
			continue
		}
		if v, ok := c.Row.Get(k.Name); ok && !sameScalar(v.Raw, k.Value.Raw) {
			return fmt.Errorf("column %q has one value in key and another in row, which %s does not allow (an update changes a key)",
				shorten(k.Name), c.Op)
		}
	}
	return nil
}

// checkTruncate verifies that the change says nothing about single rows.
func checkTruncate(c *waybill.Change) error {
	if len(c.Key) > 0 || len(c.Row) > 0 || len(c.Before) > 0 {
		return errors.New("a truncate has neither key, row nor before")
	}
	c.Key, c.Row, c.Before = nil, nil, nil
	return nil
}

func sameScalar(a, b []byte) bool {
	if bytes.Equal(a, b) {
		return true
	}
	ta, oka := Text(a)
	tb, okb := Text(b)
	return oka && okb && bytes.Equal(ta, tb)
}

func (d *Decoder) readEntity(b []byte, i int, c *waybill.Change) (int, error) {
	if i < len(b) && b[i] != '"' {
		return 0, errors.New("entity is not a string")
	}
	text, end, err := readText(b, i)
	if err != nil {
		return 0, err
	}
	if len(text) == 0 {
		return 0, errors.New("entity is empty")
	}
	if bytes.IndexByte(text, 0) >= 0 {
		return 0, errors.New("entity contains the character U+0000")
	}
	c.Entity, _ = d.intern(text)
	return end, nil
}

func (d *Decoder) readOp(b []byte, i int, c *waybill.Change) (int, error) {
	if i < len(b) && b[i] != '"' {
		return 0, errors.New("op is not a string")
	}
	text, end, err := readText(b, i)
	if err != nil {
		return 0, err
	}
	switch string(text) {
	case "insert":
		c.Op = waybill.Insert
	case "update":
		c.Op = waybill.Update
	case "upsert":
		c.Op = waybill.Upsert
	case "delete":
		c.Op = waybill.Delete
	default:
		if d.Schemas == nil {
			return 0, fmt.Errorf("op %s is not one of insert, update, upsert, delete", quote(text))
		}
		if string(text) != "truncate" {
			return 0, fmt.Errorf("op %s is not one of insert, update, upsert, delete, truncate", quote(text))
		}
		c.Op = waybill.Truncate
	}
	return end, nil
}

// readRow reads the object of columns that begins at b[i]; null gives nil. what is the field's
// name.
func (d *Decoder) readRow(b []byte, i int, what string) (waybill.Row, int, error) {
	if i < len(b) && b[i] == 'n' {
		end, err := scanWord(b, i, "null")
		return nil, end, err
	}
	if i >= len(b) || b[i] != '{' {
		return nil, 0, orTooEarly(b, i, what+" is not a JSON object")
	}
	i = skipSpace(b, i+1)
	if i < len(b) && b[i] == '}' {
		return waybill.Row{}, i + 1, nil
	}
	cols := d.row[:0]
	var seen uint64 // a bit for each hash: a name whose bit is not set is new
	var wide map[string]struct{}
	for more := true; more; {
		text, end, err := readText(b, i)
		if err != nil {
			return nil, 0, err
		}
		if len(text) == 0 || bytes.IndexByte(text, 0) >= 0 {
			return nil, 0, fmt.Errorf("%s has a column whose name is empty or contains the character U+0000", what)
		}
		name, hash := d.intern(text)
		if bit := uint64(1) << (hash >> 26); seen&bit == 0 {
			seen |= bit
		} else if holds(cols, &wide, name) {
			return nil, 0, fmt.Errorf("column %s stands in %s twice", quote(text), what)
		}
		if wide != nil {
			wide[name] = struct{}{}
		}
		if i, err = scanColon(b, end); err != nil {
			return nil, 0, err
		}
		if end, err = scanValue(b, i, MaxDepth); err != nil {
			return nil, 0, fmt.Errorf("column %s in %s: %w", quote(text), what, err)
		}
		col := waybill.Column{Name: name}
		if b[i] != 'n' {
			col.Value = waybill.Value{Form: waybill.JSON, Raw: b[i:end:end]}
		}
		cols = append(cols, col)
		if i, more, err = scanNext(b, end); err != nil {
			return nil, 0, err
		}
	}
	d.row = cols
	return d.keepRow(cols), i, nil
}

// holds reports whether one of the columns has the name; for many columns it fills wide.
func holds(cols []waybill.Column, wide *map[string]struct{}, name string) bool {
	if len(cols) < mapFrom {
		for i := range cols {
			if cols[i].Name == name {
				return true
			}
		}
		return false
	}
	if *wide == nil {
		*wide = make(map[string]struct{}, 2*len(cols))
		for i := range cols {
			(*wide)[cols[i].Name] = struct{}{}
		}
	}
	_, found := (*wide)[name]
	return found
}

// readText reads the string that begins at b[i] and what it stands for.
func readText(b []byte, i int) (text []byte, end int, err error) {
	end, escaped, err := scanString(b, i)
	if err != nil {
		return nil, 0, err
	}
	if !escaped {
		return b[i+1 : end-1], end, nil
	}
	text, _ = AppendText(nil, b[i:end])
	return text, end, nil
}

func orTooEarly(b []byte, i int, what string) error {
	if i >= len(b) {
		return syntax(b, i, "")
	}
	return errors.New(what)
}

// shorten keeps a name that somebody else chose from flooding a message.
func shorten(name string) string {
	const most = 80
	if len(name) <= most {
		return name
	}
	cut := most
	for !utf8.RuneStart(name[cut]) {
		cut--
	}
	return name[:cut] + "…"
}

func quote(b []byte) string { return fmt.Sprintf("%q", shorten(string(b))) }
