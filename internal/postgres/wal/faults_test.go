package wal

import (
	"testing"

	"github.com/waybill-data/waybill/internal/conformance"
	"github.com/waybill-data/waybill/internal/fault"
)

func TestBreakages(t *testing.T) {
	t.Parallel()
	conformance.Breakages(t, map[string]string{
		fault.AckEarly:       "TestUnackedAgain",
		fault.PurgeUnacked:   "TestPurge",
		fault.IgnoreIdentity: "TestGaps",
	})
}
