package config

import (
	"errors"
	"fmt"
	"strings"
)

const referenceIntro = `# Configuration

<!-- Generated from the format in internal/config. Do not edit: go test ./internal/config -update -->

Waybill reads one YAML file, ` + "`waybill.yaml`" + ` in the working directory or the one given by ` + "`-f FILE`" + `.
` + "`waybill init`" + ` writes one with comments, ` + "`waybill check`" + ` tells what is wrong with it and whether what it names can be
reached, and ` + "`waybill schema`" + ` prints its JSON Schema, with which editors complete and check it
(put ` + "`# yaml-language-server: $schema=waybill.schema.json`" + ` in the first line).

A file is accepted whole or refused whole. Every fault is listed, one a line, with exit code 2:

` + "```text" + `
waybill.yaml:7:5: pipelines.crm: unknown key "sorce"; did you mean "source"?
waybill.yaml:14:21: pipelines.crm.batch.max_bytes: must be a size from 1KiB to 1GiB, a whole number with B, KiB, MiB, GiB or TiB, not "4MB"
` + "```" + `

## How values are written

- **Variables.** ` + "`${VAR}`" + ` is what the environment variable holds; it must be set. ` + "`${VAR:-default}`" + ` is the default where the
  variable is unset or empty. ` + "`$$`" + ` is a dollar. Variables are put into values after the YAML was read, so what they hold
  cannot change the structure of the file; they do not work in keys. A default is plain text. Between ` + "`{`" + ` and ` + "`}`" + ` a value with
  a variable needs quotes: ` + "`{listen: \"${ADDRESS}\"}`" + `.
- **Durations** are Go's: ` + "`5ms`, `10s`, `1m30s`" + `. **Sizes** are whole numbers with ` + "`B`, `KiB`, `MiB`, `GiB` or `TiB`" + `.
- **Paths** are used as written; a relative one starts at the directory that Waybill is started in, not at the configuration file.
  ` + "`~` is not expanded; write `${HOME}`" + `.
- **Secrets.** Passwords and tokens never appear in output or logs, and a fault does not repeat what came from a variable.
- YAML's anchors, aliases, merge keys, tags and directives are refused, and so are duplicate keys and keys without a value.
  A file has at most %d KiB and %d keys, values and punctuation marks.

## Example

Without a queue:

` + "```yaml" + `
%s` + "```" + `

With a queue and two targets:

` + "```yaml" + `
%s` + "```" + `

The changes of tables, without an outbox:

` + "```yaml" + `
pipelines:
  crm:
    pattern: push
    source: {postgres: {url: "${SOURCE_URL}", capture: changes, tables: [public.customer, "public.order*"]}}
    target: {postgres: {url: "${CRM_URL}"}}
    mapping:
      public.customer:
        to: crm.contact
        columns: {full_name: name}     # the others pass as they are
        drop: [password_hash]
        where: "row.country == 'FI'"   # a row that leaves it is deleted at the target
` + "```" + `

Several pipelines may share a queue. What one says of its directory or stream goes for the others:

` + "```yaml" + `
pipelines:
  crm:                         # source only: it fills the queue
    pattern: queue
    source: {postgres: {url: "${CRM_URL}", capture: outbox}}
    queue: {embedded: {max_bytes: 64GiB, listen: 127.0.0.1:4222}}
  erp:
    pattern: queue
    source: {sqlite: {path: erp.db, capture: outbox}}
    queue: {embedded: {}}      # the same queue, with a subject of its own
    target: {sqlite: {path: from-erp.db}}
  warehouse:                   # target only: it takes what crm put there
    pattern: queue
    queue: {embedded: {subject: crm}}
    target: {postgres: {url: "${WAREHOUSE_URL}"}}
` + "```" + `
`

// Reference is docs/configuration.md: every key with type, default and explanation.
func Reference() []byte {
	example, err := Example(patternPush, "postgres", "", "postgres")
	queued, queuedErr := Example(patternQueue, "postgres", "", "postgres", "sqlite")
	if err = errors.Join(err, queuedErr); err != nil {
		panic(fmt.Sprintf("config: reference: %v", err)) // a mistake in example.go
	}
	var b strings.Builder
	fmt.Fprintf(&b, referenceIntro, maxFileBytes>>10, maxTokens, example, queued)
	b.WriteString("\n## Keys\n\n")
	referenceTable(&b, "", format())
	referenceSections(&b, "", format())
	b.WriteString("\n## Not in this version\n\nThese are named for later versions and refused as \"not in this version\":\n\n")
	referenceLater(&b, "", format())
	return []byte(b.String())
}

// referenceSections writes a heading and a table for every section below f, depth first.
func referenceSections(b *strings.Builder, path string, f *field) {
	for _, c := range f.present() {
		if len(c.fields) == 0 {
			continue
		}
		at := referencePath(path, c)
		fmt.Fprintf(b, "\n### `%s`\n\n%s\n\n", at, c.doc)
		if c.like != "" {
			like := referencePath(path, f.has(c.like))
			fmt.Fprintf(b, "Each is written like [`%s`](%s).\n", like, referenceAnchor(like))
			continue
		}
		referenceTable(b, at, c)
		referenceSections(b, at, c)
	}
}

// referencePath is the path of c with NAME for a name that the user chooses.
func referencePath(path string, c *field) string {
	if path != "" {
		path += "."
	}
	path += c.name
	switch {
	case c.kind == named && c.free:
		path += "." + c.freeName
	case c.kind == named:
		path += ".NAME"
	}
	return path
}

func referenceTable(b *strings.Builder, path string, f *field) {
	if f.kind == oneOf {
		b.WriteString("Exactly one of:\n\n")
	}
	b.WriteString("| key | value | default | meaning |\n|---|---|---|---|\n")
	for _, c := range f.present() {
		value, doc := c.expects(), c.doc
		switch {
		case c.kind == word:
			value = "`" + strings.Join(c.words, "`, `") + "`"
		case len(c.fields) > 0:
			value = fmt.Sprintf("[section](%s)", referenceAnchor(referencePath(path, c)))
			if first, _, more := strings.Cut(doc, ". "); more { // the rest stands at the section
				doc = first + "."
			}
		}
		def := "–"
		switch {
		case c.required:
			def = "required"
		case c.neededBy != "":
			def = c.neededBy
		case c.def != "":
			def = "`" + c.def + "`"
		}
		if f.kind == oneOf && c.kind == section {
			def = "–"
		}
		fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", c.name, value, def, doc)
	}
}

// referenceAnchor is where the heading of a path is.
func referenceAnchor(path string) string {
	return "#" + strings.ReplaceAll(strings.ToLower(path), ".", "")
}

// referenceLater lists what later versions have.
func referenceLater(b *strings.Builder, path string, f *field) {
	for _, c := range f.fields {
		at := referencePath(path, c)
		if c.later {
			fmt.Fprintf(b, "- `%s`\n", at)
			continue
		}
		if len(c.laterWords) > 0 {
			fmt.Fprintf(b, "- `%s`: `%s`\n", at, strings.Join(c.laterWords, "`, `"))
		}
		if c.like == "" && len(c.fields) > 0 {
			referenceLater(b, at, c)
		}
	}
}
