package config

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite golden files and docs/configuration.md")

// testEnv is what environment variables hold in tests. What begins with SECRET must never
// be seen in a fault.
func testEnv(name string) (string, bool) {
	v, ok := map[string]string{
		"SOURCE_URL":  "postgres://app:SECRET-env@db.example.com:5432/master",
		"BAD_URL":     "postgres://app:SECRET/env@db.example.com:5432/master",
		"TOKEN":       "SECRET-token",
		"NUMBER":      "250",
		"TEXT":        "SECRET-text",
		"MULTILINE":   "SECRET-line\nother: SECRET-line",
		"EMPTY":       "",
		"LATER":       "full-copy",
		"YAML":        "{a: SECRET-yaml}",
		"WITH_DOLLAR": "SECRET-${TOKEN}",
	}[name]
	return v, ok
}

// golden compares got with the file, or rewrites the file with -update.
func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v (go test ./internal/config -update writes it)", err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s differs (go test ./internal/config -update rewrites it), - is the file:\n%s", path, diff)
	}
}

func TestGood(t *testing.T) {
	files, err := filepath.Glob("testdata/*.good.yml")
	if err != nil || len(files) < 5 {
		t.Fatalf("%d good files, %v", len(files), err)
	}
	for _, path := range files {
		if _, err := Load(path, testEnv); err != nil {
			t.Errorf("good file has faults:\n%v", err)
		}
	}
}

func TestBad(t *testing.T) {
	files, err := filepath.Glob("testdata/*.bad.yml")
	if err != nil || len(files) < 12 {
		t.Fatalf("%d bad files, %v", len(files), err)
	}
	for _, path := range files {
		t.Run(filepath.Base(path), func(t *testing.T) {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			c, err := Parse(filepath.Base(path), data, testEnv)
			var faults Faults
			if c != nil || !errors.As(err, &faults) {
				t.Fatalf("accepted, or an error of another type: %v", err)
			}
			if strings.Contains(err.Error(), "SECRET") {
				t.Errorf("a secret shows:\n%v", err)
			}
			golden(t, strings.TrimSuffix(path, ".yml")+".golden", []byte(err.Error()+"\n"))
			good := strings.Replace(path, ".bad.", ".good.", 1)
			if _, err := os.Stat(good); err != nil {
				t.Errorf("no good counterpart: %v", err)
			}
		})
	}
}

// TestEverySetting fails when a key of the format does not reach Config.
func TestEverySetting(t *testing.T) {
	got, err := Load("testdata/everything.good.yml", testEnv)
	if err != nil {
		t.Fatal(err)
	}
	want := &Config{
		File:  "testdata/everything.good.yml",
		State: State{SQLite: &StateSQLite{Path: "other/state.db"}},
		Admin: Admin{Listen: "0.0.0.0:9000", Token: "SECRET-token"},
		Pipelines: []Pipeline{
			{
				Name: "crm", Pattern: "push", Refusal: "stop", Create: true, Evolve: true, Line: 4, Column: 3,
				Source: Source{Postgres: &PostgresSource{
					URL: "postgres://app:SECRET-env@db.example.com:5432/master", Capture: "outbox", Read: "poll", Snapshot: "never",
				}},
				Targets: []Target{{Name: "sqlite", SQLite: &SQLiteTarget{Path: "crm.db"}}},
				Batch:   Batch{MaxActions: 250, MaxBytes: 64 << 20, MaxDelay: 10 * time.Second},
			},
			{
				Name: "billing-2", Pattern: "push", Refusal: "stop", Create: true, Evolve: true, Line: 14, Column: 3,
				Source:  Source{SQLite: &SQLiteSource{Path: "pa$th/master.db", Capture: "outbox"}},
				Targets: []Target{{Name: "postgres", Postgres: &PostgresTarget{URL: "postgres://b:SECRET-literal@10.0.0.7/billing?sslmode=require", Schema: "sales"}}},
				Batch:   Batch{MaxActions: 1, MaxBytes: 1 << 10, MaxDelay: 0},
			},
			{
				Name: "queued", Pattern: "queue", Refusal: "stop", Create: true, Evolve: true, Line: 27, Column: 3,
				Source: Source{SQLite: &SQLiteSource{Path: "master.db", Capture: "outbox"}},
				Queue: Queue{Embedded: &EmbeddedQueue{
					Dir: "other/queue", Stream: "master", MaxBytes: 64 << 30, Keep: 24 * time.Hour,
					Listen: "0.0.0.0:4222", Token: "SECRET-queue", Subject: "queued",
				}},
				Targets: []Target{
					{Name: "eu", SQLite: &SQLiteTarget{Path: "eu.db"}},
					{Name: "us", Postgres: &PostgresTarget{URL: "postgres://h/us"}},
				},
				Batch: Batch{MaxActions: 1000, MaxBytes: 4 << 20, MaxDelay: 5 * time.Millisecond},
			},
			{
				Name: "taken", Pattern: "queue", Refusal: "stop", Create: true, Evolve: true, Line: 42, Column: 3,
				Queue: Queue{Embedded: &EmbeddedQueue{
					Dir: "other/queue", Stream: "foreign", MaxBytes: 8 << 30, Listen: "0.0.0.0:4222", Token: "SECRET-queue", Subject: "orders",
				}},
				Targets: []Target{{Name: "sqlite", SQLite: &SQLiteTarget{Path: "orders.db"}}},
				Batch:   Batch{MaxActions: 1000, MaxBytes: 4 << 20, MaxDelay: 5 * time.Millisecond},
			},
			{
				Name: "changed", Pattern: "push", Refusal: "stop", Line: 46, Column: 3,
				Source: Source{Postgres: &PostgresSource{
					URL: "postgres://h/db", Capture: "changes", Read: "wal", Snapshot: "never",
					Tables: []string{"public.customer", "public.order*"}, SlotName: "the_slot_1",
				}},
				Targets: []Target{{Name: "sqlite", SQLite: &SQLiteTarget{Path: "changed.db"}}},
				Mapping: everyRule(),
				Batch:   Batch{MaxActions: 1000, MaxBytes: 4 << 20, MaxDelay: 5 * time.Millisecond},
			},
			{
				Name: "logged", Pattern: "push", Refusal: "stop", Create: true, Evolve: true, Line: 70, Column: 3,
				Source:  Source{Postgres: &PostgresSource{URL: "postgres://h/db", Capture: "outbox", Read: "wal", Snapshot: "never", MaxSlotBytes: 1 << 30}},
				Targets: []Target{{Name: "a", SQLite: &SQLiteTarget{Path: "la.db"}}, {Name: "b", SQLite: &SQLiteTarget{Path: "lb.db"}}},
				Batch:   Batch{MaxActions: 1000, MaxBytes: 4 << 20, MaxDelay: 5 * time.Millisecond},
			},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("- want, + got:\n%s", diff)
	}
}

// everyRule is the mapping of everything.good.yml.
func everyRule() []Rule {
	const path = `pipelines.changed.mapping."public.customer"`
	at := func(line, column int, path string) Place { return Place{line, column, path} }
	return []Rule{
		{
			Entity: "public.customer", To: "crm.contact", Columns: map[string]string{"id": "contact_id", "full_name": "name"},
			Only: []string{"full_name", "phones"}, Drop: []string{"password_hash"},
			Set: []Expression{
				{Column: "source", Text: "'master'", Place: at(64, 23, path+".set.source")},
				{Column: "email", Text: "row.email.lowerAscii()", Place: at(64, 42, path+".set.email")},
			},
			Where:    &Expression{Text: "row.country == 'FI'", Place: at(65, 16, path+".where")},
			Types:    map[string]string{"id": "bigint", "born": "date"},
			Children: []Child{{Column: "phones", To: "crm.phone", Key: []string{"id"}, Parent: map[string]string{"customer_id": "id"}, Place: at(67, 20, path+".children.phones")}},
			Create:   true, Place: at(59, 7, path),
		},
		{Entity: "public.order", Evolve: true, Place: at(69, 7, `pipelines.changed.mapping."public.order"`)},
	}
}

// TestSlots: a slot has a name of its own for each consumer of the log.
func TestSlots(t *testing.T) {
	s := &PostgresSource{}
	for stream, want := range map[string]string{"crm/postgres": "waybill_crm_postgres", "Erp-2/EU_west": "waybill_erp_2_eu_west"} {
		if got := s.Slot(stream); got != want {
			t.Errorf("slot of %s is %s, want %s", stream, got, want)
		}
	}
	s.SlotName = "own"
	if got := s.Slot("crm/postgres"); got != "own" {
		t.Errorf("slot is %s", got)
	}
}

func TestDefaults(t *testing.T) {
	c, err := Load("testdata/minimal.good.yml", testEnv)
	if err != nil {
		t.Fatal(err)
	}
	p := c.Pipelines[0]
	if want := (Batch{MaxActions: 1000, MaxBytes: 4 << 20, MaxDelay: 5 * time.Millisecond}); p.Batch != want {
		t.Errorf("batch is %+v, want %+v", p.Batch, want)
	}
	if p.Refusal != "stop" || c.Admin.Listen != "127.0.0.1:7780" || c.Admin.Token != "" || c.State.SQLite.Path != "waybill-data/state.db" {
		t.Errorf("defaults are %+v", c)
	}
	if p.StreamTo(&p.Targets[0]) != "customers/sqlite" {
		t.Errorf("stream is %s", p.SourceStreams())
	}
}

// TestStreams: what source, queue and targets know the parts of a pipeline by.
func TestStreams(t *testing.T) {
	c, err := Load("testdata/queue-parts.good.yml", testEnv)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{ // at the source | at the targets | subject
		"through": "through/embedded | through/sqlite | through",
		"relay":   "relay/embedded |  | relay",
		"consume": " | consume/postgres | relay",
		"fan-out": "fan-out/one fan-out/two fan-out/embedded | fan-out/one fan-out/two fan-out/embedded | ",
		"alone":   " | alone/embedded | ",
	}
	for i := range c.Pipelines {
		p := &c.Pipelines[i]
		var at []string
		for j := range p.Targets {
			at = append(at, p.StreamTo(&p.Targets[j]))
		}
		subject := ""
		if p.Queue.IsSet() {
			subject = p.Queue.Embedded.Subject
		}
		got := strings.Join(p.SourceStreams(), " ") + " | " + strings.Join(at, " ") + " | " + subject
		if got != want[p.Name] {
			t.Errorf("%s: %s; want %s", p.Name, got, want[p.Name])
		}
	}
	q := c.Pipelines[0].Queue.Embedded
	if q.Dir != "waybill-data/queue" || q.Stream != "waybill" || q.MaxBytes != 8<<30 || q.Keep != 0 || q.Listen != "" || q.Token != "" {
		t.Errorf("defaults are %+v", q)
	}
	if dir := c.Pipelines[4].Queue.Embedded.Dir; dir != "/var/lib/queue" {
		t.Errorf("dir is %s", dir)
	}
}

// TestSharedQueues: what one pipeline says of a directory or a stream goes for those that share it.
func TestSharedQueues(t *testing.T) {
	c, err := Load("testdata/queue-shared.good.yml", testEnv)
	if err != nil {
		t.Fatal(err)
	}
	shared := func(most int64, keep time.Duration, stream, subject string) EmbeddedQueue {
		return EmbeddedQueue{Dir: "q", Stream: stream, MaxBytes: most, Keep: keep, Listen: "0.0.0.0:4222", Token: "SECRET-one", Subject: subject}
	}
	for i, want := range []EmbeddedQueue{
		shared(1<<30, time.Hour, "crm", "a"), shared(1<<30, time.Hour, "crm", "b"), shared(1<<30, time.Hour, "crm", "b"), shared(2<<30, 0, "other", ""),
		{Dir: "r", Stream: "CRM", MaxBytes: 8 << 30, Listen: "127.0.0.1:0"},
	} {
		if got := c.Pipelines[i].Queue.Embedded; *got != want {
			type plain EmbeddedQueue
			t.Errorf("%s: %+v, want %+v", c.Pipelines[i].Name, plain(*got), plain(want))
		}
	}
}

// TestLineEnds: byte order mark and Windows line ends change nothing, nor the places of faults.
func TestLineEnds(t *testing.T) {
	for _, name := range []string{"everything.good", "many.bad", "types.bad", "yaml.bad"} {
		data, err := os.ReadFile("testdata/" + name + ".yml")
		if err != nil {
			t.Fatal(err)
		}
		want, wantErr := Parse("f", data, testEnv)
		windows := append([]byte("\xef\xbb\xbf"), bytes.ReplaceAll(data, []byte("\n"), []byte("\r\n"))...)
		got, gotErr := Parse("f", windows, testEnv)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s:\n%s", name, diff)
		}
		if diff := cmp.Diff(wantErr, gotErr); diff != "" {
			t.Errorf("%s:\n%s", name, diff)
		}
	}
}

func TestLoadUnreadable(t *testing.T) {
	dir := t.TempDir()
	good, err := os.ReadFile("testdata/minimal.good.yml")
	if err != nil {
		t.Fatal(err)
	}
	large := filepath.Join(dir, "large.yaml") // good up to the bound, so that reading no further would do
	if err := os.WriteFile(large, append(good, bytes.Repeat([]byte("\n"), maxFileBytes-len(good)+1)...), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		filepath.Join(dir, "none.yaml"): `there is no such file; "waybill init" writes one`,
		dir:                             "cannot be read: is a directory",
		large:                           "is larger than 1024 KiB",
	} {
		_, err := Load(path, testEnv)
		var faults Faults
		if !errors.As(err, &faults) || err.Error() != path+": "+want {
			t.Errorf("got %v, want %s: %s", err, path, want)
		}
	}
}

// TestBounds: what is too large, too long or too deep is refused, and soon.
func TestBounds(t *testing.T) {
	cases := map[string]struct{ text, want string }{
		"file":       {strings.Repeat("#\n", maxFileBytes/2+1), "is larger than 1024 KiB"},
		"keys":       {strings.Repeat("a: b\n", maxFileBytes/5), "more than 20000 keys"},
		"brackets":   {"a: " + strings.Repeat("[", maxFileBytes-3), "nested more than 32 levels"},
		"braces":     {strings.Repeat("{a: ", maxFileBytes/4), "nested more than 32 levels"},
		"dashes":     {strings.Repeat("- ", maxFileBytes/2), "nested more than 32 levels"},
		"questions":  {strings.Repeat("? ", maxFileBytes/2), "nested more than 32 levels"},
		"anchors":    {strings.Repeat("&a ", 1000), "anchors (&name) are not supported"},
		"just below": {strings.Repeat("a: b\n", maxTokens/3), "is written twice"},
		"value":      {"pipelines: ${LONG}", "is longer"},
		"utf-8":      {"a: \xff", "is not UTF-8 text"},
		"utf-16":     {"\xff\xfea\x00", "is not UTF-8 text"},
		"indents":    {indents(), "unknown key"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if name == "value" {
				c.text = "admin: {token: \"${LONG}\"}"
			}
			_, err := Parse("f", []byte(c.text), func(string) (string, bool) { return strings.Repeat("x", maxValueBytes+1), true })
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error is %.300v, want %s", err, c.want)
			}
			if n := strings.Count(err.Error(), "\n"); n > maxFaults {
				t.Errorf("%d lines of faults", n)
			}
		})
	}
}

// indents nests by indentation as deep as a file may be long.
func indents() string {
	var b bytes.Buffer
	for i := 0; b.Len() < maxFileBytes-2000; i++ {
		b.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	return b.String()
}

func TestSelect(t *testing.T) {
	c, err := Load("testdata/everything.good.yml", testEnv)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		names []string
		want  string
	}{
		{nil, "crm billing-2 queued taken changed logged"},
		{[]string{"billing-2"}, "billing-2"},
		{[]string{"billing-2", "crm", "crm"}, "crm billing-2"},
	} {
		selected, err := c.Select(tc.names)
		var got []string
		for _, p := range selected {
			got = append(got, p.Name)
		}
		if err != nil || strings.Join(got, " ") != tc.want {
			t.Errorf("Select(%v) = %v, %v; want %s", tc.names, got, err, tc.want)
		}
	}
	_, err = c.Select([]string{"crn", "crm", "stock"})
	want := `testdata/everything.good.yml: there is no pipeline "crn"; did you mean "crm"?
testdata/everything.good.yml: there is no pipeline "stock"; it has crm, billing-2, queued, taken, changed, logged`
	if err == nil || err.Error() != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
}
