package config

import (
	"fmt"
	"slices"
	"strings"
)

// Example is a waybill.yaml with comments for a pattern, a kind of source and a kind of target.
// Settings that have a default are commented out and show it. An error says that this version
// does not have one of the three, and what it has instead.
func Example(pattern, source, target string) ([]byte, error) {
	pipeline := format().has("pipelines")
	choices := []struct {
		what, chosen string
		have, later  []string
	}{
		{"pattern", pattern, pipeline.has("pattern").words, pipeline.has("pattern").laterWords},
		{"source", source, pipeline.has("source").keys(), pipeline.has("source").laterKeys()},
		{"target", target, pipeline.has("target").keys(), pipeline.has("target").laterKeys()},
	}
	for _, c := range choices {
		if slices.Contains(c.have, c.chosen) {
			continue
		}
		have := strings.Join(c.have, ", ")
		if slices.Contains(c.later, c.chosen) {
			return nil, fmt.Errorf("%s %s is not in this version, which has: %s", c.what, c.chosen, have)
		}
		if meant := nearest(c.chosen, c.have); meant != "" {
			return nil, fmt.Errorf("there is no %s %s; did you mean %q?", c.what, shown(c.chosen), meant)
		}
		return nil, fmt.Errorf("there is no %s %s; there are: %s", c.what, shown(c.chosen), have)
	}
	e := &exampleWriter{format: format()}
	e.head(target)
	e.source(source)
	e.target(target)
	e.settings()
	return []byte(e.b.String()), nil
}

// laterKeys are the names of the fields that later versions have.
func (f *field) laterKeys() []string {
	var names []string
	for _, c := range f.fields {
		if c.later {
			names = append(names, c.name)
		}
	}
	return names
}

type exampleWriter struct {
	format *field
	b      strings.Builder
}

func (e *exampleWriter) lines(lines ...string) {
	for _, l := range lines {
		e.b.WriteString(l + "\n")
	}
}

// def writes a setting with its default after what comments it out. The path is of the
// format, without the pipeline's name.
func (e *exampleWriter) def(comment string, path ...string) {
	f := e.format
	for _, p := range path {
		f = f.has(p)
	}
	e.lines(comment + f.name + ": " + f.def)
}

func (e *exampleWriter) head(target string) {
	e.lines(
		"# What Waybill carries from where to where. All keys: docs/configuration.md",
		"#",
		"# ${VAR} is an environment variable, ${VAR:-default} has a default, $$ is a dollar.",
		"# Lines that begin with \"# key:\" show a setting with its default.",
		"#",
		"#   waybill check                    what is missing, and what the pipeline promises",
		"#   waybill outbox install my-data   prepares the source",
		"#   waybill run                      carries until it is stopped",
		"",
		"pipelines:",
		"  # The name is yours. Source and target remember how far the pipeline came under the",
		fmt.Sprintf("  # name \"my-data/%s\": one with another name starts anew.", target),
		"  my-data:",
		"    # With push each business action goes to the target as soon as it is committed.",
		"    pattern: push",
		"",
	)
}

func (e *exampleWriter) source(kind string) {
	e.lines("    # Where the business actions come from.", "    source:")
	if kind == "sqlite" {
		e.lines(
			"      sqlite:",
			"        # The database file of the application; a relative path starts at the directory",
			"        # that waybill is started in.",
			"        path: ${SOURCE_PATH:-source.db}",
			"        # The application writes what it did into an outbox, inside its own transaction,",
			"        # with the Go package \"outbox\" or with SQL. \"waybill outbox sql my-data\" shows the",
			"        # tables.",
			"        capture: outbox",
			"",
		)
		return
	}
	e.lines(
		"      postgres:",
		"        # Keep the password out of this file: set SOURCE_URL where waybill runs. Special",
		"        # characters in the password are written as %XX. Use sslmode=verify-full over a network.",
		"        url: ${SOURCE_URL:-postgres://localhost:5432/source}",
		"        # The application writes what it did into an outbox, inside its own transaction, with",
		"        # \"select waybill.emit(…)\". \"waybill outbox sql my-data\" shows the schema.",
		"        capture: outbox",
	)
	e.def("        # ", "pipelines", "source", "postgres", "snapshot")
	e.lines("")
}

func (e *exampleWriter) target(kind string) {
	e.lines("    # Where they are applied, whole and in order. The tables must exist, with primary keys.", "    target:")
	if kind == "sqlite" {
		e.lines(
			"      sqlite:",
			"        path: ${TARGET_PATH:-target.db}",
			"",
		)
		return
	}
	e.lines(
		"      postgres:",
		"        url: ${TARGET_URL:-postgres://localhost:5432/target}",
		"        # The schema of the tables, for all entities. Without it: the one that the entity",
		"        # names (sales.customer), else public.",
		"        # schema: public",
		"",
	)
}

func (e *exampleWriter) settings() {
	e.lines(
		"    # When the target refuses an action for good (a constraint, a missing column), stop before",
		"    # it and say why. Nothing is lost or skipped; other pipelines go on.",
	)
	e.def("    # ", "pipelines", "on_refusal")
	e.lines("", "    # How many actions share a transaction at the target. An action is never split.", "    # batch:")
	e.def("    #   ", "pipelines", "batch", "max_actions")
	e.def("    #   ", "pipelines", "batch", "max_bytes")
	e.def("    #   ", "pipelines", "batch", "max_delay")
	e.lines("", "# What the engine itself has to remember. Each engine needs its own file.", "# state:", "#   sqlite:")
	e.def("#     ", "state", "sqlite", "path")
	e.lines("", "# Status, metrics (/metrics) and health (/healthz, /readyz). Any address but this machine's own",
		"# needs a token.", "# admin:")
	e.def("#   ", "admin", "listen")
	e.lines("#   token: ${ADMIN_TOKEN:-}")
}
