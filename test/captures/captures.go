// Package captures finds the capture files of others that tests read where they lie.
// The project holds no copy of them.
package captures

import (
	"os"
	"testing"
)

// Folder returns the folder that a variable names, LANFOLK_PCAPS or LANFOLK_PCAPS_BAD; "" if
// there is none, which the test's log says. Where nothing may be left out a variable that
// is not set fails the test; "none" says that there are no such files here.
func Folder(t testing.TB, variable string) string {
	t.Helper()
	dir := os.Getenv(variable)
	switch {
	case dir == "" && os.Getenv("LANFOLK_REQUIRE_ALL") == "1":
		t.Fatalf("%s names no folder with captures", variable)
	case dir == "" || dir == "none":
		t.Logf("left out: real captures; %s names no folder", variable)
		return ""
	}
	return dir
}
