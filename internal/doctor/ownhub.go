package doctor

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// OwnHubStatus is what the status of a hub on this machine says that is of interest
// here, by its names in JSON.
type OwnHubStatus struct {
	PID      int    `json:"pid"`
	Insecure string `json:"insecure_grpc"`
	Store    struct {
		Error string `json:"error"`
	} `json:"store"`
	Gateways struct {
		Total  int `json:"total"`
		Online int `json:"online"`
	} `json:"gateways"`
	Results struct {
		Bytes    int64 `json:"bytes"`
		MaxBytes int64 `json:"max_bytes"`
	} `json:"results"`
	Audit struct {
		Error string `json:"error"`
	} `json:"audit"`
	Parts []struct {
		Name  string `json:"name"`
		State string `json:"state"`
		Error string `json:"error"`
	} `json:"parts"`
}

// checkOwnHub tells how the hub on the state folder's socket is; nothing where none ever ran.
func (d Doctor) checkOwnHub(ctx context.Context) []Finding {
	if d.OwnHub == nil {
		return nil
	}
	s, err := d.OwnHub(ctx)
	if err != nil {
		return []Finding{{"own hub", Notice, err.Error(), "\"lanfolk hub\" starts it"}}
	}
	return ownHub(s, "/proc")
}

// spareFiles is what a hub opens beside its gateways' connections.
const spareFiles = 512

func ownHub(s OwnHubStatus, proc string) []Finding {
	found := []Finding{{"own hub", Good, fmt.Sprintf("running; %d of %d gateways are online", s.Gateways.Online, s.Gateways.Total), ""}}
	add := func(check string, g Grade, advice, format string, args ...any) {
		found = append(found, Finding{"own hub " + check, g, fmt.Sprintf(format, args...), advice})
	}
	if s.Store.Error != "" {
		add("store", Problem, "until that is mended nothing is asked of gateways", "%s", s.Store.Error)
	}
	for _, p := range s.Parts {
		if p.State == "failed" {
			add(p.Name, Problem, "see the hub's log", "%s", p.Error)
		}
	}
	if s.Audit.Error != "" {
		add("audit", Problem, "see hub.seals in the config; until then nobody notices if the audit's end is cut off", "%s", s.Audit.Error)
	}
	if s.Insecure != "" {
		add("security", Warning, "leave out hub.insecure in the config, and --insecure-grpc, if no client needs it",
			"at %s clients are believed what they say they are, and nothing is encrypted", s.Insecure)
	}
	if r := s.Results; r.MaxBytes > 0 && float64(r.Bytes) > crowded*float64(r.MaxBytes) {
		add("results", Warning, "results go before their time; see hub.results in the config", "%d MiB of results, of %d", r.Bytes>>20, r.MaxBytes>>20)
	}
	if most, ok := openFiles(proc, s.PID); ok && most < s.Gateways.Total+spareFiles {
		add("files", Warning, "raise its limit: LimitNOFILE in the service's unit", "it may open %d files, and each gateway's connection is one", most)
	}
	return found
}

// openFiles returns how many files a process may open (proc_pid_limits(5)).
func openFiles(proc string, pid int) (int, bool) {
	text, err := os.ReadFile(filepath.Join(proc, strconv.Itoa(pid), "limits"))
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "Max open files"); ok {
			if fields := strings.Fields(rest); len(fields) > 0 {
				n, err := strconv.Atoi(fields[0]) // else "unlimited"
				return n, err == nil
			}
		}
	}
	return 0, false
}
