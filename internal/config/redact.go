package config

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// hidden stands where a secret was.
const hidden = "xxxxx"

// The types that hold a secret print and marshal themselves without it, as values, through
// pointers and inside of others. fmt does not ask a type that is kept in an unexported field of
// another package's struct: keep a Config in an exported one or by pointer.

// Redacted is a copy without secrets, for showing.
func (c *Config) Redacted() *Config {
	r := *c
	r.Admin = c.Admin.redacted()
	if c.State.SQLite != nil {
		s := *c.State.SQLite
		r.State.SQLite = &s
	}
	r.Pipelines = slices.Clone(c.Pipelines)
	for i := range r.Pipelines {
		r.Pipelines[i].Source = redactedSource(c.Pipelines[i].Source)
		r.Pipelines[i].Targets = slices.Clone(c.Pipelines[i].Targets)
		for j, t := range r.Pipelines[i].Targets {
			r.Pipelines[i].Targets[j] = redactedTarget(t)
		}
		if q := c.Pipelines[i].Queue.Embedded; q != nil {
			r.Pipelines[i].Queue = Queue{Embedded: new(q.redacted())}
		}
	}
	return &r
}

func redactedSource(s Source) Source {
	if s.Postgres != nil {
		pg := s.Postgres.redacted()
		s.Postgres = &pg
	}
	if s.SQLite != nil {
		lite := *s.SQLite
		s.SQLite = &lite
	}
	return s
}

func redactedTarget(t Target) Target {
	if t.Postgres != nil {
		pg := t.Postgres.redacted()
		t.Postgres = &pg
	}
	if t.SQLite != nil {
		lite := *t.SQLite
		t.SQLite = &lite
	}
	return t
}

func (s PostgresSource) redacted() PostgresSource { s.URL = RedactURL(s.URL); return s }

func (t PostgresTarget) redacted() PostgresTarget { t.URL = RedactURL(t.URL); return t }

func (q EmbeddedQueue) redacted() EmbeddedQueue {
	if q.Token != "" {
		q.Token = hidden
	}
	return q
}

func (a Admin) redacted() Admin {
	if a.Token != "" {
		a.Token = hidden
	}
	return a
}

// Format prints s without the password, for every verb.
func (s PostgresSource) Format(f fmt.State, verb rune) {
	type plain PostgresSource
	fmt.Fprintf(f, fmt.FormatString(f, verb), plain(s.redacted()))
}

// MarshalJSON writes s without the password.
func (s PostgresSource) MarshalJSON() ([]byte, error) {
	type plain PostgresSource
	return json.Marshal(plain(s.redacted()))
}

// Format prints t without the password, for every verb.
func (t PostgresTarget) Format(f fmt.State, verb rune) {
	type plain PostgresTarget
	fmt.Fprintf(f, fmt.FormatString(f, verb), plain(t.redacted()))
}

// MarshalJSON writes t without the password.
func (t PostgresTarget) MarshalJSON() ([]byte, error) {
	type plain PostgresTarget
	return json.Marshal(plain(t.redacted()))
}

// Format prints q without the token, for every verb.
func (q EmbeddedQueue) Format(f fmt.State, verb rune) {
	type plain EmbeddedQueue
	fmt.Fprintf(f, fmt.FormatString(f, verb), plain(q.redacted()))
}

// MarshalJSON writes q without the token.
func (q EmbeddedQueue) MarshalJSON() ([]byte, error) {
	type plain EmbeddedQueue
	return json.Marshal(plain(q.redacted()))
}

// Format prints a without the token, for every verb.
func (a Admin) Format(f fmt.State, verb rune) {
	type plain Admin
	fmt.Fprintf(f, fmt.FormatString(f, verb), plain(a.redacted()))
}

// MarshalJSON writes a without the token.
func (a Admin) MarshalJSON() ([]byte, error) {
	type plain Admin
	return json.Marshal(plain(a.redacted()))
}

// RedactURL is a URL without its password, in the user information or in a parameter. What is not
// a well-formed URL with a host is hidden whole.
func RedactURL(s string) string {
	if s == "" {
		return ""
	}
	u, err := url.Parse(s)
	if err != nil || u.Opaque != "" || urlProblem(s) != "" {
		return hidden
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return hidden
	}
	for name := range query {
		if strings.Contains(strings.ToLower(name), "password") {
			query.Set(name, hidden)
			u.RawQuery = query.Encode()
		}
	}
	return u.Redacted()
}
