package waybill_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/waybill-data/waybill"

// pkg is what `go list -json` says of a package.
type pkg struct {
	ImportPath, Dir         string
	Imports                 []string
	GoFiles, IgnoredGoFiles []string
}

// layer says what a package, and those below it, may import.
type layer struct {
	pkg     string   // within the module; "" is the root package
	imports []string // within the module
	std     bool     // nothing but the standard library beside
}

// layers covers every package. One that no line covers fails the test: place it first.
var layers = []layer{
	{pkg: "", std: true},
	{pkg: "internal/fault", std: true},
	{pkg: "internal/envelope", imports: []string{""}, std: true},
	{pkg: "outbox", imports: []string{"", "internal/envelope"}},
	{pkg: "internal/postgres/server", imports: []string{""}},
	{pkg: "internal/postgres/pgvalue", imports: []string{"", "internal/envelope"}, std: true},
	{pkg: "internal/postgres/pgoutput", std: true},
	{pkg: "internal/postgres/poll", imports: append([]string{"internal/postgres/server"}, connector...)},
	{pkg: "internal/postgres/wal", imports: append([]string{
		"internal/postgres/server", "internal/postgres/pgoutput", "internal/postgres/pgvalue", "internal/postgres/poll",
	}, connector...)},
	{pkg: "internal/postgres/target", imports: append([]string{"internal/postgres/server", "internal/postgres/pgvalue"}, connector...)},
	{pkg: "internal/sqlite", imports: connector},
	{pkg: "internal/jetstream", imports: append([]string{"internal/envelope/event", "internal/flock"}, connector...)},
	{pkg: "internal/pump", imports: []string{"", "internal/fault"}},
	{pkg: "internal/pattern", imports: []string{"", "internal/pump"}},
	{pkg: "internal/mapping", imports: []string{"", "internal/envelope", "internal/envelope/spill"}},
	{pkg: "internal/config"},
	{pkg: "internal/flock"},
	{pkg: "internal/state", imports: []string{"internal/flock"}},
	{pkg: "internal/monitor", imports: []string{"", "internal/pump"}},
	{pkg: "internal/conformance", imports: []string{"", "internal/fault", "internal/envelope", "internal/testenv"}},
	{pkg: "internal/testenv"},
	{pkg: "internal/demo", imports: []string{"outbox"}}, // judges the engine, so shares no code with it
	{pkg: "cmd/waybill", imports: []string{
		"", "outbox", "internal/fault", "internal/envelope", "internal/pump", "internal/pattern", "internal/config", "internal/state",
		"internal/monitor", "internal/mapping", "internal/postgres/poll", "internal/postgres/wal", "internal/postgres/target", "internal/sqlite", "internal/jetstream", "internal/demo",
	}},
}

// connector is what a connector may know: neither another one, nor pump, pattern, config.
var connector = []string{"", "internal/envelope", "internal/envelope/spill", "internal/fault"}

// testOnly packages may be imported by tests, and by each other.
var testOnly = []string{"internal/conformance", "internal/testenv", "internal/postgres/pgtest", "test"}

// blankImports are the only packages that may import another for its side effects.
var blankImports = map[string][]string{
	"internal/sqlite": {"modernc.org/sqlite"},
	"internal/state":  {"modernc.org/sqlite"},
}

func list(t *testing.T, args ...string) []pkg {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"list", "-e", "-json=ImportPath,Dir,Imports,GoFiles,IgnoredGoFiles"}, args...)...)
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v: %s", err, errs.String())
	}
	var all []pkg
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// local is a package's path within the module.
func local(path string) (string, bool) {
	if path == module {
		return "", true
	}
	return strings.CutPrefix(path, module+"/")
}

func within(path, prefix string) bool {
	return path == prefix || prefix != "" && strings.HasPrefix(path, prefix+"/")
}

// TestLayers holds the import graph against the layers, for the ordinary build and the
// test build.
func TestLayers(t *testing.T) {
	for _, tags := range []string{"", "faults"} {
		for _, p := range list(t, "-tags="+tags, "./...") {
			for _, fault := range layerFaults(p) {
				t.Error(fault)
			}
		}
	}
}

func layerFaults(p pkg) []string {
	path, _ := local(p.ImportPath)
	if len(p.GoFiles) == 0 {
		return nil // tests only
	}
	i := slices.IndexFunc(layers, func(l layer) bool { return within(path, l.pkg) })
	if i < 0 {
		if slices.ContainsFunc(testOnly, func(only string) bool { return within(path, only) }) {
			return nil
		}
		return []string{fmt.Sprintf("package %q has no layer; give it one here", path)}
	}
	l := layers[i]
	var faults []string
	for _, imp := range p.Imports {
		name, ours := local(imp)
		switch {
		case ours && within(name, l.pkg) && l.pkg != "":
		case ours && !slices.Contains(l.imports, name):
			faults = append(faults, fmt.Sprintf("%q imports %q, which its layer does not allow", path, name))
		case !ours && l.std && strings.Contains(strings.SplitN(imp, "/", 2)[0], "."):
			faults = append(faults, fmt.Sprintf("%q imports %s; its layer has the standard library only", path, imp))
		}
	}
	return faults
}

// TestApplicationsGetNoEngine: what an application imports brings no engine code along, at
// any depth.
func TestApplicationsGetNoEngine(t *testing.T) {
	for _, p := range list(t, "-deps", "./outbox/...") {
		name, ours := local(p.ImportPath)
		if ours && name != "" && !within(name, "outbox") && name != "internal/envelope" {
			t.Errorf("the outbox package brings %s along", name)
		}
	}
}

// TestNoSideEffects: nothing registers itself; who is there is listed in one place. It looks
// at every file, whatever its build tags.
func TestNoSideEffects(t *testing.T) {
	for _, p := range list(t, "./...") {
		path, _ := local(p.ImportPath)
		if slices.ContainsFunc(testOnly, func(only string) bool { return within(path, only) }) {
			continue
		}
		for _, name := range slices.Concat(p.GoFiles, p.IgnoredGoFiles) {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			for _, fault := range sideEffects(path, file) {
				t.Errorf("%s/%s %s", path, name, fault)
			}
		}
	}
}

func sideEffects(path string, file *ast.File) []string {
	var faults []string
	for _, d := range file.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
			faults = append(faults, "has a func init()")
		}
	}
	if file.Name.Name == "main" {
		return faults
	}
	for _, i := range file.Imports {
		imported := strings.Trim(i.Path.Value, `"`)
		if i.Name != nil && i.Name.Name == "_" && imported != "embed" && !slices.Contains(blankImports[path], imported) {
			faults = append(faults, "imports "+imported+" for its side effects")
		}
	}
	return faults
}

// TestLayerTestBites proves that the checks above notice what they are for.
func TestLayerTestBites(t *testing.T) {
	for _, p := range []pkg{
		{ImportPath: module, Imports: []string{"golang.org/x/sync/errgroup"}},
		{ImportPath: module, Imports: []string{module + "/internal/fault"}},
		{ImportPath: module + "/internal/sqlite", Imports: []string{module + "/internal/postgres/target"}},
		{ImportPath: module + "/internal/postgres/pgwire", Imports: []string{module + "/internal/pump"}},
		{ImportPath: module + "/internal/postgres/target", Imports: []string{module + "/internal/config"}},
		{ImportPath: module + "/internal/postgres/target", Imports: []string{module + "/internal/envelope/event"}},
		{ImportPath: module + "/internal/jetstream", Imports: []string{module + "/internal/sqlite"}},
		{ImportPath: module + "/internal/jetstream", Imports: []string{module + "/internal/pattern"}},
		{ImportPath: module + "/internal/envelope/event", Imports: []string{"github.com/nats-io/nats.go"}},
		{ImportPath: module + "/outbox", Imports: []string{module + "/internal/envelope/event"}},
		{ImportPath: module + "/internal/pump", Imports: []string{module + "/internal/testenv"}},
		{ImportPath: module + "/outbox", Imports: []string{module + "/internal/sqlite"}},
		{ImportPath: module + "/cmd/waybill", Imports: []string{module + "/internal/conformance"}},
		{ImportPath: module + "/internal/nowhere"},
	} {
		p.GoFiles = []string{"x.go"}
		if len(layerFaults(p)) == 0 {
			t.Errorf("%s may import %v", p.ImportPath, p.Imports)
		}
	}
	file, err := parser.ParseFile(token.NewFileSet(), "x.go", "package x\nimport _ \"modernc.org/sqlite\"\nfunc init() {}\n", 0)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(sideEffects("internal/pump", file)); n != 2 {
		t.Errorf("%d side effects found, want 2", n)
	}
}
