package config

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// maxValueBytes bounds a value after its variables were put in.
const maxValueBytes = 64 << 10

// value is what a field holds after decoding. A nil value stands for one that is absent or
// could not be understood.
type value struct {
	at   position // of the value, or of the key that holds it if it is a section or absent
	text string
	num  int64 // integer; size in bytes; duration in nanoseconds; boolean 1 for true
	// fields of a section or oneOf; keys are in the order of the file for named.
	keys   []string
	fields map[string]*value
	// mentioned are the keys that were written, even if at fault, and those that something
	// at fault seems to have meant.
	mentioned map[string]bool
	items     []*value // of a list; none is nil
	variable  bool     // the text holds what a variable does
}

// get is the value of a key, nil if it is absent.
func (v *value) get(keys ...string) *value {
	for _, k := range keys {
		if v == nil {
			return nil
		}
		v = v.fields[k]
	}
	return v
}

// str is the text of a scalar, "" for nil.
func (v *value) str() string {
	if v == nil {
		return ""
	}
	return v.text
}

// n is the number of a scalar, 0 for nil.
func (v *value) n() int64 {
	if v == nil {
		return 0
	}
	return v.num
}

// decoder holds nodes against the format and adds what does not fit to out.
type decoder struct {
	out *collector
	env lookup
}

// field decodes what stands under a key, at being the key's place.
func (d *decoder) field(f *field, n *node, at position, path string) *value {
	if n.kind == nodeNull {
		d.out.add(n.at, path, "has no value; give it one or remove the key")
		return nil
	}
	switch f.kind {
	case section, oneOf, named:
		if n.kind != nodeMap {
			d.out.add(n.at, path, "must be %s, not %s", f.expects(), kindNames[n.kind])
			return nil
		}
		if f.kind == named {
			return d.named(f, n, at, path)
		}
		return d.section(f, n, at, path)
	case list:
		return d.list(f, n, path)
	}
	return d.scalar(f, n, path)
}

// section decodes a section or a oneOf.
func (d *decoder) section(f *field, n *node, at position, path string) *value {
	mentioned := map[string]bool{}
	v := &value{at: at, fields: map[string]*value{}, mentioned: mentioned}
	for _, e := range d.unique(n, path) {
		child := f.has(e.key)
		switch {
		case child == nil:
			mentioned[d.unknown(f, e, path)] = true
		case child.later:
			d.out.add(e.at, join(path, e.key), "%s is not in this version", e.key)
			mentioned[e.key] = true
		default:
			mentioned[e.key] = true
			if c := d.field(child, e.value, e.at, join(path, e.key)); c != nil {
				v.keys = append(v.keys, e.key)
				v.fields[e.key] = c
			}
		}
	}
	if f.kind == oneOf {
		d.exactlyOne(f, n, at, path)
		return v
	}
	for _, child := range f.present() {
		if mentioned[child.name] {
			continue
		}
		if child.required {
			d.out.add(at, join(path, child.name), "is missing; it must be %s", child.expects())
		} else if c := d.absent(child, at); c != nil {
			v.fields[child.name] = c
		}
	}
	return v
}

// exactlyOne checks that of the kinds one was written.
func (d *decoder) exactlyOne(f *field, n *node, at position, path string) {
	var kinds []string
	for _, e := range n.entries {
		if f.has(e.key) != nil && !slices.Contains(kinds, e.key) {
			kinds = append(kinds, e.key)
		}
	}
	if len(kinds) > 1 {
		d.out.add(at, path, "holds %s; exactly one is allowed", strings.Join(kinds, " and "))
	}
	if len(kinds) == 0 && len(n.entries) == 0 {
		d.out.add(at, path, "is empty; it needs one of: %s", strings.Join(f.keys(), ", "))
	}
}

// absent is the default of a field that was not written, nil if it has none.
func (d *decoder) absent(f *field, at position) *value {
	switch f.kind {
	case section, oneOf:
		if f.kind == oneOf && f.def == "" {
			return nil
		}
		v := &value{at: at, fields: map[string]*value{}}
		for _, child := range f.present() {
			if f.kind == oneOf && child.name != f.def {
				continue
			}
			if c := d.absent(child, at); c != nil {
				v.keys = append(v.keys, child.name)
				v.fields[child.name] = c
			}
		}
		return v
	case named, list:
		return nil
	}
	if f.def == "" {
		return nil
	}
	v := &value{at: at, text: f.def}
	if problem := f.parseScalar(f.def, v); problem != "" {
		panic(fmt.Sprintf("config: default of %s %s", f.name, problem)) // a mistake in format.go
	}
	return v
}

var pipelineName = regexp.MustCompile(pipelineNamePattern)

// named decodes the sections under names that the user chose.
func (d *decoder) named(f *field, n *node, at position, path string) *value {
	v := &value{at: at, fields: map[string]*value{}}
	if len(n.entries) == 0 {
		d.out.add(at, path, "is empty; it needs at least one")
	}
	each := &field{kind: f.each, fields: f.fields, required: true}
	for _, e := range d.unique(n, path) {
		if f.free {
			if problem := freeNameProblem(e.key); problem != "" {
				d.out.add(e.at, join(path, e.key), "%s", problem)
			}
		} else if !pipelineName.MatchString(e.key) {
			d.out.add(e.at, join(path, e.key), "is not a good name; a name is %s", pipelineNameRule)
		}
		if c := d.field(each, e.value, e.at, join(path, e.key)); c != nil {
			v.keys = append(v.keys, e.key)
			v.fields[e.key] = c
		}
	}
	return v
}

// maxFreeName bounds the names of entities and columns, in bytes.
const maxFreeName = 256

// freeNameProblem says what is wrong with the name of an entity or a column, "" for nothing.
func freeNameProblem(name string) string {
	switch {
	case name == "":
		return "has an empty name"
	case len(name) > maxFreeName:
		return fmt.Sprintf("has a name of more than %d bytes", maxFreeName)
	case strings.ContainsFunc(name, unicode.IsControl):
		return "has a name with a line break or another control character"
	}
	return ""
}

// list decodes a list of scalars.
func (d *decoder) list(f *field, n *node, path string) *value {
	if n.kind != nodeList {
		d.out.add(n.at, path, "must be %s, not %s", f.expects(), kindNames[n.kind])
		return nil
	}
	if len(n.items) == 0 {
		d.out.add(n.at, path, "is empty; it needs at least one, or remove the key")
		return nil
	}
	v := &value{at: n.at}
	each, first := &field{kind: f.each, required: true}, map[string]position{}
	for i, item := range n.items {
		at := join(path, strconv.Itoa(i))
		got := d.field(each, item, item.at, at)
		if got == nil {
			continue
		}
		if earlier, again := first[got.text]; again {
			d.out.add(item.at, at, "is listed twice; the first is in line %d", earlier.line)
			continue
		}
		first[got.text] = item.at
		v.items = append(v.items, got)
	}
	return v
}

// unique are the entries of a map without repeated keys, which are faults.
func (d *decoder) unique(n *node, path string) []entry {
	first := make(map[string]position, len(n.entries))
	var entries []entry
	for _, e := range n.entries {
		if at, again := first[e.key]; again {
			d.out.add(e.at, join(path, e.key), "is written twice; the first is in line %d", at.line)
			continue
		}
		first[e.key] = e.at
		entries = append(entries, e)
	}
	return entries
}

// unknown adds the fault of a key that the format does not have and returns the key that was
// probably meant, "" if that is not clear.
func (d *decoder) unknown(f *field, e entry, path string) string {
	if hint := f.elsewhere[e.key]; hint != "" {
		d.out.add(e.at, path, "unknown key %s; %s", shown(e.key), hint)
		return ""
	}
	if meant := nearest(e.key, f.keys()); meant != "" {
		d.out.add(e.at, path, "unknown key %s; did you mean %q?", shown(e.key), meant)
		return meant
	}
	if usual := slices.Sorted(maps.Keys(f.elsewhere)); len(usual) > 0 {
		if meant := nearest(e.key, usual); meant != "" {
			d.out.add(e.at, path, "unknown key %s; %s", shown(e.key), f.elsewhere[meant])
			return ""
		}
	}
	for _, child := range f.present() {
		if inner := child.has(e.key); inner != nil && !inner.later && child.kind != named {
			d.out.add(e.at, path, "unknown key %s; it belongs in %s", shown(e.key), child.name)
			return ""
		}
	}
	d.out.add(e.at, path, "unknown key %s; the keys here are %s", shown(e.key), strings.Join(f.keys(), ", "))
	return ""
}

// scalar decodes a single value.
func (d *decoder) scalar(f *field, n *node, path string) *value {
	x := expansion{text: n.text}
	if n.kind == nodeString {
		x = expand(n.text, d.env)
	}
	for _, name := range x.unset {
		d.out.add(n.at, path, "the environment variable %s is not set; set it, or give a default with ${%s:-…}", name, name)
	}
	problem := x.problem
	switch {
	case problem != "":
	case len(x.unset) > 0:
		return nil
	default:
		problem = f.formProblem(n, x)
	}
	v := &value{at: n.at, text: x.text, variable: len(x.from) > 0}
	if problem == "" && (x.text != "" || f.required || f.kind != text) {
		if problem = f.parseScalar(x.text, v); problem != "" {
			if f.kind == word && slices.Contains(f.laterWords, x.text) {
				problem = fmt.Sprintf("%s is not in this version, which has: %s", subject(x), strings.Join(f.words, ", "))
			} else {
				problem += butIs(f, x)
			}
		}
	}
	if problem != "" {
		d.out.add(n.at, path, "%s", problem)
		return nil
	}
	return v
}

// formProblem says what is wrong with a scalar before its content is looked at.
func (f *field) formProblem(n *node, x expansion) string {
	fromVariable := len(x.from) > 0
	switch {
	case n.kind == nodeMap || n.kind == nodeList:
		return fmt.Sprintf("must be %s, not %s", f.expects(), kindNames[n.kind])
	case f.kind == integer && n.kind == nodeString && !fromVariable && f.parseScalar(n.text, &value{}) == "":
		return "must be a number, not text; remove the quotes"
	case f.kind == boolean && n.kind == nodeString && !fromVariable && f.parseScalar(n.text, &value{}) == "":
		return "must be true or false, not text; remove the quotes"
	case f.kind == boolean && n.kind == nodeBool, f.kind == size && f.min == 0 && n.kind == nodeNumber && n.text == "0":
	case (f.kind == text || f.kind == file || f.kind == directory || f.kind == identifier || f.kind == slotName || f.kind == table) && n.kind != nodeString:
		return fmt.Sprintf("must be text, not %s; put it in quotes", kindNames[n.kind])
	case f.kind == integer && n.kind == nodeBool, f.kind != integer && n.kind != nodeString:
		return fmt.Sprintf("must be %s, not %s", f.expects(), kindNames[n.kind])
	case x.text == "" && (f.required || f.kind != text):
		return "is empty" + variables(" because of ", x) + "; it must be " + f.expects()
	case len(x.text) > maxValueBytes:
		return fmt.Sprintf("is longer than %d KiB", maxValueBytes>>10)
	case strings.ContainsFunc(x.text, unicode.IsControl):
		return "holds a line break or another control character" + variables(", by way of ", x)
	}
	return ""
}

var wholeNumber = regexp.MustCompile(`^-?[0-9]{1,20}$`)

// butIs names the value that did not fit, or where it came from.
func butIs(f *field, x expansion) string {
	if len(x.from) > 0 {
		return variables("; its value comes from ", x)
	}
	if f.secret || f.kind == file || f.kind == directory {
		return "" // not to be shown; its problem says it all
	}
	if f.kind == integer && wholeNumber.MatchString(x.text) {
		return ", not " + x.text
	}
	if q, ok := quote(x.text); ok {
		return ", not " + q
	}
	return ""
}

// subject is a value as the subject of a sentence.
func subject(x expansion) string {
	if len(x.from) > 0 {
		return "the value" + variables(" of ", x)
	}
	return x.text
}

// variables names the variables that a value was made of, "" for none.
func variables(before string, x expansion) string {
	if len(x.from) == 0 {
		return ""
	}
	return before + "${" + strings.Join(x.from, "} and ${") + "}"
}
