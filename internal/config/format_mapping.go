package config

// mappingField is what becomes of entities and their columns on the way.
func mappingField() *field {
	return &field{
		name: "mapping", kind: named, each: section, free: true, freeName: "ENTITY", fields: mappingFields(),
		doc: "What entities and their columns become on the way, by the entity's name at the source (`public.customer`). What is not named passes as it is. " +
			"`where`, `only` and `drop` act where the pipeline reads, before a queue; the others where it writes.",
	}
}

func mappingFields() []*field {
	return []*field{
		{name: "to", kind: text, doc: "The name of the table at the target."},
		{
			name: "columns", kind: named, each: text, free: true, freeName: "COLUMN",
			doc: "New names of columns: `{id: contact_id}`. The others pass under their own.",
		},
		{name: "only", kind: list, each: text, doc: "The columns that pass, those of the key among them. Without it all do."},
		{name: "drop", kind: list, each: text, doc: "Columns that do not pass, instead of `only`. A column of the key cannot be one."},
		{
			name: "set", kind: named, each: text, free: true, freeName: "COLUMN",
			doc: "Columns of the target with a CEL expression for the value, in which `row` has the columns of the source: `{email: \"row.email == null ? null : row.email.lowerAscii()\"}`. A function that gets NULL stops the pipeline: the condition says what becomes of it.",
		},
		{
			name: "where", kind: text,
			doc: "A CEL expression that tells whether a row is carried: `row.country == 'FI'`. A row that no longer fits is deleted at the target. " +
				"It needs whole rows: replica identity full for changes, full rows in the outbox.",
		},
		{
			name: "types", kind: named, each: text, free: true, freeName: "COLUMN",
			doc: "Types of columns that neither source nor target tells: `{born: date}`. Where all that outbox rows carry have one, a missing table is made.",
		},
		{
			name: "children", kind: named, each: section, free: true, freeName: "COLUMN", fields: []*field{
				{name: "to", kind: text, required: true, doc: "The table of the children."},
				{name: "key", kind: list, each: text, required: true, doc: "The columns of a child that are its key."},
				{
					name: "parent", kind: named, required: true, each: text, free: true, freeName: "COLUMN",
					doc: "Columns of the child that hold columns of the parent: `{customer_id: id}`.",
				},
				{
					name: "types", kind: named, each: text, free: true, freeName: "COLUMN",
					doc: "Types of the child's columns, so that a missing table is made: `{id: bigint, number: text}`. A column that `parent` names has its parent's.",
				},
			},
			doc: "Columns with a list of objects that become rows of a table of their own. Otherwise such a list is one JSON column. " +
				"A change that carries the list replaces the rows; null and the empty list leave none, and without the list they stay.",
		},
		{name: "create", kind: boolean, doc: "The pipeline's `create` for this entity."},
		{name: "evolve", kind: boolean, doc: "The pipeline's `evolve` for this entity."},
	}
}
