// Package deliver is the life of a command at the hub, from who asked for it to how
// it ended.
package deliver
