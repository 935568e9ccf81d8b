package agent

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// markVariable stands in the environment of each program. Its value is the folder of
// the gateway's journal, which belongs to one process at a time: so whoever has it
// while the gateway starts was left by one that was killed.
const markVariable = "LANFOLK_GATEWAY"

func markOf(folder string) string {
	if dir, err := filepath.Abs(folder); err == nil {
		folder = dir
	}
	return markVariable + "=" + folder
}

// killLeftovers ends what programs of an earlier life began, and returns how many
// processes that were. Those of other users only root can see. There are some only if
// a program's guardian was killed, or hasn't got round to its work.
func killLeftovers(folder string) (killed int) {
	all, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		return 0
	}
	want := []byte(markOf(folder))
	for _, path := range all {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err == nil && pid != os.Getpid() && hasMark(path, want) && syscall.Kill(pid, syscall.SIGKILL) == nil {
			killed++
		}
	}
	return killed
}

// maxEnviron is more than the environment of a program of ours has, in bytes.
const maxEnviron = 1 << 20

func hasMark(path string, want []byte) bool {
	f, err := os.Open(path)
	if err != nil {
		return false // it ended, or isn't ours to see
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxEnviron))
	if err != nil {
		return false
	}
	for v := range bytes.SplitSeq(b, []byte{0}) {
		if bytes.Equal(v, want) {
			return true
		}
	}
	return false
}
