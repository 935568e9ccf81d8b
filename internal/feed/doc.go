// Package feed is the form of what a gateway sends its hub of its own accord.
package feed
