package event_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
	"time"

	waybill "github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/envelope/event"
)

var update = flag.Bool("update", false, "write the golden files")

func value(raw string) waybill.Value {
	return waybill.Value{Form: waybill.JSON, Raw: []byte(raw)}
}

func row(pairs ...string) waybill.Row {
	r := waybill.Row{}
	for i := 0; i < len(pairs); i += 2 {
		col := waybill.Column{Name: pairs[i]}
		if pairs[i+1] != "null" {
			col.Value = value(pairs[i+1])
		}
		r = append(r, col)
	}
	return r
}

var customerSchema = &waybill.Schema{
	Entity: "customer",
	Columns: []waybill.SchemaColumn{
		{Name: "id", Type: "bigint", NotNull: true},
		{Name: "name", Type: "text", NotNull: true},
		{Name: "credit", Type: "numeric(12,2)"},
		{Name: "country", Type: "char(2)"},
	},
	Key:     []string{"id"},
	Unique:  [][]string{{"name", "country"}},
	Foreign: []waybill.ForeignKey{{Columns: []string{"country"}, Entity: "country", References: []string{"code"}}},
}

// capturedSchema is of a table that a log was read of.
var capturedSchema = &waybill.Schema{
	Entity: "public.event", System: "postgres",
	Columns: []waybill.SchemaColumn{
		{Name: "kind", Type: "mood", Base: "text", NotNull: true},
		{Name: "note", Type: "character varying(20)"},
		{Name: "data", Type: "jsonb"},
	},
}

const (
	hugeNumber = "huge-number.json" // one that no float64 holds

	actionID = "0197a0e2-5c1b-7cc4-9f30-6f6f1d0c8a11"
	traceID  = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
)

var when = time.Date(2026, 3, 14, 9, 26, 53, 589793000, time.UTC)

func part(n uint32, last bool, position waybill.Position, changes ...waybill.Change) event.Event {
	return event.Event{
		Kind: event.Part, Source: "/waybill/crm", ID: actionID, Seq: 43, Name: "customers.imported", Time: when, Position: position,
		Attempt: "5f3a9c01d2e4", Part: n, Last: last, Changes: changes,
	}
}

// golden are the events whose messages are in testdata. Messages live in queues: one may be
// added, none changed.
var golden = []struct {
	file  string
	event event.Event
}{
	{"action.json", event.Event{
		Source: "/waybill/crm", ID: actionID, Seq: 42, Name: "customer.created", Time: when, Trace: traceID,
		Position: `{"v":1,"source":"postgres:7301/16384","seq":42}`,
		Changes: waybill.ChangeList{
			{
				Entity: "customer", Op: waybill.Insert, Key: row("id", "42"),
				Row: row("id", "42", "name", `"Ann \"A\" Ünal \ud83d\ude00"`, "credit", "12345678901234567890.10", "rate", "1.50E-7", "born", "null", "tags", `["a",{"b":null}]`),
			},
			{Entity: "crm.phone", Op: waybill.Update, Key: row("customer", "42", "n", "1"), Row: row("number", `"+358 40 1"`), Before: row("number", "null")},
			{Entity: "we\"ird\n", Op: waybill.Upsert, Key: row("ключ", "false"), Row: row(), Before: row()},
			{Entity: "customer", Op: waybill.Delete, Key: row("id", "-0.5e+3")},
		},
	}},
	{"empty-action.json", event.Event{Source: "/shop", ID: "1", Changes: waybill.ChangeList{}}},
	{"action-with-schema.json", event.Event{
		Source: "/waybill/crm", ID: actionID, Seq: 42, Name: "customer.renamed", Time: when,
		Changes: waybill.ChangeList{
			{Entity: "customer", Op: waybill.Update, Key: row("id", "42"), Row: row("name", `"Ann"`), Before: row("name", `"Anne"`), Schema: customerSchema},
			{Entity: "customer", Op: waybill.Delete, Key: row("id", "43"), Schema: customerSchema},
		},
	}},
	{"schema.json", event.Event{Kind: event.Schema, Source: "/waybill/crm", Time: when, Schema: customerSchema}},
	{"part-1.json", part(1, false, "before",
		waybill.Change{Entity: "customer", Op: waybill.Upsert, Key: row("id", "1"), Row: row("name", `"Ada"`)},
		waybill.Change{Entity: "customer", Op: waybill.Upsert, Key: row("id", "2"), Row: row("name", `"Bob"`)})},
	{"part-2.json", part(2, true, "after",
		waybill.Change{Entity: "customer", Op: waybill.Upsert, Key: row("id", "3"), Row: row("name", `"Cleo"`)})},
	{"position.json", event.Event{Kind: event.Position, Source: "/waybill/crm", Seq: 42, Position: `{"v":1,"source":"postgres:7301/16384","seq":42}`}},
	{"odd-name.json", event.Event{Source: "/waybill/crm", ID: "x\ty", Name: "waybill.action", Changes: waybill.ChangeList{}}},
	{"captured.json", event.Event{Source: "/waybill/crm", ID: "7301/16384/0-16B3748/733", Seq: 44, Changes: waybill.ChangeList{
		{Entity: "public.event", Op: waybill.Truncate, Schema: capturedSchema},
		{
			Entity: "public.event", Op: waybill.Insert, Key: row("kind", `"sad"`, "note", "null", "data", `{"n":1}`),
			Row: row("kind", `"sad"`, "note", "null", "data", `{"n":1}`), Schema: capturedSchema,
		},
	}}},
	{"captured-schema.json", event.Event{Kind: event.Schema, Source: "/waybill/crm", Schema: capturedSchema}},
	{hugeNumber, event.Event{Source: "/waybill/crm", ID: actionID, Changes: waybill.ChangeList{
		{Entity: "customer", Op: waybill.Upsert, Key: row("id", "1"), Row: row("rate", "1.0e400", "born", "null")},
		{Entity: "customer", Op: waybill.Delete, Key: row("id", "2")},
	}}},
}

func readGolden(t *testing.T, file string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	return bytes.TrimSuffix(b, []byte("\n"))
}

func TestGolden(t *testing.T) {
	for _, g := range golden {
		got, err := new(event.Encoder).AppendEvent(nil, &g.event)
		if err != nil {
			t.Fatal(err)
		}
		if *update {
			if err := os.WriteFile(filepath.Join("testdata", g.file), append(got, '\n'), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want := readGolden(t, g.file)
		if string(got) != string(want) {
			t.Errorf("%s:\ngot  %s\nwant %s", g.file, got, want)
		}
		back, err := event.NewDecoder(knows(customerSchema, capturedSchema)).Decode(want)
		if err != nil {
			t.Fatalf("%s: %v", g.file, err)
		}
		requireEqual(t, back, g.event)
	}
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) != len(golden)+1 {
		t.Errorf("testdata holds %d files for %d events and a foreign one (%v)", len(files), len(golden), err)
	}
}

// The least that somebody else has to write.
func TestForeignEvent(t *testing.T) {
	got, err := event.NewDecoder(nil).Decode(readGolden(t, "foreign.json"))
	if err != nil {
		t.Fatal(err)
	}
	requireEqual(t, got, event.Event{
		Source: "https://shop.example/orders", ID: "order-2026-000017", Name: "order.placed",
		Changes: waybill.ChangeList{
			{Entity: "orders", Op: waybill.Insert, Key: row("id", "17"), Row: row("customer", "42", "total", "99.90")},
			{Entity: "order_line", Op: waybill.Insert, Key: row("order", "17", "n", "1"), Row: row("article", `"A-7"`, "pieces", "3")},
		},
	})
}

// The same bytes stand for the same schema in every version: schemas are found by this hash.
func TestSchemaHashIsFixed(t *testing.T) {
	const want = "71381515c18eafa6e83758e5c2ba5216"
	if got := event.SchemaHash(customerSchema); got != want {
		t.Errorf("hash %s, want %s", got, want)
	}
}

var (
	exampleBlock = regexp.MustCompile("(?s)<!-- golden: (\\S+) -->\n+```json\n(.*?)```")
	docExample   = regexp.MustCompile(`# Example\n//\n((?://\t[^\n]*\n)+)`)
)

// The documents' examples are golden files, laid out for people.
func TestExamples(t *testing.T) {
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	m := docExample.FindSubmatch(doc)
	if m == nil {
		t.Fatal("doc.go has no example")
	}
	requireExample(t, "action-with-schema.json", bytes.ReplaceAll(m[1], []byte("//\t"), nil))
	guide, err := os.ReadFile("../../../docs/format.md")
	if err != nil {
		t.Fatal(err)
	}
	var shown []string
	for _, m := range exampleBlock.FindAllSubmatch(guide, -1) {
		requireExample(t, string(m[1]), m[2])
		shown = append(shown, string(m[1]))
	}
	for _, want := range []string{
		"action.json", "action-with-schema.json", "schema.json", "part-1.json", "part-2.json", "position.json", "foreign.json", "captured-schema.json",
	} {
		if !slices.Contains(shown, want) {
			t.Errorf("docs/format.md does not show %s", want)
		}
	}
	for _, attribute := range regexp.MustCompile(`attr\w+ += "(\w+)"`).FindAllSubmatch(mustRead(t, "event.go"), -1) {
		for name, text := range map[string][]byte{"doc.go": doc, "docs/format.md": guide} {
			if !bytes.Contains(text, attribute[1]) {
				t.Errorf("%s does not mention attribute %s", name, attribute[1])
			}
		}
	}
}

func mustRead(t *testing.T, file string) []byte {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func requireExample(t *testing.T, file string, shown []byte) {
	t.Helper()
	if got, want := compact(t, shown), compact(t, readGolden(t, file)); got != want {
		t.Errorf("example %s:\ngot  %s\nwant %s", file, got, want)
	}
	if _, err := event.NewDecoder(anySchema).Decode(shown); err != nil {
		t.Errorf("example %s as it is shown: %v", file, err)
	}
}

func compact(t *testing.T, text []byte) string {
	t.Helper()
	var b bytes.Buffer
	if err := json.Compact(&b, text); err != nil {
		t.Errorf("%v in\n%s", err, text)
	}
	return b.String()
}
