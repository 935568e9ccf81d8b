package test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/lanfolk/lanfolk"

// A rule says which of the module's packages one package may import, besides
// those below its own folder. Folders are relative to the module; "." is the
// root package, the domain. A folder's rule holds for all below it that have
// none of their own.
type rule struct {
	folder string
	may    []string
}

// rules is the list from top to bottom: imports only go down it. A package
// that is in no folder of the list breaks the rules, too: think about where it
// belongs, then add it.
func rules() []rule {
	protocols := []string{"nmos", "dnssd", "reflector", "passive", "mdns", "tged", "syncthing", "hemtjanst", "reverse", "dnswire", "packet"}
	all := append([]string{".", "store", "lan", "internal"}, protocols...)
	return []rule{
		{"cmd", all},
		// What others copy: it uses what they can import.
		{"examples", append([]string{".", "lan"}, protocols...)},
		// These compose: they see everything and decide nothing.
		{"internal/node", all},
		{"internal/hub", all},
		// The two places where protocols meet the domain.
		{"internal/source", append([]string{".", "lan", "store", "internal/find", "internal/classify", "internal/leases", "internal/hostapd"}, protocols...)},
		{"internal/bridge", append([]string{"."}, protocols...)},
		{"internal/agent", []string{".", "reverse", "store", "packet"}},
		{"internal/feed", []string{".", "reverse"}}, // what gateways and hub tell each other of an inventory
		{"internal/uplink", []string{".", "reverse", "store", "internal/feed"}},
		{"internal/api", []string{".", "store", "packet", "reverse", "internal/access", "internal/find", "internal/config"}},
		{"internal/access", []string{"store/fleet"}},
		{"internal/enrol", []string{"reverse"}},                 // what a gateway and its hub must agree on
		{"internal/find", []string{".", "packet", "syncthing"}}, // a query may be a device ID
		{"internal/locate", []string{"dnssd", "internal/find"}},
		{"internal/config", []string{".", "packet", "passive", "reflector", "nmos", "tged", "syncthing", "hemtjanst"}}, // it checks the capture filter, service types, names, versions and device IDs
		// These join lan to what needs sockets or frames.
		{"internal/sockets", []string{"lan", "mdns", "syncthing", "packet"}},
		{"internal/announce", []string{"dnssd", "mdns", "packet", "internal/config", "internal/health"}},
		{"internal/globalserver", []string{"store/directory", "syncthing", "internal/config", "internal/daemon", "internal/sockets"}},
		{"internal/database", []string{"store", "internal/config", "internal/daemon"}},
		{"internal/capture", []string{"lan", "passive", "packet"}},
		{"internal/doctor", []string{"lan", "mdns", "syncthing", "packet", "internal/config", "internal/sockets", "internal/leases"}},
		{"internal", []string{".", "packet"}},
		{"store/directory", []string{"syncthing", "packet"}},
		{"store/fleet", []string{".", "store"}},
		{"store", []string{"."}},
		{"nmos", []string{"dnssd", "mdns", "dnswire", "packet"}},
		{"dnssd/zone", []string{"dnssd", "mdns", "dnswire", "packet"}},
		{"dnssd/unicast", []string{"dnssd", "mdns", "dnswire", "packet"}},
		{"dnssd", []string{"mdns", "dnswire", "packet"}},
		{"reflector", []string{"mdns", "dnswire", "packet"}},
		{"passive", []string{"dnswire", "tged", "syncthing", "packet"}},
		{"mdns", []string{"dnswire", "packet"}},
		{"tged", []string{"packet"}},
		{"syncthing", []string{"packet"}},
		{"hemtjanst", []string{"packet"}},
		{"reverse", []string{"packet"}},
		{"lan", []string{"packet"}},
		{"dnswire", nil},
		{"packet", nil},
		{".", nil},
	}
}

// standardOnly are packages that import nothing but the standard library and
// the module itself.
func standardOnly() []string { return []string{".", "packet", "dnswire"} }

// operatingSystem are modules that touch the operating system's network, with
// the folders that may import them besides lan.
func operatingSystem() map[string][]string {
	return map[string][]string{
		"golang.org/x/sys":                      {"internal/api", "internal/node", "store"}, // a caller's uid, file locks, free space
		"github.com/vishvananda/netlink":        nil,
		"github.com/vishvananda/netns":          nil,
		"github.com/gopacket/gopacket/afpacket": nil,
		"github.com/mdlayher":                   nil,
		"golang.org/x/net/ipv4":                 nil,
		"golang.org/x/net/ipv6":                 nil,
		"golang.org/x/net/icmp":                 nil,
	}
}

// sockets are functions of the standard library that open sockets or ask the
// machine about its network, by import path.
func sockets() map[string][]string {
	return map[string][]string{
		"net": {"Listen", "ListenTCP", "ListenUDP", "ListenUnix", "ListenUnixgram", "ListenIP", "ListenPacket", "ListenMulticastUDP", "ListenConfig",
			"Dial", "DialTimeout", "DialTCP", "DialUDP", "DialUnix", "DialIP", "Dialer", "FileConn", "FileListener", "FilePacketConn",
			"Interfaces", "InterfaceByName", "InterfaceByIndex", "InterfaceAddrs",
			"Resolver", "DefaultResolver", "LookupHost", "LookupIP", "LookupAddr", "LookupSRV", "LookupTXT", "LookupCNAME", "LookupMX", "LookupNS",
			"ResolveUDPAddr", "ResolveTCPAddr", "ResolveIPAddr"},
		"net/http":   {"Get", "Head", "Post", "PostForm", "DefaultClient", "DefaultTransport", "ListenAndServe", "ListenAndServeTLS"},
		"crypto/tls": {"Dial", "DialWithDialer", "Dialer", "Listen"},
	}
}

// mayOpenSockets are the folders that open sockets of their own: lan those to
// the network, the rest those of lanfolk's own API, or to a server that the
// user named. Examples are programs and hand connections in, as commands do.
func mayOpenSockets() []string {
	return []string{"lan", "cmd", "examples", "internal/node", "internal/hub", "internal/daemon", "internal/api", "internal/agent"}
}

// blankImports are imported for what their init function does, embed aside.
func blankImports() map[string][]string {
	return map[string][]string{
		"modernc.org/sqlite": {"store"},
	}
}

// changingVariables are package variables that something may change after all.
func changingVariables() []string {
	return []string{
		"cmd/lanfolk.version", // set by the linker
	}
}

// pkg is what `go list` says about a package.
type pkg struct {
	Dir, ImportPath           string
	Imports                   []string
	GoFiles, IgnoredGoFiles   []string
	CgoFiles                  []string
	TestImports, XTestImports []string
}

// folder is a package's place in the module.
func folder(importPath string) string {
	if importPath == module {
		return "."
	}
	return strings.TrimPrefix(importPath, module+"/")
}

// within says whether a folder is one of the list or below it; "." means the
// root package alone.
func within(folder string, list ...string) bool {
	return slices.ContainsFunc(list, func(f string) bool {
		return folder == f || f != "." && strings.HasPrefix(folder, f+"/")
	})
}

// exempt are folders for tests, which may do everything.
func exempt(folder string) bool {
	return within(folder, "test", "bench", "scripts", "internal/deps") || strings.HasSuffix(folder, "test") || strings.Contains(folder, "test/")
}

// checkImports returns how a package's imports break the rules.
func checkImports(p pkg) []string {
	var broken []string
	say := func(format string, args ...any) {
		broken = append(broken, p.ImportPath+": "+fmt.Sprintf(format, args...))
	}
	here := folder(p.ImportPath)
	i := slices.IndexFunc(rules(), func(r rule) bool { return within(here, r.folder) })
	if i < 0 {
		say("no rule names this folder")
		return broken
	}
	r := rules()[i]
	for _, imp := range p.Imports {
		if imp == module || strings.HasPrefix(imp, module+"/") {
			to := folder(imp)
			if !within(to, r.folder) && !within(to, r.may...) {
				say("imports %s; %s may import %v", to, r.folder, r.may)
			}
			if strings.HasPrefix(to, "cmd/") {
				say("imports %s, a command", to)
			}
			if exempt(to) {
				say("imports %s, which is for tests", to)
			}
			continue
		}
		if first, _, _ := strings.Cut(imp, "/"); strings.Contains(first, ".") && slices.Contains(standardOnly(), here) {
			say("imports %s; it may import only the standard library", imp)
		}
		for os, may := range operatingSystem() {
			if (imp == os || strings.HasPrefix(imp, os+"/")) && !within(here, append(may, "lan")...) {
				say("imports %s; only lan touches the operating system's network", imp)
			}
		}
	}
	if len(p.CgoFiles) > 0 {
		say("uses cgo in %v", p.CgoFiles)
	}
	return broken
}

// checkSource returns how the files of one package break the rules on sockets,
// init functions and package variables.
func checkSource(here string, fset *token.FileSet, files []*ast.File) []string {
	var broken []string
	say := func(at token.Pos, format string, args ...any) {
		p := fset.Position(at)
		broken = append(broken, fmt.Sprintf("%s/%s:%d: %s", here, filepath.Base(p.Filename), p.Line, fmt.Sprintf(format, args...)))
	}
	changed := changes(files)
	for _, f := range files {
		names := make(map[string]string) // of imports in this file
		for _, imp := range f.Imports {
			path, _ := strconv.Unquote(imp.Path.Value)
			name := path[strings.LastIndexByte(path, '/')+1:]
			if imp.Name != nil {
				name = imp.Name.Name
			}
			names[name] = path
			if name == "_" && path != "embed" && !within(here, blankImports()[path]...) {
				say(imp.Pos(), "imports %s for its side effects", path)
			}
		}
		if !within(here, mayOpenSockets()...) {
			ast.Inspect(f, func(n ast.Node) bool {
				sel, ok := n.(*ast.SelectorExpr)
				if !ok {
					return true
				}
				if x, ok := sel.X.(*ast.Ident); ok && slices.Contains(sockets()[names[x.Name]], sel.Sel.Name) {
					say(sel.Pos(), "uses %s.%s; a connection or a dial function is handed in", x.Name, sel.Sel.Name)
				}
				return true
			})
		}
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				say(fn.Pos(), "has an init function")
			}
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.VAR {
				continue
			}
			for _, s := range g.Specs {
				v := s.(*ast.ValueSpec)
				for _, name := range v.Names {
					full := here + "." + name.Name
					switch {
					case name.Name == "_" || slices.Contains(changingVariables(), full):
					case changed[name.Name]:
						say(name.Pos(), "changes its package variable %s", name.Name)
					case shared(v):
						say(name.Pos(), "keeps state in the package variable %s", name.Name)
					case len(v.Values) == 0 && !embedded(g, v):
						say(name.Pos(), "declares the package variable %s without a value", name.Name)
					}
				}
			}
		}
	}
	return broken
}

// changes returns the names of variables that the files assign to, or of which
// they take the address. Local variables count, too, if they have the name of a
// package's: then rename one.
func changes(files []*ast.File) map[string]bool {
	locals := func(fn *ast.FuncDecl) map[string]bool {
		l := make(map[string]bool)
		ast.Inspect(fn, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.AssignStmt:
				if n.Tok == token.DEFINE {
					for _, e := range n.Lhs {
						if id, ok := e.(*ast.Ident); ok {
							l[id.Name] = true
						}
					}
				}
			case *ast.Field:
				for _, id := range n.Names {
					l[id.Name] = true
				}
			case *ast.ValueSpec:
				for _, id := range n.Names {
					l[id.Name] = true
				}
			case *ast.RangeStmt:
				for _, e := range []ast.Expr{n.Key, n.Value} {
					if id, ok := e.(*ast.Ident); ok {
						l[id.Name] = true
					}
				}
			}
			return true
		})
		return l
	}
	changed := make(map[string]bool)
	for _, f := range files {
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || fn.Body == nil {
				continue
			}
			local := locals(fn)
			mark := func(e ast.Expr) {
				if name := variable(e); name != "" && !local[name] {
					changed[name] = true
				}
			}
			ast.Inspect(fn.Body, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.AssignStmt:
					if n.Tok != token.DEFINE {
						for _, e := range n.Lhs {
							mark(e)
						}
					}
				case *ast.IncDecStmt:
					mark(n.X)
				case *ast.UnaryExpr:
					if n.Op == token.AND {
						mark(n.X)
					}
				case *ast.CallExpr:
					if id, ok := n.Fun.(*ast.Ident); ok && len(n.Args) > 0 && (id.Name == "delete" || id.Name == "clear") {
						mark(n.Args[0])
					}
				}
				return true
			})
		}
	}
	return changed
}

// variable returns the name at the root of x, x.f, x[i] and *x.
func variable(e ast.Expr) string {
	for {
		switch x := e.(type) {
		case *ast.Ident:
			return x.Name
		case *ast.SelectorExpr:
			e = x.X
		case *ast.IndexExpr:
			e = x.X
		case *ast.StarExpr:
			e = x.X
		case *ast.ParenExpr:
			e = x.X
		default:
			return ""
		}
	}
}

// shared says whether a variable is of a type that is made to be changed.
func shared(v *ast.ValueSpec) bool {
	found := false
	look := func(n ast.Node) {
		if n == nil {
			return
		}
		ast.Inspect(n, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncLit:
				return false // its own variables
			case *ast.ChanType:
				found = true
			case *ast.SelectorExpr:
				x, ok := n.X.(*ast.Ident)
				if ok && (x.Name == "atomic" || x.Name == "sync" && !strings.HasPrefix(n.Sel.Name, "OnceValue")) {
					found = true
				}
			}
			return true
		})
	}
	if v.Type != nil {
		look(v.Type)
	}
	for _, e := range v.Values {
		look(e)
	}
	return found
}

func embedded(g *ast.GenDecl, v *ast.ValueSpec) bool {
	for _, doc := range []*ast.CommentGroup{g.Doc, v.Doc} {
		if doc != nil && slices.ContainsFunc(doc.List, func(c *ast.Comment) bool { return strings.HasPrefix(c.Text, "//go:embed ") }) {
			return true
		}
	}
	return false
}

func listPackages(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-e", "-json=Dir,ImportPath,Imports,GoFiles,IgnoredGoFiles,CgoFiles", "./...")
	cmd.Dir = ".."
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v: %s", err, stderr.String())
	}
	var pkgs []pkg
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return pkgs
		} else if err != nil {
			t.Fatalf("go list: %v", err)
		}
		if !exempt(folder(p.ImportPath)) {
			pkgs = append(pkgs, p)
		}
	}
}

func TestImportsOnlyGoDown(t *testing.T) {
	pkgs := listPackages(t)
	if len(pkgs) < 3 {
		t.Fatalf("go list finds %d packages", len(pkgs))
	}
	for _, p := range pkgs {
		for _, b := range checkImports(p) {
			t.Error(b)
		}
	}
}

func TestNoSocketsInitFunctionsOrGlobalState(t *testing.T) {
	for _, p := range listPackages(t) {
		fset := token.NewFileSet()
		var files []*ast.File
		for _, name := range append(p.GoFiles, p.IgnoredGoFiles...) {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			f, err := parser.ParseFile(fset, filepath.Join(p.Dir, name), nil, parser.ParseComments|parser.SkipObjectResolution)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			if !ast.IsGenerated(f) {
				files = append(files, f)
			}
		}
		for _, b := range checkSource(folder(p.ImportPath), fset, files) {
			t.Error(b)
		}
	}
}

// The checks above see a rule that is broken.
func TestBrokenImportsAreSeen(t *testing.T) {
	for _, c := range []struct{ from, imports, want string }{
		{"", "fmt", ""},
		{"", "golang.org/x/net/bpf", "only the standard library"},
		{"", module + "/mdns", "imports mdns"},
		{"packet", module, "imports ."},
		{"mdns", module, "imports ."},
		{"mdns", module + "/dnswire", ""},
		{"mdns", module + "/dnssd", "imports dnssd"},
		{"mdns", module + "/lan", "imports lan"},
		{"dnssd", module + "/mdns", ""},
		{"dnssd/unicast", module + "/dnssd", ""},
		{"dnssd/unicast", module + "/internal/config", "imports internal/config"},
		{"dnssd/zone", module + "/dnssd/unicast", ""},
		{"dnssd/zone", module + "/lan", "imports lan"},
		{"dnssd", "golang.org/x/sys/unix", "only lan touches"},
		{"lan", "golang.org/x/sys/unix", ""},
		{"lan/deeper", module + "/lan", ""},
		{"passive", module + "/mdns", "imports mdns"},
		{"store", module, ""},
		{"store/sub", module + "/store", ""},
		{"store", module + "/internal/api", "imports internal/api"},
		{"store", module + "/syncthing", "imports syncthing"},
		{"store/directory", module + "/syncthing", ""},
		{"store/directory", module + "/store", "imports store"},
		{"store/fleet", module + "/store", ""},
		{"store/fleet", module, ""},
		{"store/fleet", module + "/reverse", "imports reverse"},
		{"internal/api", module + "/mdns", "imports mdns"},
		{"internal/source", module + "/mdns", ""},
		{"internal/source", module + "/internal/node", "imports internal/node"},
		{"internal/doctor", module, "imports ."},
		{"internal/enrol", module + "/reverse/lanfolkpb", ""},
		{"internal/enrol", module + "/store/fleet", "imports store/fleet"},
		{"internal/node", module + "/cmd/lanfolk", "a command"},
		{"internal/node", module + "/lan/lantest", "is for tests"},
		{"examples/nmos-node", module + "/nmos", ""},
		{"examples/nmos-node", module + "/internal/sockets", "imports internal/sockets"},
		{"nmos", module + "/examples/nmos-node", "imports examples"},
		{"unheard", "fmt", "no rule names"},
	} {
		p := pkg{ImportPath: strings.TrimSuffix(module+"/"+c.from, "/"), Imports: []string{c.imports}}
		got := strings.Join(checkImports(p), "\n")
		if c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s imports %s: %q, want %q", c.from, c.imports, got, c.want)
		}
	}
}

func TestBrokenSourceIsSeen(t *testing.T) {
	for _, c := range []struct{ here, src, want string }{
		{"mdns", `var ErrClosed = errors.New("closed")`, ""},
		{"mdns", `var table = map[string]int{"a": 1}; func f() int { return table["a"] }`, ""},
		{"mdns", `var table = map[string]int{"a": 1}; func f() { table["a"] = 2 }`, "changes its package variable table"},
		{"mdns", `var table = map[string]int{"a": 1}; func f() { delete(table, "a") }`, "changes its package variable table"},
		{"mdns", `var n = 1; func f() { n++ }`, "changes its package variable n"},
		{"mdns", `var n = 1; func f() *int { return &n }`, "changes its package variable n"},
		{"mdns", `var n = 1; func f() { n := 2; n++ }`, ""},
		{"mdns", `var n int`, "without a value"},
		{"mdns", `var mu sync.Mutex`, "keeps state"},
		{"mdns", `var n atomic.Int64`, "keeps state"},
		{"mdns", `var pool = sync.Pool{}`, "keeps state"},
		{"mdns", `var words = sync.OnceValue(func() []string { var mu sync.Mutex; _ = &mu; return nil })`, ""},
		{"mdns", "//go:embed x\nvar page string", ""},
		{"mdns", `var _ io.Reader = (*T)(nil)`, ""},
		{"mdns", `func init() {}`, "init function"},
		{"mdns", `func (T) init() {}`, ""},
		{"mdns", `func f() { net.ListenPacket("udp", ":0") }`, "uses net.ListenPacket"},
		{"mdns", `func f() { _ = net.ParseIP("::1") }`, ""},
		{"lan", `func f() { net.ListenPacket("udp", ":0") }`, ""},
		{"nmos", `func f() { http.Get("http://x") }`, "uses http.Get"},
		{"cmd/lanfolk", `var version string`, ""},
	} {
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, "x.go", "package x\nimport (\"net\"; \"net/http\")\n"+c.src, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Fatalf("%s: %v", c.src, err)
		}
		got := strings.Join(checkSource(c.here, fset, []*ast.File{f}), "\n")
		if c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s in %s: %q, want %q", c.src, c.here, got, c.want)
		}
	}
}
