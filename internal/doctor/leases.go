package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/lanfolk/lanfolk/internal/leases"
)

// checkLeases looks whether the files of DHCP servers can be read, those that the config
// names and those that lie where distributions keep them, below root.
func (d Doctor) checkLeases(root string) []Finding {
	if d.Config == nil {
		return nil
	}
	var found []Finding
	check := func(p leases.Place, named bool) {
		f := Finding{Check: "leases of " + string(p.Kind), Grade: Good, Found: p.Path}
		file, err := os.Open(p.Path)
		switch {
		case err == nil:
			file.Close()
		case errors.Is(err, fs.ErrNotExist) && !named:
			return
		case errors.Is(err, fs.ErrNotExist):
			f.Grade, f.Found = Warning, p.Path+" isn't there"
			f.Advice = "correct [[leases.file]] in the config, or start the DHCP server"
		default:
			f.Grade, f.Found = Warning, err.Error()
			f.Advice = fmt.Sprintf("let lanfolk's user read it, as with: setfacl -m u:lanfolk:rX %s %s", filepath.Dir(p.Path), p.Path)
			if p.Kind == leases.Kea {
				f.Advice = fmt.Sprintf("let lanfolk's user read it: add that to the group _kea, or: setfacl -m u:lanfolk:rX -m d:u:lanfolk:r %s", filepath.Dir(p.Path))
			}
		}
		found = append(found, f)
	}
	for _, f := range d.Config.Leases.Files {
		check(leases.Place{Kind: leases.Kind(f.Kind), Path: f.Path}, true)
	}
	if d.Config.Leases.Find {
		for _, p := range leases.Find(root) {
			check(p, false)
		}
	}
	return found
}

// checkHostapd looks whether the control sockets of hostapd can be used; may says that of one.
func (d Doctor) checkHostapd(may func(path string) error) []Finding {
	if d.Config == nil || !d.Config.Hostapd.Enabled {
		return nil
	}
	var found []Finding
	for _, dir := range d.Config.Hostapd.Folders {
		entries, err := os.ReadDir(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue // no hostapd
		}
		const advice = "name a group that lanfolk's user is in as ctrl_interface_group in hostapd.conf"
		if err != nil {
			found = append(found, Finding{"hostapd", Warning, err.Error(), advice})
			continue
		}
		for _, e := range entries {
			if e.Type()&fs.ModeSocket == 0 {
				continue
			}
			path := filepath.Join(dir, e.Name())
			if err := may(path); err != nil {
				found = append(found, Finding{"hostapd " + e.Name(), Warning, path + ": " + err.Error(), advice})
			} else {
				found = append(found, Finding{"hostapd " + e.Name(), Good, path, ""})
			}
		}
	}
	return found
}
