package config

import (
	"path/filepath"
	"slices"
	"strings"
)

// What no single field can tell of a pipeline's parts. Each check adds what it finds and goes on;
// what is at fault already is passed over.

// pipelineValue is a pipeline as it was decoded.
type pipelineValue struct {
	name string
	path string // in faults
	*value
}

func pipelineValues(top *value) []pipelineValue {
	pipelines := top.get("pipelines")
	if pipelines == nil {
		return nil
	}
	all := make([]pipelineValue, 0, len(pipelines.keys))
	for _, name := range pipelines.keys {
		all = append(all, pipelineValue{name, join("pipelines", name), pipelines.get(name)})
	}
	return all
}

// targetValue is a target as it was decoded.
type targetValue struct {
	name string
	path string // in faults
	kind string
	*value
}

// targets are those under target and targets whose kind is understood.
func (p *pipelineValue) targets() []targetValue {
	var all []targetValue
	add := func(name, path string, v *value) {
		if v == nil || len(v.keys) != 1 {
			return
		}
		if name == "" {
			name = v.keys[0]
		}
		all = append(all, targetValue{name: name, path: path, kind: v.keys[0], value: v})
	}
	add("", p.path+".target", p.get("target"))
	if several := p.get("targets"); several != nil {
		for _, name := range several.keys {
			add(name, join(p.path+".targets", name), several.get(name))
		}
	}
	return all
}

// hasTarget reports whether one was written, even if at fault.
func (p *pipelineValue) hasTarget() bool { return p.mentioned["target"] || p.mentioned["targets"] }

// checkParts holds source, queue and targets against the pattern; pipelineRules says the same to
// editors.
func checkParts(top *value, out *collector) {
	for _, p := range pipelineValues(top) {
		if p.mentioned["target"] && p.mentioned["targets"] {
			out.add(p.at, p.path, "holds target and targets; exactly one is allowed")
		}
		pattern := p.get("pattern").str()
		if pattern == "" && p.mentioned["queue"] {
			pattern = patternQueue
		}
		if pattern == patternQueue {
			checkQueueParts(&p, out)
			continue
		}
		if v := p.get("queue"); v != nil && pattern == patternPush {
			out.add(v.at, p.path+".queue", "pattern push has no queue; write pattern: queue, or remove this section")
		}
		if !p.mentioned["source"] {
			out.add(p.at, p.path+".source", "is missing; it must be %s", partOf("source").expects())
		}
		if !p.hasTarget() {
			out.add(p.at, p.path+".target", "is missing; it must be %s", partOf("target").expects())
		}
	}
}

func checkQueueParts(p *pipelineValue, out *collector) {
	if !p.mentioned["queue"] {
		out.add(p.at, p.path+".queue", "is missing; it must be %s", partOf("queue").expects())
	}
	if !p.mentioned["source"] && !p.hasTarget() {
		out.add(p.at, p.path, "has neither source nor target; give it a source (it fills the queue), a target (it empties the queue), or both")
	}
}

// partOf is the format of a pipeline's key.
func partOf(key string) *field { return (&field{fields: pipelineFields()}).has(key) }

// checkStreams refuses streams whose names are the same for those who do not tell upper from
// lower case: a file system, a replication slot, a person.
func checkStreams(top *value, out *collector) {
	type owner struct {
		stream, pipeline string
		intoQueue        bool
	}
	first := map[string]owner{}
	for _, p := range pipelineValues(top) {
		take := func(at position, path, end string, intoQueue bool) {
			stream := p.name + "/" + end
			other, taken := first[strings.ToLower(stream)]
			switch {
			case !taken:
				first[strings.ToLower(stream)] = owner{stream, p.name, intoQueue}
			case other.stream == stream && other.intoQueue:
				out.add(at, path, "has the stream name %s, which is that of the way into the queue; rename the target", shown(stream))
			case other.stream == stream: // target beside targets, which is a fault already
			case other.pipeline == p.name:
				out.add(at, path, "has the stream name %s, which only upper and lower case tell from %s; rename one", shown(stream), shown(other.stream))
			default:
				out.add(at, path, "has the stream name %s, which only upper and lower case tell from that of %s; rename one", shown(stream), shown(other.pipeline))
			}
		}
		if p.mentioned["queue"] && p.mentioned["source"] { // even if at fault: this is another one
			take(p.at, p.path, queueEnd, true)
		}
		for _, t := range p.targets() {
			if p.mentioned["targets"] {
				take(t.at, t.path, t.name, false)
			} else {
				take(p.at, p.path, t.name, false)
			}
		}
	}
}

// checkTargets refuses to apply everything twice to one place.
func checkTargets(top *value, out *collector) {
	for _, p := range pipelineValues(top) {
		var seen []targetValue
		for _, t := range p.targets() {
			i := slices.IndexFunc(seen, func(o targetValue) bool { return samePlace(&o, &t) })
			if i >= 0 {
				out.add(t.at, t.path, "is the same place as target %s, so every action would be applied there twice; remove one", seen[i].name)
				continue
			}
			seen = append(seen, t)
		}
	}
}

// samePlace reports whether two targets are spelled alike.
func samePlace(a, b *targetValue) bool {
	if a.kind != b.kind {
		return false
	}
	if a.kind == "sqlite" {
		x, y := a.get("sqlite", "path"), b.get("sqlite", "path")
		return x != nil && y != nil && filepath.Clean(x.text) == filepath.Clean(y.text)
	}
	x, y := a.get("postgres", "url"), b.get("postgres", "url")
	return x != nil && y != nil && x.text == y.text && a.get("postgres", "schema").str() == b.get("postgres", "schema").str()
}

// checkState refuses a state file that is also a source or target.
func checkState(top *value, out *collector) {
	state := top.get("state", "sqlite", "path")
	if state == nil {
		return
	}
	check := func(path *value, at string) {
		if path != nil && filepath.Clean(path.text) == filepath.Clean(state.text) {
			out.add(path.at, at+".sqlite.path", "is the file of state.sqlite.path; the state needs a file of its own")
		}
	}
	for _, p := range pipelineValues(top) {
		check(p.get("source", "sqlite", "path"), p.path+".source")
		for _, t := range p.targets() {
			check(t.get("sqlite", "path"), t.path)
		}
	}
}

// checkAdmin refuses to let other machines in without a token.
func checkAdmin(top *value, out *collector) {
	admin := top.get("admin")
	listen, token := admin.get("listen"), admin.get("token")
	if listen == nil || loopback(listen.text) {
		return
	}
	atFault := token == nil && admin.mentioned["token"]
	if token.str() == "" && !atFault {
		out.add(listen.at, "admin.listen", "is not a loopback address, so admin.token is needed; set one, or listen at 127.0.0.1")
	}
}
