package event

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"

	waybill "github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/envelope"
)

// maxAttributes bounds the attributes of an event, those that mean nothing here included.
const maxAttributes = 256

// Decoder reads events. One goroutine uses it at a time. What it returned stays valid.
type Decoder struct {
	changes envelope.Decoder
	schemas *schemas
	known   map[string]*waybill.Schema // as of the last look at schemas

	raw  [len(attributes)][]byte // the values of the attributes of the event being read
	rest [][]byte                // names of the attributes that mean nothing here
}

// NewDecoder returns a Decoder that asks resolve for schemas that it does not know from
// events that it decoded; nil knows none. resolve may be called by every goroutine that
// decodes, or that calls what Again returned. Its error comes back wrapped.
func NewDecoder(resolve func(hash string) (*waybill.Schema, error)) *Decoder {
	return newDecoder(&schemas{resolve: resolve})
}

func newDecoder(s *schemas) *Decoder {
	d := &Decoder{schemas: s}
	d.changes.Schemas = d.schema
	return d
}

// Again returns a function that gives the changes of messages that d decoded before (they may
// have been written to disk in the meantime). It is for another goroutine than d, and shares
// the schemas that d knows.
func (d *Decoder) Again() func(message []byte) (waybill.ChangeList, error) {
	again := newDecoder(d.schemas)
	return func(message []byte) (waybill.ChangeList, error) {
		ev, err := again.Decode(message)
		return ev.Changes, err
	}
}

func (d *Decoder) schema(hash []byte) (*waybill.Schema, error) {
	if s := d.known[string(hash)]; s != nil {
		return s, nil
	}
	s, err := d.schemas.find(hash)
	d.known = d.schemas.snapshot()
	return s, err
}

// attributes are those that mean something, and data; they are looked up by their place.
var attributes = [...]string{
	attrSpecVersion, attrID, attrSource, attrType, attrTime, attrContentType, attrSequence, attrTrace, attrKind, attrName,
	attrPosition, attrAction, attrAttempt, attrPart, attrLast, attrData, attrDataBase64,
}

const (
	atSpecVersion = iota
	atID
	atSource
	atType
	atTime
	atContentType
	atSequence
	atTrace
	atKind
	atName
	atPosition
	atAction
	atAttempt
	atPart
	atLast
	atData
	atDataBase64
)

// Decode reads one message, which must not be modified afterwards: values are parts of it. An
// error is one clause, without values of rows.
func (d *Decoder) Decode(message []byte) (Event, error) {
	var e Event
	if !utf8.Valid(message) {
		return e, errors.New("the event is not valid UTF-8")
	}
	list, refused, err := d.readMembers(message)
	if err != nil {
		return Event{}, fmt.Errorf("the event is not a CloudEvent: %w", err)
	}
	if err := d.readHead(&e); err != nil {
		return Event{}, err
	}
	switch e.Kind {
	case Action, Part:
		e.Changes, err = d.readChanges(list, refused)
	case Schema:
		err = d.readSchema(&e)
	case Position:
		if d.raw[atDataBase64] != nil || d.raw[atData] != nil {
			err = errors.New("an event of kind position carries data")
		}
	}
	if err != nil {
		return Event{}, err
	}
	return e, nil
}

// readMembers fills d.raw. Data is decoded as changes on the way; refused says why it could not
// be, which is no error in an event of another kind.
func (d *Decoder) readMembers(message []byte) (list waybill.ChangeList, refused, err error) {
	clear(d.raw[:])
	d.rest = d.rest[:0]
	o, err := envelope.ReadMembers(message)
	if err != nil {
		return nil, nil, err
	}
	var seen [len(attributes)]bool
	for next := 0; o.More(); {
		name, err := o.Name()
		if err != nil {
			return nil, nil, err
		}
		at := place(name, next)
		switch {
		case at < 0:
			err = d.readUnknown(&o, name)
		case seen[at]:
			err = twice(name)
		case at == atData:
			list, d.raw[at], refused, err = o.Changes(&d.changes)
		default:
			d.raw[at], err = o.Value()
		}
		if err != nil {
			return nil, nil, err
		}
		if at >= 0 {
			seen[at], next = true, at+1
			if string(d.raw[at]) == "null" { // which is the same as absent
				d.raw[at] = nil
			}
		}
	}
	return list, refused, o.End()
}

func twice(name []byte) error { return fmt.Errorf("attribute %s stands there twice", quote(name)) }

// place is the attribute's index; next is where it would be in an event of our own.
func place(name []byte, next int) int {
	for i := next; i < len(attributes); i++ {
		if string(name) == attributes[i] {
			return i
		}
	}
	for i := range min(next, len(attributes)) {
		if string(name) == attributes[i] {
			return i
		}
	}
	return -1
}

// readUnknown passes over an attribute that means nothing here.
func (d *Decoder) readUnknown(o *envelope.Members, name []byte) error {
	for _, other := range d.rest {
		if bytes.Equal(name, other) {
			return twice(name)
		}
	}
	if len(d.rest) == maxAttributes {
		return fmt.Errorf("it has more than %d attributes", maxAttributes)
	}
	d.rest = append(d.rest, name)
	_, err := o.Value()
	return err
}

// readHead reads the attributes into e and verifies that they go together.
func (d *Decoder) readHead(e *Event) error {
	version, err := d.required(atSpecVersion)
	if err != nil {
		return err
	}
	if string(version) != specVersion {
		return fmt.Errorf("specversion is %s, not %s", quote(version), specVersion)
	}
	if e.Kind, err = d.readKind(); err != nil {
		return err
	}
	if err := d.readNames(e); err != nil {
		return err
	}
	if err := d.checkContentType(); err != nil {
		return err
	}
	if err := d.readNumbers(e); err != nil {
		return err
	}
	return d.readPart(e)
}

func (d *Decoder) readKind() (Kind, error) {
	kind, err := d.text(atKind)
	if err != nil || kind == nil {
		return Action, err
	}
	for k := Part; k <= Schema; k++ {
		if string(kind) == kindNames[k] {
			return k, nil
		}
	}
	return 0, fmt.Errorf("waybillkind %s is not known to this version", quote(kind))
}

// text is the attribute as text; nil where it is absent.
func (d *Decoder) text(at int) ([]byte, error) {
	raw := d.raw[at]
	if raw == nil {
		return nil, nil
	}
	text, ok := envelope.Text(raw)
	if !ok {
		return nil, fmt.Errorf("%s is not a string", attributes[at])
	}
	return text, nil
}

// required is text for an attribute that may be neither absent nor empty.
func (d *Decoder) required(at int) ([]byte, error) {
	text, err := d.text(at)
	if err == nil && len(text) == 0 {
		return nil, fmt.Errorf("%s is missing or empty", attributes[at])
	}
	return text, err
}

func (d *Decoder) readNames(e *Event) error {
	id, err := d.required(atID)
	if err != nil {
		return err
	}
	e.ID = string(id)
	source, err := d.required(atSource)
	if err != nil {
		return err
	}
	e.Source = d.changes.Name(source)
	kind, err := d.required(atType)
	if err != nil {
		return err
	}
	name, err := d.text(atName)
	if err != nil {
		return err
	}
	switch {
	case e.Kind != Action && e.Kind != Part:
	case name != nil:
		e.Name = d.changes.Name(name)
	case !bytes.HasPrefix(kind, []byte(ownTypes)):
		e.Name = d.changes.Name(kind)
	}
	trace, err := d.text(atTrace)
	if err != nil {
		return err
	}
	e.Trace = string(trace)
	position, err := d.text(atPosition)
	if err != nil {
		return err
	}
	e.Position = waybill.Position(position)
	if e.Kind == Position && e.Position == "" {
		return errors.New("waybillposition is missing or empty in an event of kind position")
	}
	return nil
}

func (d *Decoder) readNumbers(e *Event) error {
	sequence, err := d.text(atSequence)
	if err != nil {
		return err
	}
	if sequence != nil {
		if e.Seq, err = parseSequence(sequence); err != nil {
			return err
		}
	}
	stamp, err := d.text(atTime)
	if err != nil {
		return err
	}
	if stamp != nil {
		var t time.Time
		if t.UnmarshalText(stamp) != nil {
			return fmt.Errorf("time %s is not RFC 3339", quote(stamp))
		}
		e.Time = t.UTC()
		if y := e.Time.Year(); y < 0 || y > 9999 {
			return fmt.Errorf("time %s is outside of the years 0 to 9999 UTC", quote(stamp))
		}
	}
	return nil
}

// parseSequence takes decimal digits alone, with or without zeros before them.
func parseSequence(text []byte) (uint64, error) {
	var n uint64
	for _, c := range text {
		digit := uint64(c - '0')
		if c < '0' || c > '9' || n > (1<<64-1-digit)/10 {
			return 0, fmt.Errorf("sequence %s is not a number", quote(text))
		}
		n = n*10 + digit
	}
	if n == 0 {
		return 0, fmt.Errorf("sequence %s is not a number from 1", quote(text))
	}
	return n, nil
}

// readPart reads what numbers the parts of an action, which nothing else may carry.
func (d *Decoder) readPart(e *Event) error {
	if e.Kind != Part {
		for _, at := range [...]int{atAction, atAttempt, atPart, atLast} {
			if d.raw[at] != nil {
				return fmt.Errorf("%s stands in an event that is not of kind part", attributes[at])
			}
		}
		return nil
	}
	action, err := d.required(atAction)
	if err != nil {
		return err
	}
	attempt, err := d.required(atAttempt)
	if err != nil {
		return err
	}
	n, err := strconv.ParseUint(string(d.raw[atPart]), 10, 31)
	if err != nil || n == 0 || d.raw[atPart][0] == '0' {
		return fmt.Errorf("waybillpart is not a number from 1 to %d", maxPart)
	}
	last := d.raw[atLast]
	if k := envelope.KindOf(last); last != nil && k != envelope.Bool {
		return errors.New("waybilllast is not true or false")
	}
	id := e.ID
	e.ID, e.Attempt, e.Part, e.Last = string(action), d.changes.Name(attempt), uint32(n), string(last) == "true"
	if want := partID(e); id != want {
		return fmt.Errorf("id %s is not that of part %d of attempt %s of action %s", quote([]byte(id)), n, quote(attempt), quote(action))
	}
	return nil
}

func (d *Decoder) readChanges(list waybill.ChangeList, refused error) (waybill.ChangeList, error) {
	encoded := d.raw[atDataBase64]
	switch {
	case d.raw[atData] != nil && encoded != nil:
		return nil, errors.New("the event has both data and data_base64")
	case d.raw[atData] != nil:
		if refused != nil {
			return nil, fmt.Errorf("data: %w", refused)
		}
		return list, nil
	case encoded == nil:
		return nil, errors.New("data is missing")
	}
	data, err := d.base64()
	if err != nil {
		return nil, err
	}
	if list, err = d.changes.DecodeData(data); err != nil {
		return nil, fmt.Errorf("data_base64: %w", err)
	}
	return list, nil
}

// base64 decodes data_base64.
func (d *Decoder) base64() ([]byte, error) {
	text, err := d.text(atDataBase64)
	if err != nil {
		return nil, err
	}
	data, err := base64.StdEncoding.AppendDecode(nil, text)
	if err != nil {
		return nil, errors.New("data_base64 is not Base64")
	}
	return data, nil
}

// checkContentType verifies that data is JSON: application/json, application/…+json, or
// not said.
func (d *Decoder) checkContentType() error {
	kind, err := d.text(atContentType)
	if err != nil || kind == nil || string(kind) == jsonType {
		return err
	}
	media, _, _ := bytes.Cut(kind, []byte(";"))
	media = bytes.ToLower(bytes.TrimSpace(media))
	if bytes.HasSuffix(media, []byte("/json")) || bytes.HasSuffix(media, []byte("+json")) {
		return nil
	}
	return fmt.Errorf("datacontenttype %s is not JSON", quote(kind))
}

func (d *Decoder) readSchema(e *Event) error {
	data := d.raw[atData]
	if d.raw[atDataBase64] != nil {
		if data != nil {
			return errors.New("the event has both data and data_base64")
		}
		var err error
		if data, err = d.base64(); err != nil {
			return err
		}
	}
	if data == nil {
		return errors.New("data is missing")
	}
	if !utf8.Valid(data) {
		return errors.New("data_base64 is not valid UTF-8")
	}
	s, hash, err := readSchema(data)
	if err != nil {
		return err
	}
	if e.ID != schemaID+hash {
		return fmt.Errorf("id %s is not that of the schema, %s", quote([]byte(e.ID)), schemaID+hash)
	}
	e.Schema = d.schemas.add(hash, s)
	d.known = d.schemas.snapshot()
	return nil
}

// quote keeps a text that somebody else chose from flooding a message.
func quote(b []byte) string {
	const most = 80
	if len(b) <= most {
		return strconv.Quote(string(b))
	}
	cut := most
	for !utf8.RuneStart(b[cut]) {
		cut--
	}
	return strconv.Quote(string(b[:cut]) + "…")
}
