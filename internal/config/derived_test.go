package config

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	gocmp "github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

func compiledSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(Schema()))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("waybill.schema.json", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := compiler.Compile("waybill.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// instance is a YAML text as the schema's validator wants it.
func instance(t *testing.T, text []byte) any {
	t.Helper()
	data, err := yaml.YAMLToJSON(text)
	if err != nil {
		t.Fatal(err)
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestSchemaAcceptsGoodFiles(t *testing.T) {
	schema := compiledSchema(t)
	files, _ := filepath.Glob("testdata/*.good.yml")
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(instance(t, text)); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
	for _, combination := range combinations() {
		text, err := Example(combination[0], combination[1], "", combination[2:]...)
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(instance(t, text)); err != nil {
			t.Errorf("example %v: %v", combination, err)
		}
	}
}

// TestSchemaRefuses: faults of structure and type are ones to the schema too.
func TestSchemaRefuses(t *testing.T) {
	schema := compiledSchema(t)
	for _, name := range []string{"unknown-keys", "types", "missing", "kinds", "numbers", "names", "later", "mapping", "queue-values", "targets"} {
		text, err := os.ReadFile("testdata/" + name + ".bad.yml")
		if err != nil {
			t.Fatal(err)
		}
		if schema.Validate(instance(t, text)) == nil {
			t.Errorf("the schema accepts %s.bad.yml", name)
		}
	}
}

// TestSchemaKnowsTheParts: which of source, queue and targets go together is known to the schema.
func TestSchemaKnowsTheParts(t *testing.T) {
	schema := compiledSchema(t)
	parts := map[string]string{
		"source":  "source: {sqlite: {path: a.db, capture: outbox}}",
		"queue":   "queue: {embedded: {}}",
		"target":  "target: {sqlite: {path: b.db}}",
		"targets": "targets: {b: {sqlite: {path: b.db}}}",
	}
	keys := []string{"source", "queue", "target", "targets"}
	for set := range 1 << len(keys) {
		for _, pattern := range []string{"push", "queue"} {
			text, has := "pipelines:\n  crm:\n    pattern: "+pattern+"\n", map[string]bool{}
			for i, key := range keys {
				if set&(1<<i) != 0 {
					text += "    " + parts[key] + "\n"
					has[key] = true
				}
			}
			ends := has["source"] && (has["target"] || has["targets"])
			want := ends && !has["queue"]
			if pattern == "queue" {
				want = has["queue"] && (has["source"] || has["target"] || has["targets"])
			}
			want = want && !(has["target"] && has["targets"])
			_, err := Parse("f", []byte(text), testEnv)
			schemaErr := schema.Validate(instance(t, []byte(text)))
			if (err == nil) != want || (schemaErr == nil) != want {
				t.Errorf("accepted should be %v: %v, schema: %v\n%s", want, err, schemaErr, text)
			}
		}
	}
}

// TestSchemaIsOfThisVersion: the schema has no key or word that is refused as not in this
// version, every key has a description, and every object is closed.
func TestSchemaIsOfThisVersion(t *testing.T) {
	var root any
	if err := json.Unmarshal(Schema(), &root); err != nil {
		t.Fatal(err)
	}
	var walk func(path string, f *field, s map[string]any)
	walk = func(path string, f *field, s map[string]any) {
		if s["description"] == "" || s["description"] == nil {
			t.Errorf("%s has no description", path)
		}
		if f.kind == named {
			s = s["additionalProperties"].(map[string]any)
		}
		if len(f.fields) == 0 {
			return
		}
		if s["additionalProperties"] != false {
			t.Errorf("%s is not closed", path)
		}
		properties := s["properties"].(map[string]any)
		if len(properties) != len(f.present()) {
			t.Errorf("%s has %d properties, want %v", path, len(properties), f.keys())
		}
		required, _ := s["required"].([]any)
		for _, c := range f.present() {
			if slices.Contains(required, any(c.name)) != c.required {
				t.Errorf("%s.%s: required is %v, want %v", path, c.name, !c.required, c.required)
			}
			walk(path+"."+c.name, c, properties[c.name].(map[string]any))
		}
	}
	walk("", format(), root.(map[string]any))
	for _, w := range []string{"full-copy", "notify-pull", `"nats"`, "kafka", "debezium", "partition_by", `"letter"`, `"initial"`, "mysql", "max_parked"} {
		if bytes.Contains(Schema(), []byte(w)) {
			t.Errorf("the schema mentions %s", w)
		}
	}
}

func TestReference(t *testing.T) {
	golden(t, "../../docs/configuration.md", Reference())
}

// combinations are pattern, source and targets.
func combinations() [][]string {
	var all [][]string
	for _, source := range []string{"postgres", "sqlite"} {
		for _, target := range []string{"postgres", "sqlite"} {
			all = append(all, []string{"push", source, target}, []string{"queue", source, target})
		}
		all = append(all, []string{"queue", source, "none"}, []string{"queue", "none", source})
	}
	return append(all, []string{"push", "postgres", "postgres", "sqlite"}, []string{"queue", "sqlite", "sqlite", "postgres", "sqlite"})
}

var commentedSetting = regexp.MustCompile(`(?m)^( *)# ( *[a-z_]+:( .*)?)$`)

// TestExample: every example is good, with and without variables set, and the settings that it
// shows commented out are the defaults and good too.
func TestExample(t *testing.T) {
	unset := func(string) (string, bool) { return "", false }
	for _, combination := range combinations() {
		text, err := Example(combination[0], combination[1], "", combination[2:]...)
		if err != nil {
			t.Fatal(err)
		}
		c, err := Parse("waybill.yaml", text, unset)
		if err != nil {
			t.Fatalf("%v: %v\n%s", combination, err, text)
		}
		p := c.Pipelines[0]
		parts := []string{p.Pattern, cmp.Or(p.Source.Kind(), None)}
		for i := range p.Targets {
			parts = append(parts, p.Targets[i].Kind())
		}
		if len(p.Targets) == 0 {
			parts = append(parts, None)
		}
		if !slices.Equal(parts, combination) || p.Queue.IsSet() != (combination[0] == "queue") {
			t.Errorf("%v: pipeline is %+v", combination, p)
		}
		bare := commentedSetting.ReplaceAll(text, []byte("$1$2"))
		if bytes.Equal(bare, text) {
			t.Errorf("%v: no setting is commented out", combination)
		}
		full, err := Parse("waybill.yaml", bare, unset)
		if err != nil {
			t.Fatalf("%v without comments: %v\n%s", combination, err, bare)
		}
		for i := range full.Pipelines[0].Targets {
			if pg := full.Pipelines[0].Targets[i].Postgres; pg != nil {
				pg.Schema = "" // shown as public, which is what an empty one mostly means
			}
		}
		if q := full.Pipelines[0].Queue.Embedded; q != nil { // these have no default
			q.Listen = ""
			if p.Source.IsSet() != (q.Subject == p.Name) {
				t.Errorf("%v: subject is %q", combination, q.Subject)
			}
			q.Subject = p.Queue.Embedded.Subject
		}
		if diff := gocmp.Diff(c, full); diff != "" {
			t.Errorf("%v: what is commented out is not the default:\n%s", combination, diff)
		}
		for i, line := range strings.Split(string(text), "\n") {
			if len(line) > 100 {
				t.Errorf("%v: line %d is %d long", combination, i+1, len(line))
			}
		}
	}
	for _, tc := range []struct{ pattern, source, targets, want string }{
		{"full-copy", "sqlite", "sqlite", "pattern full-copy is not in this version, which has: push, queue"},
		{"psuh", "sqlite", "sqlite", `there is no pattern "psuh"; did you mean "push"?`},
		{"push", "mysql", "sqlite", "source mysql is not in this version, which has: postgres, sqlite"},
		{"push", "oracle", "sqlite", `there is no source "oracle"; there are: postgres, sqlite`},
		{"push", "sqlite", "postgress", `there is no target "postgress"; did you mean "postgres"?`},
		{"push", "none", "sqlite", "pattern push needs a source and a target; only with a queue one of them may be none"},
		{"push", "sqlite", "none", "pattern push needs a source and a target; only with a queue one of them may be none"},
		{"queue", "none", "none", "a pipeline needs a source, a target, or both"},
		{"queue", "sqlite", "sqlite,none", `there is no target "none"; there are: postgres, sqlite`},
	} {
		if _, err := Example(tc.pattern, tc.source, "", strings.Split(tc.targets, ",")...); err == nil || err.Error() != tc.want {
			t.Errorf("got %v, want %s", err, tc.want)
		}
	}
}

// TestSecretsStayHidden prints a configuration in every way that a log or a test may.
func TestSecretsStayHidden(t *testing.T) {
	c, err := Load("testdata/everything.good.yml", testEnv)
	if err != nil {
		t.Fatal(err)
	}
	c.Pipelines = append(c.Pipelines,
		Pipeline{Source: Source{Postgres: &PostgresSource{URL: "postgres://h/db?password=SECRET&sslpassword=SECRET"}}},
		Pipeline{Source: Source{Postgres: &PostgresSource{URL: "host=h password=SECRET"}}, Targets: []Target{{Name: "postgres", Postgres: &PostgresTarget{URL: "postgres://a:SECRET/b@h/db"}}}},
	)
	printed := map[string]string{}
	things := map[string]any{
		"config": *c, "pointer": c, "pipeline": c.Pipelines[0], "pipelines": c.Pipelines, "source": c.Pipelines[0].Source,
		"postgres": *c.Pipelines[0].Source.Postgres, "target": c.Pipelines[1].Targets[0].Postgres, "admin": c.Admin, "queue": c.Pipelines[2].Queue, "embedded": *c.Pipelines[2].Queue.Embedded,
	}
	for name, thing := range things {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			printed[name+" "+verb] = fmt.Sprintf(verb, thing)
		}
		data, err := json.Marshal(thing)
		if err != nil {
			t.Fatal(err)
		}
		printed[name+" json"] = string(data)
	}
	redacted := c.Redacted()
	printed["redacted"] = redacted.Pipelines[0].Source.Postgres.URL + redacted.Pipelines[1].Targets[0].Postgres.URL + redacted.Admin.Token + redacted.Pipelines[2].Queue.Embedded.Token
	for how, text := range printed {
		if strings.Contains(text, "SECRET") || strings.Contains(text, fmt.Sprintf("%x", "SECRET")) {
			t.Errorf("%s shows a secret: %s", how, text)
		}
	}
	if !strings.Contains(printed["config %+v"], "db.example.com:5432/master") {
		t.Errorf("the rest of the URL is gone: %s", printed["config %+v"])
	}
	if c.Admin.Token != "SECRET-token" || !strings.Contains(c.Pipelines[0].Source.Postgres.URL, "SECRET") ||
		!strings.Contains(c.Pipelines[1].Targets[0].Postgres.URL, "SECRET") || c.Pipelines[2].Queue.Embedded.Token != "SECRET-queue" {
		t.Error("Redacted changed the original")
	}
	for in, want := range map[string]string{
		"":                       "",
		"postgres://u:p@h/db":    "postgres://u:xxxxx@h/db",
		"postgres://u@h:1,i:2/d": "postgres://u@h:1,i:2/d",
		"postgres://u:p%zz@h/db": "xxxxx",
		"mysql://u:p@h/db":       "xxxxx",
	} {
		if got := RedactURL(in); got != want {
			t.Errorf("RedactURL(%s) = %s, want %s", in, got, want)
		}
	}
}

// TestExampleOfChanges: what captures changes names its tables, and says what it needs.
func TestExampleOfChanges(t *testing.T) {
	for _, pattern := range []string{"push", "queue"} {
		text, err := Example(pattern, "postgres", "changes", "postgres")
		if err != nil {
			t.Fatal(err)
		}
		if err := compiledSchema(t).Validate(instance(t, text)); err != nil {
			t.Error(err)
		}
		c, err := Parse("waybill.yaml", text, func(string) (string, bool) { return "", false })
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		if s := c.Pipelines[0].Source.Postgres; s.Capture != "changes" || !s.Log() || len(s.Tables) != 1 || s.MaxSlotBytes != 10<<30 {
			t.Errorf("source is %+v", s)
		}
	}
	for _, tc := range [][3]string{
		{"postgres", "entities", "capture entities is not in this version, which has: outbox, changes"},
		{"postgres", "change", `there is no capture "change"; did you mean "changes"?`},
		{"sqlite", "changes", "a sqlite source has no log to read changes from; it is captured with an outbox: leave capture out, or read changes of a postgres source"},
		{"none", "changes", "without a source there is nothing to capture"},
	} {
		if _, err := Example("queue", tc[0], tc[1], "sqlite"); err == nil || err.Error() != tc[2] {
			t.Errorf("got %v, want %s", err, tc[2])
		}
	}
}
