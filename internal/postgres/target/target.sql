-- What Waybill keeps at a target database. Everything here may be created beforehand by
-- somebody else; the engine then only needs to read and write it.
DO $$ BEGIN -- IF NOT EXISTS would ask for the privilege even if the schema is there
	IF NOT EXISTS (SELECT FROM pg_namespace WHERE nspname = 'waybill') THEN
		CREATE SCHEMA waybill;
	END IF;
END $$;

CREATE TABLE IF NOT EXISTS waybill.meta (
	key   text PRIMARY KEY,
	value text NOT NULL
);

-- How far each stream has come. The row is written in the transaction that writes the data.
CREATE TABLE IF NOT EXISTS waybill.position (
	stream     text PRIMARY KEY,
	position   text NOT NULL,
	seq        bigint NOT NULL,
	epoch      bigint NOT NULL,
	applied    bigint NOT NULL DEFAULT 0,
	filtered   bigint NOT NULL DEFAULT 0,
	parked     bigint NOT NULL DEFAULT 0,
	discarded  bigint NOT NULL DEFAULT 0,
	updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
	foreign_writes bigint NOT NULL DEFAULT 0, -- since format 2
	CHECK (seq = applied + filtered + parked + discarded)
) WITH (fillfactor = 50);

DO $$ BEGIN -- from format 1 on; the statement alone would ask for ownership even if the column is there
	IF NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = 'waybill.position'::regclass AND attname = 'foreign_writes') THEN
		ALTER TABLE waybill.position ADD COLUMN IF NOT EXISTS foreign_writes bigint NOT NULL DEFAULT 0;
	END IF;
END $$;

-- Who works on each stream, and until when that is taken for granted.
CREATE TABLE IF NOT EXISTS waybill.lease (
	stream        text PRIMARY KEY,
	owner         text NOT NULL,
	token         text NOT NULL,
	host          text NOT NULL,
	pid           integer NOT NULL,
	backend       integer NOT NULL,
	backend_start timestamptz,
	expires_at    timestamptz NOT NULL
) WITH (fillfactor = 50);

INSERT INTO waybill.meta (key, value) VALUES ('target.format', '2')
	ON CONFLICT (key) DO UPDATE SET value = EXCLUDED.value WHERE meta.value = '1';
