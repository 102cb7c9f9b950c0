package target

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/envelope"
	"github.com/waybill-data/waybill/internal/postgres/server"
)

// unknownTable refuses a change of an entity that has no table.
func unknownTable(s *targetSchema, entity string) *refusedChange {
	schema, table := s.place(entity)
	if why := reserved(schema, table); why != "" {
		return &refusedChange{reason: why, remedy: "name the entity after a table of the data, or set the target's schema to theirs"}
	}
	return &refusedChange{
		noTable: true,
		reason:  fmt.Sprintf("table %s.%s does not exist", schema, table),
		remedy:  "create it, or set the target's schema",
	}
}

// refusal is what the pump is told.
func (e *refusedError) refusal(b waybill.Batch) *waybill.Refusal {
	a := &b.Actions[e.action]
	return &waybill.Refusal{Action: a.ID, Seq: a.Seq, Entity: e.in.Entity, Key: e.in.Key.String(), Reason: e.reason, Remedy: e.remedy}
}

// fenced: the compare-and-swap matched no row.
func (e *stepError) fenced() bool { return e.step.what == stepPosition && e.pg.Code == "22P02" }

func (e *stepError) noRow() bool {
	return e.step.what == stepData && strings.Contains(e.pg.Message, noSuchRow)
}

// foreign tells whether a fact found the target other than it was left.
func (e *stepError) foreign() bool {
	kind := e.step.kind
	if kind == nil || kind.mode != asFact {
		return false
	}
	return e.noRow() || e.pg.Code == "23505" && kind.op == waybill.Insert && kind.unique != nil &&
		(kind.unique.name == e.pg.ConstraintName || kind.table.kind == "p") // a partition's index has a name of its own
}

func (e *stepError) skipped() bool {
	return e.step.what == stepData && strings.Contains(e.pg.Message, skippedRow)
}

// stale tells whether the error may come from a table that is not what it was when its
// definition was read. One that skips rows may be such too: the server keeps a prepared statement that
// a rule made nothing of when the rule is gone.
func (e *stepError) stale() bool {
	if e == nil || e.step.kind == nil || e.noRow() {
		return false
	}
	switch e.pg.Code {
	case "0A000", "26000", "3F000", "23502":
		return true
	}
	class := e.pg.Code[:2]
	return class == "22" || class == "42" && e.pg.Code != "42501"
}

// refusable tells whether the error is about the data: the action, or the way its changes
// were merged.
func (e *stepError) refusable() bool {
	if e.step.what == stepPosition || e.pg.Code == "42501" {
		return false
	}
	switch e.pg.Code[:2] {
	case "21", "22", "23", "2F", "38", "39", "44", "54", "P0":
		return true
	case "0A", "42":
		return e.step.kind != nil
	}
	return e.pg.Code == "55000" && e.step.kind != nil // no replica identity
}

// explainStep is for errors that do not depend on the values.
func (w *Writer) explainStep(ctx context.Context, e *stepError) error {
	if e.step.kind == nil {
		return explainPrivilege(ctx, w.link.conn, e.pg, "write to the target")
	}
	table := e.step.kind.table
	doing := fmt.Sprintf("write to table %s.%s at the target", table.schema, table.name)
	if e.pg.Code != "42501" {
		return server.Classify(e.pg, doing)
	}
	return server.Explain(fmt.Sprintf("%s: %s; run as its owner: %s", doing, e.pg.Message, grantTable(table.schema, table.name, w.link.conn.Config().User)), e.pg)
}

func grantTable(schema, table, role string) string {
	return fmt.Sprintf("GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE %s.%s TO %s;", server.Quote(schema), server.Quote(table), server.Quote(role))
}

// refusal turns the failure of a single change into a Refusal.
func (w *Writer) refusal(ctx context.Context, b waybill.Batch, e *stepError) error {
	at := e.step.action
	if e.step.what == stepControl {
		// Only the commit showed it, and it names nobody: halve the search.
		at = len(b.Actions) / 2
	}
	if at >= len(b.Actions) {
		return server.Classify(e.pg, "write to the target")
	}
	a, c := &b.Actions[at], e.step.change
	r := &waybill.Refusal{Action: a.ID, Seq: a.Seq, Reason: serverMessage(e.pg, c), Remedy: e.pg.Hint}
	if strings.HasPrefix(e.pg.Code, "P0") {
		r.Remedy = ""
	}
	if c == nil {
		return r
	}
	r.Entity, r.Key = c.Entity, c.Key.String()
	switch {
	case e.noRow():
		r.Reason, r.Remedy = "no row has this key", "use op upsert where the row may be missing"
	case e.skipped():
		t := e.step.kind.table
		r.Reason, r.Remedy = fmt.Sprintf("a trigger or rule of table %s.%s skipped the row", t.schema, t.name), "let it write the row"
		if e.step.kind.removes() {
			r.Reason, r.Remedy = fmt.Sprintf("a trigger or rule of table %s.%s kept the row", t.schema, t.name), "let it delete the row"
		}
	case e.pg.Code == "23505" && c.Op == waybill.Insert && e.step.kind.unique != nil && e.step.kind.unique.name == e.pg.ConstraintName:
		r.Reason, r.Remedy = "a row with this key exists already", "use op upsert where the row may exist"
	case e.pg.Code == "23505" && c.Schema != nil:
		r.Remedy = e.step.kind.table.deferring(e.pg.ConstraintName)
	case strings.HasPrefix(e.pg.Code, "22"):
		if col := w.blame(ctx, e); col != nil {
			r.Reason = "column " + col.name + " (" + col.shown + "): " + r.Reason
			if r.Remedy == "" && (e.pg.Code == "22001" || e.pg.Code == "22003") {
				r.Remedy = remedyWider
			}
		}
	}
	return r
}

// deferring is the remedy for a unique constraint that the source checks later than the target does:
// Waybill makes none that is deferrable, since ON CONFLICT and foreign keys cannot use those.
func (t *targetTable) deferring(constraint string) string {
	i := slices.IndexFunc(t.uniques, func(u uniqueKey) bool { return u.name == constraint })
	if i < 0 || t.uniques[i].deferrable || t.uniques[i].primary || t.uniques[i].columns == nil {
		return ""
	}
	return fmt.Sprintf("if another row lost the value later in the same transaction, the constraint is deferrable at the source; let it be so here: "+
		"ALTER TABLE %s DROP CONSTRAINT %s, ADD CONSTRAINT %[2]s UNIQUE (%s) DEFERRABLE INITIALLY DEFERRED", t.ident(), server.Quote(constraint), t.quoted(t.uniques[i].columns))
}

// quoted is a list of columns.
func (t *targetTable) quoted(columns []int) string {
	names := make([]string, len(columns))
	for i, n := range columns {
		names[i] = server.Quote(t.columns[n].name)
	}
	return strings.Join(names, ", ")
}

// serverMessage is the server's message without values of the row. Its DETAIL is never used.
func serverMessage(pe *pgconn.PgError, c *waybill.Change) string {
	msg := pe.Message
	switch pe.Code[:2] {
	case "22": // quotes the value
		if i := strings.Index(msg, `: "`); i >= 0 && strings.HasSuffix(msg, `"`) {
			return msg[:i]
		}
		if i, j := strings.IndexByte(msg, '"'), strings.LastIndexByte(msg, '"'); i >= 0 && j > i {
			return msg[:i] + "…" + msg[j+1:]
		}
		return msg
	case "23", "42": // quotes names of tables, columns and constraints
		return msg
	}
	if c == nil {
		return msg
	}
	for _, row := range []waybill.Row{c.Row, c.Before} {
		for _, col := range row {
			value, err := col.Value.AsJSON()
			if err != nil {
				continue
			}
			text := string(value.Raw)
			if t, ok := envelope.Text(value.Raw); ok {
				text = string(t)
			}
			if _, isKey := c.Key.Get(col.Name); !isKey && len(text) > 2 {
				msg = strings.ReplaceAll(msg, text, "…")
			}
		}
	}
	return msg
}

// blame finds the column whose value the server could not read; the server does not say.
// nil where that cannot be found out.
func (w *Writer) blame(ctx context.Context, e *stepError) *targetColumn {
	kind, c := e.step.kind, e.step.change
	for i, n := range kind.columns() {
		col := &kind.table.columns[n]
		v, ok := c.Row.Get(col.name)
		if !ok || i < len(kind.key) && kind.op == waybill.Update {
			v, ok = c.Key.Get(col.name)
		}
		if !ok || v.IsNull() {
			continue
		}
		text, refused := appendTextValue(nil, col, v)
		if refused != nil {
			return col
		}
		if e.pg.Code == "22001" {
			if width := int(col.typmod) - 4; (col.base == oidVarchar || col.base == oidBPChar) && width > 0 &&
				utf8.RuneCount([]byte(strings.TrimRight(string(text), " "))) > width {
				return col
			}
			continue
		}
		if w.link.broken() {
			return nil
		}
		sql := fmt.Sprintf("SELECT 1 WHERE ($1::pg_catalog.text::%s::%s) IS NULL", col.cast, col.shown)
		_, err := w.link.conn.PgConn().ExecParams(ctx, sql, [][]byte{text}, []uint32{oidText}, nil, nil).Close()
		if server.Code(err) == e.pg.Code {
			return col
		}
	}
	return nil
}
