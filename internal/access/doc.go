// Package access decides who may do what at a hub, and keeps the desk where
// people, their tokens and their grants are looked after.
//
// A Who is somebody that was recognised; what it may do is a pure function of
// it:
//
//	viewer     reads
//	operator   also runs the commands that only read
//	grant      exec, get or capture at gateways with certain labels, whatever the
//	           role
//	admin      everything
//
// Whoever may open the hub's unix socket is admin there.
package access
