package event

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	waybill "github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/envelope"
)

// Encoder writes events. The zero Encoder is ready; one goroutine uses it at a time.
type Encoder struct {
	// Schemas, where set, is called for each schema that an event refers to, before the event
	// is complete (of parts: before the part is handed on); for one schema more than once. Its
	// error ends the encoding and is returned as it is.
	Schemas func(hash string, s *waybill.Schema) error

	hashes map[*waybill.Schema]string
	last   *waybill.Schema // of the change before, in the same event
	hash   string          // of last
	part   []byte
	head   []byte
}

// AppendEvent appends the message. An error says that e cannot be written at all (a part without
// number, text that is not UTF-8), is that of Schemas, or a *waybill.Refusal of a value (see
// envelope.AppendChange); dst is then returned as it was.
func (e *Encoder) AppendEvent(dst []byte, ev *Event) ([]byte, error) {
	if err := check(ev); err != nil {
		return dst, err
	}
	start := len(dst)
	dst = appendHead(dst, ev)
	switch ev.Kind {
	case Action, Part:
		dst = append(dst, `,"data":[`...)
		e.last = nil
		var err error
		for i := range ev.Changes {
			if i > 0 {
				dst = append(dst, ',')
			}
			if dst, err = e.appendChange(dst, &ev.Changes[i]); err != nil {
				return dst[:start], ofAction(ev, err)
			}
		}
		dst = append(dst, ']')
	case Schema:
		dst = AppendSchema(append(dst, `,"data":`...), ev.Schema)
	}
	return append(dst, '}'), nil
}

// Hash is SchemaHash, remembered.
func (e *Encoder) Hash(s *waybill.Schema) string {
	if hash, ok := e.hashes[s]; ok {
		return hash
	}
	if e.hashes == nil || len(e.hashes) >= maxSchemas {
		e.hashes = make(map[*waybill.Schema]string)
	}
	hash := SchemaHash(s)
	e.hashes[s] = hash
	return hash
}

// appendChange appends the change as an outbox holds it, and what the schema adds.
func (e *Encoder) appendChange(dst []byte, c *waybill.Change) ([]byte, error) {
	dst, err := envelope.AppendChange(dst, c)
	s := c.Schema
	if s == nil || err != nil {
		return dst, err
	}
	if s != e.last {
		e.hash = e.Hash(s)
		if e.Schemas != nil {
			if err := e.Schemas(e.hash, s); err != nil {
				return dst, err
			}
		}
		e.last = s
	}
	dst = append(append(append(dst[:len(dst)-1], `,"schema":"`...), e.hash...), '"')
	if c.Op == waybill.Update || c.Op == waybill.Upsert {
		dst = appendUnchanged(dst, c)
	}
	return append(dst, '}'), nil
}

// ofAction names the action in the refusal of one of its values.
func ofAction(ev *Event, err error) error {
	if r, ok := err.(*waybill.Refusal); ok && r.Action == "" { //nolint:errorlint // as envelope.AppendChange made it
		r.Action, r.Seq = ev.ID, ev.Seq
	}
	return err
}

// appendUnchanged lists the columns that the schema has and neither row nor key holds.
func appendUnchanged(dst []byte, c *waybill.Change) []byte {
	next, found := 0, false
	for i := range c.Schema.Columns {
		name := c.Schema.Columns[i].Name
		if next < len(c.Row) && c.Row[next].Name == name { // rows mostly have the schema's order
			next++
			continue
		}
		if _, ok := c.Row.Get(name); ok {
			continue
		}
		if _, ok := c.Key.Get(name); ok {
			continue
		}
		if found {
			dst = append(dst, ',')
		} else {
			dst = append(dst, `,"unchanged":[`...)
		}
		found = true
		dst = envelope.AppendString(dst, name)
	}
	if found {
		dst = append(dst, ']')
	}
	return dst
}

func check(e *Event) error {
	for _, text := range [...]struct{ what, s string }{
		{"source", e.Source}, {"ID", e.ID}, {"name", e.Name}, {"trace", e.Trace}, {"position", string(e.Position)}, {"attempt", e.Attempt},
	} {
		if !utf8.ValidString(text.s) {
			return fmt.Errorf("the event's %s is not valid UTF-8", text.what)
		}
	}
	if y := e.Time.UTC().Year(); y < 0 || y > 9999 {
		return fmt.Errorf("the event's time is in the year %d, which RFC 3339 cannot write", y)
	}
	switch {
	case e.Source == "":
		return errors.New("the event has no source")
	case e.ID == "" && (e.Kind == Action || e.Kind == Part):
		return errors.New("the action has no ID")
	case e.Kind == Part && (e.Attempt == "" || e.Part == 0 || e.Part > maxPart):
		return fmt.Errorf("part %d of attempt %q is no part", e.Part, e.Attempt)
	case e.Kind == Position && e.Position == "":
		return errors.New("the event has no position")
	case e.Kind == Schema && (e.Schema == nil || e.Schema.Entity == ""):
		return errors.New("the event has no schema")
	case e.Kind > Schema:
		return fmt.Errorf("the event's kind %d is unknown", e.Kind)
	}
	return nil
}

// appendHead appends the attributes, all but the closing brace.
func appendHead(dst []byte, e *Event) []byte {
	dst = append(dst, `{"specversion":"`+specVersion+`","id":`...)
	dst = appendID(dst, e)
	dst = envelope.AppendString(append(dst, `,"source":`...), e.Source)
	named := false
	switch {
	case e.Kind == Position:
		dst = append(dst, `,"type":"`+positionType+`"`...)
	case e.Kind == Schema:
		dst = append(dst, `,"type":"`+schemaType+`"`...)
	case isType(e.Name):
		dst = envelope.AppendString(append(dst, `,"type":`...), e.Name)
	default:
		named = e.Name != ""
		dst = append(dst, `,"type":"`+actionType+`"`...)
	}
	if !e.Time.IsZero() {
		dst = append(e.Time.UTC().AppendFormat(append(dst, `,"time":"`...), time.RFC3339Nano), '"')
	}
	if e.Kind != Position {
		dst = append(dst, `,"datacontenttype":"`+jsonType+`"`...)
	}
	if e.Seq > 0 {
		dst = append(appendPadded(append(dst, `,"sequence":"`...), e.Seq), '"')
	}
	if e.Trace != "" {
		dst = envelope.AppendString(append(dst, `,"traceparent":`...), e.Trace)
	}
	if e.Kind != Action {
		dst = append(append(append(dst, `,"waybillkind":"`...), kindNames[e.Kind]...), '"')
	}
	if named {
		dst = envelope.AppendString(append(dst, `,"waybillname":`...), e.Name)
	}
	if e.Position != "" {
		dst = envelope.AppendString(append(dst, `,"waybillposition":`...), string(e.Position))
	}
	if e.Kind == Part {
		dst = envelope.AppendString(append(dst, `,"waybillaction":`...), e.ID)
		dst = envelope.AppendString(append(dst, `,"waybillattempt":`...), e.Attempt)
		dst = strconv.AppendUint(append(dst, `,"waybillpart":`...), uint64(e.Part), 10)
		dst = strconv.AppendBool(append(dst, `,"waybilllast":`...), e.Last)
	}
	return dst
}

// appendID appends an id that no other event of the source has.
func appendID(dst []byte, e *Event) []byte {
	switch e.Kind {
	case Position:
		if e.ID == "" {
			return envelope.AppendString(dst, positionID+hashOf([]byte(e.Position)))
		}
	case Schema:
		return envelope.AppendString(dst, schemaID+SchemaHash(e.Schema))
	}
	dst = envelope.AppendString(dst, e.ID)
	if e.Kind != Part {
		return dst
	}
	dst = append(dst[:len(dst)-1], '/')
	at := len(dst)
	dst = envelope.AppendString(dst, e.Attempt)
	dst = append(dst[:at], dst[at+1:len(dst)-1]...) // without the quotes
	return append(strconv.AppendUint(append(dst, '/'), uint64(e.Part), 10), '"')
}

// partID is the id that appendID gives to a part.
func partID(e *Event) string {
	return e.ID + "/" + e.Attempt + "/" + strconv.FormatUint(uint64(e.Part), 10)
}

// appendPadded appends n with 20 digits, so that the order of the texts is that of the numbers.
func appendPadded(dst []byte, n uint64) []byte {
	const zeros = "00000000000000000000"
	var digits [len(zeros)]byte
	text := strconv.AppendUint(digits[:0], n, 10)
	return append(append(dst, zeros[len(text):]...), text...)
}

// isType tells whether an action's name can be a CloudEvents type: printable text that is not
// blank and is not one of our own types.
func isType(name string) bool {
	if name == "" || strings.HasPrefix(name, ownTypes) || strings.TrimSpace(name) != name {
		return false
	}
	for _, r := range name {
		if unicode.IsControl(r) {
			return false
		}
	}
	return true
}
