// Package wal reads actions from a PostgreSQL server's write-ahead log by logical decoding.
package wal
