// Package lanfolkpb holds the messages and stubs of lanfolk.v1: what gateways
// and their hub say to each other beside reverse_access.Reverser. It is
// generated from lanfolk.proto.
package lanfolkpb

//go:generate ../../scripts/protoc.sh lanfolk.proto
