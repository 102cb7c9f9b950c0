package postgres

import (
	"context"

	"github.com/waybill-data/waybill"
)

// Check looks at the target.
func (w *Writer) Check(ctx context.Context, stream string) ([]waybill.Finding, error) {
	return nil, nil
}
