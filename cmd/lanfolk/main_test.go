package main

import (
	"bytes"
	"database/sql"
	"encoding/binary"
	"encoding/hex"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"lanfolk": main})
}

// TestScripts runs the real program as the scripts in testdata say. None of
// them sends a packet: what asks the network is tested in test/, on networks
// of its own.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(env *testscript.Env) error {
			env.Setenv("XDG_STATE_HOME", env.WorkDir+"/xdg")
			env.Setenv("XDG_CONFIG_HOME", env.WorkDir+"/xdg")
			// A program that was built with the race detector sleeps for a second when it
			// ends, to catch what others do meanwhile: here they are hundreds.
			env.Setenv("GORACE", strings.TrimSpace(os.Getenv("GORACE")+" atexit_sleep_ms=0"))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":    exits,
			"pcap":     writePcap,
			"cut":      cut,
			"sql":      runSQL,
			"replace":  replaceText,
			"each":     runEach,
			"concat":   concat,
			"until":    runUntil,
			"freeport": freePorts(),
			"gateway":  foreignGateway,
		},
	})
}

// exits CODE PROGRAM ARG… runs a program and wants that exit code. What it
// prints lands in the files out and err.
func exits(ts *testscript.TestScript, neg bool, argv []string) {
	if neg || len(argv) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM ARG…")
	}
	want, err := strconv.Atoi(argv[0])
	ts.Check(err)
	path, err := exec.LookPath(argv[1])
	ts.Check(err)
	cmd := exec.Command(path, argv[2:]...)
	cmd.Dir = ts.Getenv("WORK")
	for _, k := range []string{"HOME", "PATH", "WORK", "XDG_STATE_HOME", "XDG_CONFIG_HOME", "GORACE"} {
		cmd.Env = append(cmd.Env, k+"="+ts.Getenv(k))
	}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	_ = cmd.Run()
	ts.Check(os.WriteFile(ts.MkAbs("out"), out.Bytes(), 0o600))
	ts.Check(os.WriteFile(ts.MkAbs("err"), errs.Bytes(), 0o600))
	if got := cmd.ProcessState.ExitCode(); got != want {
		ts.Fatalf("%s: exit code %d, want %d\n%s%s", strings.Join(argv[1:], " "), got, want, out.String(), errs.String())
	}
}

// until PATTERN PROGRAM ARG… runs a program again and again until what it prints fits.
func runUntil(ts *testscript.TestScript, neg bool, argv []string) {
	if neg || len(argv) < 2 {
		ts.Fatalf("usage: until PATTERN PROGRAM ARG…")
	}
	pattern, err := regexp.Compile(argv[0])
	ts.Check(err)
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
		if err := ts.Exec(argv[1], argv[2:]...); err == nil && pattern.MatchString(ts.ReadFile("stdout")) {
			return
		} else if time.Now().After(deadline) {
			ts.Fatalf("%q never fits: %v", argv[0], err)
		}
	}
}

// pcap FILE HEXFILE writes a capture file of Ethernet frames, a line of
// hexadecimal each; # begins a comment. The frames are a second apart.
func writePcap(ts *testscript.TestScript, neg bool, argv []string) {
	if neg || len(argv) != 2 {
		ts.Fatalf("usage: pcap FILE HEXFILE")
	}
	b := binary.LittleEndian.AppendUint32(nil, 0xa1b2c3d4)
	b = binary.LittleEndian.AppendUint16(b, 2)
	b = binary.LittleEndian.AppendUint16(b, 4)
	b = append(b, make([]byte, 8)...)
	b = binary.LittleEndian.AppendUint32(b, 65535)
	b = binary.LittleEndian.AppendUint32(b, 1)
	at := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	for line := range strings.Lines(ts.ReadFile(argv[1])) {
		line, _, _ = strings.Cut(line, "#")
		frame, err := hex.DecodeString(strings.Join(strings.Fields(line), ""))
		ts.Check(err)
		if len(frame) == 0 {
			continue
		}
		b = binary.LittleEndian.AppendUint32(b, uint32(at.Unix()))
		b = binary.LittleEndian.AppendUint32(b, 0)
		b = binary.LittleEndian.AppendUint32(b, uint32(len(frame)))
		b = binary.LittleEndian.AppendUint32(b, uint32(len(frame)))
		b = append(b, frame...)
		at = at.Add(time.Second)
	}
	ts.Check(os.WriteFile(ts.MkAbs(argv[0]), b, 0o600))
}

// cut FROM TO BYTES copies the beginning of a file.
func cut(ts *testscript.TestScript, neg bool, argv []string) {
	if neg || len(argv) != 3 {
		ts.Fatalf("usage: cut FROM TO BYTES")
	}
	n, err := strconv.Atoi(argv[2])
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(argv[1]), []byte(ts.ReadFile(argv[0])[:n]), 0o600))
}

// sql FILE STATEMENT… changes a SQLite database.
func runSQL(ts *testscript.TestScript, neg bool, argv []string) {
	if neg || len(argv) < 2 {
		ts.Fatalf("usage: sql FILE STATEMENT…")
	}
	db, err := sql.Open("sqlite", ts.MkAbs(argv[0]))
	ts.Check(err)
	defer db.Close()
	for _, statement := range argv[1:] {
		r, err := db.Exec(statement)
		ts.Check(err)
		if n, err := r.RowsAffected(); err != nil || n == 0 {
			ts.Fatalf("%s: changes %d rows: %v", statement, n, err)
		}
	}
}

// replace FROM TO OLD NEW copies a file with a text in it replaced.
func replaceText(ts *testscript.TestScript, neg bool, argv []string) {
	if neg || len(argv) != 4 {
		ts.Fatalf("usage: replace FROM TO OLD NEW")
	}
	text := ts.ReadFile(argv[0])
	if !strings.Contains(text, argv[2]) {
		ts.Fatalf("%s has no %q", argv[0], argv[2])
	}
	ts.Check(os.WriteFile(ts.MkAbs(argv[1]), []byte(strings.ReplaceAll(text, argv[2], argv[3])), 0o600))
}

// each FILE PROGRAM ARG… runs a program with the lines of a file as further arguments.
func runEach(ts *testscript.TestScript, neg bool, argv []string) {
	if neg || len(argv) < 2 {
		ts.Fatalf("usage: each FILE PROGRAM ARG…")
	}
	ts.Check(ts.Exec(argv[1], append(slices.Clone(argv[2:]), strings.Fields(ts.ReadFile(argv[0]))...)...))
}

// concat TO FROM… writes files one behind the other.
func concat(ts *testscript.TestScript, neg bool, argv []string) {
	if neg || len(argv) < 2 {
		ts.Fatalf("usage: concat TO FROM…")
	}
	var all strings.Builder
	for _, name := range argv[1:] {
		all.WriteString(ts.ReadFile(name))
	}
	ts.Check(os.WriteFile(ts.MkAbs(argv[0]), []byte(all.String()), 0o600))
}
