package target

import (
	"testing"

	"github.com/waybill-data/waybill"
)

// What belongs to the server or to Waybill is no table of the data, whatever the role may do.
func TestReservedTables(t *testing.T) {
	r := newTarget(t, `CREATE TABLE item (id bigint PRIMARY KEY)`)
	const (
		servers = " belongs to the server, not to the data; name the entity after a table of the data, or set the target's schema to theirs"
		ours    = " belongs to Waybill; name the entity after a table of the data, or set the target's schema to theirs"
	)
	refused := func(entity, want string) {
		t.Helper()
		have := r.refused(tUpsert(entity, `{"oid":10}`, `{"rolname":"x"}`))
		if have.Entity != entity || have.Key != `{"oid":10}` || have.Reason+"; "+have.Remedy != want {
			t.Errorf("%s: have %s", entity, have)
		}
	}
	for _, name := range []string{"pg_catalog.pg_authid", "information_schema.sql_features", "pg_toast.pg_toast_1255", "pg_temp.item", "pg_temp_3.item"} {
		refused(name, "table "+name+servers)
	}
	for _, name := range []string{"waybill.position", "waybill.lease", "waybill.meta", "waybill.consumer", "waybill.outbox", "waybill.mine"} {
		refused(name, "table "+name+ours)
	}
	for schema, want := range map[string]string{"pg_catalog": servers, "waybill": ours} {
		_ = r.w.Close()
		r.w = r.writer(func(o *Options) { o.Schema = schema })
		r.resume()
		refused("item", "table "+schema+".item"+want)
		refused("public.item", "table "+schema+".item"+want)
	}
}

// A row that a trigger or rule keeps from being written stops the stream.
func TestSkippedRows(t *testing.T) {
	r := newTarget(t, `
		CREATE FUNCTION skip() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			IF TG_OP = 'DELETE' THEN IF OLD.id = 7 THEN RETURN NULL; END IF; RETURN OLD; END IF;
			IF NEW.v = 'skip' THEN RETURN NULL; END IF; RETURN NEW; END $$;
		CREATE TABLE item (id bigint PRIMARY KEY, v text);
		CREATE TRIGGER skip BEFORE INSERT OR UPDATE OR DELETE ON item FOR EACH ROW EXECUTE FUNCTION skip();
		CREATE TABLE late (id bigint PRIMARY KEY DEFERRABLE, v text, w text NOT NULL DEFAULT 'w');
		CREATE TRIGGER skip BEFORE INSERT OR UPDATE ON late FOR EACH ROW EXECUTE FUNCTION skip();
		CREATE TABLE part (id bigint PRIMARY KEY, v text) PARTITION BY HASH (id);
		CREATE TABLE part0 PARTITION OF part FOR VALUES WITH (MODULUS 1, REMAINDER 0);
		CREATE TRIGGER skip BEFORE INSERT OR UPDATE OR DELETE ON part0 FOR EACH ROW EXECUTE FUNCTION skip();
		CREATE TABLE base (id bigint PRIMARY KEY, v text);
		CREATE VIEW face AS SELECT id, v FROM base;
		CREATE FUNCTION face() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			IF NEW.v = 'skip' THEN RETURN NULL; END IF; INSERT INTO base VALUES (NEW.id, NEW.v); RETURN NEW; END $$;
		CREATE TRIGGER face INSTEAD OF INSERT ON face FOR EACH ROW EXECUTE FUNCTION face();
		CREATE TABLE ruled (id bigint PRIMARY KEY, v text);
		CREATE RULE no AS ON INSERT TO ruled WHERE NEW.v = 'skip' DO INSTEAD NOTHING;
		CREATE RULE kept AS ON DELETE TO ruled WHERE OLD.id = 7 DO INSTEAD NOTHING;
		CREATE TABLE told (id bigint);
		CREATE RULE also AS ON INSERT TO ruled DO ALSO INSERT INTO told VALUES (NEW.id);
		CREATE TABLE top (id bigint PRIMARY KEY, v text);
		CREATE TABLE child (PRIMARY KEY (id)) INHERITS (top);
		CREATE FUNCTION route() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			IF NEW.v <> 'skip' THEN INSERT INTO child VALUES (NEW.*); END IF; RETURN NULL; END $$;
		CREATE TRIGGER route BEFORE INSERT ON top FOR EACH ROW EXECUTE FUNCTION route();`)
	const skip = `{"v":"skip"}`
	fine := act(tInsert("item", key(1), `{"v":"a"}`), tUpsert("item", key(1), `{"v":"b"}`), tUpsert("item", key(7), `{"v":"a"}`), tUpsert("item", key(7), `{}`),
		tUpdate("item", key(7), `{"v":"c"}`), tUpsert("late", key(1), `{"v":"a"}`), tUpsert("late", key(1), `{"v":"b"}`), tUpsert("late", key(2), `{}`),
		tInsert("part", key(1), `{"v":"a"}`), tUpsert("part", key(7), `{"v":"a"}`), tInsert("face", key(1), `{"v":"a"}`), tInsert("face", key(2), `{"v":"a"}`),
		tInsert("ruled", key(1), `{"v":"a"}`), tInsert("ruled", key(7), `{"v":"a"}`), tInsert("top", key(1), `{"v":"a"}`), tUpsert("top", key(2), `{"v":"a"}`),
		tDelete("item", key(99)), tDelete("ruled", key(99)), tDelete("part", key(99)), tDelete("part", key(1)))
	r.write(fine)
	rows := `SELECT (SELECT string_agg(id || v, ',' ORDER BY id) FROM item), (SELECT string_agg(id || coalesce(v, '-') || w, ',' ORDER BY id) FROM late),
		(SELECT string_agg(id || v, ',') FROM part), (SELECT count(*) FROM base), (SELECT string_agg(id || v, ',' ORDER BY id) FROM ruled), (SELECT count(*) FROM told), (SELECT count(*) FROM child)`
	const want = "1b,7c|1bw,2-w|7a|2|1a,7a|2|2"
	r.want(rows, want)
	for _, c := range []struct {
		change waybill.Change
		want   string
	}{
		{tInsert("item", key(5), skip), "item skipped"},
		{tUpsert("item", key(5), skip), "item skipped"},
		{tUpsert("item", key(1), skip), "item skipped"},
		{tUpdate("item", key(1), skip), "item skipped"},
		{tDelete("item", key(7)), "item kept"},
		{tUpsert("late", key(1), skip), "late skipped"},
		{tUpsert("late", key(5), skip), "late skipped"},
		{tInsert("part", key(5), skip), "part skipped"},
		{tUpsert("part", key(7), skip), "part skipped"},
		{tDelete("part", key(7)), "part kept"},
		{tInsert("face", key(5), skip), "face skipped"},
		{tInsert("ruled", key(5), skip), "ruled skipped"},
		{tDelete("ruled", key(7)), "ruled kept"},
		{tInsert("top", key(5), skip), "top skipped"},
	} {
		have := r.refused(append(act(tUpsert("item", key(4), `{"v":"x"}`)), c.change)...)
		if want := "a trigger or rule of table public." + c.want + " the row"; have.Reason != want || have.Key != c.change.Key.String() || have.Entity != c.change.Entity {
			t.Errorf("%s %s %s: have %s", c.change.Op, c.change.Entity, c.change.Key, have)
		}
		r.want(rows, want)
	}
	if have := r.refused(tUpdate("item", key(99), `{"v":"x"}`)); have.Reason != "no row has this key" {
		t.Errorf("have %s", have)
	}
	r.exec("CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; CREATE TABLE plain (id bigint PRIMARY KEY, v text)")
	r.write(act(tInsert("plain", key(1), `{}`)))
	r.exec("CREATE TRIGGER no BEFORE INSERT ON plain FOR EACH ROW EXECUTE FUNCTION no()")
	if have := r.refused(tInsert("plain", key(2), `{}`)); have.Reason != "a trigger or rule of table public.plain skipped the row" {
		t.Errorf("have %s", have)
	}
}

// A constraint that is checked at commit: the change at fault is named where one is, and the action
// where a violation that it mends comes before.
func TestDeferredViolations(t *testing.T) {
	r := newTarget(t, `CREATE TABLE customer (id bigint PRIMARY KEY);
		CREATE TABLE phone (id bigint PRIMARY KEY, customer bigint REFERENCES customer DEFERRABLE INITIALLY DEFERRED,
			n int, UNIQUE (n) DEFERRABLE INITIALLY DEFERRED)`)
	r.write(act(tInsert("customer", key(1), `{}`), tInsert("phone", key(1), `{"customer":1,"n":1}`), tInsert("phone", key(2), `{"customer":1,"n":2}`)))
	for _, c := range []struct {
		change []waybill.Change
		want   string
	}{
		{
			act(tInsert("phone", key(3), `{"customer":1,"n":3}`), tInsert("phone", key(4), `{"customer":9,"n":4}`), tInsert("phone", key(5), `{"n":5}`)),
			`action a3 refused at phone {"id":4}: insert or update on table "phone" violates foreign key constraint "phone_customer_fkey"`,
		},
		{
			act(tUpdate("phone", key(1), `{"n":2}`), tUpdate("phone", key(2), `{"n":1}`), tInsert("phone", key(3), `{"n":1}`)),
			`action a3 refused: duplicate key value violates unique constraint "phone_n_key"`,
		},
	} {
		err := r.try(act(tInsert("customer", key(2), `{}`)), c.change)
		if err == nil || err.Error() != c.want {
			t.Errorf("\nhave %v\nwant %s", err, c.want)
		}
	}
	r.write(act(tUpdate("phone", key(1), `{"n":2}`), tUpdate("phone", key(2), `{"n":1}`)))
}
