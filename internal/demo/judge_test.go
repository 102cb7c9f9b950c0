package demo

import (
	"context"
	"database/sql"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// pair is a master with some hundred actions and a CRM that holds the same, filled by plain
// SQL action by action, as a perfect engine would.
type pair struct {
	master, crm string
	rolledBack  int64 // transactions
}

const outboxTable = `create table waybill_outbox (n integer primary key autoincrement, action text, name text, trace text, changes text)`

func newPair(t *testing.T, actions int) pair {
	t.Helper()
	dir := t.TempDir()
	p := pair{master: filepath.Join(dir, "master.db"), crm: filepath.Join(dir, "crm.db")}
	if err := createDB(t.Context(), p.master, masterSchema+outboxTable); err != nil {
		t.Fatal(err)
	}
	if err := createDB(t.Context(), p.crm, targetSchema); err != nil {
		t.Fatal(err)
	}
	db := open(t, p.master)
	w := newWorkload(db)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	work, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- w.run(work) }()
	for w.written.Load() < int64(actions) {
		select {
		case err := <-done:
			t.Fatalf("the clerks ended: %v", err)
		case <-ctx.Done():
			t.Fatal("the clerks are too slow")
		case <-time.After(5 * time.Millisecond):
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	p.rolledBack = w.rolledBack.Load()
	apply(t, p)
	return p
}

// apply carries the outbox over by SQL alone: SQLite itself reads the changes.
func apply(t *testing.T, p pair) {
	t.Helper()
	db := open(t, p.crm)
	runSQL(t, db, "attach ? as master", p.master)
	runSQL(t, db, "create temp table carried (entity, op, key, row)")
	for _, table := range []struct{ name, key, columns, values string }{
		{"journal", "action", "customer_id, what, version, at", "row->>'customer_id', row->>'what', row->>'version', row->>'at'"},
		{"receipt", "action", "changes", "row->>'changes'"},
		{"customer", "id", "name, email, phones, addresses, version", "row->>'name', row->>'email', row->>'phones', row->>'addresses', row->>'version'"},
		{"phone", "id", "customer_id, kind, number, version", "row->>'customer_id', row->>'kind', row->>'number', row->>'version'"},
		{"address", "id", "customer_id, kind, street, city, version", "row->>'customer_id', row->>'kind', row->>'street', row->>'city', row->>'version'"},
	} {
		runSQL(t, db, `create temp trigger carry_`+table.name+` after insert on carried when new.entity = '`+table.name+`' begin
  delete from `+table.name+` where `+table.key+` = new.key;
  insert into `+table.name+` (`+table.key+`, `+table.columns+`)
  select new.key, `+table.values+` from (select new.row as row) where new.op <> 'delete';
end`)
	}
	runSQL(t, db, `insert into carried select c.value->>'entity', c.value->>'op', coalesce(c.value->>'$.key.id', c.value->>'$.key.action'), c.value->>'row'
from master.waybill_outbox o, json_each(o.changes) c order by o.n, c.key`)
}

func open(t *testing.T, path string) *sql.DB {
	t.Helper()
	db, err := openDB(path, 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func runSQL(t *testing.T, db *sql.DB, query string, args ...any) {
	t.Helper()
	if _, err := db.ExecContext(t.Context(), query, args...); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}

// copyOf is the pair with a CRM that may be damaged.
func (p pair) copyOf(t *testing.T) pair {
	t.Helper()
	to := filepath.Join(t.TempDir(), "crm.db")
	db := open(t, p.crm)
	runSQL(t, db, "vacuum into ?", to)
	return pair{master: p.master, crm: to}
}

func (p pair) judge(t *testing.T) Verdict {
	t.Helper()
	v, err := Judge(t.Context(), p.master, p.crm)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestJudge damages a copy of a whole CRM in each way, and expects just that to be counted.
func TestJudge(t *testing.T) {
	whole := newPair(t, 300)
	sound := whole.judge(t)
	if d := sound.Differences(); d != 0 || sound.Written < 300 || sound.Applied != sound.Written || sound.Rows == 0 {
		t.Fatalf("a whole CRM is judged %+v", sound)
	}
	if whole.rolledBack == 0 {
		t.Error("nothing was rolled back")
	}
	for _, kind := range []string{created, saved, moved, deleted, recreated} {
		if sound.Kinds[kind] == 0 {
			t.Errorf("the clerks did no %s", kind)
		}
	}
	if sound.Kinds[abandoned] != 0 {
		t.Error("what was rolled back is at the master")
	}

	const someone = "(select min(id) from customer)"
	// the first action that is not its customer's last: that customer stays sound without it
	const superseded = "(select min(j.action) from journal j join journal k on k.customer_id = j.customer_id and k.action > j.action)"
	for _, tc := range []struct {
		name   string
		damage []string
		want   func(v *Verdict)
	}{
		{"an action is lost", []string{
			"delete from receipt where action = " + superseded,
			"delete from journal where action = " + superseded,
		}, func(v *Verdict) { v.Applied--; v.LostActions++ }},
		{"a customer is lost with all that belongs to it", []string{
			"delete from phone where customer_id = " + someone,
			"delete from address where customer_id = " + someone,
			"delete from customer where id = " + someone,
		}, nil},
		{"an action is applied twice", []string{
			"insert into journal select * from journal where action = 150 on conflict (action) do update set what = excluded.what",
			"insert into receipt select * from receipt where action = 150 on conflict (action) do update set changes = excluded.changes",
		}, func(v *Verdict) { v.Doubled++ }},
		{"the end of an action is missing", []string{"delete from receipt where action = 150"}, func(v *Verdict) { v.Applied--; v.TornActions++ }},
		{"an action lacks a phone", []string{"delete from phone where id = (select min(id) from phone)"}, func(v *Verdict) { v.LostRows++; v.TornCustomers++ }},
		{
			"a customer is newer than its addresses",
			[]string{"update address set version = version - 1 where id = (select min(id) from address)"},
			func(v *Verdict) { v.Different++; v.TornCustomers++ },
		},
		{"two actions are swapped", []string{
			"update arrival set action = -action where action in (150, 151)",
			"update arrival set action = 301 + action where action in (-150, -151)",
		}, func(v *Verdict) { v.OutOfOrder++ }},
		{"a rolled back action arrived", []string{
			"insert into journal values (1000000, 1000000, 'abandoned', 1, '')",
			"insert into receipt values (1000000, 2)",
		}, func(v *Verdict) { v.Applied++; v.Invented += 2; v.TornCustomers++ }},
		{"a value differs", []string{"update customer set email = 'x' where id = " + someone}, func(v *Verdict) { v.Different++ }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			damaged := whole.copyOf(t)
			db := open(t, damaged.crm)
			for _, sql := range tc.damage {
				runSQL(t, db, sql)
			}
			got := damaged.judge(t)
			if tc.want == nil {
				if got.LostRows < 3 || got.TornCustomers != 1 || got.Doubled+got.TornActions+got.OutOfOrder+got.Different != 0 {
					t.Errorf("judged %+v", got)
				}
				return
			}
			want := sound
			tc.want(&want)
			// Whose two actions were swapped is chance.
			got.OutOfOrderCustomer = 0
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("judged (-want +got):\n%s", diff)
			}
		})
	}
}

// TestJudgeOrderOfOneCustomer: two actions of one customer that arrive the wrong way round.
func TestJudgeOrderOfOneCustomer(t *testing.T) {
	p := newPair(t, 200)
	db := open(t, p.crm)
	runSQL(t, db, `create temp table two as select j.action as a, (select min(k.action) from journal k where k.customer_id = j.customer_id and k.action > j.action) as b
from journal j where b is not null order by j.action limit 1`)
	runSQL(t, db, "update arrival set action = -(select b from two) where action = (select a from two)")
	runSQL(t, db, "update arrival set action = (select a from two) where action = (select b from two)")
	runSQL(t, db, "update arrival set action = (select b from two) where action < 0")
	if v := p.judge(t); v.OutOfOrder == 0 || v.OutOfOrderCustomer != 1 || v.Doubled+v.Lost()+v.Torn() != 0 {
		t.Errorf("judged %+v", v)
	}
}

// TestObserver sees the two halves of an action that is committed in two transactions.
func TestObserver(t *testing.T) {
	p := newPair(t, 100)
	o := &observer{path: p.crm, every: lookEvery}
	defer o.close()
	look := func() (torn int64) {
		t.Helper()
		before := o.torn.Load()
		if err := o.once(t.Context()); err != nil {
			t.Fatal(err)
		}
		return o.torn.Load() - before
	}
	if look() != 0 || o.applied.Load() < 100 {
		t.Fatalf("a whole CRM is seen torn, or %d actions in it", o.applied.Load())
	}
	db := open(t, p.crm)
	runSQL(t, db, "insert into journal select max(action) + 1, customer_id, what, version, at from journal")
	if look() != 1 {
		t.Error("a journal row without its receipt was not seen")
	}
	runSQL(t, db, "insert into receipt select max(action), 1 from journal")
	if look() != 0 {
		t.Error("a whole action was seen torn")
	}
	runSQL(t, db, `insert into journal select max(action) + 1, (select min(id) from customer), 'customer.saved', (select version + 1 from customer order by id limit 1), '' from journal`)
	runSQL(t, db, "insert into receipt select max(action), 1 from journal")
	if look() != 1 {
		t.Error("a journal ahead of its customer was not seen")
	}
	o.lastFull = time.Time{}
	if look() != 1 || o.full.Load() < 2 {
		t.Error("a look at everything did not see it")
	}
}
