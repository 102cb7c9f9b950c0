CREATE TABLE IF NOT EXISTS waybill_meta (
  key   text PRIMARY KEY,
  value text NOT NULL
);
INSERT INTO waybill_meta (key, value) VALUES ('target_format', '1') ON CONFLICT (key) DO NOTHING;
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
