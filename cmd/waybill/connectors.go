package main

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/config"
	"github.com/waybill-data/waybill/internal/jetstream"
	"github.com/waybill-data/waybill/internal/mapping"
	"github.com/waybill-data/waybill/internal/postgres/poll"
	"github.com/waybill-data/waybill/internal/postgres/target"
	"github.com/waybill-data/waybill/internal/postgres/wal"
	"github.com/waybill-data/waybill/internal/sqlite"
)

// Here, and only here, the kinds of the configuration meet the packages that serve them.
// Nothing connects before it is used.

const (
	kindPostgres = "postgres"
	kindSQLite   = "sqlite"
)

// newSourceReader makes the reader of the pipeline's source for a consumer, one of
// p.SourceStreams. What is too large for memory goes into the directory spill, "" for the system's
// own.
func newSourceReader(p *config.Pipeline, stream, spill string, log *slog.Logger) (waybill.Reader, error) {
	b := p.Batch
	switch s := p.Source; {
	case s.Postgres != nil && s.Postgres.Log():
		slot := s.Postgres.Slot(stream)
		return wal.NewReader(wal.Options{
			URL: s.Postgres.URL, Stream: stream, Slot: slot, Publication: slot,
			Tables: s.Postgres.Tables, Whole: wholeEntities(p), Outbox: s.Postgres.Capture == "outbox",
			MaxActions: b.MaxActions, MaxBytes: b.MaxBytes, MaxSlotBytes: s.Postgres.MaxSlotBytes, SpillDir: spill, Log: log,
		}), nil
	case s.Postgres != nil:
		return poll.NewReader(poll.Options{
			URL: s.Postgres.URL, Stream: stream,
			MaxActions: b.MaxActions, MaxBytes: b.MaxBytes, MaxDelay: b.MaxDelay, Log: log,
		}), nil
	case s.SQLite != nil:
		return sqlite.NewOutbox(sqlite.SourceOptions{
			Path: s.SQLite.Path, Stream: stream,
			MaxActions: b.MaxActions, MaxBytes: b.MaxBytes, MaxDelay: b.MaxDelay, Log: log,
		}), nil
	}
	return nil, fmt.Errorf("pipeline %s: no connector serves its source", p.Name)
}

// wholeEntities are those of which a condition needs whole rows.
func wholeEntities(p *config.Pipeline) []string {
	var all []string
	for i := range p.Mapping {
		if p.Mapping[i].Where != nil {
			all = append(all, p.Mapping[i].Entity)
		}
	}
	return all
}

// newMappedWriter makes the target t of p with what the mapping m does before it.
func newMappedWriter(p *config.Pipeline, t *config.Target, m *mapping.Mapping, owner string, log *slog.Logger) (waybill.Writer, error) {
	w, err := newWriter(p, t, m, owner, log)
	if err != nil {
		return nil, err
	}
	return mappedTo(m, w), nil
}

// newWriter makes the target t of p, for what the mapping m, nil for none, makes of changes. Owner is
// who may take over its own lease at once; empty for nobody.
func newWriter(p *config.Pipeline, t *config.Target, m *mapping.Mapping, owner string, log *slog.Logger) (waybill.Writer, error) {
	switch {
	case t.Postgres != nil:
		return target.NewWriter(target.Options{
			URL: t.Postgres.URL, Schema: t.Postgres.Schema, Owner: owner, Define: definer(p), Describe: m.Describe, Log: log,
		}), nil
	case t.SQLite != nil:
		return sqlite.NewWriter(sqlite.TargetOptions{
			Path: t.SQLite.Path, Owner: owner, Define: definer(p), Describe: m.Describe, Log: log,
		}), nil
	}
	return nil, fmt.Errorf("pipeline %s: no connector serves its target %s", p.Name, t.Name)
}

// queues are the embedded queues of this process: one server for each directory, and on it one
// queue for each stream, shared by all pipelines that name them.
type queues struct {
	servers map[string]*jetstream.Server // by directory
	queues  map[queueKey]*jetstream.Queue
	spill   string // the directory for what a source's reader cannot hold in memory
}

type queueKey struct{ dir, stream string }

// newQueues makes the queues of the picked pipelines; those that share one agree on it, which the
// configuration saw to. It opens nothing.
func newQueues(cfg *config.Config, picked []*config.Pipeline, log *slog.Logger) *queues {
	q := &queues{servers: map[string]*jetstream.Server{}, queues: map[queueKey]*jetstream.Queue{}}
	if cfg.State.SQLite != nil {
		q.spill = filepath.Dir(cfg.State.SQLite.Path)
	}
	for _, p := range picked {
		e := p.Queue.Embedded
		if e == nil {
			continue
		}
		server := q.servers[e.Dir]
		if server == nil {
			log := log.With("queue", e.Dir)
			server = jetstream.NewServer(jetstream.ServerOptions{Dir: e.Dir, Listen: e.Listen, Token: e.Token, Log: log})
			q.servers[e.Dir] = server
		}
		key := queueKey{e.Dir, e.Stream}
		if q.queues[key] == nil {
			q.queues[key] = jetstream.NewQueue(server, jetstream.QueueOptions{
				Stream: e.Stream, MaxBytes: e.MaxBytes, Keep: e.Keep, Log: log.With("queue", e.Dir, "queue_stream", e.Stream),
			})
		}
	}
	return q
}

// of are the server and the queue of p, nil for a pipeline without a queue.
func (q *queues) of(p *config.Pipeline) (*jetstream.Server, *jetstream.Queue) {
	e := p.Queue.Embedded
	if e == nil {
		return nil, nil
	}
	return q.servers[e.Dir], q.queues[queueKey{e.Dir, e.Stream}]
}

// newQueueWriter makes the end of p's first hop: the writer of its subject. The stream is
// p.QueueStream.
func newQueueWriter(p *config.Pipeline, queue *jetstream.Queue, log *slog.Logger) waybill.Writer {
	return jetstream.NewWriter(queue, jetstream.WriterOptions{Subject: p.Name, Log: log})
}

// newQueueReader makes the beginning of p's hop to t. The stream is p.StreamTo(t).
func newQueueReader(p *config.Pipeline, t *config.Target, queue *jetstream.Queue, log *slog.Logger) waybill.Reader {
	return jetstream.NewReader(queue, jetstream.ReaderOptions{
		Subject: p.Queue.Embedded.Subject, Stream: p.StreamTo(t),
		MaxActions: p.Batch.MaxActions, MaxBytes: p.Batch.MaxBytes, Log: log,
	})
}

// hops are all connectors of one pipeline. Without a queue each target has a source reader of its
// own; with one there is a source reader at most, and each target has a reader of the queue.
type hops struct {
	pipeline *config.Pipeline
	sources  []sourceEnd
	server   *jetstream.Server // nil without a queue
	queue    *jetstream.Queue  // likewise
	intoIt   waybill.Writer    // the queue's; nil without queue or source
	targets  []targetEnd
}

// sourceEnd is one consumer of the source.
type sourceEnd struct {
	stream string
	reader waybill.Reader
}

// targetEnd is one target with what it reads from.
type targetEnd struct {
	target *config.Target
	stream string
	reader waybill.Reader // of the queue, else of the source
	writer waybill.Writer
}

// newHops makes the connectors of p. Owner is who may take over its own lease at once; empty
// for nobody.
func newHops(p *config.Pipeline, q *queues, owner string, log *slog.Logger) (*hops, error) {
	log = log.With("pipeline", p.Name)
	h := &hops{pipeline: p}
	h.server, h.queue = q.of(p)
	m, err := newMapping(p)
	if err != nil {
		return nil, fmt.Errorf("pipeline %s: %w", p.Name, err)
	}
	for _, stream := range p.SourceStreams() {
		reader, err := newSourceReader(p, stream, q.spill, log)
		if err != nil {
			return nil, err
		}
		h.sources = append(h.sources, sourceEnd{stream, mapped(m, reader)})
	}
	if h.queue != nil && p.Source.IsSet() {
		h.intoIt = newQueueWriter(p, h.queue, log)
	}
	for i := range p.Targets {
		t := &p.Targets[i]
		writer, err := newMappedWriter(p, t, m, owner, log)
		if err != nil {
			return nil, err
		}
		end := targetEnd{target: t, stream: p.StreamTo(t), writer: writer}
		if h.queue != nil {
			end.reader = newQueueReader(p, t, h.queue, log)
			if !p.Source.IsSet() { // nobody left out what the mapping leaves out
				end.reader = mapped(m, end.reader)
			}
		} else {
			end.reader = h.sources[i].reader
		}
		h.targets = append(h.targets, end)
	}
	return h, nil
}

// streams are the names of all hops: into the queue first, then to each target.
func (h *hops) streams() []string {
	var all []string
	if h.intoIt != nil {
		all = append(all, h.pipeline.QueueStream())
	}
	for _, t := range h.targets {
		all = append(all, t.stream)
	}
	return all
}

// only leaves one target, and of the sources what is that target's alone.
func (h *hops) only(target string) {
	h.targets = slices.DeleteFunc(h.targets, func(t targetEnd) bool { return t.target.Name != target })
	h.sources = slices.DeleteFunc(h.sources, func(s sourceEnd) bool {
		return !slices.ContainsFunc(h.targets, func(t targetEnd) bool { return t.stream == s.stream })
	})
	h.intoIt = nil
}

// close gives back what the connectors took.
func (h *hops) close() error {
	var errs []error
	for _, s := range h.sources {
		errs = append(errs, s.reader.Close())
	}
	if h.intoIt != nil {
		errs = append(errs, h.intoIt.Close())
	}
	for _, t := range h.targets {
		errs = append(errs, t.reader.Close(), t.writer.Close())
	}
	return errors.Join(errs...)
}
