package target

import "github.com/waybill-data/waybill"

// replanRows is from how many more rows of a table on, at least, its plans are made anew.
const replanRows = 1000

// replan has the server make its plans anew where the group's statement looks rows up in a table that
// this session has made much larger: for a small one it may have chosen to read the whole. The server
// does that by itself only after the table was analyzed.
func (t *applyTx) replan(g *changeGroup) {
	kind, table := g.kind, g.kind.table
	if kind.op == waybill.Insert || kind.op == waybill.Upsert {
		table.added += len(g.items)
		if !kind.twoStep && kind.mode != countFound && kind.mode != countMissing {
			return // looks for conflicts in the index
		}
	}
	if table.added >= 2*table.planned+replanRows {
		table.planned = table.added
		t.control("DISCARD PLANS", sentStep{})
	}
}
