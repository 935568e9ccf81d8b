package node

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/lanfolk/lanfolk/internal/daemon"
	"github.com/lanfolk/lanfolk/internal/leases"
	"github.com/lanfolk/lanfolk/internal/source"
)

const (
	// findLeases is how often lease files are looked for that lie where distributions keep them.
	findLeases = 30 * time.Second
	// tellLeases is how often leases are told again: for those that never end, and for
	// links that have come or changed their subnets.
	tellLeases = time.Minute
	// leasesAtOnce are handed to the registry in one go.
	leasesAtOnce = 4096
)

// leaseFiles are the files of DHCP servers that the node reads.
type leaseFiles struct {
	mu    sync.Mutex
	files []*leaseFile
}

// leaseFile is one of them.
type leaseFile struct {
	place leases.Place
	found bool // and not named by the config
	file  *leases.File
	from  *source.Leases

	mu      sync.Mutex
	table   leases.Table
	changed time.Time
	read    bool
}

// leaseParts is the part that reads lease files, none if the config wants none.
func (n *Node) leaseParts() []*daemon.Task {
	c := n.Config.Leases
	if !c.Find && len(c.Files) == 0 {
		return nil
	}
	return []*daemon.Task{{Name: "leases", Run: n.runLeases, Detail: n.leases.detail, Counters: n.leases.counters}}
}

// runLeases reads the files until ctx ends.
func (n *Node) runLeases(ctx context.Context) error {
	n.leases.mu.Lock()
	n.leases.files = nil
	n.leases.mu.Unlock()
	var all sync.WaitGroup
	defer all.Wait()
	start := func(p leases.Place, found bool) {
		p.Path = filepath.Clean(p.Path)
		if f := n.leases.add(p, found); f != nil {
			n.openLeaseFile(f)
			all.Go(func() {
				if err := f.file.Run(ctx); err != nil {
					n.Log.Error("leases can't be read", "path", p.Path, "err", err)
				}
			})
		}
	}
	for _, f := range n.Config.Leases.Files {
		start(leases.Place{Kind: leases.Kind(f.Kind), Path: f.Path, Interface: f.Interface}, false)
	}
	look, tell := time.NewTicker(findLeases), time.NewTicker(tellLeases)
	defer look.Stop()
	defer tell.Stop()
	for {
		if n.Config.Leases.Find {
			for _, p := range leases.Find("/") {
				start(p, true)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tell.C:
			for _, f := range n.leases.list() {
				n.tellLeases(f)
			}
		case <-look.C:
		}
	}
}

func (n *Node) openLeaseFile(f *leaseFile) {
	f.from = &source.Leases{Gateway: n.Config.Name, Kind: f.place.Kind, Link: func(a netip.Addr) (string, bool) {
		name := f.place.Interface
		if name == "" {
			name = n.links.of(a)
		}
		return name, n.wanted(name)
	}}
	f.file = &leases.File{Kind: f.place.Kind, Path: f.place.Path, Log: n.Log, Changed: func(t leases.Table, changed time.Time) {
		f.mu.Lock()
		f.table, f.changed, f.read = t, changed, true
		f.mu.Unlock()
		n.tellLeases(f)
	}}
}

// tellLeases tells the registry what a file said when it was read last.
func (n *Node) tellLeases(f *leaseFile) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.read {
		return
	}
	for some := range slices.Chunk(f.from.Sightings(time.Now(), f.table, f.changed), leasesAtOnce) {
		n.registry.Observe(some...)
		// A very large file isn't to push others out of the registry's queue, nor its own leases.
		for tries := 0; len(some) == leasesAtOnce && n.registry.Stats().Queued > leasesAtOnce && tries < 100; tries++ {
			time.Sleep(20 * time.Millisecond)
		}
	}
}

// wanted says whether the config lets links be used that a device is on, "" for one
// that isn't known.
func (n *Node) wanted(links ...string) bool {
	c := n.Config
	if slices.ContainsFunc(links, func(l string) bool { return slices.Contains(c.ExcludeInterfaces, l) }) {
		return false
	}
	return len(c.Interfaces) == 0 || slices.ContainsFunc(links, func(l string) bool { return l == "" || slices.Contains(c.Interfaces, l) })
}

// add takes a file in, and returns nil for one that is there already.
func (x *leaseFiles) add(p leases.Place, found bool) *leaseFile {
	x.mu.Lock()
	defer x.mu.Unlock()
	if slices.ContainsFunc(x.files, func(f *leaseFile) bool { return f.place.Path == p.Path }) {
		return nil
	}
	f := &leaseFile{place: p, found: found}
	x.files = append(x.files, f)
	return f
}

func (x *leaseFiles) list() []*leaseFile {
	x.mu.Lock()
	defer x.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(x.files), func(f *leaseFile) bool { return f.file == nil })
}

func (x *leaseFiles) detail() string {
	files := x.list()
	if len(files) == 0 {
		return "no lease file is there"
	}
	var s []string
	for _, f := range files {
		st := f.file.Status()
		t := fmt.Sprintf("%s: %d leases", f.place.Path, st.Leases)
		if st.Bad > 0 {
			t += fmt.Sprintf(", %d bad lines (%s)", st.Bad, faultText(st.Faults[0]))
		}
		if st.Err != nil {
			t += ", " + st.Err.Error()
		}
		s = append(s, t)
	}
	return strings.Join(s, "; ")
}

func faultText(f leases.Fault) string {
	t := fmt.Sprintf("line %d: %v", f.Line, f.Err)
	if f.File != "" {
		t = f.File + " " + t
	}
	return t
}

func (x *leaseFiles) counters() map[string]uint64 {
	c := map[string]uint64{"files": 0, "leases": 0, "bad lines": 0, "over the limit": 0, "loads": 0, "failures": 0}
	for _, f := range x.list() {
		s := f.file.Status()
		c["files"]++
		c["leases"] += uint64(s.Leases)
		c["bad lines"] += uint64(s.Bad)
		c["over the limit"] += uint64(s.Dropped)
		c["loads"] += s.Loads
		c["failures"] += s.Failures
	}
	return c
}

// LeaseFile is a file of a DHCP server on this machine.
type LeaseFile struct {
	Kind      leases.Kind `json:"kind"` // dnsmasq, kea
	Path      string      `json:"path"`
	Interface string      `json:"interface"` // that the config names, or the file's name
	Leases    int         `json:"leases"`    // that hold
	BadLines  int         `json:"bad_lines"` // that can't be understood
	Bad       []string    `json:"bad"`       // the first of them: "line 3: …"
	Loaded    *time.Time  `json:"loaded"`    // when it was read last
	Error     string      `json:"error"`     // why it can't be read as it is now
}

// leaseStatus returns how the files are; one that was only found and is gone again is left out.
func (n *Node) leaseStatus() []LeaseFile {
	out := []LeaseFile{}
	for _, f := range n.leases.list() {
		s := f.file.Status()
		if f.found && s.Missing() && s.Leases == 0 {
			continue
		}
		x := LeaseFile{Kind: f.place.Kind, Path: f.place.Path, Interface: f.place.Interface, Leases: s.Leases, BadLines: s.Bad, Bad: []string{}}
		for _, fault := range s.Faults {
			x.Bad = append(x.Bad, faultText(fault))
		}
		if !s.Loaded.IsZero() {
			at := s.Loaded.UTC()
			x.Loaded = &at
		}
		if s.Err != nil {
			x.Error = s.Err.Error()
		}
		out = append(out, x)
	}
	return out
}
