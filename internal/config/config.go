package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
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
	checkParts(top, out)
	checkStreams(top, out)
	checkTargets(top, out)
	checkLogs(top, out)
	shareQueues(top, out)
	checkState(top, out)
	checkAdmin(top, out)
	if err := out.err(); err != nil {
		return nil, err
	}
	return build(name, top), nil
}

// build makes the Config of a file without faults.
func build(name string, top *value) *Config {
	c := &Config{
		File:  name,
		State: State{SQLite: &StateSQLite{Path: top.get("state", "sqlite", "path").str()}},
		Admin: Admin{Listen: top.get("admin", "listen").str(), Token: top.get("admin", "token").str()},
	}
	for _, p := range pipelineValues(top) {
		batch := p.get("batch")
		c.Pipelines = append(c.Pipelines, Pipeline{
			Name:    p.name,
			Pattern: p.get("pattern").str(),
			Source:  buildSource(&p),
			Queue:   buildQueue(p.get("queue", queueEnd)),
			Targets: buildTargets(&p),
			Refusal: p.get("on_refusal").str(),
			Create:  p.get("create").yes(),
			Evolve:  p.get("evolve").yes(),
			Mapping: buildMapping(&p),
			Batch: Batch{
				MaxActions: int(batch.get("max_actions").n()),
				MaxBytes:   batch.get("max_bytes").n(),
				MaxDelay:   time.Duration(batch.get("max_delay").n()),
			},
			Line:   p.at.line,
			Column: p.at.col,
		})
	}
	return c
}

func buildSource(p *pipelineValue) Source {
	v := p.get("source")
	if pg := v.get("postgres"); pg != nil {
		s := &PostgresSource{
			URL:      pg.get("url").str(),
			Capture:  pg.get("capture").str(),
			Read:     pg.get("outbox", "read").str(),
			Tables:   pg.get("tables").texts(),
			SlotName: pg.get("slot").str(),
			Snapshot: pg.get("snapshot").str(),
		}
		if s.Capture == captureChanges {
			s.Read = readWAL
		}
		if s.Log() {
			s.MaxSlotBytes = p.get("max_slot_bytes").n()
		}
		return Source{Postgres: s}
	}
	if lite := v.get("sqlite"); lite != nil {
		return Source{SQLite: &SQLiteSource{Path: lite.get("path").str(), Capture: lite.get("capture").str()}}
	}
	return Source{}
}

func buildQueue(v *value) Queue {
	if v == nil {
		return Queue{}
	}
	return Queue{Embedded: &EmbeddedQueue{
		Dir:      v.get("dir").str(),
		Stream:   v.get("stream").str(),
		MaxBytes: v.get("max_bytes").n(),
		Keep:     time.Duration(v.get("keep").n()),
		Listen:   v.get("listen").str(),
		Token:    v.get("token").str(),
		Subject:  v.get("subject").str(),
	}}
}

func buildTargets(p *pipelineValue) []Target {
	var targets []Target
	for _, v := range p.targets() {
		t := Target{Name: v.name}
		if pg := v.get("postgres"); pg != nil {
			t.Postgres = &PostgresTarget{URL: pg.get("url").str(), Schema: pg.get("schema").str()}
		} else {
			t.SQLite = &SQLiteTarget{Path: v.get("sqlite", "path").str()}
		}
		targets = append(targets, t)
	}
	return targets
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
