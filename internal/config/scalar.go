package config

import (
	"fmt"
	"math"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// expects says what a field takes: "must be " + expects. It is used in faults and in the
// reference.
func (f *field) expects() string {
	switch f.kind {
	case word:
		if len(f.words) == 1 {
			return f.words[0]
		}
		return "one of " + strings.Join(f.words, ", ")
	case integer:
		return fmt.Sprintf("a whole number from %d to %d", f.min, f.max)
	case size:
		return fmt.Sprintf("a size from %s to %s, a whole number with B, KiB, MiB, GiB or TiB", formatSize(f.min), formatSize(f.max))
	case duration:
		return fmt.Sprintf("a duration from %s to %s, such as 5ms, 10s or 1m30s", formatDuration(f.min), formatDuration(f.max))
	case postgresURL:
		return "a URL such as postgres://USER:PASSWORD@HOST:5432/DATABASE"
	case address:
		return "HOST:PORT, such as 127.0.0.1:7780"
	case file:
		return "the path of a file"
	case directory:
		return "the path of a directory"
	case identifier:
		return pipelineNameRule
	case slotName:
		return "1 to 63 of the letters a-z, digits and _"
	case table:
		return "SCHEMA.TABLE, such as public.customer or public.order*"
	case boolean:
		return "true or false"
	case list:
		return "a list, each " + (&field{kind: f.each}).expects()
	case text:
		return "text in one line"
	case oneOf:
		return "a section with one of " + strings.Join(f.keys(), ", ")
	case named:
		if f.each == text {
			return "a section that holds a text for each name"
		}
		return "a section that holds a section for each name"
	}
	return "a section with " + strings.Join(f.keys(), ", ")
}

var sizeUnits = []struct {
	name  string
	bytes int64
}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}

// slotPattern is what PostgreSQL takes for a slot.
var slotPattern = regexp.MustCompile(`^[a-z0-9_]{1,63}$`)

var sizePattern = regexp.MustCompile(`^([0-9]{1,18})([A-Za-z]+)$`)

// parseSize reads 64MiB into bytes.
func parseSize(s string) (int64, bool) {
	m := sizePattern.FindStringSubmatch(s)
	if m == nil {
		return 0, false
	}
	n, err := strconv.ParseInt(m[1], 10, 64)
	if err != nil {
		return 0, false
	}
	for _, u := range sizeUnits {
		if u.name == m[2] {
			return n * u.bytes, n <= math.MaxInt64/u.bytes
		}
	}
	return 0, false
}

func formatSize(n int64) string {
	for _, u := range sizeUnits {
		if n >= u.bytes && n%u.bytes == 0 {
			return fmt.Sprintf("%d%s", n/u.bytes, u.name)
		}
	}
	return fmt.Sprintf("%dB", n)
}

// formatDuration writes 1m where time.Duration writes 1m0s.
func formatDuration(n int64) string {
	s := time.Duration(n).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// parseScalar reads s into v as the field's kind says. It returns what is wrong with s, a
// clause that does not repeat s, or "".
func (f *field) parseScalar(s string, v *value) string {
	switch f.kind {
	case word:
		if !slices.Contains(f.words, s) {
			return "must be " + f.expects()
		}
	case integer:
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil || n < f.min || n > f.max {
			return "must be " + f.expects()
		}
		v.num = n
	case size:
		n, ok := parseSize(s)
		if s == "0" && f.min == 0 {
			n, ok = 0, true
		}
		if !ok || n < f.min || n > f.max {
			return "must be " + f.expects()
		}
		v.num = n
	case duration:
		d, err := time.ParseDuration(s)
		if err != nil || int64(d) < f.min || int64(d) > f.max {
			return "must be " + f.expects()
		}
		v.num = int64(d)
	case postgresURL:
		return urlProblem(s)
	case address:
		return addressProblem(s)
	case file:
		if strings.HasSuffix(s, "/") || s == "." || s == ".." {
			return "must be a file, not a directory"
		}
		return pathProblem(s, "file; a database in memory is gone when the process ends")
	case directory:
		return pathProblem(s, "directory; a queue in memory is gone when the process ends")
	case identifier:
		if !pipelineName.MatchString(s) {
			return "must be " + f.expects()
		}
	case slotName:
		if !slotPattern.MatchString(s) {
			return "must be " + f.expects()
		}
	case table:
		schema, name, _ := strings.Cut(s, ".")
		if schema == "" || name == "" || len(s) > maxFreeName || strings.ContainsFunc(s, unicode.IsSpace) {
			return "must be " + f.expects()
		}
	case boolean:
		switch s {
		case "true":
			v.num = 1
		case "false":
			v.num = 0
		default:
			return "must be " + f.expects()
		}
	case text:
		if f.secret && strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return "must be printable ASCII without spaces"
		}
	}
	return ""
}

var sslModes = []string{"disable", "allow", "prefer", "require", "verify-ca", "verify-full"}

// urlProblem says what is wrong with the URL of a PostgreSQL database without repeating
// any part of it.
func urlProblem(s string) string {
	const escape = "is not a valid URL; special characters of the user name and password are written as %XX: / is %2F, @ is %40, : is %3A, # is %23, ? is %3F, % is %25"
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok || scheme != "postgres" && scheme != "postgresql" {
		return "must be a URL that begins with postgres:// or postgresql://"
	}
	end := strings.IndexAny(rest+"/", "/?#")
	if strings.Count(rest[:end], "@") > 1 {
		return "has more than one @ before the database's name; an @ in the user name or password is written as %40"
	}
	u, err := url.Parse(s)
	if err != nil || strings.Contains(u.RawQuery, "@") || u.Fragment != "" || u.User == nil && strings.Contains(rest, "@") || strings.ContainsAny(u.Path, "@") {
		return escape
	}
	for host := range strings.SplitSeq(u.Host, ",") {
		i := strings.LastIndexByte(host, ':')
		if i < 0 || strings.HasSuffix(host, "]") {
			continue
		}
		if port, err := strconv.Atoi(host[i+1:]); err != nil || port < 1 || port > 65535 {
			return "has a port that is not a number from 1 to 65535"
		}
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return "has parameters after the ? that are not of the form name=value&name=value"
	}
	if query.Has("sslmode") && !slices.Contains(sslModes, query.Get("sslmode")) {
		return "has an sslmode that is not one of " + strings.Join(sslModes, ", ")
	}
	return ""
}

var hostName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9.])?$`)

// addressProblem says what is wrong with an address to listen at.
func addressProblem(s string) string {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return "must be HOST:PORT, such as 127.0.0.1:7780 or [::1]:7780"
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n > 65535 {
		return "must have a port that is a number from 0 to 65535"
	}
	if _, err := netip.ParseAddr(host); err != nil && host != "" && !hostName.MatchString(host) {
		return "must have a host that is a name or an IP address"
	}
	return ""
}

// loopback reports whether only this machine can reach the address.
func loopback(listen string) bool {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return false
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.IsLoopback()
	}
	return strings.EqualFold(host, "localhost")
}

// pathProblem says what is wrong with the path of a database file or of a queue's directory.
// insteadOfMemory is what it has to be.
func pathProblem(s, insteadOfMemory string) string {
	switch {
	case strings.HasPrefix(s, ":memory:"):
		return "must be a " + insteadOfMemory
	case strings.HasPrefix(s, "file:"), strings.Contains(s, "://"):
		return "must be a plain path, not a URL"
	case strings.HasPrefix(s, "~"):
		return "begins with ~, which is not expanded; write ${HOME}"
	}
	return ""
}
