package daemon

import "os"

// Network names the network namespace of this process, "" if it can't be read.
func Network() string {
	name, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		return ""
	}
	return name
}
