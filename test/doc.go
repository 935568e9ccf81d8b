// Package test runs the real lanfolk program end to end, in network namespaces
// beside real peers, and holds the rules on who imports whom.
package test
