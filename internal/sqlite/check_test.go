package sqlite

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	waybill "github.com/waybill-data/waybill"
)

// findings renders what Check reports: "+" fine, "!" runs worse, "-" cannot run.
func findings(t *testing.T, c waybill.Checker) string {
	t.Helper()
	list, err := c.Check(ctx(t), testStream)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, f := range list {
		sign := "-"
		switch {
		case f.OK:
			sign = "+"
		case f.Warn:
			sign = "!"
		}
		if f.OK != (f.Fix == "") {
			t.Errorf("finding without remedy, or with one too many: %+v", f)
		}
		if strings.HasPrefix(f.What, "source: ") || strings.HasPrefix(f.What, "target: ") {
			t.Errorf("finding says its side, which the caller adds: %+v", f)
		}
		lines = append(lines, strings.TrimSpace(fmt.Sprintf("%s %s; %s", sign, f.What, f.Fix)))
	}
	return strings.Join(lines, "\n") + "\n"
}

func TestCheckSource(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing.db")
	a := openApp(t, filepath.Join(t.TempDir(), "app.db"), "CREATE TABLE t (id integer PRIMARY KEY)")
	o := NewOutbox(SourceOptions{Path: a.path, Stream: testStream})
	for _, step := range []struct {
		do   func()
		want string
	}{
		{func() {}, "- write-ahead logging is off (journal_mode=delete); PRAGMA journal_mode=WAL;\n- the outbox is not installed; waybill outbox install\n"},
		{func() { a.exec(setWAL) }, "+ write-ahead logging is on;\n- the outbox is not installed; waybill outbox install\n"},
		{func() { _ = o.Install(ctx(t)) }, "+ the outbox is installed, format 1;\n! the pipeline is not registered as a consumer of the outbox: its first run registers it, and until then others may remove actions; waybill outbox install\n"},
		{func() { _ = o.Install(ctx(t), testStream) }, "+ the pipeline is registered as a consumer of the outbox, with 0 actions acknowledged;\n"},
		{func() { a.exec("UPDATE waybill_consumer SET seq = 1") }, ", with 1 action acknowledged;\n"},
		{func() { a.exec("DROP TRIGGER waybill_outbox_insert") }, "- a table, index or trigger of the outbox is missing; waybill outbox install\n"},
		{func() { a.exec("UPDATE waybill_meta SET value = '9' WHERE key = 'outbox_format'") }, "- the outbox has format 9, this version of waybill knows 1; upgrade waybill\n"},
	} {
		step.do()
		if have := findings(t, o); !strings.HasSuffix(have, step.want) || !strings.HasPrefix(have, "+ SQLite database "+a.path+" can be opened;\n") {
			t.Errorf("have\n%swant\n%s", have, step.want)
		}
	}
	have := findings(t, NewOutbox(SourceOptions{Path: missing}))
	if !strings.HasPrefix(have, "- SQLite database "+missing+" does not exist") || strings.Count(have, "\n") != 1 {
		t.Errorf("missing file:\n%s", have)
	}
}

func TestCheckTarget(t *testing.T) {
	a := newApp(t)
	w := NewWriter(TargetOptions{Path: a.path})
	const opened, known = "+ write-ahead logging is on;\n", "+ the target does not know the pipeline yet;\n"
	for _, step := range []struct {
		do   func()
		want string
	}{
		{func() {}, opened + known + "! the target has no tables yet; create the target's tables\n"},
		{func() { w.opt.Define = always }, opened + known + "+ the target has no tables yet: they are made as rows come;\n"},
		{func() { a.exec("CREATE TABLE good (id integer PRIMARY KEY)") }, opened + known + "+ 1 table in the target;\n"},
		{func() { a.exec(`CREATE TABLE "bad one" (id integer)`) }, opened + known +
			"! table bad one has no primary key and no unique index, so upserts to it are refused; CREATE UNIQUE INDEX \"bad one_key\" ON \"bad one\" (…);\n+ 2 tables in the target;\n"},
		{func() {
			a.exec(`DROP TABLE "bad one"`)
			x := a.writer(TargetOptions{})
			x.write(insert("good", `{"id":1}`, `{}`))
			_ = x.Close()
		}, opened + "+ the target holds the pipeline up to action 1;\n+ 1 table in the target;\n"},
		{func() { a.exec("PRAGMA journal_mode=DELETE") }, "! write-ahead logging is off (journal_mode=delete): readers and the engine block each other, and commits are slower; PRAGMA journal_mode=WAL;\n+ the target holds the pipeline up to action 1;\n+ 1 table in the target;\n"},
	} {
		step.do()
		if have := findings(t, w); !strings.HasSuffix(have, step.want) {
			t.Errorf("have\n%swant\n%s", have, step.want)
		}
	}
	a.want("SELECT count(*) FROM good", "1")
}

func TestClaims(t *testing.T) {
	for _, c := range []waybill.Claimant{NewOutbox(SourceOptions{}), NewWriter(TargetOptions{})} {
		var order []waybill.Property
		for _, claim := range c.Claims() {
			if !claim.Holds || claim.Because == "" || strings.HasSuffix(claim.Because, ".") {
				t.Errorf("%+v", claim)
			}
			order = append(order, claim.Property)
		}
		if order[0] != waybill.Complete || order[len(order)-1] != waybill.Ordered {
			t.Errorf("claims are made in the order %v", order)
		}
	}
}
