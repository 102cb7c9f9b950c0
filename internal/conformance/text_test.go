package conformance_test

import "encoding/json"

// unquote turns a JSON string into its text and leaves every other scalar as written.
func unquote(raw string) string {
	var s string
	if json.Unmarshal([]byte(raw), &s) == nil {
		return s
	}
	return raw
}
