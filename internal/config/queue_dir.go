package config

import (
	"path/filepath"
	"strings"
)

// checkDirs refuses queue directories that hold something else of this file: another queue's
// directory, a database, the state. The queue's server takes everything in its directory for its own.
func checkDirs(top *value, uses []queueUse, out *collector) {
	var dirs []*queueUse // each directory at the one who named it first
	first := map[string]bool{}
	for i := range uses {
		if u := &uses[i]; u.stream != "" && !first[u.dir] {
			first[u.dir] = true
			dirs = append(dirs, u)
		}
	}
	for _, u := range dirs {
		for _, o := range dirs {
			if o != u && within(o.dir, u.dir) {
				out.add(u.get("dir").at, u.path+".dir", "is inside the queue directory of pipeline %s (line %d); choose one beside it", o.pipeline.name, o.get("dir").at.line)
			}
		}
	}
	check := func(path *value, at string) {
		if path == nil {
			return
		}
		absolute, err := filepath.Abs(path.text)
		if err != nil {
			return
		}
		for _, u := range dirs {
			if within(u.dir, absolute) {
				out.add(path.at, at+".sqlite.path", "is inside the queue directory of pipeline %s (line %d), where only the queue may keep files; move one of them", u.pipeline.name, u.get("dir").at.line)
			}
		}
	}
	check(top.get("state", "sqlite", "path"), "state")
	for _, p := range pipelineValues(top) {
		check(p.get("source", "sqlite", "path"), p.path+".source")
		for _, t := range p.targets() {
			check(t.get("sqlite", "path"), t.path)
		}
	}
}

// within reports whether path is dir or lies below it.
func within(dir, path string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, "../")
}
