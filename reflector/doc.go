// Package reflector passes multicast DNS (RFC 6762) on between links.
package reflector
