package wal

import (
	"context"

	"github.com/waybill-data/waybill"
)

// Check looks at the server, the slot and the publication.
func (o *Reader) Check(ctx context.Context, _ string) ([]waybill.Finding, error) {
	return nil, nil
}
