package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Load reads the configuration file at path, relative to the working directory. env looks up
// environment variables, usually os.LookupEnv. Every error is of type Faults: the file cannot
// be read, or is at fault.
func Load(path string, env func(string) (string, bool)) (*Config, error) {
	data, err := readFile(path)
	if err != nil {
		message := "cannot be read: " + reason(err)
		if errors.Is(err, fs.ErrNotExist) {
			message = `there is no such file; "waybill init" writes one`
		}
		return nil, Faults{{File: path, Message: message}}
	}
	return Parse(path, data, env)
}

// readFile reads no more than one byte beyond the bound, which Parse then refuses.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // it was only read
	return io.ReadAll(io.LimitReader(f, maxFileBytes+1))
}

// reason is an error without the path, which the fault names already.
func reason(err error) string {
	if pathErr, ok := errors.AsType[*fs.PathError](err); ok {
		err = pathErr.Err
	}
	return err.Error()
}

// Parse reads a configuration; name stands for the file in faults. env looks up environment
// variables. Every error is of type Faults.
func Parse(name string, data []byte, env func(string) (string, bool)) (*Config, error) {
	out := &collector{file: name}
	root := readYAML(data, out)
	if root == nil || len(out.faults) > 0 {
		return nil, out.err()
	}
	d := &decoder{out: out, env: env}
	top := d.field(format(), root, position{1, 1}, "")
	checkStreams(top, out)
	checkState(top, out)
	checkAdmin(top, out)
	if err := out.err(); err != nil {
		return nil, err
	}
	return build(name, top), nil
}

// checkStreams refuses pipelines whose stream names are the same for those who do not tell upper
// from lower case: a file system, a replication slot, a person.
func checkStreams(top *value, out *collector) {
	pipelines := top.get("pipelines")
	if pipelines == nil {
		return
	}
	first := map[string]string{}
	for _, name := range pipelines.keys {
		p := pipelines.get(name)
		target := p.get("target")
		if target == nil || len(target.keys) != 1 {
			continue
		}
		stream := strings.ToLower(name + "/" + target.keys[0])
		if other, taken := first[stream]; taken {
			out.add(p.at, join("pipelines", name), "has the stream name %s, which only upper and lower case tell from that of %s; rename one",
				shown(name+"/"+target.keys[0]), shown(other))
			continue
		}
		first[stream] = name
	}
}

// checkState refuses a state file that is also a source or target.
func checkState(top *value, out *collector) {
	state := top.get("state", "sqlite", "path")
	pipelines := top.get("pipelines")
	if state == nil || pipelines == nil {
		return
	}
	for _, name := range pipelines.keys {
		for _, end := range []string{"source", "target"} {
			path := pipelines.get(name, end, "sqlite", "path")
			if path == nil || filepath.Clean(path.text) != filepath.Clean(state.text) {
				continue
			}
			out.add(path.at, join("pipelines", name)+"."+end+".sqlite.path", "is the file of state.sqlite.path; the state needs a file of its own")
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

// build makes the Config of a file without faults.
func build(name string, top *value) *Config {
	c := &Config{
		File:  name,
		State: State{SQLite: &StateSQLite{Path: top.get("state", "sqlite", "path").str()}},
		Admin: Admin{Listen: top.get("admin", "listen").str(), Token: top.get("admin", "token").str()},
	}
	pipelines := top.get("pipelines")
	for _, name := range pipelines.keys {
		v := pipelines.get(name)
		batch := v.get("batch")
		c.Pipelines = append(c.Pipelines, Pipeline{
			Name:    name,
			Pattern: v.get("pattern").str(),
			Source:  buildSource(v.get("source")),
			Targets: []Target{buildTarget(v.get("target"))},
			Refusal: v.get("on_refusal").str(),
			Batch: Batch{
				MaxActions: int(batch.get("max_actions").n()),
				MaxBytes:   batch.get("max_bytes").n(),
				MaxDelay:   time.Duration(batch.get("max_delay").n()),
			},
			Line:   v.at.line,
			Column: v.at.col,
		})
	}
	return c
}

func buildSource(v *value) Source {
	if pg := v.get("postgres"); pg != nil {
		return Source{Postgres: &PostgresSource{
			URL:      pg.get("url").str(),
			Capture:  pg.get("capture").str(),
			Read:     pg.get("outbox", "read").str(),
			Snapshot: pg.get("snapshot").str(),
		}}
	}
	sqlite := v.get("sqlite")
	return Source{SQLite: &SQLiteSource{Path: sqlite.get("path").str(), Capture: sqlite.get("capture").str()}}
}

func buildTarget(v *value) Target {
	if pg := v.get("postgres"); pg != nil {
		return Target{Name: "postgres", Postgres: &PostgresTarget{URL: pg.get("url").str(), Schema: pg.get("schema").str()}}
	}
	return Target{Name: "sqlite", SQLite: &SQLiteTarget{Path: v.get("sqlite", "path").str()}}
}

// Select returns the pipelines of these names in the order of the file, all of them if there
// are no names. The pipelines are the Config's own. An unknown name is an error of type
// Faults, all of them at once.
func (c *Config) Select(names []string) ([]*Pipeline, error) {
	var all []string
	for i := range c.Pipelines {
		all = append(all, c.Pipelines[i].Name)
	}
	var unknown Faults
	for _, name := range names {
		if slices.Contains(all, name) {
			continue
		}
		message := fmt.Sprintf("there is no pipeline %s", shown(name))
		if meant := nearest(name, all); meant != "" {
			message += fmt.Sprintf("; did you mean %q?", meant)
		} else {
			message += "; it has " + listed(all)
		}
		unknown = append(unknown, Fault{File: c.File, Message: message})
	}
	if len(unknown) > 0 {
		return nil, unknown
	}
	var selected []*Pipeline
	for i := range c.Pipelines {
		if len(names) == 0 || slices.Contains(names, c.Pipelines[i].Name) {
			selected = append(selected, &c.Pipelines[i])
		}
	}
	return selected, nil
}

// listed joins names, no more than fit a line.
func listed(names []string) string {
	const most = 8
	if len(names) > most {
		return strings.Join(names[:most], ", ") + fmt.Sprintf(" and %d more", len(names)-most)
	}
	return strings.Join(names, ", ")
}
