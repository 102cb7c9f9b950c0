//go:build !soak

package jetstream

// largeChanges is how many changes the large action has, and largeMiB the memory that the race
// detector leaves it.
const (
	largeChanges = 200_000
	largeMiB     = 225 * raceTimes
)
