package config

import "time"

// kind says what a field holds.
type kind int

const (
	section kind = iota // keys of its own
	oneOf               // a section of which exactly one key is given: a source is a postgres or a sqlite
	named               // a mapping from names that the user chooses to sections
	text                // any text in one line
	word                // one of field.words
	integer
	size
	duration
	postgresURL
	address    // host:port to listen at
	file       // path of a file
	directory  // path of a directory
	identifier // of the letters that a pipeline's name may have
	slotName   // of a replication slot at PostgreSQL
	table      // SCHEMA.TABLE, where * stands for any letters
	boolean
	list // of texts; field.each is what each is
)

// field is one key of the format. What a field's kind does not use is left zero.
type field struct {
	name     string // named: what stands for the chosen name is "NAME"
	kind     kind
	doc      string // for the reference and the schema: full sentences
	def      string // default as it would be written; oneOf: the key that is taken
	required bool
	secret   bool
	// later: named for a later version; refused as not in this version, absent from the schema.
	later bool

	words      []string // word: what this version has
	laterWords []string // word: what later versions have
	min, max   int64    // integer; size in bytes (from 0 on it may be written 0); duration in nanoseconds; inclusive
	fields     []*field // section, oneOf, named (of each section in it)
	// neededBy says in the reference when a field that is not always required is.
	neededBy string
	// each is what a named field holds under each name (section, oneOf, text), and a list as items.
	each kind
	// free: the names of a named field may hold any letters, as those of tables and columns do;
	// what they are called in the reference is freeName.
	free     bool
	freeName string
	// like is the key beside this one that each of a named field is written like; the reference
	// explains it there only.
	like string
	// rules are what the keys of each section of a named field have to do with each other, for
	// the schema.
	rules []object
	// elsewhere are keys that people expect here, with where that is said instead.
	elsewhere map[string]string
}

// Bounds of names.
const (
	pipelineNamePattern = `^[A-Za-z0-9_][A-Za-z0-9_-]{0,47}$`
	pipelineNameRule    = "1 to 48 of the letters A-Z and a-z, digits, _ and -, the first of them not -"
)

// format describes the whole file. It is the one place that knows keys, types, defaults
// and explanations.
func format() *field {
	return &field{kind: section, doc: "Configuration of Waybill.", fields: []*field{
		{
			name: "pipelines", kind: named, required: true, fields: pipelineFields(), rules: pipelineRules(),
			doc: "What is carried from where to where, each under a name; at least one. A name is " + pipelineNameRule + ". " +
				"Source, queue and target remember how far the pipeline came under its name and its target's (`crm/postgres`): " +
				"a renamed pipeline starts anew. Names that differ only in upper and lower case are refused.",
		},
		{
			name: "state", kind: oneOf, def: "sqlite",
			doc: "Where the engine keeps what belongs to it alone, such as its identity. Give each engine its own.",
			fields: []*field{
				{
					name: "sqlite", kind: section, doc: "State in a SQLite file.",
					fields: []*field{{
						name: "path", kind: file, def: "waybill-data/state.db",
						doc: "The file. It and its directory are made when missing. It must not be the file of a source or target.",
					}},
				},
				{name: "postgres", later: true},
			},
		},
		{
			name: "admin", kind: section, doc: "The listener for status, metrics (`/metrics`) and health (`/healthz`, `/readyz`).",
			fields: []*field{
				{
					name: "listen", kind: address, def: "127.0.0.1:7780",
					doc: "Host and port to listen at. A host that is not a loopback address needs `admin.token`; " +
						"an empty host means every address of the machine. Port 0 takes any free one.",
				},
				{
					name: "token", kind: text, secret: true,
					doc: "Requests for anything but `/healthz` must carry it as `Authorization: Bearer TOKEN`. Empty: they need none.",
				},
			},
		},
		{name: "http", later: true},
	}}
}

func pipelineFields() []*field { //nolint:funlen // a table
	return []*field{
		{
			name: "pattern", kind: word, required: true, words: []string{patternPush, patternQueue}, laterWords: []string{"full-copy", "notify-pull"},
			doc: "How the data travels. `push`: each business action goes to the target as soon as it is committed at the source. " +
				"`queue`: it goes into a queue on this machine's disk first and from there to the targets, so that it leaves the source also while a target is down.",
		},
		{
			name: "source", kind: oneOf, neededBy: "required for push", doc: "Where the actions come from. With a queue it may be left out: the pipeline carries on what another one puts into the queue.",
			fields: []*field{
				{
					name: "postgres", kind: section, fields: postgresSourceFields(), elsewhere: partsOfURL(),
					doc: "A PostgreSQL database: its outbox, or the changes of its tables. `waybill outbox install` sets it up.",
				},
				{
					name: "sqlite", kind: section, elsewhere: map[string]string{"url": "a SQLite database has a path"},
					doc: "An outbox in a SQLite file. `waybill outbox install` sets it up.",
					fields: []*field{
						{name: "path", kind: file, required: true, doc: "The database file. It must exist when the pipeline runs."},
						{
							name: "capture", kind: word, required: true, words: []string{"outbox"}, laterWords: []string{"changes"},
							doc: "What is read. `outbox`: the actions that the application emits in its own transactions.",
						},
						{name: "tables", later: true},
					},
				},
				{name: "mysql", later: true},
				{name: "rest", later: true},
				{name: "ingest", later: true},
			},
		},
		{
			name: "queue", kind: oneOf, neededBy: "required for queue", doc: "What stands between source and targets; for pattern queue, which needs it.",
			fields: []*field{
				embeddedQueueField(),
				{name: "nats", later: true},
				{name: "kafka", later: true},
				{name: "rabbitmq", later: true},
			},
		},
		{
			name: "target", kind: oneOf, neededBy: "this or `targets`: required for push", fields: targetKinds(),
			doc: "Where the actions are applied. The tables must exist, unless the source or the mapping describes them (see `create`). The position is kept there too, in the same transaction as the data. " +
				"With a queue it may be left out: the pipeline ends in the queue.",
		},
		{
			name: "targets", kind: named, neededBy: "instead of `target`", each: oneOf, like: "target", fields: targetKinds(),
			doc: "Several targets instead of one, each under a name; names follow the rule for pipelines. Each has its own position (`crm/NAME`), and none waits for another. " +
				"A target that is renamed starts anew.",
		},
		{
			name: "on_refusal", kind: word, def: "stop", words: []string{"stop"}, laterWords: []string{"letter"},
			doc: "What to do when a target refuses an action for good (a constraint, a missing column). " +
				"`stop`: that target stops before it and says why; nothing is lost and nothing is skipped; other targets and pipelines go on.",
		},
		{
			name: "batch", kind: section, doc: "How many consecutive actions share one transaction at the target, or one write to the queue. An action is never split.",
			fields: []*field{
				{name: "max_actions", kind: integer, def: "1000", min: 1, max: 100_000, doc: "Most actions in one transaction."},
				{
					name: "max_bytes", kind: size, def: "4MiB", min: 1 << 10, max: 1 << 30,
					doc: "Most bytes of actions in one transaction, estimated; a single larger action has one to itself. About three times as much is held in memory, for each target and the queue.",
				},
				{
					name: "max_delay", kind: duration, def: "5ms", max: int64(time.Minute),
					doc: "How long an action may wait for others to share its transaction. `0s`: it does not wait.",
				},
			},
		},
		{
			name: "create", kind: boolean, def: "true",
			doc: "Whether a table that the target lacks is created, with the source table's columns, keys and foreign keys, as far as the target has them. Only what the source describes can be: tables that are captured with `changes`, and others whose columns have `types` in the mapping.",
		},
		{
			name: "evolve", kind: boolean, def: "true",
			doc: "Whether a column that is added at the source is added at the target. A column that is dropped or narrowed stops the pipeline, which says so.",
		},
		{
			name: "max_slot_bytes", kind: size, def: "10GiB", min: 0, max: maxQueueBytes,
			doc: "For a source that reads the log: from how many bytes of log that the source keeps for it on `status` and the metrics raise an alarm. `0`: never. " +
				"Nothing is dropped when they are reached; what the source itself allows is its `max_slot_wal_keep_size`.",
		},
		mappingField(),
		{name: "notifications", later: true},
		{name: "verify", later: true},
		{name: "max_parked", later: true},
		{name: "mode", later: true},
		{name: "check", later: true},
		{name: "max_rejects", later: true},
		{name: "schedule", later: true},
		{name: "load", later: true},
		{name: "sweep", later: true},
		{name: "with", later: true},
		{name: "on_compose_error", later: true},
	}
}

// The patterns of this version.
const (
	patternPush  = "push"
	patternQueue = "queue"
)

func targetKinds() []*field {
	return []*field{
		{
			name: "postgres", kind: section, doc: "Tables of a PostgreSQL database.", elsewhere: withTableKeys(partsOfURL()),
			fields: []*field{
				urlField(),
				{
					name: "schema", kind: text,
					doc: "Schema of the tables, for all entities. Empty: the schema that the entity names (`sales.customer`), else `public`.",
				},
			},
		},
		{
			name: "sqlite", kind: section, doc: "Tables of a SQLite file.", elsewhere: withTableKeys(map[string]string{"url": "a SQLite database has a path"}),
			fields: []*field{
				{name: "path", kind: file, required: true, doc: "The database file. It must exist when the pipeline runs."},
			},
		},
		{name: "mysql", later: true},
		{name: "rest", later: true},
	}
}

// What a PostgreSQL source captures, and how an outbox is read.
const (
	captureOutbox  = "outbox"
	captureChanges = "changes"
	readPoll       = "poll"
	readWAL        = "wal"
)

// withTableKeys adds the keys that are the pipeline's, not the target's.
func withTableKeys(m map[string]string) map[string]string {
	for _, k := range []string{"create", "evolve"} {
		m[k] = "it stands beside target, for all of them, or in mapping for an entity"
	}
	return m
}

// Bounds of a queue.
const (
	// minQueueBytes is what the smallest queue needs: a message is at most about 1 MiB unless a
	// single change is larger.
	minQueueBytes = 1 << 20
	maxQueueBytes = 1 << 50
	maxQueueKeep  = 10 * 365 * 24 * time.Hour
)

func embeddedQueueField() *field {
	return &field{
		name: "embedded", kind: section,
		doc: "A NATS JetStream server in the engine's own process; everything that it accepts is on disk before the source hears of it. " +
			"Pipelines with the same `dir` share the server, those with the same `dir` and `stream` one queue, in which each pipeline with a source has a subject of its own; " +
			"what one of them says of the directory (`listen`, `token`) or of the stream (`max_bytes`, `keep`) goes for all.",
		elsewhere: map[string]string{
			"path": "the directory is called dir", "directory": "it is called dir", "store_dir": "it is called dir",
			"name": "it is called stream", "topic": "it is called stream", "port": "it is part of listen: HOST:PORT", "host": "it is part of listen: HOST:PORT",
			"url": "the embedded queue has a dir; a server of its own (nats) is not in this version",
		},
		fields: []*field{
			{
				name: "dir", kind: directory, def: "waybill-data/queue",
				doc: "The directory. It is made when missing, and belongs to one process at a time: an engine that finds it taken stands by. " +
					"Nothing else of this file may lie in it: no other queue's directory, no database, no state.",
			},
			{
				name: "stream", kind: identifier, def: "waybill",
				doc: "The JetStream stream; " + pipelineNameRule + ".",
			},
			{
				name: "max_bytes", kind: size, def: "8GiB", min: minQueueBytes, max: maxQueueBytes,
				doc: "Most bytes that the stream holds on disk. When it is full the source is held back; nothing is dropped. An action that would not fit even then is refused.",
			},
			{
				name: "keep", kind: duration, def: "0s", max: int64(maxQueueKeep),
				doc: "For how long an action is kept at least. `0s`: until every target has it.",
			},
			{
				name: "listen", kind: address,
				doc: "Host and port where NATS clients can read the messages. A host that is not a loopback address needs `token`. " +
					"Without it nobody but the engine can connect.",
			},
			{name: "token", kind: text, secret: true, doc: "What NATS clients have to present at `listen`. Empty: nothing."},
			{
				name: "subject", kind: identifier,
				doc: "Only for a pipeline without a source: the name of the pipeline whose actions it takes from the queue. It can be left out where there is only one.",
			},
			{
				name: "format", kind: word, def: "cloudevents", words: []string{"cloudevents"}, laterWords: []string{"debezium"},
				doc: "How a message is written. `cloudevents`: as a CloudEvents 1.0 structured JSON event, one for each action.",
			},
			{name: "partition_by", later: true},
		},
	}
}

func postgresSourceFields() []*field {
	return []*field{
		urlField(),
		{
			name: "capture", kind: word, required: true, words: []string{captureOutbox, captureChanges}, laterWords: []string{"entities"},
			doc: "What is read. `outbox`: the actions that the application emits with `waybill.emit` in its own transactions. " +
				"`changes`: what is inserted, updated and deleted in `tables`, by logical replication; one transaction is one action. It needs `wal_level = logical`.",
		},
		{
			name: "tables", kind: list, each: table, neededBy: "required for changes",
			doc: "For `changes`: the tables to read, each as `SCHEMA.TABLE`; a `*` stands for any letters (`public.order*`) and leaves out what has no key.",
		},
		{
			name: "snapshot", kind: word, def: "never", words: []string{"never"}, laterWords: []string{"initial"},
			doc: "Whether a new target first gets what is there already. `never`: it gets what the outbox holds and what follows; with the log, what is committed after `waybill outbox install`.",
		},
		{
			name: "slot", kind: slotName,
			doc: "For a source that reads the log: the name of the replication slot and of the publication. Without it `waybill_PIPELINE_TARGET`, in lower case, with `_` for other characters; " +
				"into a queue `waybill_PIPELINE_embedded`. No two of a file may be the same. With several targets and no queue each has a slot of its own, and it cannot be named.",
		},
		{
			name: "outbox", kind: section, doc: "How the outbox is read, for capture outbox.",
			fields: []*field{{
				name: "read", kind: word, def: readPoll, words: []string{readPoll, readWAL},
				doc: "`poll`: by SQL; it needs no replication rights, and asks often while there is work and seldom while there is none. " +
					"`wal`: from the log, by logical replication, in the exact order of commits; also messages of `pg_logical_emit_message` with the prefix `waybill`. It needs `wal_level = logical`.",
			}},
		},
		{name: "entities", later: true},
	}
}

func urlField() *field {
	return &field{
		name: "url", kind: postgresURL, required: true, secret: true,
		doc: "`postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=verify-full`. Special characters of user name and password are written " +
			"as %XX (`/` is %2F, `@` is %40). TLS and timeouts are parameters of it (`sslmode`, `sslrootcert`, `connect_timeout`). " +
			"Take it, or the password in it, from a variable.",
	}
}

func partsOfURL() map[string]string {
	const inURL = "it is part of the url: postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=…"
	m := map[string]string{"path": "a PostgreSQL database has a url"}
	for _, k := range []string{
		"host", "hostname", "port", "user", "username", "password", "database", "dbname",
		"sslmode", "sslrootcert", "sslcert", "sslkey", "connect_timeout", "tls",
	} {
		m[k] = inURL
	}
	return m
}

// has returns the field of that name, or nil.
func (f *field) has(name string) *field {
	for _, c := range f.fields {
		if c.name == name {
			return c
		}
	}
	return nil
}

// present are the fields that this version has.
func (f *field) present() []*field {
	var have []*field
	for _, c := range f.fields {
		if !c.later {
			have = append(have, c)
		}
	}
	return have
}

// keys are the names of the fields that this version has.
func (f *field) keys() []string {
	var names []string
	for _, c := range f.present() {
		names = append(names, c.name)
	}
	return names
}
