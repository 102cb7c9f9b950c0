package sqlite

// outboxFormat and targetFormat are the versions of the two sets of tables, kept in
// waybill_meta. A database with a newer one is refused.
const (
	outboxFormat = "1"
	targetFormat = "1"
)

const setWAL = "PRAGMA journal_mode=WAL"

// metaDDL is shared by source and target, which may be one database.
const metaDDL = `CREATE TABLE IF NOT EXISTS waybill_meta (
  key   text PRIMARY KEY,
  value text NOT NULL
);
`

// outboxTables: applications insert into waybill_outbox, inside their own transactions.
// Rows of one transaction with the same action are one action. n follows the order of
// commits, without holes, because SQLite has one writer at a time and AUTOINCREMENT takes no
// number that was not committed.
const outboxTables = metaDDL + `INSERT INTO waybill_meta (key, value) VALUES ('id', lower(hex(randomblob(16)))) ON CONFLICT (key) DO NOTHING;
INSERT INTO waybill_meta (key, value) VALUES ('outbox_format', '` + outboxFormat + `') ON CONFLICT (key) DO NOTHING;
CREATE TABLE IF NOT EXISTS waybill_outbox (
  n       integer PRIMARY KEY AUTOINCREMENT,
  action  text NOT NULL DEFAULT (lower(hex(randomblob(16)))),
  name    text,
  trace   text,
  at      text NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
  changes text NOT NULL
);
CREATE INDEX IF NOT EXISTS waybill_outbox_action ON waybill_outbox (action);
CREATE TABLE IF NOT EXISTS waybill_consumer (
  stream        text PRIMARY KEY,
  n             integer NOT NULL,
  seq           integer NOT NULL,
  action        text NOT NULL,
  registered_at text NOT NULL,
  acked_at      text
);
`

// checkChanges refuses changes that no reader could make an action of. It runs in the
// application's SQLite: json_each and friends are there since 3.9, messages are literals
// because expressions in RAISE need 3.47. It is written so that SQLite makes no temporary
// index for it (as for count(DISTINCT …) and long IN lists): one would cost more than all the rest.
const checkChanges = `  SELECT CASE
    WHEN typeof(new.changes) <> 'text' OR NOT json_valid(new.changes)
      THEN RAISE(ABORT, 'waybill_outbox: changes is not valid JSON text')
    WHEN json_type(new.changes) <> 'array'
      THEN RAISE(ABORT, 'waybill_outbox: changes is not a JSON array')
  END;
  SELECT CASE
    WHEN c.type <> 'object'
      THEN RAISE(ABORT, 'waybill_outbox: a change is not a JSON object')
    WHEN EXISTS (SELECT 1 FROM json_each(c.value) WHERE key <> 'entity' AND key <> 'op' AND key <> 'key' AND key <> 'row' AND key <> 'before')
      THEN RAISE(ABORT, 'waybill_outbox: a change has a field other than entity, op, key, row, before')
    WHEN EXISTS (SELECT 1 FROM json_each(c.value) GROUP BY key HAVING count(*) > 1)
      THEN RAISE(ABORT, 'waybill_outbox: a field stands in a change twice')
    WHEN json_type(c.value, '$.entity') IS NOT 'text' OR json_extract(c.value, '$.entity') = ''
      THEN RAISE(ABORT, 'waybill_outbox: entity is not a non-empty string')
    WHEN coalesce(json_extract(c.value, '$.op'), '') NOT IN ('insert', 'update', 'upsert', 'delete')
      THEN RAISE(ABORT, 'waybill_outbox: op is not one of insert, update, upsert, delete')
    WHEN json_type(c.value, '$.key') IS NOT 'object' OR NOT EXISTS (SELECT 1 FROM json_each(c.value, '$.key'))
      THEN RAISE(ABORT, 'waybill_outbox: key is not an object of at least one column')
    WHEN EXISTS (SELECT 1 FROM json_each(c.value, '$.key') WHERE type = 'null' OR type = 'object' OR type = 'array')
      THEN RAISE(ABORT, 'waybill_outbox: a column of key is not a string, number or boolean')
    WHEN json_extract(c.value, '$.op') <> 'delete' AND json_type(c.value, '$.row') IS NOT 'object'
      THEN RAISE(ABORT, 'waybill_outbox: insert, update and upsert need row, an object')
    WHEN json_extract(c.value, '$.op') = 'delete' AND coalesce(json_extract(c.value, '$.row'), '{}') <> '{}'
      THEN RAISE(ABORT, 'waybill_outbox: a delete has no row (what was deleted goes into before)')
    WHEN coalesce(json_type(c.value, '$.before'), 'null') NOT IN ('object', 'null')
      THEN RAISE(ABORT, 'waybill_outbox: before is not an object')
    WHEN EXISTS (SELECT 1 FROM json_each(c.value, '$.key') GROUP BY key HAVING count(*) > 1)
      OR EXISTS (SELECT 1 FROM json_each(c.value, '$.row') GROUP BY key HAVING count(*) > 1)
      OR EXISTS (SELECT 1 FROM json_each(c.value, '$.before') GROUP BY key HAVING count(*) > 1)
      THEN RAISE(ABORT, 'waybill_outbox: a column stands in key, row or before twice')
    WHEN json_extract(c.value, '$.op') IN ('insert', 'upsert') AND EXISTS (
        SELECT 1 FROM json_each(c.value, '$.key') AS k JOIN json_each(c.value, '$.row') AS r ON r.key = k.key
        WHERE r.type <> k.type OR r.atom IS NOT k.atom)
      THEN RAISE(ABORT, 'waybill_outbox: a column has one value in key and another in row (an update changes a key)')
  END FROM json_each(new.changes) AS c;
`

// outboxTriggers are dropped and made anew, so that installing again brings the latest.
// sqlite_sequence still holds the number before the inserting statement.
const outboxTriggers = `DROP TRIGGER IF EXISTS waybill_outbox_insert;
CREATE TRIGGER waybill_outbox_insert AFTER INSERT ON waybill_outbox BEGIN
  SELECT CASE
    WHEN new.n <> 1 + max(
        coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'waybill_outbox'), 0),
        coalesce((SELECT max(n) FROM waybill_outbox WHERE n < new.n), 0))
      THEN RAISE(ABORT, 'waybill_outbox: leave out n, it is numbered without holes')
    WHEN typeof(new.action) <> 'text' OR new.action = ''
      THEN RAISE(ABORT, 'waybill_outbox: action is not a non-empty text')
    WHEN coalesce((SELECT action FROM waybill_outbox WHERE n = new.n - 1), '') <> new.action
      AND EXISTS (SELECT 1 FROM waybill_outbox WHERE action = new.action AND n < new.n)
      THEN RAISE(ABORT, 'waybill_outbox: this action exists already and is not the last one; its rows must follow each other in one transaction')
    WHEN EXISTS (SELECT 1 FROM waybill_consumer WHERE action = new.action)
      THEN RAISE(ABORT, 'waybill_outbox: this action was carried already; every transaction needs action IDs of its own')
    WHEN julianday(new.at) IS NULL
      OR new.at NOT GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9][T ][0-9][0-9]:[0-9][0-9]:[0-9][0-9]*'
      THEN RAISE(ABORT, 'waybill_outbox: at is not a UTC time such as 2026-01-31T12:00:00.000Z')
  END;
` + checkChanges + `END;
DROP TRIGGER IF EXISTS waybill_outbox_update;
CREATE TRIGGER waybill_outbox_update AFTER UPDATE ON waybill_outbox BEGIN
  SELECT CASE
    WHEN new.n <> old.n OR new.action <> old.action
      THEN RAISE(ABORT, 'waybill_outbox: n and action are never changed')
  END;
` + checkChanges + `END;
`

// outboxSQL is what Install runs, for people to read and to run themselves.
const outboxSQL = `-- Waybill's outbox in a SQLite database. It may be run again.
` + setWAL + `;
BEGIN IMMEDIATE;
` + outboxTables + outboxTriggers + `COMMIT;
`

// dropOutbox removes everything of the source; waybill_meta stays where a target needs it.
const dropOutbox = `DROP TABLE IF EXISTS waybill_outbox;
DROP TABLE IF EXISTS waybill_consumer;
DELETE FROM waybill_meta WHERE key IN ('id', 'outbox_format');
`

// addForeignWrites brings tables of versions that did not count foreign writes up to date; those
// versions go on working with them, so the format stays.
const addForeignWrites = "ALTER TABLE waybill_position ADD COLUMN foreign_writes integer NOT NULL DEFAULT 0"

// targetDDL is what a writer keeps at a target. applied + filtered + parked + discarded = seq.
// foreign_writes counts captured changes that found the target other than the stream had left it.
const targetDDL = metaDDL + `INSERT INTO waybill_meta (key, value) VALUES ('target_format', '` + targetFormat + `') ON CONFLICT (key) DO NOTHING;
CREATE TABLE IF NOT EXISTS waybill_position (
  stream     text PRIMARY KEY,
  position   text NOT NULL,
  seq        integer NOT NULL,
  epoch      integer NOT NULL,
  applied    integer NOT NULL,
  filtered   integer NOT NULL,
  parked     integer NOT NULL,
  discarded  integer NOT NULL,
  updated_at text NOT NULL,
  foreign_writes integer NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS waybill_lease (
  stream     text PRIMARY KEY,
  epoch      integer NOT NULL,
  owner      text NOT NULL,
  instance   text NOT NULL,
  holder     text NOT NULL,
  length_ms  integer NOT NULL,
  expires_ms integer NOT NULL
);
`
