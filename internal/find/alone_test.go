package find

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/lanfolk/lanfolk"
)

func TestDeviceFoundAloneIsWholeInJSON(t *testing.T) {
	for mac, random := range map[string]bool{"02:00:00:00:00:02": true, "00:00:5e:00:53:07": false} {
		s := lanfolk.Sighting{Kind: lanfolk.KindDevice, Identifiers: []lanfolk.Identifier{{Kind: lanfolk.IDMAC, Value: mac}}}
		d := alone(s).Device
		if d.RandomMAC != random {
			t.Errorf("%s: random_mac %v", mac, d.RandomMAC)
		}
		if b, err := json.Marshal(d); err != nil || strings.Contains(string(b), "null") {
			t.Errorf("lists that are null: %s, %v", b, err)
		}
	}
}
