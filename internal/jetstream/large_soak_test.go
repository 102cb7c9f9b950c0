//go:build soak

package jetstream

const (
	largeChanges = 1_000_000
	largeMiB     = 300 * raceTimes
)
