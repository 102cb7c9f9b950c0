package target

import (
	"fmt"
	"slices"
	"strings"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/postgres/server"
)

// targetStatement is SQL with the types of its parameters, all of which are arrays.
type targetStatement struct {
	sql    string
	oids   []uint32
	counts bool // its row is how many changes were foreign writes, and the key of one
}

// movePosition is the compare-and-swap. It fails, and the transaction with it, where the
// position or the epoch is another one: everything including COMMIT is sent without
// waiting for answers, so a count of 0 would come too late. The text shows in the server's log.
const movePosition = `WITH moved AS (
	UPDATE waybill.position SET position = $2, seq = $3, applied = applied + $4, filtered = filtered + $5,
		foreign_writes = foreign_writes + $6, updated_at = clock_timestamp()
	WHERE stream = $1%s RETURNING 1)
SELECT (CASE WHEN count(*) = 1 THEN '1' ELSE 'waybill: another engine took the stream over' END)::pg_catalog.int4 FROM moved`

const moveFence = ` AND position = $7 AND epoch = $8`

// noSuchRow is what a set-based UPDATE fails with when some key has no row.
const noSuchRow = "waybill: no row has this key"

// skippedRow is what a statement fails with when a trigger or rule kept a row from being written,
// or from being deleted.
const skippedRow = "waybill: a trigger or rule skipped a row"

// statementsFor returns what applies a group whose columns travel as text where asText says
// 1. Columns are parameters $1, $2 … in the order of kind.columns.
func (k *groupKind) statementsFor(asText []byte) []*targetStatement {
	if all, ok := k.statements[string(asText)]; ok {
		return all
	}
	b := statementBuilder{groupKind: k, asText: asText}
	texts := b.texts()
	oids := make([]uint32, len(asText))
	for i, n := range k.columns() {
		oids[i] = k.table.columns[n].wire(asText[i] == 1).array
	}
	var all []*targetStatement
	for _, text := range texts {
		all = append(all, &targetStatement{sql: text, oids: oids})
	}
	if count := b.count(); count != "" {
		all = slices.Insert(all, 0, &targetStatement{sql: count, oids: oids, counts: true})
	}
	k.statements[string(asText)] = all
	return all
}

// texts is what applies a group.
func (b *statementBuilder) texts() []string {
	switch b.op {
	case waybill.Insert:
		return b.exactly(b.insert(""))
	case waybill.Upsert:
		return b.upsert()
	case waybill.Update:
		return []string{b.update(b.mode == asGiven || b.mode == asFact)}
	case waybill.Delete:
		return b.delete()
	case waybill.Truncate:
		if len(b.key) > 0 {
			return b.delete()
		}
		// TRUNCATE would be seen by snapshots that are older.
		texts := []string{"DELETE FROM " + b.table.ident()}
		if b.table.guards.deletes {
			texts = append(texts, fmt.Sprintf("SELECT (CASE WHEN EXISTS (SELECT FROM %s) THEN '%s' ELSE '1' END)::pg_catalog.int4", b.table.ident(), skippedRow))
		}
		return texts
	}
	return nil
}

func (b *statementBuilder) delete() []string {
	text := fmt.Sprintf("DELETE FROM %s t USING %s WHERE %s", b.table.ident(), b.source(), b.match())
	g := b.table.guards
	if b.mode == asFact && !g.deleteRule {
		text = b.counted("n AS ("+text+" RETURNING 1)", "FROM n", "count(*)", "'"+noSuchRow+"'")
	}
	if g.deletes {
		return []string{text, b.verify("count(*) = 0")}
	}
	return []string{text}
}

// count tells beforehand how many of the group's changes will find the target other than it was
// left, and shows the key of one; empty where that is not asked.
func (b *statementBuilder) count() string {
	not := ""
	switch b.mode {
	case countMissing:
		not = "NOT "
	case countFound:
	default:
		return ""
	}
	var key []string
	for i, n := range b.key {
		v := b.valueOf(n)
		if b.op == waybill.Update || b.op == waybill.Delete {
			v = b.value(i)
		}
		key = append(key, "'"+strings.ReplaceAll(b.column(n).name, "'", "''")+"', "+v)
	}
	return fmt.Sprintf("SELECT count(*), min(pg_catalog.json_build_object(%s)::pg_catalog.text) FROM %s WHERE %sEXISTS (SELECT FROM %s t WHERE %s)",
		strings.Join(key, ", "), b.source(), not, b.table.ident(), b.match())
}

type statementBuilder struct {
	*groupKind
	asText []byte
}

func (b *statementBuilder) column(n int) *targetColumn { return &b.table.columns[n] }

// source is unnest($1, $2 …) AS u (a1, a2 …).
func (b *statementBuilder) source() string {
	params, names := make([]string, len(b.asText)), make([]string, len(b.asText))
	for i := range b.asText {
		params[i], names[i] = fmt.Sprintf("$%d", i+1), fmt.Sprintf("a%d", i+1)
	}
	return "unnest(" + strings.Join(params, ", ") + ") AS u (" + strings.Join(names, ", ") + ")"
}

// value is parameter column i as a value of its column's type. The cast leaves out the length
// or precision: what is too long must fail at the assignment, not be cut by the cast.
func (b *statementBuilder) value(i int) string {
	c := b.column(b.columns()[i])
	v := fmt.Sprintf("u.a%d", i+1)
	switch {
	case c.wire(b.asText[i] == 1) != wireText, c.base == oidText, c.base == oidVarchar:
		return v
	case c.base == oidRegclass: // the cast takes names only, not the - and the numbers that there are too
		return "pg_catalog.regclassin(pg_catalog.textout(" + v + "))"
	}
	return v + "::" + c.cast
}

// valueOf is the parameter column that carries the table's column n.
func (b *statementBuilder) valueOf(n int) string {
	return b.value(slices.Index(b.columns(), n))
}

// match finds the row by its key.
func (b *statementBuilder) match() string {
	var terms []string
	for i, n := range b.key {
		v := b.valueOf(n)
		if b.op == waybill.Update || b.op == waybill.Delete {
			v = b.value(i)
		}
		c := b.column(n)
		name := "t." + server.Quote(c.name)
		if _, plain := wireTypes[c.base]; c.domain && !plain {
			name += "::" + c.cast // operators of any enum, array or range do not take domains over them
		}
		terms = append(terms, name+" "+c.equals+" "+v) // an extension's need not be in the search path
	}
	return strings.Join(terms, " AND ")
}

func (b *statementBuilder) names(columns []int) string {
	names := make([]string, len(columns))
	for i, n := range columns {
		names[i] = server.Quote(b.column(n).name)
	}
	return strings.Join(names, ", ")
}

// insert is INSERT … SELECT with a condition on the rows.
func (b *statementBuilder) insert(where string) string {
	overriding := ""
	values := make([]string, len(b.set))
	for i, n := range b.set {
		values[i] = b.value(i)
		if b.column(n).always {
			overriding = " OVERRIDING SYSTEM VALUE"
		}
	}
	return fmt.Sprintf("INSERT INTO %s (%s)%s SELECT %s FROM %s%s", b.table.ident(), b.names(b.set), overriding,
		strings.Join(values, ", "), b.source(), where)
}

// exactly makes an INSERT fail unless it writes as many rows as it was given. Counting is not free,
// so it is left out where nothing can skip a row. The server has no
// RETURNING in the statements of rules, nor rules in WITH: there the rows are looked for afterwards.
func (b *statementBuilder) exactly(insert string) []string {
	if g := b.table.guards; g.insertRule || g.routed {
		return []string{insert, b.verify("count(*) = cardinality($1)")}
	}
	if !b.table.guards.writeTrigger {
		return []string{insert}
	}
	return []string{b.counted("n AS ("+insert+" RETURNING 1)", "FROM n", "count(*)", "'"+skippedRow+"'")}
}

// counted fails with the value of otherwise unless all rows were written.
func (b *statementBuilder) counted(with, from, count, otherwise string) string {
	return fmt.Sprintf("WITH %s SELECT (CASE WHEN %s = cardinality($1) THEN '1' ELSE %s END)::pg_catalog.int4 %s", with, count, otherwise, from)
}

// verify fails unless the condition holds for the rows that are there.
func (b *statementBuilder) verify(condition string) string {
	return fmt.Sprintf("SELECT (CASE WHEN %s THEN '1' ELSE '%s' END)::pg_catalog.int4 FROM %s WHERE EXISTS (SELECT FROM %s t WHERE %s)",
		condition, skippedRow, b.source(), b.table.ident(), b.match())
}

// upsert is one statement where the server can do it in one.
func (b *statementBuilder) upsert() []string {
	g := b.table.guards
	there := b.verify("count(*) = cardinality($1)")
	if b.twoStep {
		missing := fmt.Sprintf("NOT EXISTS (SELECT FROM %s t WHERE %s)", b.table.ident(), b.match())
		insert := b.insert(" WHERE " + missing)
		switch {
		case len(b.changed()) == 0 && (g.writeTrigger || g.insertRule):
			return []string{insert, there}
		case len(b.changed()) == 0:
			return []string{insert}
		case g.insertRule || g.routed:
			return []string{b.update(false), insert, there}
		case g.writeTrigger: // the rows of both count; the second waits for the first
			insert = b.insert(" WHERE (SELECT count(*) FROM o) >= 0 AND " + missing)
			return []string{b.counted("o AS ("+b.update(false)+" RETURNING 1), n AS ("+insert+" RETURNING 1)", "",
				"(SELECT count(*) FROM o) + (SELECT count(*) FROM n)", "'"+skippedRow+"'")}
		}
		return []string{b.update(false), insert}
	}
	var sets []string
	for _, n := range b.changed() {
		name := server.Quote(b.column(n).name)
		sets = append(sets, name+" = EXCLUDED."+name)
	}
	conflict := fmt.Sprintf(" ON CONFLICT (%s) DO ", b.names(b.key))
	if len(sets) > 0 {
		return b.exactly(b.insert("") + conflict + "UPDATE SET " + strings.Join(sets, ", "))
	}
	texts := []string{b.insert("") + conflict + "NOTHING"}
	if g.writeTrigger {
		texts = append(texts, there)
	}
	return texts
}

// changed are the columns that a row which is there already gets new values for.
func (b *statementBuilder) changed() []int {
	var out []int
	for _, n := range b.set {
		if b.op == waybill.Update || !slices.Contains(b.key, n) {
			out = append(out, n)
		}
	}
	return out
}

// update is UPDATE … FROM; strict, it fails unless every key has a row.
func (b *statementBuilder) update(strict bool) string {
	var sets []string
	for _, n := range b.changed() {
		v := b.valueOf(n)
		if b.op == waybill.Update { // the key's old values come first
			v = b.value(len(b.key) + slices.Index(b.set, n))
		}
		sets = append(sets, server.Quote(b.column(n).name)+" = "+v)
	}
	if len(sets) == 0 {
		name := server.Quote(b.column(b.key[0]).name)
		sets = []string{name + " = t." + name}
	}
	text := fmt.Sprintf("UPDATE %s t SET %s FROM %s WHERE %s", b.table.ident(), strings.Join(sets, ", "), b.source(), b.match())
	if !strict {
		return text
	}
	// A row that is there and yet was not updated was skipped; the statement sees those from before it.
	found := fmt.Sprintf("SELECT count(*) FROM %s WHERE EXISTS (SELECT FROM %s t WHERE %s)", b.source(), b.table.ident(), b.match())
	return b.counted("n AS ("+text+" RETURNING 1)", "FROM n", "count(*)",
		fmt.Sprintf("CASE WHEN (%s) = cardinality($1) THEN '%s' ELSE '%s' END", found, skippedRow, noSuchRow))
}
