package config

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
)

// Leases is the section [leases]: what DHCP servers on this machine have given out.
type Leases struct {
	// Find reads the lease files that lie where distributions keep them.
	Find bool `toml:"find"`
	// Files are read besides.
	Files []LeaseFile `toml:"file"`
}

// LeaseFile is one section [[leases.file]].
type LeaseFile struct {
	Kind LeaseKind `toml:"kind"`
	Path string    `toml:"path"`
	// Interface is where the clients are, "" for the one on whose subnet an address is.
	Interface string `toml:"interface"`
}

func defaultLeases() Leases { return Leases{Find: true, Files: []LeaseFile{}} }

const maxLeaseFiles = 64

func (l Leases) check(bad func(key string, err error)) {
	if len(l.Files) > maxLeaseFiles {
		bad("file", fmt.Errorf("want at most %d files", maxLeaseFiles))
	}
	for i, f := range l.Files {
		if f.Path != "" && slices.ContainsFunc(l.Files[:i], func(o LeaseFile) bool { return filepath.Clean(o.Path) == filepath.Clean(f.Path) }) {
			bad(fmt.Sprintf("file[%d].path", i), fmt.Errorf("%q is there twice", f.Path))
		}
	}
}

func (f LeaseFile) check(bad func(key string, err error)) {
	if f.Kind == "" {
		bad("kind", errors.New(`say whose file it is: kind = "dnsmasq" or "kea"`))
	}
	if f.Path == "" {
		bad("path", errors.New("say where the file is"))
	}
	bad("path", absolute(f.Path))
	if f.Interface != "" {
		bad("interface", interfaceName(f.Interface))
	}
}

// LeaseKind is the program that writes a lease file.
type LeaseKind string

// The kinds.
const (
	LeasesDnsmasq LeaseKind = "dnsmasq"
	LeasesKea     LeaseKind = "kea"
)

// UnmarshalText implements encoding.TextUnmarshaler.
func (k *LeaseKind) UnmarshalText(b []byte) error {
	switch v := LeaseKind(b); v {
	case LeasesDnsmasq, LeasesKea:
		*k = v
		return nil
	}
	return fmt.Errorf(`want "dnsmasq" or "kea", not %q`, b)
}

// MarshalText implements encoding.TextMarshaler.
func (k LeaseKind) MarshalText() ([]byte, error) { return []byte(k), nil }

// Hostapd is the section [hostapd]: stations of access points on this machine.
type Hostapd struct {
	Enabled bool `toml:"enabled"`
	// Folders hold hostapd's control sockets.
	Folders []string `toml:"folders"`
}

func defaultHostapd() Hostapd { return Hostapd{Enabled: true, Folders: []string{"/run/hostapd"}} }

const maxHostapdFolders = 16

func (h Hostapd) check(bad func(key string, err error)) {
	if len(h.Folders) > maxHostapdFolders {
		bad("folders", fmt.Errorf("want at most %d folders", maxHostapdFolders))
	}
	for i, f := range h.Folders {
		key := fmt.Sprintf("folders[%d]", i)
		if f == "" {
			bad(key, errors.New("a folder has a name"))
		}
		bad(key, absolute(f))
		if slices.Contains(h.Folders[:i], f) {
			bad(key, fmt.Errorf("%q is there twice", f))
		}
	}
}
