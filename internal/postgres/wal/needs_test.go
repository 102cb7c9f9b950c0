package wal

import (
	"errors"
	"strings"
	"testing"

	"github.com/waybill-data/waybill"
)

// TestPublicationLeavesOut: what is taken out of a publication is not in the log. The reader stops,
// while it reads and when it opens, and goes on once the statement that it names was run; where the
// publication is gone there is none.
func TestPublicationLeavesOut(t *testing.T) {
	s := newSource(t, `create table c (id int primary key); create table d (id int primary key)`)
	o := s.open(t, "")
	refused := func(want ...string) {
		t.Helper()
		err := s.new(nil).Open(t.Context(), "")
		for _, w := range want {
			if err == nil || !strings.Contains(err.Error(), strings.ReplaceAll(w, "SLOT", s.slot)) {
				t.Fatalf("opened with %v, want %s", err, want)
			}
		}
	}

	s.exec(t, `alter publication `+s.slot+` drop table d`)
	err := o.side.do(t.Context(), func(c *sideConn) error { return o.upkeep(t.Context(), c) })
	if gone, ok := errors.AsType[*unpublishedError](err); !ok || waybill.Transient(err) || !strings.Contains(gone.Error(), `lacks "public"."d"`) {
		t.Fatalf("looking after it says %v", err)
	}
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	refused(`publication SLOT lacks "public"."d"`, `run ALTER PUBLICATION "SLOT" ADD TABLE "public"."d";`, "waybill outbox install test")

	s.exec(t, `alter publication `+s.slot+` add table d; alter publication `+s.slot+` set (publish = 'insert')`)
	refused("publication SLOT leaves out", `ALTER PUBLICATION "SLOT" SET (publish = 'insert, update, delete, truncate');`)

	s.exec(t, `alter publication `+s.slot+` set (publish = 'insert, update, delete, truncate')`)
	o = s.open(t, "")
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}

	s.exec(t, `drop publication `+s.slot)
	refused("gap in stream test/target", "publication SLOT was dropped", "waybill drop test")
}

// TestCheckPrivileges: a role that may do nothing is told all that it needs.
func TestCheckPrivileges(t *testing.T) {
	s := newSource(t, `create table c (id int primary key)`)
	role := "r_" + s.slot
	s.exec(t, `create role `+role+` login password 'secret-of-the-test'`)
	t.Cleanup(func() { s.exec(t, `drop role `+role) })
	o := s.new(func(opts *Options) { opts.URL = strings.Replace(s.url, "//waybill:", "//"+role+":", 1) })
	found, err := o.Check(t.Context(), "test/target")
	if err != nil {
		t.Fatal(err)
	}
	var bad []string
	for _, f := range found {
		if !f.OK && !f.Warn {
			bad = append(bad, f.What+" | "+f.Fix)
		}
	}
	database := strings.TrimPrefix(s.slot, "slot_")
	want := []string{
		`role ENGINE may not replicate | ALTER ROLE "ENGINE" REPLICATION;`,
		`role ENGINE may not make schema waybill in database DB, where the slot is registered | GRANT CREATE ON DATABASE "DB" TO "ENGINE";`,
		`role ENGINE may not publish "public"."c", which it does not own | run as a superuser: CREATE PUBLICATION "SLOT" FOR TABLE "public"."c" WITH (publish_via_partition_root = true`,
	}
	for i, w := range want {
		w = strings.NewReplacer("ENGINE", role, "SLOT", s.slot, "DB", database).Replace(w)
		if i >= len(bad) || !strings.HasPrefix(bad[i], w) {
			t.Fatalf("found\n%s\nwant\n%s", strings.Join(bad, "\n"), w)
		}
	}
	if len(bad) != len(want) {
		t.Errorf("found\n%s", strings.Join(bad, "\n"))
	}
}
