package target

import (
	"encoding/binary"
	"slices"
)

// signature is SQL for a hash of what the writer knows of a table c of pg_class and what nothing else
// would show in time: a column of another type that rounds, a trigger that skips rows, a foreign key
// whose triggers remove some. An index that is made or dropped shows in a statement that fails.
// The triggers include those that the server makes for foreign keys, at both tables; partitions and
// children are of account for their triggers.
const signature = `pg_catalog.hashtextextended(pg_catalog.concat_ws(' ', c.relname, c.relnamespace::pg_catalog.regnamespace, c.relkind,
	c.relispartition, c.relhassubclass, pg_catalog.row_security_active(c.oid),
	(SELECT pg_catalog.sum(pg_catalog.hashtextextended(pg_catalog.concat_ws(' ', a.attnum, a.attname, a.atttypid, a.atttypmod, a.attcollation, a.attidentity, a.attgenerated), 0))
		FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped), '/',
	CASE WHEN c.relhastriggers THEN (SELECT pg_catalog.sum(pg_catalog.hashtextextended(pg_catalog.concat_ws(' ', t.oid, t.tgenabled, t.tgtype), 0))
		FROM pg_catalog.pg_trigger t WHERE t.tgrelid = c.oid) END, '/',
	CASE WHEN c.relhasrules THEN (SELECT pg_catalog.sum(pg_catalog.hashtextextended(pg_catalog.concat_ws(' ', r.oid, r.ev_enabled, r.ev_type), 0))
		FROM pg_catalog.pg_rewrite r WHERE r.ev_class = c.oid) END, '/',
	CASE WHEN c.relhassubclass THEN (WITH RECURSIVE family(oid) AS (
			SELECT i.inhrelid FROM pg_catalog.pg_inherits i WHERE i.inhparent = c.oid
			UNION SELECT i.inhrelid FROM family f JOIN pg_catalog.pg_inherits i ON i.inhparent = f.oid)
		SELECT pg_catalog.sum(pg_catalog.hashtextextended(pg_catalog.concat_ws(' ', f.oid, t.oid, t.tgenabled, t.tgtype), 0))
		FROM family f LEFT JOIN pg_catalog.pg_trigger t ON t.tgrelid = f.oid AND NOT t.tgisinternal) END), 0)`

// unchangedSQL fails where a table, $1, is not what it was when its definition was read, $2. It comes
// after the statements: they hold locks that keep every table as it is until the transaction ends.
// As a join the server would work out the signatures of all tables;
// and with the parameters in a SELECT it keeps one plan, whose cost does not depend on their lengths.
const unchangedSQL = `SELECT (CASE WHEN pg_catalog.count(*) = pg_catalog.cardinality($1) THEN '1' ELSE 'waybill: a table has changed' END)::pg_catalog.int4
	FROM ROWS FROM (pg_catalog.unnest((SELECT $1)), pg_catalog.unnest((SELECT $2))) e(oid, signature)
	WHERE e.signature = (SELECT ` + signature + ` FROM pg_catalog.pg_class c WHERE c.oid = e.oid)`

// Types of the parameters.
const (
	oidInt8Array = 1016
	oidOIDArray  = 1028
)

// wrote notes that the transaction has a statement for the table.
func (t *applyTx) wrote(table *targetTable) {
	if !slices.Contains(t.tables, table) {
		t.tables = append(t.tables, table)
	}
}

// unchanged has the server look whether the tables that were written are still what the statements
// were made for: COPY would take the bytes of one type for those of another, a cast round.
func (t *applyTx) unchanged() {
	n := len(t.tables)
	if n == 0 {
		return
	}
	oids, signatures := appendArrayHead(nil, oidOID, n), appendArrayHead(nil, oidInt8, n)
	for _, table := range t.tables {
		oids = binary.BigEndian.AppendUint32(appendLength(oids, 4), table.oid)
		signatures = appendInt8(appendLength(signatures, 8), table.signature)
	}
	t.query(unchangedSQL, []uint32{oidOIDArray, oidInt8Array}, [][]byte{oids, signatures}, sentStep{what: stepUnchanged})
}

// appendArrayHead begins the binary form of an array of n elements, one or more.
func appendArrayHead(dst []byte, element uint32, n int) []byte {
	for _, v := range []uint32{1, 0, element, uint32(n), 1} { // dimensions, no nulls, type, length, lower bound
		dst = binary.BigEndian.AppendUint32(dst, v)
	}
	return dst
}

// changed tells whether a table was found not to be what it was when its definition was read.
func (e *stepError) changed() bool {
	return e != nil && e.step.what == stepUnchanged && e.pg.Code == "22P02"
}
