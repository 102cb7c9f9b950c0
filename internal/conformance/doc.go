// Package conformance holds the suites that every reader, writer and state store must pass
// on the real thing. They follow the contracts of the root package sentence by sentence and
// know connectors only through what a test hands them: a Source, a Target, an opened store.
//
// A suite is one call from a connector's test:
//
//	func TestConformance(t *testing.T) {
//		conformance.TestReader(t, func(t *testing.T) conformance.Source { … })
//	}
//
// Each rule is a subtest with a source or target of its own, so the constructor is called
// many times and should be cheap (a fresh database on a shared server, a fresh file). Hooks
// that are nil leave out the rules that need them; what is left out is logged.
//
// That the suites notice what they should is proved in this package's own tests: a correct
// reader and writer in memory pass, and each of a list of wrong ones fails the rule that is
// named for it.
package conformance
