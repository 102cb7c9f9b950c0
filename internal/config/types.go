package config

import "time"

// Config is a whole configuration file after defaults were put in.
type Config struct {
	File      string     // as it was named to Load
	Pipelines []Pipeline // in the order of the file
	State     State
	Admin     Admin
}

// State says where the engine keeps what belongs to it alone.
type State struct {
	SQLite *StateSQLite
}

// StateSQLite is a state store in a file.
type StateSQLite struct {
	Path string // default waybill-data/state.db
}

// Admin is the listener for status, metrics and health.
type Admin struct {
	Listen string // host:port, default 127.0.0.1:7780
	Token  string // secret
}

// Pipeline is one source carried to its targets by one pattern.
type Pipeline struct {
	Name    string
	Pattern string // push, queue
	// Source may be unset with a queue: consume only.
	Source Source
	// Queue is set for pattern queue, and for no other.
	Queue Queue
	// Targets are in the order of the file: one under target, any number under targets. With a
	// queue there may be none: relay only.
	Targets []Target
	Refusal string // stop
	// Create: a table that the target lacks is created where the source describes it. Evolve: a
	// column that the source adds is added. Both default to true; a rule may say otherwise.
	Create, Evolve bool
	// Mapping is in the order of the file.
	Mapping []Rule
	Batch   Batch
	Line    int // where it stands in the file, from 1
	Column  int
}

// queueEnd names the hop from the source into the queue, where a target's name stands otherwise.
const queueEnd = "embedded"

// StreamTo is the name of the stream that ends at t, under which t and whatever t's reader
// reads (the queue, else the source) know it.
func (p *Pipeline) StreamTo(t *Target) string { return p.Name + "/" + t.Name }

// QueueStream is the name of the stream from the source into the queue. Only a pipeline with a
// queue has it.
func (p *Pipeline) QueueStream() string { return p.Name + "/" + queueEnd }

// SourceStreams are the consumers that the pipeline registers at its source: the queue's where
// there is one, else one for each target. None without a source.
func (p *Pipeline) SourceStreams() []string {
	switch {
	case !p.Source.IsSet():
		return nil
	case p.Queue.IsSet():
		return []string{p.QueueStream()}
	}
	streams := make([]string, 0, len(p.Targets))
	for i := range p.Targets {
		streams = append(streams, p.StreamTo(&p.Targets[i]))
	}
	return streams
}

// Batch bounds how many consecutive actions share one target transaction.
type Batch struct {
	MaxActions int           // default 1000
	MaxBytes   int64         // default 4 MiB
	MaxDelay   time.Duration // default 5 ms
}

// Source is exactly one of its fields.
type Source struct {
	Postgres *PostgresSource
	SQLite   *SQLiteSource
}

// IsSet reports whether there is a source.
func (s *Source) IsSet() bool { return s.Postgres != nil || s.SQLite != nil }

// Kind is the source's key in the file, "" for none.
func (s *Source) Kind() string {
	switch {
	case s.Postgres != nil:
		return "postgres"
	case s.SQLite != nil:
		return "sqlite"
	}
	return ""
}

// PostgresSource is a PostgreSQL database: its outbox, or the changes of its tables.
type PostgresSource struct {
	URL     string // secret in part
	Capture string // outbox, changes
	Read    string // how an outbox is read: poll, wal; wal for changes
	// Tables are SCHEMA.TABLE with * for any letters; at least one for changes, none for an outbox.
	Tables []string
	// SlotName is the slot's name where the file gives one; Slot is the one to use.
	SlotName string
	// MaxSlotBytes is from how many bytes of retained log on an alarm is due; 0: never. It is the
	// pipeline's max_slot_bytes, default 10 GiB.
	MaxSlotBytes int64
	// Snapshot says whether a new target first gets what is there already: never.
	Snapshot string
}

// Log reports whether the source is read from its log, by a replication slot.
func (s *PostgresSource) Log() bool { return s.Read == readWAL }

// Slot is the name of the replication slot and of the publication of one of the pipeline's
// SourceStreams.
func (s *PostgresSource) Slot(stream string) string {
	if s.SlotName != "" {
		return s.SlotName
	}
	return defaultSlot(stream)
}

// SQLiteSource is an outbox in a SQLite file.
type SQLiteSource struct {
	Path    string
	Capture string // outbox
}

// Queue is at most one of its fields; none for a pipeline without a queue.
type Queue struct {
	Embedded *EmbeddedQueue
}

// IsSet reports whether there is a queue.
func (q *Queue) IsSet() bool { return q.Embedded != nil }

// Kind is the queue's key in the file, "" for none.
func (q *Queue) Kind() string {
	if q.Embedded != nil {
		return queueEnd
	}
	return ""
}

// EmbeddedQueue is a stream of the queue server in the engine's own process. Pipelines with the
// same directory share one server, those with the same directory and stream one queue.
type EmbeddedQueue struct {
	Dir      string        // default waybill-data/queue, cleaned, relative to the working directory
	Stream   string        // default waybill
	MaxBytes int64         // default 8 GiB
	Keep     time.Duration // default 0
	Listen   string        // host:port for other NATS clients; empty: none
	Token    string        // secret
	// Subject is the pipeline whose actions are read: its own name where the pipeline has a
	// source. Empty only for consume only, where no pipeline of the file writes to the queue: the
	// only subject that the queue holds.
	Subject string
}

// Target is exactly one of its kinds.
type Target struct {
	Name     string // its key under targets, else its kind; part of the stream's name
	Postgres *PostgresTarget
	SQLite   *SQLiteTarget
}

// Kind is the target's key in the file that says what it is.
func (t *Target) Kind() string {
	if t.Postgres != nil {
		return "postgres"
	}
	return "sqlite"
}

// PostgresTarget is a PostgreSQL database.
type PostgresTarget struct {
	URL    string // secret in part
	Schema string // empty: public, unless the entity names one
}

// SQLiteTarget is a SQLite file.
type SQLiteTarget struct {
	Path string
}
