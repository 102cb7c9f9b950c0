package waybill_test

import (
	"testing"

	"github.com/waybill-data/waybill"
)

func TestActionLen(t *testing.T) {
	t.Parallel()
	for want, changes := range []waybill.Changes{nil, make(waybill.ChangeList, 1), make(waybill.ChangeList, 2)} {
		if a := (waybill.Action{Changes: changes}); a.Len() != want {
			t.Errorf("Len of %v is %d, want %d", changes, a.Len(), want)
		}
	}
}
