package lan_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/lanfolk/lanfolk/lan"
	"github.com/lanfolk/lanfolk/lan/lantest/nstest"
)

func TestPortHoldersNamesThisProcess(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		here := nstest.Here(t)
		if hs, err := lan.PortHolders(5353); err != nil || hs != nil {
			t.Fatalf("got %v, %v", hs, err)
		}
		listen(t, here, "lo", group4)
		listen(t, here, "lo", group6)
		hs, err := lan.PortHolders(5353)
		if err != nil {
			t.Fatal(err)
		}
		var got string
		for _, h := range hs {
			if !h.Self || h.PID != os.Getpid() || h.Program != "lan.test" {
				t.Errorf("got %+v", h)
			}
			got += fmt.Sprintln(h)
		}
		who := fmt.Sprintf("lan.test (pid %d, uid 0)", os.Getpid())
		if want := who + " holds 0.0.0.0:5353\n" + who + " holds [::]:5353\n"; got != want {
			t.Errorf("got %s\nwant %s", got, want)
		}
	})
}
