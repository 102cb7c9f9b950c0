package main

import (
	"fmt"
	"log/slog"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/config"
	"github.com/waybill-data/waybill/internal/postgres"
	"github.com/waybill-data/waybill/internal/sqlite"
)

// Here, and only here, the kinds of the configuration meet the packages that serve them.
// Nothing connects before it is used.

const (
	kindPostgres = "postgres"
	kindSQLite   = "sqlite"
)

func sourceKind(p *config.Pipeline) string {
	if p.Source.Postgres != nil {
		return kindPostgres
	}
	return kindSQLite
}

func targetKind(p *config.Pipeline) string {
	if p.Target.Postgres != nil {
		return kindPostgres
	}
	return kindSQLite
}

func newReader(p *config.Pipeline, log *slog.Logger) (waybill.Reader, error) {
	b := p.Batch
	switch s := p.Source; {
	case s.Postgres != nil:
		return postgres.NewOutbox(postgres.SourceOptions{
			URL: s.Postgres.URL, Stream: p.Stream(),
			MaxActions: b.MaxActions, MaxBytes: b.MaxBytes, MaxDelay: b.MaxDelay, Log: log,
		}), nil
	case s.SQLite != nil:
		return sqlite.NewOutbox(sqlite.SourceOptions{
			Path: s.SQLite.Path, Stream: p.Stream(),
			MaxActions: b.MaxActions, MaxBytes: b.MaxBytes, MaxDelay: b.MaxDelay, Log: log,
		}), nil
	}
	return nil, fmt.Errorf("pipeline %s: no connector serves its source", p.Name)
}

// newWriter makes the target. Owner is who may take over its own lease at once; empty for
// nobody.
func newWriter(p *config.Pipeline, owner string, log *slog.Logger) (waybill.Writer, error) {
	switch t := p.Target; {
	case t.Postgres != nil:
		return postgres.NewWriter(postgres.TargetOptions{URL: t.Postgres.URL, Schema: t.Postgres.Schema, Owner: owner, Log: log}), nil
	case t.SQLite != nil:
		return sqlite.NewWriter(sqlite.TargetOptions{Path: t.SQLite.Path, Owner: owner, Log: log}), nil
	}
	return nil, fmt.Errorf("pipeline %s: no connector serves its target", p.Name)
}

// ends are the two connectors of one pipeline.
type ends struct {
	reader waybill.Reader
	writer waybill.Writer
}

func newEnds(p *config.Pipeline, owner string, log *slog.Logger) (ends, error) {
	log = log.With("pipeline", p.Name)
	reader, err := newReader(p, log)
	if err != nil {
		return ends{}, err
	}
	writer, err := newWriter(p, owner, log)
	return ends{reader, writer}, err
}
