package api

import (
	"cmp"
	"errors"
	"fmt"
	"sync"

	"github.com/lanfolk/lanfolk/internal/access"
)

// Why a stream has no place.
var (
	errBusy   = errors.New("api: too many streams are open; close one")
	errGreedy = errors.New("api: one may have no more of the streams; close one")
)

// share is which part of the places one may have: the others stay for others.
const share = 4

// places bound the streams that run, all of them and those of one caller. All fields but
// most are zero at the beginning.
type places struct {
	most int

	mu    sync.Mutex
	taken int
	of    map[string]int // by holder
}

// take takes a place. Who may open the unix socket could end the server as well, and may
// have them all.
func (p *places) take(c caller) (leave func(), err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	who, most := holder(c), p.most/share
	if c.via == access.ViaSocket {
		most = p.most
	}
	switch {
	case p.taken >= p.most:
		return nil, errBusy
	case p.of[who] >= most:
		return nil, fmt.Errorf("%w: there are %d", errGreedy, most)
	}
	if p.of == nil {
		p.of = make(map[string]int)
	}
	p.taken++
	p.of[who]++
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.taken--
		if p.of[who]--; p.of[who] == 0 {
			delete(p.of, who)
		}
	}, nil
}

// holder is whose streams count together: at a hub a person's, by whatever tokens and
// sessions; at a node a token's, and the page's.
func holder(c caller) string {
	if c.via == access.ViaSocket {
		return "" // no name of a person
	}
	return cmp.Or(c.who.Name, "the page")
}
