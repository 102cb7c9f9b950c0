package judge

import (
	"context"
	"encoding/json"
	"maps"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// pair is a source with a bare outbox table and a target that carry copies to by hand.
func pair(t *testing.T) (source, target *Side) {
	t.Helper()
	ctx := context.Background()
	open := func(name string) *Side {
		s, err := SQLite(filepath.Join(t.TempDir(), name))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		return s
	}
	source, target = open("source.db"), open("target.db")
	must(t, source.CreateSource(ctx, 12))
	must(t, target.CreateTarget(ctx))
	must(t, source.script(ctx, `create table waybill_outbox (n integer primary key autoincrement, action text, name text, changes text)`))
	return source, target
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// carry applies all outbox rows to the target, one transaction for each action.
func carry(t *testing.T, source, target *Side) {
	t.Helper()
	ctx := context.Background()
	rows, err := source.texts(ctx, `select action, changes from waybill_outbox order by n`)
	must(t, err)
	for i := 0; i < len(rows); {
		tx, err := target.DB.BeginTx(ctx, nil)
		must(t, err)
		for first := rows[i][0]; i < len(rows) && rows[i][0] == first; i++ {
			var changes []change
			must(t, json.Unmarshal([]byte(rows[i][1]), &changes))
			for _, c := range changes {
				query, args := statement(c)
				_, err := tx.Exec(query, args...)
				must(t, err)
			}
		}
		must(t, tx.Commit())
	}
}

func statement(c change) (string, []any) {
	list := func(r row, glue, form string) (string, []any) {
		var parts []string
		var args []any
		for _, name := range sorted(r) {
			parts = append(parts, strings.ReplaceAll(form, "%", name))
			if f, ok := r[name].(float64); ok {
				r[name] = int64(f)
			}
			args = append(args, r[name])
		}
		return strings.Join(parts, glue), args
	}
	where, keys := list(c.Key, " and ", "% = ?")
	sets, values := list(c.Row, ", ", "% = ?")
	switch c.Op {
	case "delete":
		return "delete from " + c.Entity + " where " + where, keys
	case "update":
		return "update " + c.Entity + " set " + sets + " where " + where, append(values, keys...)
	}
	all := row{}
	for _, part := range []row{c.Key, c.Row} {
		maps.Copy(all, part)
	}
	names, args := list(all, ", ", "%")
	query := "insert into " + c.Entity + " (" + names + ") values (" + strings.Repeat("?, ", len(args)-1) + "?)"
	if c.Op == "upsert" {
		key, _ := list(c.Key, ", ", "%")
		query += " on conflict (" + key + ") do update set " + sets
		args = append(args, values...)
	}
	return query, args
}

func verdict(t *testing.T, source, target *Side) *Verdict {
	t.Helper()
	v, err := Judge(context.Background(), source, target)
	must(t, err)
	return v
}

func TestFaithfulCopyIsClean(t *testing.T) {
	source, target := pair(t)
	w := &Workload{Source: source, Customers: 12, Sessions: 3, Actions: 60, Seed: 1}
	stats, err := w.Run(context.Background())
	must(t, err)
	eye := Observe(target)
	carry(t, source, target)
	seen, err := eye.Stop()
	must(t, err)
	v := verdict(t, source, target)
	if !v.Clean() || v.Actions != stats.Committed || v.Applied != v.Actions || stats.RolledBack == 0 {
		t.Fatalf("%+v %s", stats, v)
	}
	if seen.Torn+seen.Shrunk > 0 || seen.Polls == 0 {
		t.Fatalf("%+v", seen)
	}
}

// TestDamageIsSeen spoils a faithful copy in each way that the verdict has a word for.
func TestDamageIsSeen(t *testing.T) {
	const lastSaved = `(select action from journal group by action order by action desc limit 1)`
	for name, c := range map[string]struct {
		spoil []string
		count func(v *Verdict) int
	}{
		"lost": {
			[]string{`delete from arrival where action = ` + lastSaved, `delete from journal where action = ` + lastSaved},
			func(v *Verdict) int { return v.Lost },
		},
		"skipped": {
			[]string{
				`delete from arrival where action = (select min(action) from journal)`,
				`delete from journal where action = (select min(action) from journal)`,
			},
			func(v *Verdict) int { return v.Skipped },
		},
		"doubled": {
			[]string{`update journal set version = version where action = ` + lastSaved},
			func(v *Verdict) int { return v.Doubled },
		},
		"torn": {
			[]string{`delete from arrival where n = (select max(n) from arrival where action in (select action from journal group by action having count(*) = 2))`},
			func(v *Verdict) int { return v.Torn },
		},
		"torn customer": {
			[]string{`update customer set total = total + 1 where id = (select max(id) from customer)`},
			func(v *Verdict) int { return v.Torn },
		},
		"out of order": {
			[]string{`update arrival set n = n + 100000 where n = 5`},
			func(v *Verdict) int { return v.OutOfOrder },
		},
		"phantom": {
			[]string{`insert into journal values (99, 1, 99999, 1, 99999)`},
			func(v *Verdict) int { return v.Phantom },
		},
		"different": {
			[]string{`update phone set number = 'x' where id = (select max(id) from phone)`},
			func(v *Verdict) int { return v.Different },
		},
	} {
		t.Run(name, func(t *testing.T) {
			source, target := pair(t)
			w := &Workload{Source: source, Customers: 12, Sessions: 1, Actions: 60, Seed: 2}
			_, err := w.Run(context.Background())
			must(t, err)
			carry(t, source, target)
			for _, query := range c.spoil {
				must(t, target.script(context.Background(), query))
			}
			if v := verdict(t, source, target); c.count(v) == 0 {
				t.Fatalf("not noticed: %s", v)
			}
		})
	}
}

// TestWhatIsNotThereYet: what came last is missing. That is lost, but nothing is skipped.
func TestWhatIsNotThereYet(t *testing.T) {
	source, target := pair(t)
	_, err := (&Workload{Source: source, Customers: 12, Sessions: 2, Actions: 30, Seed: 4}).Run(context.Background())
	must(t, err)
	carry(t, source, target)
	_, err = (&Workload{Source: source, Customers: 12, Sessions: 1, Actions: 10, Seed: 5}).Run(context.Background())
	must(t, err)
	if v := verdict(t, source, target); v.Lost == 0 || !v.Prefix() || v.Clean() {
		t.Fatal(v)
	}
}

// TestUnpluggedWorkload: a source that fails does not end a workload that expects it, and what
// was not certain is counted.
func TestUnpluggedWorkload(t *testing.T) {
	source, target := pair(t)
	must(t, source.script(context.Background(), `create trigger down before insert on waybill_outbox when (select sum(version) from directory) % 5 = 0 begin select raise(abort, 'down'); end`))
	w := &Workload{Source: source, Customers: 12, Sessions: 1, Actions: 60, Seed: 6, Unplugged: true}
	stats, err := w.Run(context.Background())
	must(t, err)
	carry(t, source, target)
	v := verdict(t, source, target)
	if stats.Failed == 0 || !v.Clean() || v.Actions != stats.Committed {
		t.Fatalf("%+v %s", stats, v)
	}
}

func TestObserverSeesParts(t *testing.T) {
	source, target := pair(t)
	w := &Workload{Source: source, Customers: 3, Sessions: 1, Actions: 20, Seed: 3}
	_, err := w.Run(context.Background())
	must(t, err)
	carry(t, source, target)
	must(t, target.script(context.Background(), `update customer set phones = phones + 1`))
	eye := Observe(target)
	for deadline := time.Now().Add(20 * time.Second); eye.Polls() == 0 && time.Now().Before(deadline); {
		runtime.Gosched()
	}
	seen, err := eye.Stop()
	must(t, err)
	if seen.Torn == 0 || seen.First == "" {
		t.Fatalf("%+v", seen)
	}
}
