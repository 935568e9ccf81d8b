package inventory

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/internal/feed"
	"github.com/lanfolk/lanfolk/reverse"
)

// separator parts a gateway's id from what it calls a thing. No id of a gateway that may
// feed has it.
const separator = "."

// gateway is what one gateway told. Inventory.mu guards it, but for turn.
type gateway struct {
	id     string
	name   string
	online bool
	hidden bool // it is revoked
	turn   chan struct{}
	feeds  map[reverse.Type]*progress

	devices  map[string]*device // by the ids that the gateway gave
	services map[string]*service
	loose    map[string][]*service // of devices that aren't known
	rest     map[string]item       // other items, by key
	items    int
	bytes    int64
	sorted   []*device // as they are shown; nil: to be sorted
}

// item is what is to be known of each item.
type item struct {
	size  int32  // of key and document
	epoch string // in which it was told last
}

// device is a device as a gateway told of it.
type device struct {
	item
	id   string // of the gateway's making
	gone bool
	// told is what the gateway says, under the hub's id; its services count not. It is
	// never changed: others may have it.
	told   *lanfolk.Device
	last   time.Time // heard, if later than told says
	offers []*service
	view   *lanfolk.Device // what is shown; nil: to be made
}

// service is a service as a gateway told of it.
type service struct {
	item
	gone    bool
	of      *device // nil: it isn't known
	told    *lanfolk.Service
	last    time.Time
	expires time.Time
	view    *lanfolk.Service
}

// gateway returns what is known of a gateway, which may be nothing yet. mu is held.
func (i *Inventory) gateway(id string) *gateway {
	g := i.gateways[id]
	if g == nil {
		g = &gateway{
			id: id, turn: make(chan struct{}, 1), feeds: make(map[reverse.Type]*progress),
			devices: make(map[string]*device), services: make(map[string]*service),
			loose: make(map[string][]*service), rest: make(map[string]item),
		}
		i.gateways[id] = g
		i.order = nil
	}
	return g
}

// begin takes the gateway's turn: one batch at a time is kept.
func (g *gateway) begin(ctx context.Context) error {
	select {
	case g.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := ctx.Err(); err != nil { // of a connection that broke: another one may be there
		g.end()
		return err
	}
	return nil
}

func (g *gateway) end() { <-g.turn }

// label is what people are shown of the gateway.
func (g *gateway) label() string {
	if g.name != "" {
		return g.name
	}
	return g.id
}

// parsed is an item that was checked.
type parsed struct {
	key     feed.Key
	text    string // the key
	size    int32
	gone    bool
	device  *lanfolk.Device
	service *lanfolk.Service
	heard   []feed.Heard
}

// parse checks an item. Evidence is read only if it comes from outside.
func (t *texts) parse(item feed.Item, outside bool) (p parsed, err error) {
	p.text, p.gone = item.Key, item.Doc == nil
	p.size = int32(len(item.Key) + len(item.Doc))
	if p.key, err = feed.ParseKey(item.Key); err != nil || p.gone {
		return p, err
	}
	switch p.key.Kind {
	case feed.Device:
		if p.device, err = feed.ParseDevice(item.Doc); err == nil {
			t.shareDevice(p.device)
		}
	case feed.Service:
		if p.service, err = feed.ParseService(item.Doc); err == nil {
			t.shareService(p.service)
		}
	case feed.Times:
		p.heard, err = feed.ParseTimes(item.Doc)
	case feed.Evidence:
		if outside {
			_, _, _, err = feed.ParseEvidence(item.Doc)
		}
	}
	return p, err
}

// texts lets equal texts of all devices be one in the memory. Any goroutine may use it.
type texts struct {
	mu  sync.Mutex
	all map[string]string
}

const (
	maxTexts = 1 << 16
	maxText  = 64 // bytes: longer ones are rarely alike
)

func (t *texts) share(list ...*string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.all == nil || len(t.all) > maxTexts {
		t.all = make(map[string]string)
	}
	for _, s := range list {
		if len(*s) > maxText {
			continue
		}
		same, ok := t.all[*s]
		if !ok {
			same = strings.Clone(*s)
			t.all[same] = same
		}
		*s = same
	}
}

func (t *texts) shareDevice(d *lanfolk.Device) {
	list := []*string{&d.Vendor, &d.Model, &d.OS, &d.Class, (*string)(&d.State)}
	for n := range d.Protocols {
		list = append(list, &d.Protocols[n])
	}
	t.share(list...)
}

func (t *texts) shareService(s *lanfolk.Service) {
	t.share(&s.Type, &s.Protocol, &s.Interface, (*string)(&s.State))
}

// edit is a change of what one gateway told. mu is held.
type edit struct {
	i        *Inventory
	g        *gateway
	epoch    string
	watched  bool
	devices  map[*device]*lanfolk.Device   // as they were shown; nil: not
	services map[*service]*lanfolk.Service // the same
}

func (i *Inventory) edit(g *gateway, epoch string) *edit {
	e := &edit{i: i, g: g, epoch: epoch, watched: len(i.watchers) > 0}
	i.texts.share(&e.epoch)
	if e.watched {
		e.devices, e.services = make(map[*device]*lanfolk.Device), make(map[*service]*lanfolk.Service)
	}
	return e
}

// touch notes how a device is shown before it changes.
func (e *edit) touch(d *device, fresh bool) {
	if _, noted := e.devices[d]; e.watched && !noted {
		e.devices[d] = nil
		if !fresh {
			e.devices[d] = e.i.showDevice(e.g, d)
		}
	}
	d.view = nil
}

// touchService notes how a service is shown before it changes, and its device.
func (e *edit) touchService(s *service, fresh bool) {
	if s.of != nil {
		e.touch(s.of, false)
	}
	if _, noted := e.services[s]; e.watched && !noted {
		e.services[s] = nil
		if !fresh {
			e.services[s] = e.g.showService(s)
		}
	}
	s.view = nil
}

// all notes that all is shown in another way.
func (e *edit) all() {
	for _, d := range e.g.devices {
		e.touch(d, false)
	}
	for _, s := range e.g.services {
		e.touchService(s, false)
	}
}

// account counts an item that is there instead of another.
func (e *edit) account(was item, there bool, now int32) item {
	if !there {
		e.g.items++
		e.i.items++
	}
	e.g.bytes += int64(now - was.size)
	return item{now, e.epoch}
}

func (e *edit) unaccount(was item) {
	e.g.items--
	e.i.items--
	e.i.gone++
	e.g.bytes -= int64(was.size)
}

func (e *edit) put(p parsed) {
	switch {
	case p.gone:
		e.drop(p.key, p.text)
	case p.device != nil:
		e.putDevice(p)
	case p.service != nil:
		e.putService(p)
	default:
		was, there := e.g.rest[p.text]
		e.g.rest[p.text] = e.account(was, there, p.size)
		e.heard(p.heard)
	}
}

func (e *edit) putDevice(p parsed) {
	g, id := e.g, p.key.ID
	d := g.devices[id]
	fresh := d == nil
	if fresh {
		d = &device{id: strings.Clone(id)}
		g.devices[d.id] = d
		d.offers = g.loose[id]
		delete(g.loose, id)
		for _, s := range d.offers {
			s.of = d
		}
		p.device.ID = g.id + separator + id
	} else {
		p.device.ID = d.told.ID
	}
	e.touch(d, fresh)
	g.sorted = nil
	d.item, d.told = e.account(d.item, !fresh, p.size), p.device
}

func (e *edit) putService(p parsed) {
	g, id := e.g, p.key.ID
	s := g.services[id]
	fresh := s == nil
	if fresh {
		s = &service{}
		g.services[strings.Clone(id)] = s
		p.service.ID = g.id + separator + id
	} else {
		p.service.ID = s.told.ID
		e.touchService(s, false)
		g.part(s)
	}
	local := p.service.Device
	if local != "" {
		p.service.Device = g.id + separator + local
	}
	s.item, s.told = e.account(s.item, !fresh, p.size), p.service
	if d := g.devices[local]; d != nil {
		s.of = d
		d.offers = append(d.offers, s)
	} else if local != "" {
		g.loose[local] = append(g.loose[local], s)
	}
	e.touchService(s, fresh)
}

// local is the id that a gateway gave its thing.
func (g *gateway) local(id string) string { return strings.TrimPrefix(id, g.id+separator) }

// part takes a service from its device.
func (g *gateway) part(s *service) {
	without := func(all []*service) []*service {
		for n := range all {
			if all[n] == s {
				return append(all[:n:n], all[n+1:]...)
			}
		}
		return all
	}
	if s.of != nil {
		s.of.offers = without(s.of.offers)
		s.of = nil
		return
	}
	id := g.local(s.told.Device)
	if g.loose[id] = without(g.loose[id]); len(g.loose[id]) == 0 {
		delete(g.loose, id)
	}
}

func (e *edit) drop(k feed.Key, key string) {
	g := e.g
	switch k.Kind {
	case feed.Device:
		d := g.devices[k.ID]
		if d == nil {
			return
		}
		e.touch(d, false)
		d.gone = true
		for _, s := range d.offers {
			s.of = nil
			g.loose[d.id] = append(g.loose[d.id], s)
		}
		delete(g.devices, k.ID)
		g.sorted = nil
		e.unaccount(d.item)
	case feed.Service:
		s := g.services[k.ID]
		if s == nil {
			return
		}
		e.touchService(s, false)
		s.gone = true
		g.part(s)
		delete(g.services, k.ID)
		e.unaccount(s.item)
	default:
		if was, there := g.rest[key]; there {
			delete(g.rest, key)
			e.unaccount(was)
		}
	}
}

// dropOthers drops all that was told in other epochs only.
func (e *edit) dropOthers(epoch string) {
	for id, s := range e.g.services {
		if s.epoch != epoch {
			e.drop(feed.Key{Kind: feed.Service, ID: id}, "")
		}
	}
	for id, d := range e.g.devices {
		if d.epoch != epoch {
			e.drop(feed.Key{Kind: feed.Device, ID: id}, "")
		}
	}
	for key, x := range e.g.rest {
		if x.epoch != epoch {
			e.drop(feed.Key{}, key)
		}
	}
}

// heard notes when things were heard. That is no change that anybody is told of.
func (e *edit) heard(all []feed.Heard) {
	for _, h := range all {
		if d := e.g.devices[h.ID]; d != nil && h.Kind == feed.Device {
			d.last, d.view = h.Last, nil
		}
		if s := e.g.services[h.ID]; s != nil && h.Kind == feed.Service {
			s.last, s.expires, s.view = h.Last, h.Expires, nil
			if s.of != nil {
				s.of.view = nil
			}
		}
	}
}
