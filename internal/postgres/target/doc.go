// Package target applies actions to tables of a PostgreSQL database and keeps the position in the
// same transactions. What it promises, and what happens at each failure, is said at Writer.
package target
