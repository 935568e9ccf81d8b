package source_test

import (
	"cmp"
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/internal/capture"
	"github.com/lanfolk/lanfolk/internal/source"
	"github.com/lanfolk/lanfolk/passive"
)

// inventory returns a registry in which the facts of a capture file were heard,
// as they were heard live. It must be called in a bubble, whose clock runs as the
// capture's did.
func inventory(t *testing.T, file string) *lanfolk.Registry {
	t.Helper()
	var p source.Passive
	var all []lanfolk.Sighting
	_, _ = capture.File{Path: file}.Read(t.Context(), func(f *passive.Fact) error { // some are cut off
		p.Sightings(f, func(s lanfolk.Sighting) {
			s.Attributes = nil
			all = append(all, s)
		})
		return nil
	})
	slices.SortStableFunc(all, func(a, b lanfolk.Sighting) int { return a.Time.Compare(b.Time) })
	n := 0
	r := lanfolk.NewRegistry(lanfolk.RegistryOptions{NewID: func() string { n++; return string(rune('a'+n%26)) + string(rune('0'+n/26)) }})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	for len(all) > 0 {
		time.Sleep(time.Until(all[0].Time))
		k := 1
		for k < len(all) && k < 512 && all[k].Time.Before(all[0].Time.Add(time.Second)) {
			k++
		}
		time.Sleep(time.Until(all[k-1].Time))
		r.Observe(all[:k]...)
		synctest.Wait()
		all = all[k:]
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return r
}

func TestDump(t *testing.T) {
	files, _ := filepath.Glob(filepath.Join(os.Getenv("LANFOLK_PCAPS"), cmp.Or(os.Getenv("GLOB"), "iotsentinel*.pcap")))
	for _, f := range files {
		synctest.Test(t, func(t *testing.T) {
			r := inventory(t, f)
			t.Logf("%s: %d devices", filepath.Base(f), len(r.Devices(lanfolk.Filter{})))
			for _, d := range r.Devices(lanfolk.Filter{}) {
				t.Logf("   macs %v names %v addresses %v protocols %v", d.MACs, d.Names, d.Addresses, d.Protocols)
			}
		})
	}
}
