package doctor

import "testing"

func TestLostFramesAreTold(t *testing.T) {
	parts := []PartStatus{
		{"capture", nil}, {"mdns", map[string]uint64{"lost": 7}},
		{"capture eth0", map[string]uint64{"frames": 100, "lost": 0}}, {"capture eth1", map[string]uint64{"frames": 90, "lost": 10}},
	}
	found := checkLoss(parts)
	if len(found) != 1 || found[0].Check != "capture eth1" || found[0].Grade != Warning || found[0].Advice == "" ||
		found[0].Found != "10 of 100 frames were lost since the node began: they came faster than it read them" {
		t.Errorf("%+v", found)
	}
}
