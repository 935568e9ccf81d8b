package lab

import (
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// patience is what is left of the limit of a wait. Limits are for a machine
// that has nothing else to do. Where more processes want to run than there are
// processors each gets its turn later, and a limit holds for longer by as much:
// a test says how long something takes, and not how long others take beside it.
type patience struct {
	left time.Duration
	last time.Time
}

const (
	look      = 50 * time.Millisecond // how often a wait sees how crowded the machine is
	mostCrowd = 10                    // a limit holds for so many times as long at most
)

func newPatience(d time.Duration) *patience { return &patience{left: d, last: time.Now()} }

// ends takes off what has passed since it was called last, and says whether
// nothing is left. Call it every look or so, since the crowd comes and goes.
func (p *patience) ends() bool {
	now := time.Now()
	p.left -= time.Duration(float64(now.Sub(p.last)) / crowd())
	p.last = now
	return p.left <= 0
}

// crowd returns how crowded the machine is now.
func crowd() float64 {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 1
	}
	return crowded(string(b), runtime.NumCPU())
}

// crowded returns how many processes there are to one processor that want to run
// or wait for a disk: as many as do now, or on average in the last minute; 1 at
// least and mostCrowd at most. The load is that of /proc/loadavg (proc(5)):
// "7.27 6.78 5.85 7/129 27729", averages and then those that run now.
func crowded(load string, processors int) float64 {
	f := strings.Fields(load)
	if len(f) < 4 {
		return 1
	}
	running, _, _ := strings.Cut(f[3], "/")
	most := 0.0
	for _, s := range []string{f[0], running} {
		if n, err := strconv.ParseFloat(s, 64); err == nil {
			most = max(most, n)
		}
	}
	return min(max(most/float64(processors), 1), mostCrowd)
}
