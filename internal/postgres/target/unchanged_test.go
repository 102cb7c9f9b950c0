package target

import (
	"strings"
	"testing"

	"github.com/waybill-data/waybill"
)

// A table that is altered while the stream runs is seen by the very next batch: nothing is rounded
// and no row is skipped by what the writer remembers.
func TestAlteredTables(t *testing.T) {
	r := newTarget(t, "CREATE FUNCTION skip() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'")
	const skipped = "a trigger or rule of table public.d skipped the row"
	for _, c := range []struct {
		name, before, ddl, refused, holds string
	}{
		{name: "scale", ddl: "ALTER TABLE d ALTER v TYPE numeric(12,0)", refused: "more decimal places than the column keeps"},
		{name: "float", ddl: "ALTER TABLE d ALTER v TYPE real", holds: "1.55"},
		{name: "wider", ddl: "ALTER TABLE d ALTER v TYPE numeric", holds: "1.55"},
		{name: "anew", ddl: "ALTER TABLE d DROP v; ALTER TABLE d ADD v numeric(12,0)", refused: "more decimal places than the column keeps"},
		{name: "another", ddl: "ALTER TABLE d RENAME TO e; CREATE TABLE d (id bigint PRIMARY KEY, v numeric(12,0))", refused: "more decimal places than the column keeps"},
		{name: "trigger", ddl: "CREATE TRIGGER skip BEFORE INSERT ON d FOR EACH ROW EXECUTE FUNCTION skip()", refused: skipped},
		{
			name: "enabled", before: "CREATE TRIGGER skip BEFORE INSERT ON d FOR EACH ROW EXECUTE FUNCTION skip(); ALTER TABLE d DISABLE TRIGGER skip",
			ddl: "ALTER TABLE d ENABLE TRIGGER skip", refused: skipped,
		},
		{name: "rule", ddl: "CREATE RULE skip AS ON INSERT TO d DO INSTEAD NOTHING", refused: skipped},
		{
			name: "attached", before: "DROP TABLE d; CREATE TABLE d (id bigint PRIMARY KEY, v numeric(12,2)) PARTITION BY RANGE (id); CREATE TABLE d0 PARTITION OF d FOR VALUES FROM (0) TO (100); " +
				"CREATE TABLE d1 (LIKE d); CREATE TRIGGER skip BEFORE INSERT ON d1 FOR EACH ROW EXECUTE FUNCTION skip()",
			ddl: "ALTER TABLE d ATTACH PARTITION d1 FOR VALUES FROM (100) TO (200000)", refused: skipped,
		},
		{
			name: "partition", before: "DROP TABLE d; CREATE TABLE d (id bigint PRIMARY KEY, v numeric(12,2)) PARTITION BY HASH (id); CREATE TABLE d0 PARTITION OF d FOR VALUES WITH (MODULUS 1, REMAINDER 0)",
			ddl: "CREATE TRIGGER skip BEFORE INSERT ON d0 FOR EACH ROW EXECUTE FUNCTION skip()", refused: skipped,
		},
		{name: "other", ddl: "CREATE TABLE e (id bigint REFERENCES d DEFERRABLE); CREATE INDEX ON d (v); ANALYZE d", holds: "1.55"},
	} {
		for way, rows := range map[string]int{"one": 1, "copied": copyRows} {
			t.Run(c.name+"/"+way, func(t *testing.T) {
				r.exec("DROP TABLE IF EXISTS d, e, d1 CASCADE; CREATE TABLE d (id bigint PRIMARY KEY, v numeric(12,2)); " + c.before)
				r.write(act(tInsert("d", key(1), `{"v":1.50}`), tInsert("d", key(2), `{"v":1.50}`)))
				r.exec(c.ddl)
				var changes []waybill.Change
				for i := range rows {
					changes = append(changes, tInsert("d", key(1000+i), `{"v":1.55}`))
				}
				if c.refused != "" {
					if have := r.refused(changes...); !strings.Contains(have.Reason, c.refused) {
						t.Errorf("have %s\nwant %s", have, c.refused)
					}
					r.want("SELECT count(*) FROM d WHERE id >= 1000", "0")
					return
				}
				r.write(changes)
				r.want("SELECT max(v)::text FROM d WHERE id >= 1000", c.holds)
			})
		}
	}
}

// What keeps rows from being changed or deleted is seen too.
func TestAlteredForDeletes(t *testing.T) {
	r := newTarget(t, `CREATE TABLE d (id bigint PRIMARY KEY, v text);
		CREATE FUNCTION skip() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'`)
	r.write(act(tInsert("d", key(1), `{"v":"a"}`), tInsert("d", key(2), `{"v":"a"}`), tInsert("d", key(3), `{"v":"a"}`)), act(tDelete("d", key(3)), tUpdate("d", key(2), `{"v":"b"}`)))
	r.exec("CREATE TRIGGER skip BEFORE UPDATE OR DELETE ON d FOR EACH ROW EXECUTE FUNCTION skip()")
	for _, c := range []waybill.Change{tDelete("d", key(1)), tUpdate("d", key(1), `{"v":"b"}`)} {
		if have := r.refused(c); !strings.Contains(have.Reason, "a trigger or rule of table public.d") {
			t.Errorf("%s: have %s", c.Op, have)
		}
	}
	r.exec("DROP TRIGGER skip ON d")
	r.write(act(tDelete("d", key(1)), tUpdate("d", key(2), `{"v":"c"}`)))
	r.want("SELECT string_agg(id || v, ',') FROM d", "2c")
}

// A rule that made nothing of a statement is gone, and with it what the server prepared.
func TestDroppedRule(t *testing.T) {
	r := newTarget(t, "CREATE TABLE d (id bigint PRIMARY KEY, v text); CREATE RULE skip AS ON INSERT TO d DO INSTEAD NOTHING")
	change := tInsert("d", key(1), `{"v":"a"}`)
	for range 2 {
		if have := r.refused(change); have.Reason != "a trigger or rule of table public.d skipped the row" {
			t.Errorf("have %s", have)
		}
	}
	r.exec("DROP RULE skip ON d")
	r.write(act(change))
	r.want("SELECT count(*) FROM d", "1")
}
