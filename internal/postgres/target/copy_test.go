package target

import (
	"fmt"
	"strings"
	"testing"

	"github.com/waybill-data/waybill"
)

// tMany are inserts enough for COPY, ids from..from+n-1.
func tMany(entity string, from, n int) []waybill.Change {
	var changes []waybill.Change
	for i := range n {
		changes = append(changes, tInsert(entity, key(from+i), fmt.Sprintf(`{"v":"row \"%d\"","at":"2024-01-01T00:00:00Z"}`, from+i)))
	}
	return changes
}

const copyTable = `CREATE TABLE c (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v text, twice int GENERATED ALWAYS AS (id * 2) STORED, at timestamptz, n numeric, note text DEFAULT 'none')`

func TestCopy(t *testing.T) {
	r := newTarget(t, copyTable)
	r.write(tMany("c", 1, copyRows), tMany("c", 10000, 3*copyRows), act(tUpdate("c", key(1), `{"v":null}`)))
	r.want("SELECT count(*), sum(twice) = 2 * sum(id), count(v), min(at)::text, min(note) FROM c", fmt.Sprintf("%d|t|%d|2024-01-01 00:00:00+00|none", 4*copyRows, 4*copyRows-1))
	r.want("SELECT v FROM c WHERE id = 10001", `row "10001"`)

	// What the server refuses is named all the same, and nothing of the batch is there.
	refused := r.refused(append(tMany("c", 50000, copyRows), tInsert("c", key(1), `{"v":"x"}`), tInsert("c", key(2), `{"v":"x","at":null}`))...)
	if refused.Key != `{"id":1}` || !strings.Contains(refused.Reason, "exists already") {
		t.Errorf("%v", refused)
	}
	refused = r.refused(append(tMany("c", 50000, copyRows), tInsert("c", key(99999), `{"v":"x","at":"tomorrow"}`))...)
	if refused.Key != `{"id":99999}` {
		t.Errorf("%v", refused)
	}
	r.want("SELECT count(*) FROM c WHERE id >= 50000", "0")

	// What has no binary form goes the other way.
	odd := tMany("c", 60000, copyRows)
	odd[7] = tInsert("c", key(60007), `{"v":"x","at":"infinity"}`)
	r.write(odd)
	r.want("SELECT count(*), max(at)::text FROM c WHERE id >= 60000", fmt.Sprintf("%d|infinity", copyRows))
}

// Facts by COPY overwrite what they find.
func TestCopyFacts(t *testing.T) {
	r := newTarget(t, copyTable+"; INSERT INTO c (v) VALUES ('foreign')")
	r.write(facts(tMany("c", 1, 2*copyRows)...))
	r.want("SELECT count(*), min(v) FILTER (WHERE id = 1) FROM c", fmt.Sprintf(`%d|row "1"`, 2*copyRows))
	if n := r.w.ForeignWrites(); n != 1 {
		t.Errorf("%d foreign writes, want 1", n)
	}
}

// While one COPY is under way the next is planned; the failure of either undoes both.
func TestCopyAhead(t *testing.T) {
	r := newTarget(t, `CREATE TABLE c (id int PRIMARY KEY, v text, at timestamptz)`)
	const rows = copyRows
	r.write(facts(append(tMany("c", 1, rows), tDelete("c", key(1)), tUpdate("c", key(2), `{"v":"late"}`))...))
	r.want("SELECT count(*), sum(id), min(v) FILTER (WHERE id = 2) FROM c", fmt.Sprintf(`%d|%d|late`, rows-1, rows*(rows+1)/2-1))
	r.exec("INSERT INTO c VALUES (50007, 'foreign')")
	r.write(facts(tMany("c", 50000, planChanges+10)...))
	r.want("SELECT count(*), min(v) FILTER (WHERE id = 50007) FROM c", fmt.Sprintf(`%d|row "50007"`, rows-1+planChanges+10))
	if n := r.w.ForeignWrites(); n != 1 {
		t.Errorf("%d foreign writes, want 1", n)
	}
}

// Triggers see what they saw, and a rule or view is not passed by.
func TestCopyKeepsTriggers(t *testing.T) {
	r := newTarget(t, `CREATE TABLE c (id int PRIMARY KEY, v text, at timestamptz); CREATE TABLE seen (id int);
		CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO seen VALUES (NEW.id); RETURN NEW; END $$;
		CREATE TRIGGER note BEFORE INSERT ON c FOR EACH ROW EXECUTE FUNCTION note();
		CREATE TABLE base (id int PRIMARY KEY, v text, at timestamptz); CREATE VIEW shown AS SELECT * FROM base`)
	r.write(tMany("c", 1, copyRows))
	r.want("SELECT count(*) FROM seen", fmt.Sprint(copyRows))
	r.write(tMany("shown", 1, copyRows))
	r.want("SELECT count(*) FROM base", fmt.Sprint(copyRows))
}

// COPY would take the bytes of one type for those of another.
func TestCopySeesNewTypes(t *testing.T) {
	r := newTarget(t, `CREATE TABLE c (id int PRIMARY KEY, v text, at timestamptz, n bigint)`)
	many := func(from int) (changes []waybill.Change) {
		for i := range copyRows {
			changes = append(changes, tInsert("c", key(from+i), `{"n":5}`))
		}
		return changes
	}
	r.write(many(1))
	r.exec("ALTER TABLE c ALTER n TYPE float8")
	r.write(many(10001))
	r.want("SELECT sum(n), count(*) FROM c", fmt.Sprintf("%d|%d", 10*copyRows, 2*copyRows))
	r.exec("ALTER TABLE c RENAME TO former; CREATE TABLE c (n float8, id int PRIMARY KEY, w int)")
	r.write(many(1))
	r.want("SELECT sum(n), count(*) FROM c", fmt.Sprintf("%d|%d", 5*copyRows, copyRows))
}
