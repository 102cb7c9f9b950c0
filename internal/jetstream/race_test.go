//go:build race

package jetstream

// raceTimes is how much more memory the race detector needs.
const raceTimes = 6
