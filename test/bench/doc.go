// Package bench measures the engine against yardsticks: plain loops that move the same data
// the shortest way, without any promise, in the same run on the same servers.
//
// It is built with the tag "bench" and writes docs/benchmarks.md:
//
//	make bench
//
// Every comparison is repeated, yardstick and engine taking turns; what is reported is the
// median of each and the ratio of the medians. Servers sync to disk as they do in production.
package bench
