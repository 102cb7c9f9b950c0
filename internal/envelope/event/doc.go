// Package event is the message format: CloudEvents 1.0 in structured JSON (content type
// application/cloudevents+json), one event an action, whatever queue carries it.
//
// # Attributes
//
//	attribute        type       on               meaning
//	specversion      string     all              "1.0"
//	id               string     all              the action's ID; of a part "ACTION/ATTEMPT/PART", of a schema
//	                                             "schema/HASH", of a position "position/" and a hash of it
//	source           URI-ref    all              who made the stream: "/waybill/PIPELINE"
//	type             string     all              the action's name; "waybill.action" where it has none or cannot stand
//	                                             here, "waybill.position", "waybill.schema"
//	time             timestamp  all, optional    when the source recorded the action; UTC, RFC 3339
//	datacontenttype  string     with data        "application/json"
//	sequence         string     all but schema,  the action's number in its stream, dense from 1, 20 digits; of a
//	                            optional         position that of the last action before it
//	traceparent      string     optional         W3C Trace Context of the request that the action belongs to
//	waybillkind      string     all but actions  "part", "position" or "schema"
//	waybillname      string     optional         the action's name where it cannot be the type: blank, with white space
//	                                             around it, with control characters, or beginning with "waybill."
//	waybillposition  string     optional         the writer's position as of after this event; of a part that is not the
//	                                             last, as of before its action. Only on the last event of what was
//	                                             written at once. Opaque
//	waybillaction    string     parts            the action's ID
//	waybillattempt   string     parts            which attempt at sending the action this part belongs to
//	waybillpart      integer    parts            1, 2, 3 … within the attempt, at most 2147483647
//	waybilllast      boolean    parts            whether it is the attempt's last part; absent is false
//	data             JSON       actions, parts   the array of changes
//	                            schemas          the schema
//	data_base64      string     instead of data  the same JSON in Base64; read, never written
//
// Attributes that the table does not name, and data's other attributes (subject, dataschema), are
// passed over, at most 256 of them. An attribute that is null is absent. One that stands there
// twice is an error, and so is a kind that this version does not know, and part numbers on an
// event that is no part: the first could hide an action, the second could pass a part off as one.
//
// # Changes
//
// A change is what an outbox holds (package envelope says what it may look like), and two
// fields beside, and another op:
//
//   - schema: the hash of the entity's schema where the source knows it.
//   - unchanged: the columns that the schema has and neither row nor key holds; on updates and
//     upserts, where there are any. It follows from the rest, and only spares other readers the schema;
//     a column that stands in row, too, is an error.
//   - op truncate: all rows of the entity were removed. It has neither key, row nor before.
//
// The key of a change whose schema is known may hold null, arrays and objects: a table without a key
// is known by whole rows.
//
// Values keep the bytes with which they were written: 1.0e400 stays 1.0e400.
//
// A Decoder takes one change in place of an array of one, since other writers send it.
//
// # Schemas
//
// A schema is an event of its own, before the first event that refers to it. Its hash is the
// first 128 bits of the SHA-256 of its data as it stands without white space between tokens,
// as 32 hexadecimal digits; the id repeats it and is verified. A later version may say more about an
// entity: fields that a reader does not know count for the hash and are passed over.
//
// # Parts
//
// An action that is too large for one message is sent as parts, cut between changes. Each is
// an event with all the attributes of the action. An action is complete when parts 1 to n of one
// attempt have come, the n-th with waybilllast. A new attempt replaces an unfinished one.
//
// # Compatibility
//
// testdata holds an event of each kind. What is there can be read forever, and for the same
// Event the same bytes are written. Within specversion 1.0 attributes and kinds may be added.
//
// # Example
//
//	{
//	  "specversion": "1.0",
//	  "id": "0197a0e2-5c1b-7cc4-9f30-6f6f1d0c8a11",
//	  "source": "/waybill/crm",
//	  "type": "customer.renamed",
//	  "time": "2026-03-14T09:26:53.589793Z",
//	  "datacontenttype": "application/json",
//	  "sequence": "00000000000000000042",
//	  "data": [
//	    {
//	      "entity": "customer", "op": "update", "key": {"id": 42},
//	      "row": {"name": "Ann"}, "before": {"name": "Anne"},
//	      "schema": "71381515c18eafa6e83758e5c2ba5216", "unchanged": ["credit", "country"]
//	    },
//	    {
//	      "entity": "customer", "op": "delete", "key": {"id": 43},
//	      "schema": "71381515c18eafa6e83758e5c2ba5216"
//	    }
//	  ]
//	}
package event
