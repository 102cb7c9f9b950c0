//go:build !faults

package fault

// Enabled says whether this binary can be broken on purpose.
const Enabled = false

// Hit marks that the engine passes a durable step.
func Hit(string) {}

// Broken reports whether a breakage is switched on.
func Broken(string) bool { return false }
