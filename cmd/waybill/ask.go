package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"

	"github.com/waybill-data/waybill/internal/config"
)

const (
	askTimeout     = 10 * time.Second
	maxAnswerBytes = 16 << 20
	maxReasonBytes = 4 << 10
)

// errNoEngine: nothing answers where the engine of this configuration would.
var errNoEngine = errors.New("no engine runs with this configuration")

// ask sends body, if there is one, to the engine behind the admin address and decodes its answer.
// ok tells from the answer that it is a waybill's.
func ask(ctx context.Context, admin config.Admin, method, path string, body, answer any, ok func() bool) error {
	addr := dialable(admin.Listen)
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	req, err := newRequest(ctx, admin, method, "http://"+addr+path, body)
	if err != nil {
		return fmt.Errorf("ask %s: %w", addr, err)
	}
	// No proxy from the environment: the token is for the engine alone.
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%w: nothing listens at %s; start one with: waybill run", errNoEngine, addr)
	case err != nil:
		return fmt.Errorf("ask the engine at %s: %w; is it running there (admin.listen)?", addr, err)
	}
	defer resp.Body.Close() //nolint:errcheck // it was only read
	if resp.StatusCode == http.StatusUnauthorized {
		return fmt.Errorf("the engine at %s wants another token; set admin.token to the one that it was started with", addr)
	}
	if err := refusal(resp, method); err != nil {
		return err
	}
	err = json.NewDecoder(io.LimitReader(resp.Body, maxAnswerBytes)).Decode(answer)
	if err != nil || resp.StatusCode != http.StatusOK || !ok() {
		return fmt.Errorf("what answers at %s (HTTP status %d) is not a waybill; set admin.listen to another port", addr, resp.StatusCode)
	}
	return nil
}

func newRequest(ctx context.Context, admin config.Admin, method, url string, body any) (*http.Request, error) {
	var text bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&text).Encode(body); err != nil {
			return nil, err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, url, &text)
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if admin.Token != "" {
		req.Header.Set("Authorization", "Bearer "+admin.Token)
	}
	return req, nil
}

// refusal is what an engine says when it does not do what it was asked to.
func refusal(resp *http.Response, method string) error {
	said := resp.StatusCode == http.StatusInternalServerError || resp.StatusCode == http.StatusNotFound
	if method == http.MethodGet || !said {
		return nil
	}
	text, _ := io.ReadAll(io.LimitReader(resp.Body, maxReasonBytes)) // what was cut off says as much
	reason := strings.TrimSpace(string(text))
	if reason == "" || strings.HasPrefix(reason, "404") {
		return nil // not one of ours
	}
	return errors.New(reason)
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
