package doctor

import (
	"fmt"
	"strings"
)

// checkLoss looks whether frames came faster than a node's captures read them.
func checkLoss(parts []PartStatus) []Finding {
	var found []Finding
	for _, p := range parts {
		link, ok := strings.CutPrefix(p.Name, "capture ")
		lost := p.Counters["lost"]
		if !ok || lost == 0 {
			continue
		}
		found = append(found, Finding{
			"capture " + link, Warning,
			fmt.Sprintf("%d of %d frames were lost since the node began: they came faster than it read them", lost, lost+p.Counters["frames"]),
			"where it happens in bursts give passive.buffer in the config more memory; where it goes on give the node more of a processor, or let passive.filter take less",
		})
	}
	return found
}
