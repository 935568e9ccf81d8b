// Package uplink is the gateway's end of what a gateway sends its hub of its own
// accord: the inventory, and what passive monitoring hears.
package uplink
