package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// None stands for no source, or no target, of an Example.
const None = "none"

// Example is a waybill.yaml with comments for a pattern, a kind of source and kinds of targets,
// which have names if there are several. With a queue there may be None of one of them. Settings
// that have a default are commented out and show it. An error says that this version does not
// have one of them, and what it has instead. Capture is what is read of the source, "" for the
// outbox.
func Example(pattern, source, capture string, targets ...string) ([]byte, error) {
	queue := pattern == patternQueue
	if err := choose("pattern", pattern, partOf("pattern").words, partOf("pattern").laterWords); err != nil {
		return nil, err
	}
	e := &exampleWriter{format: format(), pattern: pattern}
	if e.sourced = source != None; e.sourced {
		if err := choose("source", source, partOf("source").keys(), partOf("source").laterKeys()); err != nil {
			return nil, err
		}
	}
	if err := e.choose(source, capture); err != nil {
		return nil, err
	}
	for _, t := range targets {
		if t == None && len(targets) == 1 {
			break
		}
		if err := choose("target", t, partOf("target").keys(), partOf("target").laterKeys()); err != nil {
			return nil, err
		}
		e.targets = append(e.targets, t)
	}
	switch {
	case !queue && (!e.sourced || len(e.targets) == 0):
		return nil, fmt.Errorf("pattern %s needs a source and a target; only with a queue one of them may be %s", pattern, None)
	case !e.sourced && len(e.targets) == 0:
		return nil, errors.New("a pipeline needs a source, a target, or both")
	}
	e.head()
	if e.sourced {
		e.source(source)
	}
	if queue {
		e.queue()
	}
	e.writeTargets()
	e.settings()
	return []byte(e.b.String()), nil
}

// choose settles what is captured.
func (e *exampleWriter) choose(source, capture string) error {
	e.capture = captureOutbox
	switch {
	case capture == "":
		return nil
	case !e.sourced:
		return errors.New("without a source there is nothing to capture")
	}
	e.capture = capture
	if source == "sqlite" && capture == captureChanges {
		return errors.New("a sqlite source has no log to read changes from; it is captured with an outbox: leave capture out, or read changes of a postgres source")
	}
	f := partOf("source").has(source).has("capture")
	return choose("capture", capture, f.words, f.laterWords)
}

// choose refuses what this version does not have.
func choose(what, chosen string, have, later []string) error {
	all := strings.Join(have, ", ")
	switch meant := nearest(chosen, have); {
	case slices.Contains(have, chosen):
		return nil
	case slices.Contains(later, chosen):
		return fmt.Errorf("%s %s is not in this version, which has: %s", what, chosen, all)
	case meant != "":
		return fmt.Errorf("there is no %s %s; did you mean %q?", what, shown(chosen), meant)
	}
	return fmt.Errorf("there is no %s %s; there are: %s", what, shown(chosen), all)
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
	format  *field
	pattern string
	sourced bool // there is a source
	capture string
	targets []string // kinds
	b       strings.Builder
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

func (e *exampleWriter) head() {
	e.lines(
		"# What Waybill carries from where to where. All keys: docs/configuration.md",
		"#",
		"# ${VAR} is an environment variable, ${VAR:-default} has a default, $$ is a dollar.",
		"# Lines that begin with \"# key:\" show a setting with its default.",
		"#",
		"#   waybill check                    what is missing, and what the pipeline promises",
	)
	if e.sourced {
		e.lines("#   waybill outbox install my-data   prepares the source")
	}
	e.lines(
		"#   waybill run                      carries until it is stopped",
		"",
		"pipelines:",
		"  # The name is yours. Source, queue and target remember how far the pipeline came under",
		fmt.Sprintf("  # this name (%q): one with another name starts anew.", "my-data/"+e.end()),
		"  my-data:",
	)
	switch {
	case e.pattern == patternPush:
		e.lines("    # With push each business action goes to the target as soon as it is committed.")
	case !e.sourced:
		e.lines("    # With queue and no source it carries on what another pipeline put into the queue.")
	case len(e.targets) == 0:
		e.lines("    # With queue and no target each business action goes into a queue on this machine's",
			"    # disk, where other pipelines find it.")
	default:
		e.lines("    # With queue each business action goes into a queue on this machine's disk first, and",
			"    # from there to the target, whenever that is there to take it.")
	}
	e.lines("    pattern: "+e.pattern, "")
}

// end is the first stream's.
func (e *exampleWriter) end() string {
	if len(e.targets) == 0 {
		return queueEnd
	}
	return e.targetName(0)
}

// targetName is the kind, numbered where it is not the first of its kind.
func (e *exampleWriter) targetName(i int) string {
	n := 1
	for _, kind := range e.targets[:i] {
		if kind == e.targets[i] {
			n++
		}
	}
	if n == 1 {
		return e.targets[i]
	}
	return fmt.Sprintf("%s-%d", e.targets[i], n)
}

func (e *exampleWriter) queue() {
	e.lines("    # Where they wait: a stream of messages (CloudEvents, an action each) that is part of the",
		"    # engine, in a directory that belongs to one engine at a time.", "    queue:")
	e.lines("      embedded:")
	at := func(key string) []string { return []string{"pipelines", "queue", "embedded", key} }
	e.lines("        # Pipelines with the same directory and stream share a queue.",
		"        "+partOf("queue").has("embedded").has("dir").name+": ${QUEUE_DIR:-"+partOf("queue").has("embedded").has("dir").def+"}")
	e.def("        # ", at("stream")...)
	e.lines("        # Full: the source is held back. Nothing is dropped.")
	e.def("        # ", at("max_bytes")...)
	e.lines("        # How long an action is kept at least, though every target has it.")
	e.def("        # ", at("keep")...)
	if !e.sourced {
		e.lines("        # Whose actions to take: the name of the pipeline that put them there. It can be left",
			"        # out where there is only one.", "        # subject: NAME")
	}
	e.lines("        # Where NATS clients may read too; beyond this machine with a token.",
		"        # listen: 127.0.0.1:4222", "        # token: ${QUEUE_TOKEN:-}", "")
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
	)
	if e.capture == captureChanges {
		e.lines(
			"        # What is inserted, updated and deleted in these tables, as the server's log tells it;",
			"        # one transaction is one action. The server needs wal_level = logical, and the tables",
			"        # primary keys. \"waybill outbox sql my-data\" shows what is set up.",
			"        capture: changes",
			"        tables: [\"public.*\"]",
		)
	} else {
		e.lines(
			"        # The application writes what it did into an outbox, inside its own transaction, with",
			"        # \"select waybill.emit(…)\". \"waybill outbox sql my-data\" shows the schema.",
			"        capture: outbox",
		)
	}
	e.def("        # ", "pipelines", "source", "postgres", "snapshot")
	e.lines("")
}

func (e *exampleWriter) writeTargets() {
	applied := "    # Where they are applied, whole and in order. The tables must exist, with primary keys."
	if e.capture == captureChanges {
		applied = "    # Where they are applied, whole and in order. Tables that do not exist are created."
	}
	switch len(e.targets) {
	case 0:
		return
	case 1:
		e.lines(applied, "    target:")
		e.target(e.targets[0], "      ", "")
	default:
		e.lines(applied, "    # Each target has its own position under its name; none waits for another.", "    targets:")
		for i, kind := range e.targets {
			name := e.targetName(i)
			e.lines("      " + name + ":")
			e.target(kind, "        ", strings.TrimPrefix(name, kind))
		}
	}
	e.lines("")
}

// target writes one target; number is "" or -2, -3 …
func (e *exampleWriter) target(kind, indent, number string) {
	variable, database := strings.ReplaceAll(number, "-", "_"), "target"+number
	if kind == "sqlite" {
		e.lines(indent+"sqlite:", indent+"  path: ${TARGET_PATH"+variable+":-"+database+".db}")
		return
	}
	e.lines(
		indent+"postgres:",
		indent+"  url: ${TARGET_URL"+variable+":-postgres://localhost:5432/"+database+"}",
		indent+"  # The schema of the tables, for all entities. Without it: the one that the entity",
		indent+"  # names (sales.customer), else public.",
		indent+"  # schema: public",
	)
}

func (e *exampleWriter) settings() {
	if e.capture == captureChanges {
		e.lines("    # From how many bytes of log that the source keeps for this pipeline on to raise an alarm.")
		e.def("    # ", "pipelines", "max_slot_bytes")
		e.lines("")
	}
	if len(e.targets) > 0 {
		e.lines(
			"    # When a target refuses an action for good (a constraint, a missing column), stop before",
			"    # it and say why. Nothing is lost or skipped; other targets and pipelines go on.",
		)
		e.def("    # ", "pipelines", "on_refusal")
		e.lines("")
	}
	e.lines("    # How many actions share a transaction. An action is never split.", "    # batch:")
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
