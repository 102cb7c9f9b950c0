package event_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	waybill "github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/envelope/event"
)

// The reference decoder is slow, built on encoding/json and written from the package's
// documentation; it shares no code with the decoder it judges.

type member struct {
	name string
	raw  json.RawMessage
}

// members lists an object's members in order; a duplicate is an error.
func members(raw []byte) ([]member, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	if tok, err := dec.Token(); err != nil || tok != json.Delim('{') {
		return nil, errors.New("not an object")
	}
	seen := map[string]bool{}
	var list []member
	for dec.More() {
		tok, err := dec.Token()
		if err != nil {
			return nil, err
		}
		m := member{name: tok.(string)}
		if seen[m.name] {
			return nil, errors.New("duplicate " + m.name)
		}
		seen[m.name] = true
		if err := dec.Decode(&m.raw); err != nil {
			return nil, err
		}
		list = append(list, m)
	}
	return list, nil
}

type attributes map[string]json.RawMessage

// text of an attribute; must says that it may not be missing or empty.
func (a attributes) text(name string, must bool) (s string, err error) {
	if raw, ok := a[name]; ok {
		if raw[0] != '"' {
			return "", errors.New(name + " is no string")
		}
		if err := json.Unmarshal(raw, &s); err != nil {
			return "", err
		}
	}
	if must && s == "" {
		return "", errors.New(name + " is missing")
	}
	return s, nil
}

var meaningful = strings.Fields("specversion id source type time datacontenttype sequence traceparent waybillkind waybillname " +
	"waybillposition waybillaction waybillattempt waybillpart waybilllast data data_base64")

func reference(message []byte) (e event.Event, err error) {
	if !utf8.Valid(message) || !json.Valid(message) || loneSurrogate(message) {
		return e, errors.New("not I-JSON")
	}
	list, err := members(message)
	if err != nil {
		return e, err
	}
	a, others := attributes{}, 0
	for _, m := range list {
		if !slices.Contains(meaningful, m.name) {
			others++
		}
		if m.name != "data" && depth(m.raw) > 64 || depth(m.raw) > 67 {
			return e, errors.New("too deep")
		}
		if string(m.raw) != "null" {
			a[m.name] = m.raw
		}
	}
	if others > 256 {
		return e, errors.New("too many attributes")
	}
	text := map[string]string{}
	for _, name := range meaningful {
		if name != "data" && name != "waybillpart" && name != "waybilllast" {
			if text[name], err = a.text(name, name == "id" || name == "source" || name == "type"); err != nil {
				return e, err
			}
		}
	}
	kinds := map[string]event.Kind{"": event.Action, "part": event.Part, "position": event.Position, "schema": event.Schema}
	var known bool
	if e.Kind, known = kinds[text["waybillkind"]]; !known || text["specversion"] != "1.0" || a["waybillkind"] != nil && text["waybillkind"] == "" {
		return e, errors.New("version or kind")
	}
	e.ID, e.Source, e.Trace, e.Position = text["id"], text["source"], text["traceparent"], waybill.Position(text["waybillposition"])
	if e.Kind == event.Action || e.Kind == event.Part {
		if a["waybillname"] != nil {
			e.Name = text["waybillname"]
		} else if !strings.HasPrefix(text["type"], "waybill.") {
			e.Name = text["type"]
		}
	}
	if err := referenceNumbers(&e, a, text); err != nil {
		return e, err
	}
	return e, referenceData(&e, a, text)
}

func referenceNumbers(e *event.Event, a attributes, text map[string]string) (err error) {
	if a["sequence"] != nil {
		if !regexp.MustCompile(`^[0-9]+$`).MatchString(text["sequence"]) {
			return errors.New("sequence")
		}
		if e.Seq, err = strconv.ParseUint(text["sequence"], 10, 64); err != nil || e.Seq == 0 {
			return errors.New("sequence")
		}
	}
	if a["time"] != nil {
		if err := json.Unmarshal(a["time"], &e.Time); err != nil {
			return err
		}
		if e.Time = e.Time.UTC(); e.Time.Year() < 0 || e.Time.Year() > 9999 {
			return errors.New("year")
		}
	}
	if e.Kind != event.Part {
		if a["waybillaction"] != nil || a["waybillattempt"] != nil || a["waybillpart"] != nil || a["waybilllast"] != nil {
			return errors.New("part attributes")
		}
		return nil
	}
	if a["waybillpart"] == nil || text["waybillaction"] == "" || text["waybillattempt"] == "" {
		return errors.New("part")
	}
	var n int32
	if err := json.Unmarshal(a["waybillpart"], &n); err != nil || n < 1 || a["waybillpart"][0] == '"' {
		return errors.New("part number")
	}
	if a["waybilllast"] != nil {
		if err := json.Unmarshal(a["waybilllast"], &e.Last); err != nil {
			return err
		}
	}
	e.ID, e.Attempt, e.Part = text["waybillaction"], text["waybillattempt"], uint32(n)
	if text["id"] != fmt.Sprintf("%s/%s/%d", e.ID, e.Attempt, n) {
		return errors.New("id of part")
	}
	return nil
}

func referenceData(e *event.Event, a attributes, text map[string]string) error {
	if a["datacontenttype"] != nil {
		media, _, _ := strings.Cut(text["datacontenttype"], ";")
		media = strings.TrimSpace(strings.ToLower(media))
		if !strings.HasSuffix(media, "/json") && !strings.HasSuffix(media, "+json") {
			return errors.New("content type")
		}
	}
	data := []byte(a["data"])
	if e.Kind == event.Position {
		if data != nil || a["data_base64"] != nil || e.Position == "" {
			return errors.New("position")
		}
		return nil
	}
	if (data == nil) == (a["data_base64"] == nil) {
		return errors.New("data missing or doubled")
	}
	if data == nil {
		var err error
		data, err = base64.StdEncoding.DecodeString(text["data_base64"])
		if err != nil || !utf8.Valid(data) || !json.Valid(data) {
			return errors.New("data_base64")
		}
	}
	data = bytes.Trim(data, " \t\r\n")
	if e.Kind == event.Schema {
		return referenceSchema(e, data)
	}
	if loneSurrogate(data) {
		return errors.New("not I-JSON")
	}
	list := []json.RawMessage{data}
	if data[0] == '[' {
		if err := json.Unmarshal(data, &list); err != nil {
			return err
		}
	}
	for _, item := range list {
		c, err := referenceChange(item)
		if err != nil {
			return err
		}
		e.Changes = append(e.Changes, c)
	}
	return nil
}

func referenceSchema(e *event.Event, data []byte) error {
	if err := json.Unmarshal(data, &e.Schema); err != nil || e.Schema == nil || e.Schema.Entity == "" {
		return errors.New("schema")
	}
	names := map[string]bool{"": true}
	for _, c := range e.Schema.Columns {
		if names[c.Name] {
			return errors.New("schema column")
		}
		names[c.Name] = true
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, data); err != nil {
		return err
	}
	if e.ID != fmt.Sprintf("schema/%x", sha256.Sum256(compact.Bytes()))[:len("schema/")+32] {
		return errors.New("schema hash")
	}
	return nil
}

func referenceChange(item []byte) (c waybill.Change, err error) {
	fields, err := members(item)
	if err != nil {
		return c, err
	}
	unchanged := []json.RawMessage{}
	for _, f := range fields {
		switch f.name {
		case "entity", "op", "schema":
			if f.name == "schema" && string(f.raw) == "null" {
				continue
			}
			var s string
			if f.raw[0] != '"' || json.Unmarshal(f.raw, &s) != nil || s == "" {
				return c, errors.New(f.name)
			}
			switch f.name {
			case "entity":
				c.Entity = s
			case "op":
				if c.Op, _ = waybill.ParseOp(s); s == "truncate" {
					c.Op = waybill.Truncate
				} else if c.Op == 0 {
					return c, errors.New("op")
				}
			case "schema":
				if c.Schema, err = anySchema(s); err != nil {
					return c, err
				}
			}
		case "key":
			c.Key, err = referenceRow(f.raw)
		case "row":
			c.Row, err = referenceRow(f.raw)
		case "before":
			c.Before, err = referenceRow(f.raw)
		case "unchanged":
			if err = json.Unmarshal(f.raw, &unchanged); err == nil && depth(f.raw) > 64 {
				err = errors.New("too deep")
			}
		default:
			err = errors.New("unknown field")
		}
		if err != nil {
			return c, err
		}
	}
	for _, raw := range unchanged {
		var name string
		if raw[0] != '"' || json.Unmarshal(raw, &name) != nil {
			return c, errors.New("unchanged")
		}
		if _, ok := c.Row.Get(name); ok {
			return c, errors.New("unchanged and not")
		}
	}
	return c, referenceWhole(&c)
}

func referenceWhole(c *waybill.Change) error {
	if c.Entity == "" || strings.Contains(c.Entity, "\x00") || c.Op == 0 || (len(c.Key) == 0) != (c.Op == waybill.Truncate) {
		return errors.New("incomplete")
	}
	if c.Op == waybill.Truncate {
		if len(c.Row)+len(c.Before) > 0 {
			return errors.New("truncate with a row")
		}
		c.Key, c.Row, c.Before = nil, nil, nil
		return nil
	}
	if c.Op == waybill.Delete {
		if len(c.Row) > 0 {
			return errors.New("delete with a row")
		}
		c.Row = nil
	} else if c.Row == nil {
		return errors.New("no row")
	}
	for _, k := range c.Key {
		if c.Schema == nil && (k.Value.IsNull() || strings.ContainsAny(string(k.Value.Raw[:1]), "[{")) {
			return errors.New("key is no scalar")
		}
		if v, ok := c.Row.Get(k.Name); ok && (c.Op == waybill.Insert || c.Op == waybill.Upsert) {
			var a, b string
			same := json.Unmarshal(v.Raw, &a) == nil && json.Unmarshal(k.Value.Raw, &b) == nil && a == b
			if !same && !bytes.Equal(v.Raw, k.Value.Raw) {
				return errors.New("key differs in row")
			}
		}
	}
	return nil
}

func referenceRow(raw []byte) (waybill.Row, error) {
	if string(raw) == "null" {
		return nil, nil
	}
	cols, err := members(raw)
	if err != nil {
		return nil, err
	}
	r := waybill.Row{}
	for _, m := range cols {
		if m.name == "" || strings.Contains(m.name, "\x00") || depth(m.raw) > 64 {
			return nil, errors.New("column")
		}
		r = append(r, row(m.name, string(m.raw))...)
	}
	return r, nil
}

// anySchema finds one for every hash.
func anySchema(hash string) (*waybill.Schema, error) {
	if !regexp.MustCompile(`^[0-9a-f]{32}\z`).MatchString(hash) {
		return nil, errors.New("no hash")
	}
	return &waybill.Schema{Entity: hash}, nil
}

// judge compares the decoder with the reference, and decodes what it encodes. It reports
// whether the message is right.
func judge(t tester, message []byte) bool {
	t.Helper()
	got, err := event.NewDecoder(anySchema).Decode(message)
	want, wantErr := reference(message)
	if (err == nil) != (wantErr == nil) {
		t.Fatalf("%q:\ngot  %v\nwant %v", message, err, wantErr)
	}
	if err != nil {
		if !utf8.ValidString(err.Error()) || strings.ContainsAny(err.Error(), "\n\x00") {
			t.Fatalf("%q: error is not one clean line: %q", message, err)
		}
		return false
	}
	requireEqual(t, got, want)
	again, err := new(event.Encoder).AppendEvent(nil, &got)
	if err != nil {
		t.Fatalf("%q: cannot be written again: %v", message, err)
	}
	back, err := event.NewDecoder(knows(schemasOf(got)...)).Decode(again)
	if err != nil {
		t.Fatalf("%q: written again it is not taken: %v", again, err)
	}
	requireEqual(t, back, got)
	return true
}

func schemasOf(e event.Event) (list []*waybill.Schema) {
	for _, c := range e.Changes {
		if c.Schema != nil {
			list = append(list, c.Schema)
		}
	}
	return list
}

func FuzzDecode(f *testing.F) {
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) == 0 {
		f.Fatal("no golden files", err)
	}
	for _, file := range files {
		message, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(message)
	}
	f.Add([]byte(`{"data_base64":"W10=","time":"2026-01-01T00:00:00.5+02:00","specversion":"1.0","x":1,"id":"1","source":"s","type":"t","datacontenttype":"a/b+json; c=d"}`))
	f.Fuzz(func(t *testing.T, message []byte) { judge(t, message) })
}

// Messages that are nearly or wholly right, which random bytes seldom are.
func TestDecodeAgainstReference(t *testing.T) {
	taken, refused := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		message := drawForeign(t)
		if rapid.IntRange(0, 2).Draw(t, "damage") == 0 {
			message = damage(t, message)
		}
		if judge(t, message) {
			taken++
		} else {
			refused++
		}
	})
	if taken == 0 || refused == 0 {
		t.Errorf("%d taken, %d refused", taken, refused)
	}
}

// drawForeign is an event with its attributes in any order, some replaced, added or doubled.
func drawForeign(t *rapid.T) []byte {
	ev := drawEvent(t)
	message, err := new(event.Encoder).AppendEvent(nil, &ev)
	if err != nil {
		t.Fatal(err)
	}
	list, err := members(message)
	if err != nil {
		t.Fatal(err)
	}
	var fields []string
	for _, m := range rapid.Permutation(list).Draw(t, "order") {
		raw := string(m.raw)
		switch rapid.IntRange(0, 19).Draw(t, "what") {
		case 0:
			raw = rapid.SampledFrom([]string{
				"null", "1", "0", "-1", "1.0", "2147483648", `"1"`, `""`, `"0"`, `"99999999999999999999"`, "true", "[]", "{}", `"part"`, `"action"`,
				`"2026-01-01T25:00:00Z"`, `"0000-01-01T00:00:00+01:00"`, `"W10="`, `"text/plain"`, `"Application/Cloud+JSON ;charset=utf-8"`,
			}).Draw(t, "instead")
		case 1:
			continue
		case 2:
			fields = append(fields, `"extra":`+raw)
		case 3:
			if m.name == "data" {
				encoded, _ := json.Marshal([]byte(raw))
				m.name, raw = "data_base64", string(encoded)
			}
		case 4:
			if m.name == "data" {
				raw = strings.TrimSuffix(strings.TrimPrefix(raw, "["), "]")
			}
		}
		fields = append(fields, ` "`+m.name+"\" :\n"+raw)
	}
	return []byte("{" + strings.Join(fields, ",\t") + "}\n")
}

func damage(t *rapid.T, message []byte) []byte {
	i := rapid.IntRange(0, len(message)-1).Draw(t, "at")
	with := rapid.SampledFrom([]string{"", ",", `"`, "{", "}", "[", "]", ":", "0", "-", `\`, `\ud800`, "\x00", "\xff", "null", " ", "é", `"x":1,`, `{},`}).Draw(t, "with")
	skip := rapid.IntRange(0, 1).Draw(t, "skip")
	return append(append(append([]byte{}, message[:i]...), with...), message[i+skip:]...)
}
