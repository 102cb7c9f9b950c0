package jetstream

import (
	"testing"

	"github.com/waybill-data/waybill"
)

// TestPositionGolden: the text is kept at targets, so it must not change within a version.
func TestPositionGolden(t *testing.T) {
	const golden = `{"v":1,"queue":"K7","subject":"orders","n":1204,"seq":17,"number":18,"id":"a\"1"}`
	pt := point{V: 1, Queue: "K7", Subject: "orders", N: 1204, Seq: 17, Number: 18, ID: `a"1`}
	if have := pt.position(); have != golden {
		t.Errorf("position is %s, want %s", have, golden)
	}
	if have, err := parsePosition(golden); err != nil || have != pt {
		t.Errorf("parsed to %+v, %v; want %+v", have, err, pt)
	}
}

func TestPositionRefused(t *testing.T) {
	for _, p := range []waybill.Position{
		"x", "{}", "0", `{"v":1}`, `{"v":2,"queue":"K7","subject":"orders","n":1,"seq":1,"id":"a"}`,
		`{"v":1,"queue":"K7","subject":"orders","n":1,"seq":1,"id":"a"} ` + "x",
		`{"v":1,"queue":"K7","subject":"orders","n":1,"seq":1,"id":"a","more":1}`,
		`{"v":1,"queue":"K7","subject":"orders","n":-1,"seq":1,"id":"a"}`,
		`{"v":1,"queue":"K7","subject":"","n":1,"seq":1,"id":"a"}`,
	} {
		if pt, err := parsePosition(p); err == nil {
			t.Errorf("%s was read as %+v", p, pt)
		}
	}
}
