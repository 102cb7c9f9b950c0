package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"

	"github.com/waybill-data/waybill/internal/config"
	"github.com/waybill-data/waybill/internal/monitor"
	"github.com/waybill-data/waybill/internal/pump"
)

const (
	statusTimeout  = 5 * time.Second
	maxStatusBytes = 16 << 20
)

func (a *app) newStatusCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "status [PIPELINE…]",
		Short:             "Show what the running engine is doing",
		Long:              "Asks the engine that runs with this configuration, at admin.listen, for position, lag and rates.",
		Example:           "  waybill status\n  waybill status crm -o json",
		ValidArgsFunction: a.completePipelines,
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, _, err := a.load(args)
			if err != nil {
				return err
			}
			if cfg.Admin.Listen, err = (addressFile{cfg: cfg}).read(); err != nil {
				return err
			}
			report, err := askStatus(cmd.Context(), cfg.Admin)
			if err != nil {
				return err
			}
			if err := narrow(report, args); err != nil {
				return err
			}
			return a.emit(report, func(w io.Writer) { printStatus(w, report, time.Now()) })
		},
	}
}

// askStatus gets the report of the engine behind the admin address.
func askStatus(ctx context.Context, admin config.Admin) (*monitor.Report, error) {
	addr := dialable(admin.Listen)
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/status", nil)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", addr, err)
	}
	if admin.Token != "" {
		req.Header.Set("Authorization", "Bearer "+admin.Token)
	}
	// No proxy from the environment: the token is for the engine alone.
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return nil, fmt.Errorf("no engine runs with this configuration: nothing listens at %s; start one with: waybill run", addr)
	case err != nil:
		return nil, fmt.Errorf("ask the engine at %s: %w; is it running there (admin.listen)?", addr, err)
	}
	defer resp.Body.Close() //nolint:errcheck // it was only read
	if resp.StatusCode == http.StatusUnauthorized {
		return nil, fmt.Errorf("the engine at %s wants another token; set admin.token to the one that it was started with", addr)
	}
	report := &monitor.Report{}
	err = json.NewDecoder(io.LimitReader(resp.Body, maxStatusBytes)).Decode(report)
	if err != nil || resp.StatusCode != http.StatusOK || report.Waybill == "" {
		return nil, fmt.Errorf("what answers at %s (HTTP status %d) is not a waybill; set admin.listen to another port", addr, resp.StatusCode)
	}
	return report, nil
}

// dialable turns a listening address into one to connect to.
func dialable(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return listen
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	return net.JoinHostPort(host, port)
}

// narrow keeps the named pipelines. One that the engine does not run is an error: showing
// nothing for it could pass for good news.
func narrow(r *monitor.Report, names []string) error {
	if len(names) == 0 {
		return nil
	}
	var absent []string
	for _, name := range names {
		if !slices.ContainsFunc(r.Pipelines, func(p pump.Status) bool { return p.Pipeline == name }) {
			absent = append(absent, name)
		}
	}
	if len(absent) > 0 {
		return fmt.Errorf("the running engine does not run %s", strings.Join(absent, ", "))
	}
	r.Pipelines = slices.DeleteFunc(r.Pipelines, func(p pump.Status) bool { return !slices.Contains(names, p.Pipeline) })
	return nil
}

func printStatus(w io.Writer, r *monitor.Report, now time.Time) {
	t := table.NewWriter()
	t.SetOutputMirror(w)
	t.SetStyle(table.StyleLight)
	t.Style().Options = table.OptionsNoBordersAndSeparators
	var columns []table.ColumnConfig
	for n := 4; n <= 11; n++ { // the numbers
		columns = append(columns, table.ColumnConfig{Number: n, Align: text.AlignRight, AlignHeader: text.AlignRight})
	}
	t.SetColumnConfigs(columns)
	t.AppendHeader(table.Row{"pipeline", "target", "state", "for", "seq", "waiting", "lag", "actions/s", "p50", "p99", "retries"})
	for i := range r.Pipelines {
		p := &r.Pipelines[i]
		waiting, lag := "?", "?"
		if p.Backlog >= 0 {
			waiting, lag = fmt.Sprint(p.Backlog), seconds(p.LagSeconds)
		}
		p50, p99 := "-", "-"
		if p.Actions > 0 {
			p50, p99 = seconds(p.P50), seconds(p.P99)
		}
		seq := "-"
		if p.Seq > 0 {
			seq = fmt.Sprint(p.Seq)
		}
		t.AppendRow(table.Row{
			p.Pipeline, p.Target, p.State, now.Sub(p.Since).Round(time.Second), seq, waiting, lag,
			fmt.Sprintf("%.1f", p.Rate), p50, p99, p.Retries,
		})
	}
	t.Render()
	for i := range r.Pipelines {
		if p := &r.Pipelines[i]; p.Error != "" {
			fmt.Fprintf(w, "\n%s: %s\n", p.Pipeline, p.Error)
		}
	}
}

func seconds(s float64) string {
	d := time.Duration(s * float64(time.Second))
	if d < time.Second {
		return d.Round(10 * time.Microsecond).String()
	}
	return d.Round(100 * time.Millisecond).String()
}
