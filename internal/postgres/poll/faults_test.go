package poll

import (
	"testing"

	"github.com/waybill-data/waybill/internal/conformance"
	"github.com/waybill-data/waybill/internal/fault"
)

func TestBreakages(t *testing.T) {
	conformance.Breakages(t, map[string]string{
		fault.OrderByID:      "TestOrderFollowsDependency",
		fault.CursorByID:     "TestPurgeGivesWay",
		fault.PurgeUnacked:   "TestPurgeKeeps",
		fault.NoFlush:        "TestCrashForgetsNothingHandedOn",
		fault.IgnoreIdentity: "TestRestoredFromFiles",
	})
}
