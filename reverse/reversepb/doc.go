// Package reversepb holds the messages and stubs of reverse_access.Reverser,
// the service of the EDGESec device discovery page, generated from
// reverse_access.proto, which stands here exactly as published.
package reversepb

//go:generate ../../scripts/protoc.sh reverse_access.proto
