//go:build !soak

package testenv

import "flag"

// fixSeed makes property tests draw the same in every run, so that a run can be repeated;
// `make soak` draws anew each time. -rapid.seed overrides it.
func fixSeed() {
	if flag.Lookup("rapid.seed") != nil {
		_ = flag.Set("rapid.seed", "20260101")
	}
}
