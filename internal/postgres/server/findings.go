package server

import (
	"fmt"

	"github.com/waybill-data/waybill"
)

// Findings collects what a Check finds.
type Findings []waybill.Finding

// Good notes what is as it should be.
func (f *Findings) Good(format string, args ...any) {
	*f = append(*f, waybill.Finding{OK: true, What: fmt.Sprintf(format, args...)})
}

// Bad notes what keeps the pipeline from running, and what mends that.
func (f *Findings) Bad(fix, format string, args ...any) {
	*f = append(*f, waybill.Finding{What: fmt.Sprintf(format, args...), Fix: fix})
}

// Warn notes what makes the pipeline run worse, and what mends that.
func (f *Findings) Warn(fix, format string, args ...any) {
	*f = append(*f, waybill.Finding{Warn: true, What: fmt.Sprintf(format, args...), Fix: fix})
}
