package node_test

import (
	"os"
	"syscall"
	"testing"

	"github.com/lanfolk/lanfolk/internal/agent/guard"
)

// TestMain may be the guardian of a program that a node under test runs.
func TestMain(m *testing.M) {
	if guard.Asked(os.Args) {
		syscall.Exit(guard.Main()) // os.Exit takes a second under the race detector
	}
	os.Exit(m.Run())
}
