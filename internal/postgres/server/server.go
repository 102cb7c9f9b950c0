package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/waybill-data/waybill"
)

// connectTimeout bounds one attempt to connect where the URL does not set connect_timeout.
const connectTimeout = 10 * time.Second

// Options refine Connect; the zero value is fine.
type Options struct {
	// Name is what pg_stat_activity shows as application_name; "waybill" if empty.
	Name string
	// Params are session settings that override those that Connect makes.
	Params map[string]string
}

// Connect opens one session with settings that no role or database default can disturb: UTC,
// READ COMMITTED, no statement, lock or idle timeout. The error is classified.
func Connect(ctx context.Context, rawURL string, opts Options) (*pgx.Conn, error) {
	cfg, err := pgx.ParseConfig(rawURL)
	if err != nil {
		return nil, badURL(rawURL, err)
	}
	if splitPassword(rawURL, cfg) {
		return nil, errURL
	}
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = connectTimeout
	}
	maps.Copy(cfg.RuntimeParams, map[string]string{
		"application_name":                    "waybill",
		"client_encoding":                     "UTF8",
		"client_min_messages":                 "warning",
		"TimeZone":                            "UTC",
		"default_transaction_isolation":       "read committed",
		"statement_timeout":                   "0",
		"lock_timeout":                        "0",
		"idle_in_transaction_session_timeout": "0",
		"quote_all_identifiers":               "off", // in the names of types
	})
	maps.Copy(cfg.RuntimeParams, opts.Params)
	if opts.Name != "" {
		cfg.RuntimeParams["application_name"] = opts.Name
	}
	cfg.DialFunc = dialer().DialContext
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, Classify(err, fmt.Sprintf("connect to PostgreSQL at %s, database %s, as %s", address(cfg), cfg.Database, cfg.User))
	}
	return conn, nil
}

func address(cfg *pgx.ConnConfig) string {
	if strings.HasPrefix(cfg.Host, "/") {
		return fmt.Sprintf("%s/.s.PGSQL.%d", cfg.Host, cfg.Port)
	}
	return net.JoinHostPort(cfg.Host, fmt.Sprint(cfg.Port))
}

// badURL explains why a connection string was not understood. The parser's own words may
// quote parts of the password (one with a / or % in it), so they are used only where the
// string is a well-formed URL.
func badURL(rawURL string, err error) error {
	u, perr := url.Parse(rawURL)
	inner := errors.Unwrap(err)
	if perr != nil || u.Host == "" || inner == nil || splitPassword(rawURL, nil) {
		return errURL
	}
	text := inner.Error()
	secret, _ := u.User.Password()
	for _, pw := range append(u.Query()["password"], u.Query()["sslpassword"]...) {
		if pw != "" && strings.Contains(text, pw) {
			secret = pw
		}
	}
	if secret != "" && strings.Contains(text, secret) {
		text = "a setting in it is wrong"
	}
	return fmt.Errorf("the PostgreSQL url is not understood: %s", text)
}

// errURL tells how a connection string reads, without a word of the one that is wrong.
var errURL = errors.New("the PostgreSQL url is not understood; it reads postgres://user:password@host:5432/database, " +
	"with special characters in the password written as %XX (@ is %40)")

// splitPassword tells whether an unescaped @ may have made the end of a password pass for a
// host, a database or a parameter, which errors name. cfg may be nil.
func splitPassword(rawURL string, cfg *pgx.ConnConfig) bool {
	if _, rest, ok := strings.Cut(rawURL, "://"); ok && strings.Count(rest, "@") > 1 {
		return true
	}
	if cfg == nil {
		return false
	}
	split := strings.Contains(cfg.Host, "@")
	for _, other := range cfg.Fallbacks {
		split = split || strings.Contains(other.Host, "@")
	}
	return split
}

// Classify wraps err as "doing: what happened; remedy" and marks it transient where trying
// again may help. It returns nil for nil. errors.As still finds the *pgconn.PgError. The text
// never holds the password, nor the server's DETAIL, which may hold row values.
func Classify(err error, doing string) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, context.Canceled) {
		return fmt.Errorf("%s: %w", doing, context.Canceled)
	}
	if pe, ok := errors.AsType[*pgconn.PgError](err); ok {
		c := &classified{text: doing + ": " + pe.Message + " (SQLSTATE " + pe.Code + ")", err: err}
		if remedy := remedies[pe.Code]; remedy != "" {
			c.text += "; " + remedy
		}
		if passing(pe.Code) {
			return waybill.AsTransient(c)
		}
		return c
	}
	c := &classified{text: doing + ": " + oneLine(err), err: err}
	var (
		authority x509.UnknownAuthorityError
		hostname  x509.HostnameError
		invalid   x509.CertificateInvalidError
		verify    *tls.CertificateVerificationError
		netErr    net.Error
	)
	switch {
	case errors.As(err, &authority), errors.As(err, &hostname), errors.As(err, &invalid), errors.As(err, &verify):
		c.text += "; check sslmode and sslrootcert in url"
		return c
	case errors.As(err, &netErr), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed),
		errors.Is(err, context.DeadlineExceeded), errors.Is(err, pgconn.ErrConnClosed), pgconn.Timeout(err), pgconn.SafeToRetry(err):
		return waybill.AsTransient(c)
	}
	return c
}

// Explain is err with a text chosen for people; errors.As still finds the cause.
func Explain(text string, err error) error { return &classified{text: text, err: err} }

// classified keeps the cause for errors.As while its text is chosen for people.
type classified struct {
	text string
	err  error
}

func (c *classified) Error() string { return c.text }
func (c *classified) Unwrap() error { return c.err }

// passing tells which SQLSTATEs may pass by themselves.
func passing(code string) bool {
	switch code[:min(2, len(code))] {
	case "08", "40", "53", "58": // connection, rollback (serialization, deadlock), resources, system
		return true
	}
	switch code {
	case "57P01", "57P02", "57P03", "57P04", "57P05", // shutting down, crashed, starting up
		"57014", "55P03", "55006", "25P03", "25006": // cancelled, lock not available, in use, read-only after failover
		return true
	}
	return false
}

// remedies are the clauses that follow an error a person has to mend.
var remedies = map[string]string{
	"28P01": "check the user and the password in url",
	"28000": "check the user in url and the server's pg_hba.conf",
	"3D000": "create the database or correct its name in url",
	"42501": "grant the role what it needs; waybill check prints the statements",
	"53100": "free space on that server's disk",
	"53300": "raise max_connections there, or end sessions that nobody needs",
	"53400": "raise the limit in that server's settings",
	"55P03": "another session holds the lock",
	"57014": "somebody cancelled it, or a statement_timeout that a trigger, a function or a pooler sets",
}

// oneLine is the text of an error on one line. The driver lists every address it tried, and
// one twice where it tried with and without TLS.
func oneLine(err error) string {
	if ce, ok := errors.AsType[*pgconn.ConnectError](err); ok {
		err = errors.Unwrap(ce)
	}
	var said []string
	for part := range strings.FieldsFuncSeq(err.Error(), func(r rune) bool { return r == '\n' || r == '\t' }) {
		part = strings.TrimPrefix(part, "hostname resolving error: ")
		if !slices.Contains(said, part) {
			said = append(said, part)
		}
	}
	return strings.Join(said, "; ")
}

// Quote makes name an SQL identifier, whatever it holds.
func Quote(name string) string { return pgx.Identifier{name}.Sanitize() }

// ReadOnlyFix is the statement that lets the session's transactions write again: it names the
// place where the setting that makes them read-only was made.
func ReadOnlyFix(ctx context.Context, conn *pgx.Conn) (string, error) {
	const setting = "default_transaction_read_only"
	var database, role, source string
	err := conn.QueryRow(ctx, `select current_database(), session_user, source from pg_settings where name = $1`, setting).
		Scan(&database, &role, &source)
	switch source {
	case "user":
		return fmt.Sprintf("ALTER ROLE %s RESET %s;", Quote(role), setting), err
	case "database user":
		return fmt.Sprintf("ALTER ROLE %s IN DATABASE %s RESET %s;", Quote(role), Quote(database), setting), err
	case "global":
		return fmt.Sprintf("ALTER ROLE ALL RESET %s;", setting), err
	case "client", "environment variable":
		return "take " + setting + " out of url (options) and of the environment (PGOPTIONS)", err
	case "configuration file", "command line":
		return fmt.Sprintf("ALTER SYSTEM SET %s = off; SELECT pg_reload_conf();", setting), err
	}
	return fmt.Sprintf("ALTER DATABASE %s SET %s = off;", Quote(database), setting), err
}

// Code is the SQLSTATE of err, "" if it has none.
func Code(err error) string {
	if pe, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pe.Code
	}
	return ""
}

// SchemaLock serialises the creation of schema waybill, whoever does it (outbox.sql names the same
// number); CREATE … IF NOT EXISTS alone fails when two sessions do it at once.
const SchemaLock = 8673042169010

// closePatience bounds how long Close waits for the server.
const closePatience = time.Second

// Close says goodbye, but not for long.
func Close(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), closePatience)
	defer cancel()
	_ = conn.Close(ctx)
	select {
	case <-conn.PgConn().CleanupDone():
	case <-ctx.Done():
	}
}

// Count is "1 row", "3 rows".
func Count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
