// Package test proves the whole engine from outside: it builds the program with its kill
// points and breakages, runs it as a process between real databases under a live workload, kills it
// at every durable step and again while it recovers, and lets package judge decide.
//
// Every breakage that the program knows is switched on once; the judge must notice.
package test
