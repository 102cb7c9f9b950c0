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

// Pipeline is one source carried to one target by one pattern.
type Pipeline struct {
	Name    string
	Pattern string // push
	Source  Source
	Target  Target
	Refusal string // stop
	Batch   Batch
	Line    int // where it stands in the file, from 1
	Column  int
}

// Stream is the name under which source and target know the pipeline.
func (p *Pipeline) Stream() string { return p.Name + "/" + p.Target.Name() }

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

// PostgresSource is an outbox in a PostgreSQL database.
type PostgresSource struct {
	URL     string // secret in part
	Capture string // outbox
	Read    string // outbox.read: poll
	// Snapshot says whether a new target first gets what is there already: never.
	Snapshot string
}

// SQLiteSource is an outbox in a SQLite file.
type SQLiteSource struct {
	Path    string
	Capture string // outbox
}

// Target is exactly one of its fields.
type Target struct {
	Postgres *PostgresTarget
	SQLite   *SQLiteTarget
}

// Name is the target's kind; it is part of the stream's name.
func (t *Target) Name() string {
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
