package pattern

import (
	"slices"

	"github.com/waybill-data/waybill"
)

// Verdict is what a pipeline promises about one property, and why.
type Verdict struct {
	Property waybill.Property `json:"property"`
	Holds    bool             `json:"holds"`
	Reasons  []string         `json:"reasons"`
}

// Promise works out what a pipeline made of parts guarantees, before it runs: a property
// holds if every part's claim about it holds, and some part makes one.
func Promise(parts ...any) []Verdict {
	var all []Verdict
	for _, property := range []waybill.Property{waybill.Complete, waybill.Once, waybill.Whole, waybill.Ordered} {
		v := Verdict{Property: property, Holds: true}
		for _, part := range parts {
			claimant, ok := waybill.As[waybill.Claimant](part)
			if !ok {
				continue
			}
			for _, claim := range claimant.Claims() {
				if claim.Property == property {
					v.Holds = v.Holds && claim.Holds
					if !slices.Contains(v.Reasons, claim.Because) { // both ends of a queue may say the same
						v.Reasons = append(v.Reasons, claim.Because)
					}
				}
			}
		}
		v.Holds = v.Holds && len(v.Reasons) > 0
		all = append(all, v)
	}
	return all
}
