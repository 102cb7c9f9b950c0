// Package mapping turns the changes of one side's entities into those of the other: other names,
// fewer columns and rows, computed columns, lists that become rows of their own.
//
// Half of it happens before a queue, so that what it removes never enters it: Mapping.Reader decides
// where, then leaves out what only and drop say. The other half happens after it: Mapping.Writer
// takes lists apart (children), computes columns (set), renames (columns) and readdresses (to).
// Expressions see the source's column names; set names the target's columns.
//
// What is promised:
//
//   - Actions keep their ID, number, order and position. One that is emptied still travels.
//   - A key column stays: leaving it out is an error that names it, when the first such change comes.
//   - Values that no expression computes keep their bytes and form.
//   - The schema of a change is mapped with its rows, and the same schema gives the same pointer.
//   - A large action is mapped while it is read, as often as it is read, and never held in memory.
//
// where decides on the row before and after. What is not known is never guessed: a row that enters
// must be whole, and an expression that asks for a column that the source left out refuses the
// action (*waybill.Refusal) and says what the source needs. Where Before is unknown an update is taken
// as an upsert of the whole row, or as a delete. A foreign key to an entity that where filters is
// taken out of the schema: what it refers to may be missing.
//
// children replaces the list's rows with each change that carries the list; null and the empty list
// leave none, and a change without the list leaves them alone. Where Before tells the former list, the rows
// that vanished from it are deleted one by one; else all rows that carry the parent's columns go
// first (a Truncate with a key), as they do with the parent. So parent has to name columns of the
// key, or Before to hold what it names. A row of a list belongs to one parent.
//
// The decorators leave the facets of what they decorate alone (waybill.As finds them). A refusal in
// mid-batch is told after the actions before it were handed on, where the batch can be cut.
package mapping
