// Package judge is the second opinion on Waybill: a workload that writes business actions, an
// observer that looks at the target while it changes, and a judge that compares source and
// target afterwards. It shares nothing with the engine: plain SQL, database/sql and the
// drivers. What it knows of Waybill is what any application knows, how to write to the
// outbox.
//
// # The business
//
// Customers have phones and addresses. An action creates a customer with both, saves a
// customer and some of them, moves a phone from one customer to another, swaps the e-mail
// addresses of two (they are unique), or deletes a customer and perhaps creates it again.
// Some actions are rolled back, some have parts that are rolled back to a savepoint.
//
// Every action raises the version of each customer that it touches, stamps the children that
// it touches with it, and sets the customer's counts (phones, addresses) and total (the sum
// of its children's versions). So a customer tells what its children must look like, and part of
// an action shows.
//
// Every action also writes a row for each customer it touches to the journal: number of the
// action, customer, version, and which session wrote it as its how manieth. The journal
// travels like the rest. At the target a trigger notes every write of a journal row in
// the table arrival, in order. So an action that takes effect twice shows, even where its
// second effect changes nothing, and so does the order of effects.
//
// # The verdict
//
//	lost          committed at the source, never arrived at the target
//	skipped       lost, and a later action of the same session arrived
//	doubled       arrived more than once
//	torn          arrived in part, or a snapshot of the target showed part of an action
//	out of order  arrived after a later version of the same customer, or a later action of
//	              the same session
//	phantom       arrived, but is not at the source
//	different     rows that differ between source and target in the end
package judge
