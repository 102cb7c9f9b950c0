package target

import (
	"testing"

	"github.com/waybill-data/waybill/internal/conformance"
	"github.com/waybill-data/waybill/internal/fault"
)

func TestBreakages(t *testing.T) {
	conformance.Breakages(t, map[string]string{
		fault.PositionApart: "TestCommitThatNeverArrives",
		fault.PositionFirst: "TestReadBackWaitsForTheCommit",
		fault.SplitAction:   "TestBatchOfSeveralPlans",
		fault.NoFence:       "TestZombie",
		fault.RetryUnknown:  "TestCommitWhoseAnswerIsLost",
	})
}
