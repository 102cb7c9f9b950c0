//go:build !race

package jetstream

const raceTimes = 1
