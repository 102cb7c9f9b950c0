package sqlite

import (
	"path/filepath"
	"testing"
)

func TestInstallAndUninstall(t *testing.T) {
	a := newApp(t)
	before := a.rows("SELECT name FROM sqlite_master")
	o := NewOutbox(SourceOptions{Path: a.path})
	if err := o.Install(ctx(t), "a", "b"); err != nil {
		t.Fatal(err)
	}
	a.want("SELECT stream, n, seq FROM waybill_consumer ORDER BY stream", "a|0|0\nb|0|0")
	id := a.rows("SELECT value FROM waybill_meta WHERE key = 'id'")
	a.emit("x", 1)
	if err := o.Install(ctx(t), "b", "c"); err != nil { // again: nothing is lost
		t.Fatal(err)
	}
	a.want("SELECT value FROM waybill_meta WHERE key = 'id'", id)
	a.want("SELECT count(*) FROM waybill_outbox", "1")
	w := NewWriter(TargetOptions{Path: a.path}) // a target in the same file
	if _, err := w.Resume(ctx(t), testStream); err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	for _, s := range [][]string{{"a"}, {"a", "unknown"}, {"b"}} {
		if err := o.Uninstall(ctx(t), s...); err != nil {
			t.Fatal(err)
		}
		a.want("SELECT count(*) FROM waybill_outbox", "1")
	}
	if err := o.Uninstall(ctx(t), "c"); err != nil {
		t.Fatal(err)
	}
	a.want("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name", "sqlite_sequence\nwaybill_lease\nwaybill_meta\nwaybill_position")
	for _, table := range []string{"waybill_lease", "waybill_position", "waybill_meta"} {
		a.exec("DROP TABLE " + table)
	}
	if err := o.Install(ctx(t)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := o.Uninstall(ctx(t)); err != nil {
			t.Fatal(err)
		}
	}
	a.want("SELECT name FROM sqlite_master WHERE name <> 'sqlite_sequence'", before)
}

// TestSQLIsWhatInstallRuns: running the printed script by hand gives the same schema.
func TestSQLIsWhatInstallRuns(t *testing.T) {
	installed := newSource(t)
	byHand := openApp(t, filepath.Join(t.TempDir(), "hand.db"))
	for range 2 {
		byHand.exec(NewOutbox(SourceOptions{}).SQL())
	}
	const schema = "SELECT type, name, sql FROM sqlite_master ORDER BY 1, 2"
	byHand.want(schema, installed.rows(schema))
	byHand.want("PRAGMA journal_mode", "wal")
}
