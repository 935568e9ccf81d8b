package main

import (
	"io"
	"strings"
	"testing"
)

func TestFlagsOfRunAndOfItsCommand(t *testing.T) {
	for _, c := range []struct{ line, words, flags string }{
		{"barn status", "barn status", ""},
		{"barn status --timeout 5s -o jsonl", "barn status", "output=jsonl timeout=5s"},
		{"--timeout=5s barn status --queue", "barn status", "queue=true timeout=5s"},
		{"barn devices --new 24h --protocol mdns", "barn devices --new 24h --protocol mdns", ""},
		{"barn -- find --timeout 5s x", "barn find --timeout 5s x", ""},
		{"barn exec ls -l -a", "barn exec ls -l -a", ""},
		{"barn exec df -h", "barn exec df -h", ""},
		{"barn exec x -o /tmp/x", "barn exec x -o /tmp/x", ""},
		{"barn exec x -", "barn exec x -", ""},
		{"-l site=north status", "status", "selector=[site=north]"},
		{"-lsite=north -l=rack=2 status -ojson", "status", "output=json selector=[site=north,rack=2]"},
		{"status --all", "status", "all=true"},
		{"--help", "", "help"},
		{"-h", "", "help"},
		{"-x barn status", "", "unknown flag: -x"},
		{"--nope=1 barn", "", "unknown flag: --nope=1"},
		{"barn status --timeout", "", "flag needs an argument: --timeout"},
		{"barn status --queue=perhaps", "", "invalid argument"},
	} {
		cmd := runCommand(app{out: io.Discard, err: io.Discard})
		x := &running{}
		words, help, err := x.parse(cmd.Flags(), strings.Fields(c.line))
		got := []string{}
		for _, name := range []string{"all", "output", "queue", "selector", "timeout"} {
			if f := cmd.Flags().Lookup(name); f.Changed {
				got = append(got, name+"="+f.Value.String())
			}
		}
		if help {
			got = append(got, "help")
		}
		if err != nil {
			got = []string{err.Error()}
		}
		if flags := strings.Join(got, " "); !strings.HasPrefix(flags, c.flags) || c.flags == "" && flags != "" || err == nil && strings.Join(words, " ") != c.words {
			t.Errorf("%s: %q, %s; want %q, %s", c.line, words, flags, c.words, c.flags)
		}
	}
}
