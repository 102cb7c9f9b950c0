package state

import (
	"log/slog"
	"testing"

	"github.com/waybill-data/waybill/internal/conformance"
)

func TestStoreConformance(t *testing.T) {
	conformance.TestStore(t, func(path string) (conformance.Store, error) {
		return Open(path, slog.New(slog.DiscardHandler))
	})
}
