package judge

import (
	"context"
	"database/sql"
	"fmt"
	"regexp"
	"strings"

	_ "github.com/jackc/pgx/v5/stdlib" // driver "pgx"
	_ "modernc.org/sqlite"             // driver "sqlite"
)

// Side is a database, as source or as target.
type Side struct {
	DB *sql.DB
	// SQLite tells the two dialects apart.
	SQLite bool
}

// Postgres opens a PostgreSQL database by its URL.
func Postgres(url string) (*Side, error) {
	db, err := sql.Open("pgx", url)
	if err != nil {
		return nil, fmt.Errorf("open PostgreSQL: %w", err)
	}
	return &Side{DB: db}, nil
}

// SQLite opens, or creates, a SQLite file. Every commit is on disk when it returns.
func SQLite(path string) (*Side, error) {
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(30000)&_pragma=journal_mode(wal)&_pragma=synchronous(full)&_pragma=foreign_keys(1)&_txlock=immediate")
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return &Side{DB: db, SQLite: true}, nil
}

// Close closes the connections.
func (s *Side) Close() error { return s.DB.Close() }

const businessTables = `
create table customer (id bigint primary key, name text not null, email text unique, city text not null,
	version bigint not null, phones bigint not null, addresses bigint not null, total bigint not null);
create table phone (id bigint primary key, customer_id bigint not null references customer (id),
	kind text not null, number text not null, version bigint not null);
create table address (id bigint primary key, customer_id bigint not null references customer (id),
	street text not null, city text not null, note text, version bigint not null);
create table journal (action bigint not null, customer_id bigint not null, version bigint not null,
	session bigint not null, step bigint not null, primary key (action, customer_id));
create index phone_customer on phone (customer_id);
create index address_customer on address (customer_id);
create index journal_customer on journal (customer_id, version);
`

// directory holds a row for each possible customer: what an action locks, and the last
// version, which outlives the customer. Only the source has it.
const directory = `create table directory (id bigint primary key, version bigint not null);`

const arrivalPostgres = `
create table arrival (n bigint generated always as identity primary key, action bigint not null, customer_id bigint not null,
	version bigint not null, session bigint not null, step bigint not null);
create function note_arrival() returns trigger language plpgsql as $$ begin
	insert into arrival (action, customer_id, version, session, step)
		values (new.action, new.customer_id, new.version, new.session, new.step);
	return null;
end $$;
create trigger note_arrival after insert or update on journal for each row execute function note_arrival();
`

const arrivalSQLite = `
create table arrival (n integer primary key autoincrement, action bigint not null, customer_id bigint not null,
	version bigint not null, session bigint not null, step bigint not null);
create trigger note_insert after insert on journal begin
	insert into arrival (action, customer_id, version, session, step)
		values (new.action, new.customer_id, new.version, new.session, new.step);
end;
create trigger note_update after update on journal begin
	insert into arrival (action, customer_id, version, session, step)
		values (new.action, new.customer_id, new.version, new.session, new.step);
end;
`

// CreateSource makes the business tables of a source with room for that many customers.
func (s *Side) CreateSource(ctx context.Context, customers int) error {
	var ddl strings.Builder
	ddl.WriteString(businessTables + directory)
	for id := range customers {
		fmt.Fprintf(&ddl, "insert into directory values (%d, 0);\n", id+1)
	}
	return s.script(ctx, ddl.String())
}

// CreateTarget makes the business tables of a target, and the log of arrivals.
func (s *Side) CreateTarget(ctx context.Context) error {
	if s.SQLite {
		return s.script(ctx, businessTables+arrivalSQLite)
	}
	return s.script(ctx, businessTables+arrivalPostgres)
}

func (s *Side) script(ctx context.Context, ddl string) error {
	if _, err := s.DB.ExecContext(ctx, ddl); err != nil {
		return fmt.Errorf("create business tables: %w", err)
	}
	return nil
}

var placeholder = regexp.MustCompile(`\$[0-9]+`)

// q is a query with PostgreSQL's placeholders, each used once and in order, as the side
// wants it.
func (s *Side) q(query string) string {
	if !s.SQLite {
		return query
	}
	return strings.ReplaceAll(placeholder.ReplaceAllString(query, "?"), " for update", "")
}

// texts reads a whole result as text, null as NULL.
func (s *Side) texts(ctx context.Context, query string) ([][]string, error) {
	rows, err := s.DB.QueryContext(ctx, query)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	var out [][]string
	for rows.Next() {
		fields := make([]sql.NullString, len(columns))
		to := make([]any, len(columns))
		for i := range fields {
			to[i] = &fields[i]
		}
		if err := rows.Scan(to...); err != nil {
			return nil, err
		}
		row := make([]string, len(columns))
		for i, f := range fields {
			row[i] = "NULL"
			if f.Valid {
				row[i] = f.String
			}
		}
		out = append(out, row)
	}
	return out, rows.Err()
}
