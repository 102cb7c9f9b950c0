// Package config reads the configuration file.
//
// What it promises:
//
//   - A file is either understood completely, and then the Config holds every setting with
//     the defaults put in, or it is refused with all its faults at once, each with line,
//     column and path (Faults). Unknown keys are faults.
//   - Nothing is connected to and no file but the configuration itself is opened.
//   - No fault, and no way of printing a Config that fmt, log/slog and encoding/json
//     offer, shows a password, a token, or what an environment variable holds.
//   - Any input is refused or accepted in bounded time and memory: maxFileBytes, maxTokens,
//     maxNesting, maxValueBytes and maxFaults are the bounds.
//
// The format is described once, in format.go, as a tree of fields with type, default and
// explanation. The decoder, the defaults, the JSON Schema (Schema) and the reference in
// docs/configuration.md (Reference) are all derived from it. A setting that is named for a
// later version stands in the tree as such: it is refused as "not in this version" and is
// absent from the schema.
//
// The way of a file: readYAML turns the text into nodes that know their place (the only
// code that knows the YAML library), decoder holds the nodes against the tree and expands
// variables, build checks what no single field can tell and fills the Config in.
package config
