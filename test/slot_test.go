package test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"github.com/waybill-data/waybill/internal/testenv"
	"github.com/waybill-data/waybill/test/judge"
)

// slotTamper is what somebody does between two runs to a slot, or to what goes with it.
type slotTamper struct {
	name string
	do   func(b *behind)
	undo func(b *behind) // nil: it cannot be undone
	says string
}

// behind is a scenario with actions that were not carried yet. The target was saved before the last
// that were.
type behind struct {
	*scenario
	slot, position string // position is the table
}

var slotTampers = []slotTamper{
	{
		name: "position gone", says: "the target was restored or replaced",
		do:   func(b *behind) { b.exec(b.target, `delete from `+b.position) },
		undo: func(b *behind) { b.stand("newest") },
	},
	{
		name: "position set back", says: "past the target's",
		do:   func(b *behind) { b.stand("older") },
		undo: func(b *behind) { b.stand("newest") },
	},
	{
		name: "position set forward", says: "is ahead of the source's log",
		do:   func(b *behind) { b.foresee() },
		undo: func(b *behind) { b.stand("newest") },
	},
	{
		name: "target restored", says: "past the target's",
		do:   func(b *behind) { b.swapTarget("newer", "older") },
		undo: func(b *behind) { b.swapTarget("older", "newer") },
	},
	{
		name: "another source", says: "the source was replaced or restored from a dump",
		do: func(b *behind) {
			b.admin(`alter database %[1]s rename to %[1]s_away`, `create database %[1]s template %[1]s_away`)
		},
		undo: func(b *behind) {
			b.admin(`drop database %[1]s`, `alter database %[1]s_away rename to %[1]s`)
		},
	},
	{
		name: "registration gone", says: "the source does not know this stream",
		do: func(b *behind) {
			b.exec(b.source, `create table slots as select * from waybill.slot`)
			b.exec(b.source, `delete from waybill.slot`)
		},
		undo: func(b *behind) {
			b.exec(b.source, `insert into waybill.slot select * from slots`)
			b.exec(b.source, `drop table slots`)
		},
	},
	{name: "slot advanced", says: "past the target's", do: func(b *behind) {
		b.exec(b.source, `select pg_replication_slot_advance($1, pg_current_wal_lsn())`, b.slot)
	}},
	{name: "slot made anew", says: "past the target's", do: func(b *behind) {
		b.exec(b.source, `select pg_drop_replication_slot($1)`, b.slot)
		b.exec(b.source, `select pg_create_logical_replication_slot($1, 'pgoutput')`, b.slot)
	}},
	{name: "slot dropped", says: "is gone", do: func(b *behind) {
		b.exec(b.source, `select pg_drop_replication_slot($1)`, b.slot)
	}},
}

// TestSlotTamperedWith: slot, position, target or source are not what they were when an engine starts
// again. It says so and stops; nothing is carried. Where it was undone the engine goes on and nothing
// is missing; where it cannot be, what the message says to do leads out.
func TestSlotTamperedWith(t *testing.T) {
	for _, c := range logs {
		t.Run(c.String(), func(t *testing.T) {
			t.Parallel()
			b := newBehind(t, c)
			committed := b.judge().Actions
			for _, tt := range slotTampers {
				if tt.undo == nil || c.queue { // the queue's side is TestQueueTamperedWith's
					continue
				}
				tt.do(b)
				b.refused(tt)
				tt.undo(b)
			}
			b.catchUp("").want(0)
			b.clean(committed)

			committed += b.load(&judge.Workload{Sessions: 1, Actions: 5, Seed: 4}).Committed
			for _, tt := range slotTampers {
				if tt.undo == nil {
					tt.do(b)
					b.refused(tt)
				}
			}
			if v := b.judge(); v.Lost == 0 || v.Actions != committed || !v.Prefix() {
				t.Fatalf("what was not carried must be missing, and nothing else be wrong: %s", v)
			}
			start(t, "", "drop", "crm", "--yes", "-f", b.config).want(0)
			b.catchUp("").want(0)
		})
	}
}

func newBehind(t testing.TB, c combo) *behind {
	t.Helper()
	b := &behind{scenario: newScenario(t, c), position: "waybill.position"}
	b.slot = regexp.MustCompile(`slot: (\w+)`).FindStringSubmatch(b.from)[1]
	if b.target.SQLite {
		b.position = "waybill_position"
	}
	for i, saved := range []string{"older", "newest"} {
		b.load(&judge.Workload{Sessions: 1, Actions: 10, Seed: uint64(i + 1)})
		b.catchUp("").want(0)
		b.exec(b.target, fmt.Sprintf(`create table %s as select * from %s`, saved, b.position))
		if i == 0 {
			b.save("older")
		}
	}
	b.load(&judge.Workload{Sessions: 1, Actions: 10, Seed: 3})
	return b
}

// refused runs an engine that must stop at a gap and carry nothing.
func (b *behind) refused(tt slotTamper) {
	b.t.Helper()
	before := b.arrived()
	e := b.catchUp("")
	if code := e.end(); code != 1 {
		b.t.Fatalf("%s: ended with %d:\n%s", tt.name, code, e.tail())
	}
	contains(b.t, e.out.String(), "gap in stream crm/", tt.says, "run waybill drop crm and start over")
	if now := b.arrived(); !slices.Equal(now, before) {
		b.t.Fatalf("%s: something was carried: %v after %v", tt.name, now, before)
	}
}

// stand brings a saved position back.
func (b *behind) stand(saved string) {
	b.t.Helper()
	b.exec(b.target, `delete from `+b.position)
	b.exec(b.target, fmt.Sprintf(`insert into %s select * from %s`, b.position, saved))
}

// foresee makes the target's position one that the source's log has not reached.
func (b *behind) foresee() {
	b.t.Helper()
	var text string
	if err := b.target.DB.QueryRow(`select position from ` + b.position).Scan(&text); err != nil {
		b.t.Fatal(err)
	}
	var p map[string]any
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		b.t.Fatal(err)
	}
	p["lsn"] = "FFFF/0"
	raised, err := json.Marshal(p)
	if err != nil {
		b.t.Fatal(err)
	}
	b.exec(b.target, fmt.Sprintf(`update %s set position = '%s'`, b.position, raised))
}

// save makes a backup of the target.
func (b *behind) save(as string) {
	b.t.Helper()
	reconnect(b.target)
	if b.target.SQLite {
		b.exec(b.target, fmt.Sprintf(`vacuum into '%s'`, filepath.Join(b.dir, as+".db")))
		return
	}
	name := b.database(b.targets[0].url)
	b.alone(name)
	testenv.Exec(b.t, b.server(), fmt.Sprintf(`create database %s_%s template %[1]s`, name, as))
	b.t.Cleanup(func() {
		testenv.Exec(b.t, b.server(), fmt.Sprintf(`drop database if exists %s_%s with (force)`, name, as))
	})
}

// swapTarget puts the target away under a name and another one in its place.
func (b *behind) swapTarget(away, back string) {
	b.t.Helper()
	reconnect(b.target)
	if b.target.SQLite {
		path := filepath.Join(b.dir, "one.db")
		rename(b.t, path, filepath.Join(b.dir, away+".db"))
		rename(b.t, filepath.Join(b.dir, back+".db"), path)
		return
	}
	name := b.database(b.targets[0].url)
	b.alone(name)
	testenv.Exec(b.t, b.server(), fmt.Sprintf(`alter database %s rename to %[1]s_%s`, name, away))
	testenv.Exec(b.t, b.server(), fmt.Sprintf(`alter database %s_%s rename to %[1]s`, name, back))
}

// admin has the source's server do something with the source's database.
func (b *behind) admin(statements ...string) {
	b.t.Helper()
	reconnect(b.source)
	b.alone(b.slot)
	for _, sql := range statements {
		testenv.Exec(b.t, b.server(), fmt.Sprintf(sql, b.slot)) // named like the database
	}
}

// alone waits until nobody is in the database: an engine that ended leaves sessions that end soon.
func (b *behind) alone(database string) {
	b.t.Helper()
	testenv.Exec(b.t, b.server(), fmt.Sprintf(`select pg_terminate_backend(pid, 60000) from pg_stat_activity where datname = '%s'`, database))
}

var databaseName = regexp.MustCompile(`/(\w+)\?`)

func (b *behind) database(url string) string { return databaseName.FindStringSubmatch(url)[1] }

// server is another database of the source's server.
func (b *behind) server() string {
	url := regexp.MustCompile(`"(postgres://[^"]*)"`).FindStringSubmatch(b.from)[1]
	return databaseName.ReplaceAllString(url, "/postgres?")
}

// TestSourceRestored: the source's server is brought back from a copy that was made earlier, and that
// may have gone on since, or was promoted. The engine says so and stops, and goes on once the newer
// server is back.
func TestSourceRestored(t *testing.T) {
	t.Parallel()
	cluster := testenv.NewCluster(t, "wal_level=logical", "fsync=off")
	s := newScenarioAt(t, logs[2], cluster.URL("postgres"), "")
	s.load(&judge.Workload{Sessions: 1, Actions: 10, Seed: 1})
	s.catchUp("").want(0)
	older, newer := cluster.Dir+".older", cluster.Dir+".newer"
	cluster.Stop(t)
	copyServer(t, cluster.Dir, older)
	cluster.Start(t)
	reconnect(s.source)
	s.load(&judge.Workload{Sessions: 1, Actions: 10, Seed: 2})
	s.catchUp("").want(0)
	s.load(&judge.Workload{Sessions: 1, Actions: 10, Seed: 3})
	committed := s.judge().Actions
	before := s.arrived()
	cluster.Stop(t)
	rename(t, cluster.Dir, newer)

	for _, tt := range []struct {
		name, says string
		change     func()
	}{
		{"just restored", "is ahead of the source's log", func() {}},
		{"gone on", "which the target holds: the source was restored", func() {
			testenv.Exec(t, cluster.URL("postgres"), `select pg_switch_wal()`)
			reconnect(s.source)
			s.load(&judge.Workload{Sessions: 1, Actions: 10, Seed: 4})
		}},
		{"promoted", "the source left timeline 1", func() {
			cluster.Stop(t)
			if err := os.WriteFile(filepath.Join(cluster.Dir, "standby.signal"), nil, 0o644); err != nil {
				t.Fatal(err)
			}
			cluster.Start(t)
			testenv.Exec(t, cluster.URL("postgres"), `select pg_promote()`)
			testenv.Exec(t, cluster.URL("postgres"), `select pg_switch_wal()`)
		}},
	} {
		copyServer(t, older, cluster.Dir)
		cluster.Start(t)
		tt.change()
		e := s.catchUp("")
		if code := e.end(); code != 1 {
			t.Fatalf("%s: ended with %d:\n%s", tt.name, code, e.tail())
		}
		contains(t, e.out.String(), "gap in stream crm/", tt.says, "run waybill drop crm and start over")
		if now := s.arrived(); !slices.Equal(now, before) {
			t.Fatalf("%s: something was carried: %v after %v", tt.name, now, before)
		}
		cluster.Stop(t)
		if err := os.RemoveAll(cluster.Dir); err != nil {
			t.Fatal(err)
		}
	}
	rename(t, newer, cluster.Dir)
	cluster.Start(t)
	reconnect(s.source)
	s.catchUp("").want(0)
	s.clean(committed)
}

// copyServer copies the directory of a server that does not run, with owners.
func copyServer(t testing.TB, from, to string) {
	t.Helper()
	if out, err := exec.Command("cp", "-a", from, to).CombinedOutput(); err != nil {
		t.Fatalf("copy %s: %v: %s", from, err, out)
	}
}
