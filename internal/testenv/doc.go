// Package testenv starts the real servers that tests run against and stops them again.
//
// Every server is private: a directory of its own, a free port on loopback, an unprivileged
// user. A server that a test process started ends with that process, even if the process
// is killed: a watcher notices and stops it by its pid.
//
// A package whose tests use a server calls Main from TestMain:
//
//	func TestMain(m *testing.M) { testenv.Main(m) }
package testenv
