package lanfolk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Errors that callers tell apart.
var (
	ErrNotFound  = errors.New("not found")
	ErrAmbiguous = errors.New("ambiguous")
	ErrInvalid   = errors.New("invalid")
)

// resolve finds the device that ref means: an id, an alias, a MAC, an IP
// address, a protocol's own id ("syncthing:P56IOI7-…") or a name, in this order. Devices that can be heard come before
// those that are only remembered.
func (c *core) resolve(ref string) (*device, error) {
	if d := c.devices[ref]; d != nil {
		return d.root(), nil
	}
	var found []*device
	if m, err := ParseMAC(ref); err == nil {
		found = c.holding(IDMAC, m.String())
	} else if a, err := netip.ParseAddr(ref); err == nil {
		found = c.holding(IDIP, a.Unmap().WithZone("").String())
	} else if strings.Contains(ref, ":") {
		found = c.holding(IDProtocol, ref)
	}
	if len(found) == 0 {
		found = c.called(ref)
	}
	if live := slices.DeleteFunc(slices.Clone(found), func(d *device) bool { return d.nlive == 0 }); len(live) > 0 {
		found = live
	}
	switch len(found) {
	case 0:
		return nil, fmt.Errorf("lanfolk: device %q: %w", clipText(ref, maxText), ErrNotFound)
	case 1:
		return found[0], nil
	}
	slices.SortFunc(found, older)
	ids := make([]string, 0, 8)
	for _, d := range found[:min(8, len(found))] {
		ids = append(ids, d.id)
	}
	return nil, fmt.Errorf("lanfolk: device %q: %w: it may be any of %s", clipText(ref, maxText), ErrAmbiguous, strings.Join(ids, ", "))
}

// holding returns the devices that have or remember an identifier, on any link.
func (c *core) holding(kind IdentifierKind, value string) []*device {
	var found []*device
	add := func(d *device) {
		if d != nil && !d.nameless && !slices.Contains(found, d.root()) {
			found = append(found, d.root())
		}
	}
	for sc := range c.idScopes {
		if sc.kind != kind {
			continue
		}
		i := c.lookup(&Identifier{Kind: kind, Value: value, Gateway: sc.gateway, Link: sc.link})
		if i == nil {
			continue
		}
		i.each(func(f *fact) bool {
			add(f.dev)
			return len(found) < crowd
		})
		if i.n() == 0 {
			add(i.last())
		}
	}
	return found
}

// called returns the devices with the name: those that a person called so, or
// else those that call themselves so. Case and a last dot make no difference,
// and ".local" may be left out.
func (c *core) called(name string) []*device {
	want := foldHost(name)
	if want == "" {
		return nil
	}
	var said, heard []*device
	for _, d := range c.order {
		if d == nil {
			continue
		}
		is := func(n string) bool { n = foldHost(n); return n == want || n == want+".local" }
		switch {
		case d.saidAny(func(s *Said) bool { return slices.ContainsFunc(s.Names, is) }):
			said = append(said, d)
		case slices.ContainsFunc(c.picture(d).Names, is):
			heard = append(heard, d)
		}
	}
	if len(said) > 0 {
		return said
	}
	return heard
}

func (d *device) saidAny(is func(*Said) bool) bool {
	return d.said != nil && is(d.said) || slices.ContainsFunc(d.aliases, func(a *device) bool { return a.said != nil && is(a.said) })
}

// mute counts separations of identifiers up or down, and has what they joined
// joined anew.
func (c *core) mute(ids []Identifier, by int32) {
	for n := range ids {
		i := c.ident(&ids[n])
		if i == nil {
			continue
		}
		i.muted += by
		i.refs += by
		c.shake(i)
		// Whoever holds or remembers it shows that, even where nothing is joined
		// anew.
		i.each(func(f *fact) bool {
			if f.dev != nil {
				c.touch(f.dev)
			}
			return true
		})
		if d := i.last(); d != nil {
			c.touch(d)
		}
		if i.strong || i.n() <= crowd {
			i.each(func(f *fact) bool { c.seed(f); return true })
		}
		c.release(i)
	}
}

// saying is a change of what a person said about one record.
type saying struct {
	dev  *device
	said Said
}

// change makes a saying for the device.
func (d *device) change(do func(*Said)) saying {
	s := saying{dev: d}
	if d.said != nil {
		s.said = d.said.clone()
	} else {
		s.said = (&Said{}).clone()
	}
	do(&s.said)
	return s
}

// hear applies what a person said.
func (c *core) hear(s saying) {
	d := s.dev
	if d.forgotten {
		return
	}
	c.mute(s.said.Separated, 1)
	if d.said != nil {
		c.mute(d.said.Separated, -1)
	}
	d.said = nil
	if !s.said.Empty() {
		d.said = &s.said
	}
	c.touch(d.root())
	c.unsavedDevice(d)
	if r := d.root(); r.nlive == 0 && !r.named() {
		c.setRetention(r)
	}
}

// SetNames sets the names that a person gives the device; none takes them
// back. It returns the device as it then is.
//
// What a person says is with the Journal before it is acknowledged: on an
// error nothing has changed.
func (r *Registry) SetNames(ctx context.Context, ref string, names ...string) (*Device, error) {
	return r.say(ctx, ref, func(d *device) ([]saying, error) {
		clean, err := cleanTexts("name", names)
		if err != nil {
			return nil, err
		}
		return d.changeAll(func(s *Said) { s.Names = clean }, func(s *Said) { s.Names = nil }), nil
	})
}

// SetTags sets the tags that a person gives the device, as SetNames does names.
func (r *Registry) SetTags(ctx context.Context, ref string, tags ...string) (*Device, error) {
	return r.say(ctx, ref, func(d *device) ([]saying, error) {
		clean, err := cleanTexts("tag", tags)
		if err != nil {
			return nil, err
		}
		return d.changeAll(func(s *Said) { s.Tags = clean }, func(s *Said) { s.Tags = nil }), nil
	})
}

// changeAll changes what was said about the device, and what was said about
// those that turned out to be it.
func (d *device) changeAll(own, others func(*Said)) []saying {
	all := []saying{d.change(own)}
	for _, a := range d.aliases {
		if a.said != nil {
			all = append(all, a.change(others))
		}
	}
	return all
}

// Separate says that an identifier of the device is no reason to join
// sightings: two machines share it, or it means something else. It holds for
// all sightings with the identifier until Rejoin takes it back.
func (r *Registry) Separate(ctx context.Context, ref string, id Identifier) (*Device, error) {
	return r.say(ctx, ref, func(d *device) ([]saying, error) {
		i := r.core.lookup(&id)
		if i == nil || !(has(d.memory, i) || slices.ContainsFunc(d.facts, func(f *fact) bool { return has(f.ids, i) })) {
			return nil, fmt.Errorf("lanfolk: device %s has no %s: %w", d.id, id, ErrNotFound)
		}
		if d.said != nil && (slices.Contains(d.said.Separated, id) || len(d.said.Separated) >= maxSaid) {
			return nil, nil
		}
		return []saying{d.change(func(s *Said) { s.Separated = append(s.Separated, id) })}, nil
	})
}

// Rejoin takes a separation back, whichever of the devices that it made ref
// names.
func (r *Registry) Rejoin(ctx context.Context, ref string, id Identifier) (*Device, error) {
	return r.say(ctx, ref, func(*device) ([]saying, error) {
		var all []saying
		for _, d := range r.core.devices {
			if d.said != nil && slices.Contains(d.said.Separated, id) {
				all = append(all, d.change(func(s *Said) {
					s.Separated = slices.DeleteFunc(s.Separated, func(x Identifier) bool { return x == id })
				}))
			}
		}
		if all == nil {
			return nil, fmt.Errorf("lanfolk: %s is not separated: %w", id, ErrNotFound)
		}
		return all, nil
	})
}

// say works out what a person's word changes, has it committed, and then
// applies it. No batch is saved meanwhile, so that the sink never overwrites
// the journal's records with older ones.
func (r *Registry) say(ctx context.Context, ref string, words func(*device) ([]saying, error)) (*Device, error) {
	select {
	case r.saving <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-r.saving }()
	r.mu.Lock()
	d, err := r.core.resolve(ref)
	if err != nil {
		r.mu.Unlock()
		return nil, err
	}
	all, err := words(d)
	records := make([]DeviceRecord, 0, len(all))
	for _, s := range all {
		record := s.dev.record()
		record.Said = s.said.clone()
		records = append(records, record)
		s.dev.pinned = true
	}
	r.mu.Unlock()
	if err != nil {
		return nil, err
	}
	if r.o.Journal != nil && len(records) > 0 {
		err = r.o.Journal.Commit(ctx, records)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range all {
		s.dev.pinned = false
		if err == nil {
			r.core.hear(s)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("lanfolk: commit what was said about %s: %w", d.id, err)
	}
	r.core.settle()
	r.tell(r.core.drain())
	return r.core.picture(d.root()), nil
}

// cleanTexts checks names or tags and drops repetitions.
func cleanTexts(what string, in []string) ([]string, error) {
	if len(in) > maxSaid {
		return nil, fmt.Errorf("lanfolk: %d %ss, at most %d: %w", len(in), what, maxSaid, ErrInvalid)
	}
	out := make([]string, 0, len(in))
	for _, s := range in {
		s = strings.TrimSpace(s)
		switch {
		case s == "" || len(s) > maxText:
			return nil, fmt.Errorf("lanfolk: %s of %d bytes, want 1 to %d: %w", what, len(s), maxText, ErrInvalid)
		case !bytes.Equal([]byte(s), bytes.ToValidUTF8([]byte(s), nil)) || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }):
			return nil, fmt.Errorf("lanfolk: %s %q holds control characters: %w", what, s, ErrInvalid)
		case !slices.Contains(out, s):
			out = append(out, s)
		}
	}
	return out, nil
}
