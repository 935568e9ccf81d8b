package doctor

import (
	"fmt"
	"slices"
	"strings"

	"github.com/lanfolk/lanfolk/internal/sockets"
	"github.com/lanfolk/lanfolk/packet"
)

// checkReflect looks whether there are links to reflect between, if the config
// wants that.
func (d Doctor) checkReflect(all []packet.Link) []Finding {
	if d.Config == nil || !d.Config.Reflect.Enabled {
		return nil
	}
	c := d.Config
	used := sockets.Selection{Names: c.Interfaces, Exclude: c.ExcludeInterfaces}.Filter(all)
	var between, missing []string
	for _, l := range used {
		if len(c.Reflect.Interfaces) == 0 || slices.Contains(c.Reflect.Interfaces, l.Name) {
			between = append(between, l.Name)
		}
	}
	for _, n := range c.Reflect.Interfaces {
		if !slices.Contains(between, n) {
			missing = append(missing, n)
		}
	}
	f := Finding{"reflector", Good, "between " + strings.Join(between, ", "), ""}
	switch {
	case !c.MDNS.Enabled:
		f.Grade, f.Found, f.Advice = Problem, "mdns.enabled = false", "the reflector works by mDNS: enable it, or leave reflect.enabled out"
	case len(between) < 2:
		f.Grade, f.Found = Problem, fmt.Sprintf("%d interface to reflect between", len(between))
		f.Advice = "bring another up, or correct interfaces in the config"
	case len(missing) > 0:
		f.Grade = Warning
		f.Found += "; not there: " + strings.Join(missing, ", ")
		f.Advice = "bring them up, or correct reflect.interfaces in the config"
	}
	return []Finding{f}
}
