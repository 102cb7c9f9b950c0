// Package bench measures the engine against yardsticks: plain loops that move the same data
// the shortest way, without any promise, and another program's way where there is one, in the
// same run on the same servers. It also watches what memory the program takes.
//
// It is built with the tag "bench" and writes docs/benchmarks.md:
//
//	make bench
//
// Every comparison is repeated, yardstick and engine taking turns; what is reported is the
// median of each and the ratio of the medians. Servers sync to disk as they do in production.
// Each measurement ends with a count at both ends: a figure for something that was not carried
// is none.
//
// One part alone, small, or the engine alone under a profile:
//
//	go test -tags bench ./test/bench -run TestBench/queue -v -args -rounds 1 -messages 20000
//	go test -tags bench ./test/bench -run TestBench/queue -v -cpuprofile cpu.prof -args -rounds 1 -engine-only
package bench
