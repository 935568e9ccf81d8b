package daemon

import (
	"errors"
	"fmt"
	"net"
	"os"
)

// ListenSocket opens the API's unix socket, for the service's group. The lock on
// the state folder says that a socket that lies there has no owner any more.
func ListenSocket(path string) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("daemon: socket: %w", err)
	}
	ln, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("daemon: socket: %w", err)
	}
	if err := os.Chmod(path, 0o660); err != nil {
		ln.Close()
		return nil, fmt.Errorf("daemon: socket: %w", err)
	}
	return ln, nil
}
