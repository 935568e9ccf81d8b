package fleet

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lanfolk/lanfolk/test/lab"
)

// barePort is where hubs of these tests take the word of clients without TLS.
const barePort = "4750"

// python starts a program of testdata that was made from reverse_access.proto and shares
// no code with us.
func (s *site) python(h *lab.Host, args ...string) *lab.Process {
	s.t.Helper()
	const python = "/usr/bin/python3" // Debian's, which has Debian's grpc
	lab.Require(s.t, python, "protoc")
	if err := exec.CommandContext(s.t.Context(), python, "-c", "import grpc, google.protobuf").Run(); err != nil {
		lab.Missing(s.t, "Debian's packages python3-grpcio and python3-protobuf")
	}
	dir := s.folder("python")
	made := exec.CommandContext(s.t.Context(), "protoc", "-I../../reverse/reversepb", "--python_out="+dir, "reverse_access.proto")
	if out, err := made.CombinedOutput(); err != nil {
		s.t.Fatalf("protoc: %v\n%s", err, out)
	}
	path, err := filepath.Abs(filepath.Join("testdata", args[0]))
	if err != nil {
		s.t.Fatal(err)
	}
	c := h.Command(append([]string{python, path}, args[1:]...)...)
	c.Env = []string{"PYTHONPATH=" + dir, "PYTHONDONTWRITEBYTECODE=1", "GRPC_VERBOSITY=NONE"}
	return c.Start()
}

// openSite is a site whose hub takes the word of clients without TLS, on loopback.
func openSite(t *testing.T) *site {
	t.Helper()
	s := bareSite(t)
	s.startHub("", "--insecure-grpc", "127.0.0.1:"+barePort)
	return s
}

// TestPythonGatewayIsListedAndAnswers: a client in another language, once with free text
// for its meta and once with JSON.
func TestPythonGatewayIsListedAndAnswers(t *testing.T) {
	t.Parallel()
	s := openSite(t)
	modes := []string{"plain", "json"}
	for _, mode := range modes {
		s.python(s.at, "gateway.py", "127.0.0.1:"+barePort, mode, mode)
	}
	big := bytes.Repeat(everyByte(), 6<<12)
	for _, mode := range modes {
		name := "insecure/" + mode
		if g := s.waitState(name, "online", patience); g.ID != name {
			t.Errorf("listed as %+v", g)
		}
		if o := s.run(name, "list"); o.Status != "ok" || o.SHA256 != hashed([]byte("one.txt\ntwo\x00.bin\n")) {
			t.Errorf("%s: list: %+v", mode, o)
		} else if out := s.ok("commands", "output", o.CommandID); out != "one.txt\ntwo\x00.bin\n" {
			t.Errorf("%s: its output is %q", mode, out)
		}
		if o := s.run(name, "get", "big"); o.Status != "ok" || o.Size != int64(len(big)) || o.SHA256 != hashed(big) {
			t.Errorf("%s: a large answer: %+v", mode, o)
		}
	}
	if o := s.run("insecure/plain", "dance"); o.Status != "error" {
		t.Errorf("an answer of type 0: %+v", o)
	}
}

func everyByte() []byte {
	b := make([]byte, 256)
	for i := range b {
		b[i] = byte(i)
	}
	return b
}

// TestGatewayAnswersPythonHub: our gateway in its compatibility mode.
func TestGatewayAnswersPythonHub(t *testing.T) {
	t.Parallel()
	s := bareSite(t)
	large := noise(600 << 10)
	server := s.python(s.at, "hub.py", "list", "get notes.txt", "get large.bin", "get ../secret", "exec append one", "status")
	var port int
	line := server.WaitLine(patience, "the server", func(line string) bool { return strings.HasPrefix(line, "ready ") })
	if _, err := fmt.Sscanf(line, "ready %d", &port); err != nil {
		t.Fatal(err)
	}
	g := &gate{host: s.at, files: s.folder("files")}
	script := writeScript(t, s.folder("bin"), "append.sh", "echo \"ran $1\"\n")
	g.node = lab.Node{Config: gatewayConfig + fmt.Sprintf("[gateway]\nfiles = %q\n[gateway.insecure]\nhub = \"127.0.0.1:%d\"\nid = \"cellar\"\n", g.files, port) +
		program("append", script, "[a-z]+")}
	notes := []byte("one\x00two\n")
	g.put(t, "notes.txt", notes)
	g.put(t, "large.bin", large)
	g.start()
	server.WaitText(patience, `{"subscribed": "cellar"}`)

	type piece struct {
		Who  string
		Type uint32
		Meta struct {
			Last   bool
			Status string
			SHA256 string `json:"sha256"`
		}
		Data string
	}
	var data []byte
	seen := 0
	// next collects the pieces of the next answer.
	next := func() (last piece) {
		t.Helper()
		data = nil
		for !last.Meta.Last {
			var lines []string
			lab.Eventually(t, patience, "an answer", func() error {
				lines = nil
				for line := range strings.Lines(server.Stdout()) {
					if strings.HasPrefix(line, `{"who"`) && strings.HasSuffix(line, "\n") {
						lines = append(lines, line)
					}
				}
				if len(lines) <= seen {
					return fmt.Errorf("%d pieces came", len(lines))
				}
				return nil
			})
			last = piece{}
			if err := json.Unmarshal([]byte(lines[seen]), &last); err != nil {
				t.Fatal(err)
			}
			seen++
			b, err := base64.StdEncoding.DecodeString(last.Data)
			if err != nil || last.Who != "cellar" {
				t.Errorf("from %q: %v", last.Who, err)
			}
			data = append(data, b...)
		}
		return last
	}
	if p := next(); p.Type != 2 || !strings.Contains(string(data), "notes.txt") {
		t.Errorf("list: %+v, %q", p, data)
	}
	if p := next(); p.Type != 3 || !bytes.Equal(data, notes) || p.Meta.SHA256 != hashed(notes) {
		t.Errorf("get: %+v, %q", p, data)
	}
	if p := next(); p.Type != 3 || !bytes.Equal(data, large) || p.Meta.SHA256 != hashed(large) {
		t.Errorf("get of a large file: %+v, %d bytes", p, len(data))
	}
	if p := next(); p.Type != 0 || p.Meta.Status == "ok" || len(data) > 0 {
		t.Errorf("get of what lies outside: %+v, %q", p, data)
	}
	if p := next(); p.Type != 1 || string(data) != "ran one\n" || p.Meta.Status != "ok" {
		t.Errorf("exec: %+v, %q", p, data)
	}
	if p := next(); p.Type != 1 || !json.Valid(data) {
		t.Errorf("status: %+v, %q", p, data)
	}
}
