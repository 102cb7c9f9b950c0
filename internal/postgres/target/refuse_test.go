package target

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/testenv"
)

const refuseTables = `
	CREATE DOMAIN code AS text CHECK (VALUE ~ '^[A-Z]+$');
	CREATE TYPE mood AS ENUM ('calm', 'merry');
	CREATE TABLE customer (id bigint PRIMARY KEY, name text, email text UNIQUE, age integer CHECK (age < 150), born date, seen timestamp,
		short varchar(5), price numeric(7,2), mood mood, code code, data bytea, doc jsonb, tags text[], ref uuid, needed text NOT NULL DEFAULT 'x',
		wide double precision, narrow real, cash money, at timestamptz(3), clock time, span interval, obj oid, label name, letter "char", fixed char(3),
		narrows real[]);
	CREATE TABLE phone (customer_id bigint REFERENCES customer, n int, PRIMARY KEY (customer_id, n));
	CREATE TABLE loose (id bigint, name text);
	CREATE TABLE keyed (id bigint PRIMARY KEY, code text);
	CREATE VIEW seen AS SELECT id, name FROM customer;
	CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'customer % is too secret', NEW.code; END $$;
	CREATE TRIGGER no BEFORE INSERT ON keyed FOR EACH ROW EXECUTE FUNCTION no();
	INSERT INTO customer (id, email) VALUES (1, 'one@example.com'), (2, 'two@example.com');
	INSERT INTO phone VALUES (1, 1);`

// Each refusal is one sentence that names the entity, the key, what is wrong and, where there
// is one, the remedy; and never a value (here they all contain "secret" or 777).
var narrow = regexp.MustCompile(`(keeps?|, the column is not|means another moment .*|longer than .*|too long .*|numeric field overflow|range for type \S.*)$`)

func TestRefusalSentences(t *testing.T) {
	r := newTarget(t, refuseTables)
	for _, c := range []struct {
		name   string
		change waybill.Change
		want   string // after "action … refused at ENTITY KEY: "
	}{
		{
			"insert of an existing key", tInsert("customer", `{"id":1}`, `{"name":"secret"}`),
			`a row with this key exists already; use op upsert where the row may exist`,
		},
		{
			"update of a missing row", tUpdate("customer", `{"id":9}`, `{"name":"secret"}`),
			`no row has this key; use op upsert where the row may be missing`,
		},
		{
			"unique", tUpsert("customer", `{"id":2}`, `{"email":"one@example.com"}`),
			`duplicate key value violates unique constraint "customer_email_key"`,
		},
		{
			"unique, insert", tInsert("customer", `{"id":3}`, `{"email":"one@example.com"}`),
			`duplicate key value violates unique constraint "customer_email_key"`,
		},
		{
			"check", tUpsert("customer", `{"id":2}`, `{"age":777}`),
			`new row for relation "customer" violates check constraint "customer_age_check"`,
		},
		{
			"not null", tUpdate("customer", `{"id":2}`, `{"needed":null,"name":"secret"}`),
			`null value in column "needed" of relation "customer" violates not-null constraint`,
		},
		{
			"foreign key", tUpsert("phone", `{"customer_id":9,"n":1}`, `{}`),
			`insert or update on table "phone" violates foreign key constraint "phone_customer_id_fkey"`,
		},
		{
			"foreign key, delete", tDelete("customer", `{"id":1}`),
			`update or delete on table "customer" violates foreign key constraint "phone_customer_id_fkey" on table "phone"`,
		},
		{
			"integer out of range", tUpsert("customer", `{"id":2}`, `{"age":77777777777}`),
			`column age (integer): value … is out of range for type integer`,
		},
		{
			"text into integer", tUpsert("customer", `{"id":2}`, `{"name":"x","age":"secret"}`),
			`column age (integer): invalid input syntax for type integer`,
		},
		{
			"fraction into integer", tUpsert("customer", `{"id":2}`, `{"age":7.77}`),
			`column age (integer): invalid input syntax for type integer`,
		},
		{
			"date", tUpsert("customer", `{"id":2}`, `{"born":"2024-02-31"}`),
			`column born (date): date/time field value out of range`,
		},
		{
			"time into date", tUpsert("customer", `{"id":2}`, `{"born":"2024-02-01T07:07:07Z"}`),
			`column born (date): the value has a time of day, which the column does not keep`,
		},
		{
			"zone into timestamp", tUpsert("customer", `{"id":2}`, `{"seen":"2024-02-01T07:07:07+02:00"}`),
			`column seen (timestamp without time zone): the value has a zone other than UTC, which the column does not keep`,
		},
		{
			"too long", tUpsert("customer", `{"id":2}`, `{"name":"x","short":"secret"}`),
			`column short (character varying(5)): value too long for type character varying(5)`,
		},
		{
			"too many decimals", tUpsert("customer", `{"id":2}`, `{"price":1.777}`),
			`column price (numeric(7,2)): the value has more decimal places than the column keeps`,
		},
		{
			"numeric overflow", tUpsert("customer", `{"id":2}`, `{"price":777777777}`),
			`column price (numeric(7,2)): numeric field overflow`,
		},
		{"enum", tUpsert("customer", `{"id":2}`, `{"mood":"secret"}`), `column mood (mood): invalid input value for enum mood`},
		{"domain", tUpsert("customer", `{"id":2}`, `{"code":"secret"}`), `value for domain code violates check constraint "code_check"`},
		{
			"bytes", tUpsert("customer", `{"id":2}`, `{"data":"secret!"}`),
			`column data (bytea): the value is neither base64 nor \x and hexadecimal digits`,
		},
		{
			"NUL", tUpsert("customer", `{"id":2}`, `{"name":"secret\u0000"}`),
			`column name (text): the text contains the character \u0000, which PostgreSQL cannot store`,
		},
		{
			"NUL in jsonb", tUpsert("customer", `{"id":2}`, `{"doc":{"a":"secret\u0000"}}`),
			`column doc (jsonb): unsupported Unicode escape sequence`,
		},
		{"array", tUpsert("customer", `{"id":2}`, `{"tags":"secret"}`), `column tags (text[]): malformed array literal`},
		{"uuid", tUpsert("customer", `{"id":2}`, `{"ref":"secret"}`), `column ref (uuid): invalid input syntax for type uuid`},
		{"key of the wrong type", tDelete("customer", `{"id":"x"}`), `column id (bigint): invalid input syntax for type bigint`},
		{
			"unknown column", tUpsert("customer", `{"id":2}`, `{"nick":"secret"}`),
			`table public.customer has no column nick; ALTER TABLE "public"."customer" ADD COLUMN "nick" …`,
		},
		{
			"missing table", tUpsert("nosuch", `{"id":2}`, `{"nick":"secret"}`),
			`table public.nosuch does not exist; create it, or set the target's schema`,
		},
		{
			"missing schema", tUpsert("crm.customer", `{"id":2}`, `{"nick":"secret"}`),
			`table crm.customer does not exist; create it, or set the target's schema`,
		},
		{
			"missing key", tUpsert("loose", `{"id":2}`, `{"name":"secret"}`),
			`table public.loose has no primary key or unique constraint on ("id"), which upsert needs; ALTER TABLE "public"."loose" ADD PRIMARY KEY ("id")`,
		},
		{
			"not the key", tDelete("customer", `{"name":"Ann"}`),
			`table public.customer has no primary key or unique constraint on ("name"), which delete needs; ALTER TABLE "public"."customer" ADD UNIQUE ("name")`,
		},
		{
			"view", tUpsert("seen", `{"id":2}`, `{"name":"secret"}`),
			`table public.seen has no primary key or unique constraint on ("id"), which upsert needs`,
		},
		{"float8", tUpsert("customer", `{"id":2}`, `{"wide":9007199254740993}`), `column wide (double precision): the value has more digits than the column keeps`},
		{"float4", tUpsert("customer", `{"id":2}`, `{"narrow":16777217}`), `column narrow (real): the value has more digits than the column keeps`},
		{"float4, fraction", tUpsert("customer", `{"id":2}`, `{"narrow":3.14159265358979}`), `column narrow (real): the value has more digits than the column keeps`},
		{"float4, array", tUpsert("customer", `{"id":2}`, `{"narrows":[1,16777217]}`), `column narrows (real[]): in an element, the value has more digits than the column keeps`},
		{"float8, too large", tUpsert("customer", `{"id":2}`, `{"wide":1e777}`), `column wide (double precision): … is out of range for type double precision`},
		{"money", tUpsert("customer", `{"id":2}`, `{"cash":1.777}`), `column cash (money): the value has more decimal places than the column keeps`},
		{"nanoseconds", tUpsert("customer", `{"id":2}`, `{"seen":"2024-01-01T00:00:00.0000001Z"}`), `column seen (timestamp without time zone): the value has more digits in the fraction of a second than the column keeps`},
		{"microseconds", tUpsert("customer", `{"id":2}`, `{"at":"2024-01-01T00:00:00.1234Z"}`), `column at (timestamp(3) with time zone): the value has more digits in the fraction of a second than the column keeps`},
		{"time, nanoseconds", tUpsert("customer", `{"id":2}`, `{"clock":"00:00:00.1234567"}`), `column clock (time without time zone): the value has more digits in the fraction of a second than the column keeps`},
		{"interval, nanoseconds", tUpsert("customer", `{"id":2}`, `{"span":"00:00:00.1234567"}`), `column span (interval): the value has more digits in the fraction of a second than the column keeps`},
		{"date into time", tUpsert("customer", `{"id":2}`, `{"clock":"2024-01-01T07:07:07"}`), `column clock (time without time zone): the value has a date, which the column does not keep`},
		{"zone into time", tUpsert("customer", `{"id":2}`, `{"clock":"07:07:07+02"}`), `column clock (time without time zone): the value has a zone other than UTC, which the column does not keep`},
		{"today", tUpsert("customer", `{"id":2}`, `{"born":"today"}`), `column born (date): the value means another moment whenever it is read`},
		{"now", tUpsert("customer", `{"id":2}`, `{"at":" NOW "}`), `column at (timestamp(3) with time zone): the value means another moment whenever it is read`},
		{"tomorrow", tUpsert("customer", `{"id":2}`, `{"seen":"tomorrow 12:00"}`), `column seen (timestamp without time zone): the value means another moment whenever it is read`},
		{"allballs", tUpsert("customer", `{"id":2}`, `{"clock":"allballs"}`), `column clock (time without time zone): the value means another moment whenever it is read`},
		{"negative oid", tUpsert("customer", `{"id":2}`, `{"obj":-1}`), `column obj (oid): the value is negative, the column is not`},
		{"oid", tUpsert("customer", `{"id":2}`, `{"obj":77777777777}`), `column obj (oid): value … is out of range for type oid`},
		{"name", tUpsert("customer", `{"id":2}`, `{"label":"secretxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}`), `column label (name): the value is longer than 63 bytes`},
		{"one letter", tUpsert("customer", `{"id":2}`, `{"letter":"secret"}`), `column letter ("char"): the value is longer than one byte`},
		{"blanks", tUpsert("customer", `{"id":2}`, `{"short":"abc   "}`), `column short (character varying(5)): the value ends in more blanks than the column keeps`},
		{"blanks, fixed", tUpsert("customer", `{"id":2}`, `{"fixed":"ab    "}`), `column fixed (character(3)): the value ends in more blanks than the column keeps`},
		{"trigger", tInsert("keyed", `{"id":2}`, `{"code":"secret"}`), `customer … is too …`},
		{"key twice", tUpsert("customer", `{"id":2}`, `{"id":3}`), `column id of its row is not the same as in its key`},
	} {
		t.Run(c.name, func(t *testing.T) {
			refusal := r.refused(c.change)
			want := fmt.Sprintf("action a%d refused at ", r.seq+1) + c.change.Entity + " " + c.change.Key.String() + ": " + c.want
			if narrow.MatchString(c.want) {
				want += "; give the column a type that holds it, or correct the value at the source"
			}
			if refusal.Error() != want {
				t.Errorf("\nhave %s\nwant %s", refusal, want)
			}
			if c.name != "trigger" && (strings.Contains(refusal.Error(), "secret") || strings.Contains(refusal.Error(), "777")) {
				t.Errorf("the refusal tells a value: %s", refusal)
			}
			r.want("SELECT count(*) FROM customer", "2")
			r.want("SELECT position, seq FROM waybill.position", fmt.Sprintf("%s|%d", r.at, r.seq))
			r.write(act(tUpsert("customer", `{"id":2}`, `{"name":"fine"}`)))
		})
	}
}

// A refusal in a large batch names the action and the change at fault, not a neighbour.
func TestRefusalNamesTheChange(t *testing.T) {
	r := newTarget(t, `CREATE TABLE item (id bigint PRIMARY KEY, n integer CHECK (n < 100), UNIQUE (n))`)
	var actions [][]waybill.Change
	for i := range 50 {
		actions = append(actions, act(tUpsert("item", key(2*i), row("n", i)), tUpsert("item", key(2*i+1), row("n", -1-i))))
	}
	actions[31] = act(tUpsert("item", key(900), row("n", 60)), tUpsert("item", key(901), row("n", 100)))
	err := r.try(actions...)
	if want := `action a32 refused at item {"id":901}: new row for relation "item" violates check constraint "item_n_check"`; err == nil || err.Error() != want {
		t.Fatalf("have %v\nwant %s", err, want)
	}
	r.write(actions[:31]...)
	r.want("SELECT count(*) FROM item", "62")
}

// Errors that are no fault of the data are not refusals.
func TestNotRefused(t *testing.T) {
	r := newTarget(t, `CREATE TABLE item (id bigint PRIMARY KEY, n integer); CREATE ROLE clerk LOGIN PASSWORD 'x'; GRANT USAGE ON SCHEMA public TO clerk`)
	t.Cleanup(func() { testenv.Exec(t, r.db.URL, "DROP OWNED BY clerk; DROP ROLE clerk") })
	_ = r.w.Close()
	r.exec("GRANT USAGE ON SCHEMA waybill TO clerk; GRANT SELECT, INSERT, UPDATE, DELETE ON waybill.meta, waybill.position, waybill.lease TO clerk")
	r.w = r.writer(func(o *Options) {
		o.URL = strings.Replace(r.db.URL, "waybill:secret-of-the-test", "clerk:x", 1)
	})
	r.resume()
	err := r.try(act(tUpsert("item", key(1), row("n", 1))))
	want := `write to table public.item at the target: permission denied for table item; run as its owner: ` +
		`GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE "public"."item" TO "clerk";`
	if err == nil || err.Error() != want || waybill.Transient(err) {
		t.Fatalf("have %v\nwant %s", err, want)
	}
	r.exec(`GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE "public"."item" TO "clerk"`)
	r.write(act(tUpsert("item", key(1), row("n", 1))))
}

// What the source checks at the end of a transaction only is refused with the statement that has the
// target do the same, and is written after it.
func TestDeferrableAtTheSource(t *testing.T) {
	r := newTarget(t, "CREATE TABLE d (id bigint PRIMARY KEY, pos int, UNIQUE (pos))")
	r.write(facts(tInsert("d", key(1), `{"pos":1}`), tInsert("d", key(3), `{"pos":3}`)))
	swap := facts(tUpdate("d", key(1), `{"pos":3}`), tUpdate("d", key(3), `{"pos":1}`))
	have := r.refused(swap...)
	_, sql, ok := strings.Cut(have.Remedy, "let it be so here: ")
	if !ok || have.Key != `{"id":1}` {
		t.Fatalf("have %s", have)
	}
	r.exec(sql)
	r.write(swap)
	r.want("SELECT string_agg(id || ':' || pos, ' ' ORDER BY id) FROM d", "1:3 3:1")
}

// Of a table without a key each row names other columns: the remedy is not a key of those.
func TestKeylessAtTheSource(t *testing.T) {
	r := newTarget(t, "CREATE TABLE n (a int, b int); CREATE TABLE p (a int PRIMARY KEY, b int)")
	for entity, want := range map[string]string{
		"n": "give it a primary key (…) at both sides, or leave it out of `tables`; only if no two rows are alike and none holds a null, " +
			`this is enough at the target: ALTER TABLE "public"."n" ADD PRIMARY KEY ("a", "b")`,
		"p": `give it a primary key ("a") at both sides, or leave it out of`,
	} {
		c := tDelete(entity, `{"a":1,"b":2}`)
		c.Schema = &waybill.Schema{Entity: "public." + entity, System: "postgres", Columns: []waybill.SchemaColumn{{Name: "a", Type: "integer"}, {Name: "b", Type: "integer"}}}
		if have := r.refused(c); !strings.Contains(have.Remedy, want) {
			t.Errorf("have %s\nwant %s", have.Remedy, want)
		}
	}
}
