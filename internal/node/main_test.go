package node_test

import (
	"os"
	"testing"

	"github.com/lanfolk/lanfolk/internal/agent/guard"
)

// TestMain may be the guardian of a program that a node under test runs.
func TestMain(m *testing.M) {
	if guard.Asked(os.Args) {
		os.Exit(guard.Main())
	}
	os.Exit(m.Run())
}
