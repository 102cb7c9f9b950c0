package demo

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"

	sqlite "modernc.org/sqlite"
)

// business are the tables that all have in common. A customer carries the number
// of its phones and addresses, and these carry its version: what agrees only between actions.
const business = `
create table customer (
  id        integer primary key,
  name      text    not null,
  email     text    not null,
  phones    integer not null,
  addresses integer not null,
  version   integer not null
);
create table phone (
  id          integer primary key,
  customer_id integer not null references customer (id),
  kind        text    not null,
  number      text    not null,
  version     integer not null
);
create index phone_customer on phone (customer_id);
create table address (
  id          integer primary key,
  customer_id integer not null references customer (id),
  kind        text    not null,
  street      text    not null,
  city        text    not null,
  version     integer not null
);
create index address_customer on address (customer_id);
create table receipt (
  action  integer primary key,
  changes integer not null
);
`

// masterSchema numbers actions in commit order: SQLite has one writer at a time, and a
// number drawn by a transaction that is rolled back is drawn again.
const masterSchema = business + `
create table journal (
  action      integer primary key autoincrement,
  customer_id integer not null,
  what        text    not null,
  version     integer not null,
  at          text    not null
);
`

// targetSchema, the CRM's and the warehouse's, notes arrivals by triggers, so that a row that is
// written twice shows.
const targetSchema = business + `
create table journal (
  action      integer primary key,
  customer_id integer not null,
  what        text    not null,
  version     integer not null,
  at          text    not null
);
create index journal_customer on journal (customer_id, action);
create table arrival (
  arrival integer primary key autoincrement,
  action  integer not null,
  part    text    not null
);
create index arrival_action on arrival (action);
create trigger journal_arrives after insert on journal begin insert into arrival (action, part) values (new.action, 'journal'); end;
create trigger journal_returns after update on journal begin insert into arrival (action, part) values (new.action, 'journal'); end;
create trigger receipt_arrives after insert on receipt begin insert into arrival (action, part) values (new.action, 'receipt'); end;
create trigger receipt_returns after update on receipt begin insert into arrival (action, part) values (new.action, 'receipt'); end;
`

// openDB opens a database file, with conns connections at most and the pragmas given.
func openDB(path string, conns int, pragmas ...string) (*sql.DB, error) {
	q := url.Values{"_txlock": {"immediate"}, "_pragma": append([]string{"busy_timeout(10000)"}, pragmas...)}
	connector, err := sqlite.NewConnector("file:" + (&url.URL{Path: path}).EscapedPath() + "?" + q.Encode())
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(conns)
	return db, nil
}

// createDB makes a database file with the schema given.
func createDB(ctx context.Context, path, schema string) (err error) {
	db, err := openDB(path, 1, "journal_mode(WAL)")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if _, err := db.ExecContext(ctx, schema); err != nil {
		return fmt.Errorf("create %s: %w", path, err)
	}
	return nil
}
