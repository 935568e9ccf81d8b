package inventory

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/internal/feed"
	"github.com/lanfolk/lanfolk/internal/find"
	"github.com/lanfolk/lanfolk/reverse"
	"github.com/lanfolk/lanfolk/store/fleet"
	"github.com/lanfolk/lanfolk/syncthing"
)

// A Runner has gateways do things: a deliver.Dispatcher.
type Runner interface {
	Submit(ctx context.Context, r fleet.Request) ([]fleet.Command, error)
	Watch(ctx context.Context, ids ...string) <-chan fleet.Command
	Output(ctx context.Context, id string, offset int64, follow bool) (io.ReadCloser, error)
}

// Finder answers what is known of all gateways' networks, and asks those that are online: an
// api.Finder.
type Finder struct {
	Known  *Inventory
	Runner Runner                           // nil: only what is known
	By     func(ctx context.Context) string // who asks, for the record
}

// Bounds of a search.
const (
	askAtOnce   = 500             // gateways that are asked in one go
	readAtOnce  = 16              // answers that are read at the same time
	answersEach = 1000            // of one gateway
	answersAll  = 20_000          // of all
	answerTime  = 3 * time.Second // for an answer's way to the hub
	maxAsk      = time.Minute     // that gateways search
	maxAnswer   = 256 << 10       // bytes of one
)

// Find implements api.Finder. What is known comes first, then what gateways answer; a
// thing comes again if there is news of it.
func (f *Finder) Find(ctx context.Context, r find.Request, emit func(find.Answer)) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	s := search{f: f, request: r, emit: emit, stop: stop, seen: make(map[string]bool)}
	s.known()
	if s.count > 0 && r.First || f.Runner == nil {
		return s.outcome(ctx, nil)
	}
	return s.outcome(ctx, s.ask(ctx))
}

// search is one search.
type search struct {
	f       *Finder
	request find.Request
	emit    func(find.Answer)
	stop    func()

	mu    sync.Mutex
	seen  map[string]bool
	count int
	none  int // gateways that say that there is none
}

// outcome is what a search returns.
func (s *search) outcome(ctx context.Context, err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.count > 0 && s.request.First:
		return nil
	case s.count > 0:
		return ctx.Err()
	case ctx.Err() != nil:
		return ctx.Err()
	case s.none > 0:
		return find.ErrNone
	case err != nil:
		return fmt.Errorf("%w: %w", find.ErrNoAnswer, err)
	}
	return find.ErrNoAnswer
}

// add passes an answer on, once.
func (s *search) add(a find.Answer) {
	via := s.request.Via
	if len(via) > 0 && !slices.ContainsFunc(protocolsOf(a), func(p string) bool { return slices.Contains(via, p) }) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	key := keyOf(a)
	if s.seen[key] || s.count >= answersAll || s.count > 0 && s.request.First {
		return
	}
	s.seen[key] = true
	s.count++
	s.emit(a)
	if s.request.First {
		s.stop()
	}
}

func protocolsOf(a find.Answer) []string {
	if a.Service != nil {
		return []string{a.Service.Protocol}
	}
	return a.Device.Protocols
}

// keyOf is the same for two answers that tell the same.
func keyOf(a find.Answer) string {
	if s := a.Service; s != nil {
		return fmt.Sprint("s", s.ID, s.Gateway, s.Protocol, s.Interface, s.Type, s.Name, s.Host, s.Port, s.Addresses, s.Attributes)
	}
	d := a.Device
	return fmt.Sprint("d", d.ID, d.Gateway, d.Names, d.MACs, d.Addresses, d.Protocols)
}

// known answers by what is there as far as is known.
func (s *search) known() {
	i := s.f.Known
	i.mu.Lock()
	devices, services := i.pictures()
	i.mu.Unlock()
	m := meant(s.request.Query)
	for _, x := range services {
		if x.State == lanfolk.Reachable && m.service(x) {
			s.add(find.Answer{Service: x})
		}
	}
	for _, x := range devices {
		if x.State == lanfolk.Reachable && m.device(x) {
			s.add(find.Answer{Device: x})
		}
	}
}

type query struct {
	find.Query
	kind, name string
}

func meant(q find.Query) query {
	kind := q.ServiceType
	if _, after, ok := strings.Cut(kind, "._sub."); ok {
		kind = after
	}
	return query{q, kind, fold(cmp.Or(q.Host, q.Text))}
}

func (q query) service(s *lanfolk.Service) bool {
	switch {
	case q.kind != "":
		return strings.EqualFold(s.Type, q.kind)
	case q.Addr.IsValid() || q.MAC != (lanfolk.MAC{}):
		return false
	case q.Device != (syncthing.DeviceID{}):
		return s.Protocol == "syncthing" && strings.HasPrefix(q.Device.String(), s.Name)
	}
	return fold(s.Type) == q.name || fold(s.Name) == q.name || s.Host != "" && called(s.Host, q.name)
}

func (q query) device(d *lanfolk.Device) bool {
	switch {
	case q.kind != "" || q.Device != (syncthing.DeviceID{}):
		return false
	case q.Addr.IsValid():
		for _, a := range d.Addresses {
			if a.WithZone("") == q.Addr.WithZone("") {
				return true
			}
		}
		return false
	case q.MAC != (lanfolk.MAC{}):
		return slices.Contains(d.MACs, q.MAC)
	}
	return slices.ContainsFunc(d.Names, func(n string) bool { return called(n, q.name) })
}

// ask has all gateways that are online search, and takes their answers as they come.
func (s *search) ask(ctx context.Context) error {
	gateways := s.f.Known.online()
	if len(gateways) == 0 {
		return errors.New("no gateway is online")
	}
	timeout := min(cmp.Or(max(s.request.Timeout, 0), find.DefaultTimeout), maxAsk)
	line, err := reverse.Join("find", "--timeout", timeout.String(), s.request.Query.Text)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, timeout+answerTime)
	defer cancel()
	var by string
	if s.f.By != nil {
		by = s.f.By(ctx)
	}
	var asking, reading sync.WaitGroup
	places := make(chan struct{}, readAtOnce)
	for some := range slices.Chunk(gateways, askAtOnce) {
		commands, err := s.f.Runner.Submit(ctx, fleet.Request{By: by, Line: line, Gateways: some, Timeout: timeout + answerTime})
		if err != nil {
			cancel()
			asking.Wait()
			return err
		}
		asking.Go(func() {
			s.follow(ctx, commands, func(c fleet.Command) {
				reading.Go(func() {
					select {
					case places <- struct{}{}:
						defer func() { <-places }()
						s.read(ctx, c)
					case <-ctx.Done():
					}
				})
			})
		})
	}
	asking.Wait()
	reading.Wait()
	return nil
}

// follow calls done with each of the commands as it ends.
func (s *search) follow(ctx context.Context, commands []fleet.Command, done func(fleet.Command)) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	waiting := make(map[string]bool)
	var ids []string
	for _, c := range commands {
		if !c.State.Ended() {
			waiting[c.ID] = true
			ids = append(ids, c.ID)
		}
	}
	if len(ids) == 0 {
		return
	}
	for c := range s.f.Runner.Watch(ctx, ids...) {
		if !waiting[c.ID] || !c.State.Ended() {
			continue
		}
		delete(waiting, c.ID)
		switch {
		case c.State == fleet.OK:
			done(c)
		case c.State == fleet.Error && strings.Contains(c.Error, find.ErrNone.Error()):
			s.mu.Lock()
			s.none++
			s.mu.Unlock()
		case c.State == fleet.Error && c.Size > 0: // it broke off after some answers
			done(c)
		}
		if len(waiting) == 0 {
			return
		}
	}
}

// read reads what one gateway answers: lines of JSON.
func (s *search) read(ctx context.Context, c fleet.Command) {
	out, err := s.f.Runner.Output(ctx, c.ID, 0, false)
	if err != nil {
		return
	}
	defer out.Close()
	lines := bufio.NewScanner(out)
	lines.Buffer(make([]byte, 0, 16<<10), maxAnswer)
	for n := 0; n < answersEach && lines.Scan(); n++ {
		if a, ok := s.f.Known.answer(c.Gateway, lines.Bytes()); ok {
			s.add(a)
		}
	}
}

// online returns the gateways that are, but for those that nobody vouches for: they know
// no such question.
func (i *Inventory) online() []fleet.Gateway {
	i.mu.Lock()
	defer i.mu.Unlock()
	var all []fleet.Gateway
	for _, g := range i.sorted() {
		if g.online && !g.hidden && !strings.HasPrefix(g.id, fleet.InsecurePrefix) {
			all = append(all, fleet.Gateway{ID: g.id, Name: g.name})
		}
	}
	return all
}

// answer reads one answer of a gateway. What the inventory has of the thing is returned in
// its place: it has the hub's ids, and what people said here.
func (i *Inventory) answer(gateway string, line []byte) (find.Answer, bool) {
	var kind struct {
		Kind lanfolk.Kind `json:"kind"`
	}
	if json.Unmarshal(line, &kind) != nil {
		return find.Answer{}, false
	}
	i.mu.Lock()
	g := i.gateway(gateway)
	label := g.label()
	i.mu.Unlock()
	if kind.Kind == lanfolk.KindService {
		var s lanfolk.Service
		if json.Unmarshal(line, &s) != nil {
			return find.Answer{}, false
		}
		told, err := feed.ParseService(feed.ServiceDoc(&s, true))
		if err != nil {
			return find.Answer{}, false
		}
		told.Gateway = label
		i.mu.Lock()
		defer i.mu.Unlock()
		if have := g.services[s.ID]; have != nil && !g.hidden {
			return find.Answer{Service: g.showService(have)}, true
		}
		told.ID, told.Device = g.global(s.ID), g.global(s.Device)
		return find.Answer{Service: told}, true
	}
	var d lanfolk.Device
	if json.Unmarshal(line, &d) != nil {
		return find.Answer{}, false
	}
	told, err := feed.ParseDevice(feed.DeviceDoc(&d, true))
	if err != nil {
		return find.Answer{}, false
	}
	told.Gateway, told.Services = label, []*lanfolk.Service{}
	i.mu.Lock()
	defer i.mu.Unlock()
	if have := g.devices[d.ID]; have != nil && !g.hidden {
		return find.Answer{Device: i.showDevice(g, have)}, true
	}
	told.ID = g.global(d.ID)
	return find.Answer{Device: told}, true
}

// global is the hub's id for what a gateway calls by one of its own; "" if that is none.
func (g *gateway) global(id string) string {
	if !feed.GoodID(id) {
		return ""
	}
	return g.id + separator + id
}
