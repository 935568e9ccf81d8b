package inventory

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/lanfolk/lanfolk"
)

// Bounds of what a person says of a device.
const (
	maxSaid     = 64
	maxSaidText = 256 // bytes
	maxNames    = 32  // shown
)

// saidOf returns what people said at the hub of a device and of those that it turned out
// to be. mu is held.
func (i *Inventory) saidOf(d *lanfolk.Device) (names, tags []string) {
	if len(i.words) == 0 {
		return nil, nil
	}
	gateway, _, _ := strings.Cut(d.ID, separator)
	ids := []string{d.ID}
	for _, a := range d.Aliases {
		ids = append(ids, gateway+separator+a)
	}
	for _, id := range ids {
		names = append(names, i.words[id].Names...)
		tags = append(tags, i.words[id].Tags...)
	}
	return names, tags
}

// addWords adds to a picture what people said at the hub, if they did.
func (i *Inventory) addWords(v *lanfolk.Device) bool {
	names, tags := i.saidOf(v)
	if len(names) > 0 {
		all := []string{}
		for _, n := range append(names, v.Names...) {
			if len(all) < maxNames && !slices.ContainsFunc(all, func(m string) bool { return fold(m) == fold(n) }) {
				all = append(all, n)
			}
		}
		v.Names = all
	}
	if len(tags) == 0 {
		return len(names) > 0
	}
	all := []string{}
	for _, t := range append(tags, v.Tags...) {
		if !slices.Contains(all, t) {
			all = append(all, t)
		}
	}
	v.Tags = all
	for _, t := range tags {
		switch what, value, _ := strings.Cut(t, "="); {
		case value == "":
		case what == "model":
			v.Model, v.ModelConfidence = value, 1
		case what == "os":
			v.OS, v.OSConfidence = value, 1
		case what == "class":
			v.Class, v.ClassConfidence = value, 1
		}
	}
	return true
}

// reasons puts before a gateway's reasons what people said at the hub.
func (i *Inventory) reasons(d *lanfolk.Device, from []lanfolk.Conclusion) []lanfolk.Conclusion {
	i.mu.Lock()
	_, tags := i.saidOf(d)
	i.mu.Unlock()
	out := []lanfolk.Conclusion{}
	said := make(map[string]bool)
	for _, t := range tags {
		what, value, _ := strings.Cut(t, "=")
		if value == "" || what != "model" && what != "os" && what != "class" {
			continue
		}
		out = append(out, lanfolk.Conclusion{
			Answer: what, Value: value, Confidence: 1, Rule: "tag " + t, Source: "a person said so at the hub", Signals: []lanfolk.Signal{}, Verdict: "agrees",
		})
		said[what] = true
	}
	for _, r := range from {
		if said[r.Answer] {
			r.Verdict = "overruled"
		}
		out = append(out, r)
	}
	return out
}

// SetNames implements api.Inventory: the names are the hub's, and stay here.
func (i *Inventory) SetNames(ctx context.Context, ref string, names ...string) (*lanfolk.Device, error) {
	names, err := clean("name", names)
	if err != nil {
		return nil, err
	}
	return i.say(ctx, ref, func(s *lanfolk.Said, own bool) {
		if s.Names = nil; own {
			s.Names = names
		}
	})
}

// SetTags implements api.Inventory, as SetNames does.
func (i *Inventory) SetTags(ctx context.Context, ref string, tags ...string) (*lanfolk.Device, error) {
	tags, err := clean("tag", tags)
	if err != nil {
		return nil, err
	}
	return i.say(ctx, ref, func(s *lanfolk.Said, own bool) {
		if s.Tags = nil; own {
			s.Tags = tags
		}
	})
}

// Separate implements api.Inventory: it is refused.
func (i *Inventory) Separate(_ context.Context, ref string, _ lanfolk.Identifier) (*lanfolk.Device, error) {
	return nil, i.elsewhere(ref)
}

// Rejoin implements api.Inventory: it is refused.
func (i *Inventory) Rejoin(_ context.Context, ref string, _ lanfolk.Identifier) (*lanfolk.Device, error) {
	return nil, i.elsewhere(ref)
}

// elsewhere says where sightings are put apart: the gateway alone has them.
func (i *Inventory) elsewhere(ref string) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	g, d, err := i.find(ref)
	if err != nil {
		return err
	}
	return fmt.Errorf("inventory: %w here: what belongs to a device is decided where it is heard; do it on the gateway %s, where the device is %s",
		lanfolk.ErrInvalid, g.label(), d.id)
}

// clean checks what a person said and drops repetitions.
func clean(what string, in []string) ([]string, error) {
	if len(in) > maxSaid {
		return nil, fmt.Errorf("inventory: %d %ss, at most %d: %w", len(in), what, maxSaid, lanfolk.ErrInvalid)
	}
	var out []string
	for _, s := range in {
		s = strings.TrimSpace(s)
		switch {
		case s == "" || len(s) > maxSaidText:
			return nil, fmt.Errorf("inventory: a %s of %d bytes, want 1 to %d: %w", what, len(s), maxSaidText, lanfolk.ErrInvalid)
		case !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl):
			return nil, fmt.Errorf("inventory: the %s %q holds control characters: %w", what, s, lanfolk.ErrInvalid)
		case !slices.Contains(out, s):
			out = append(out, s)
		}
	}
	return out, nil
}

// say keeps what a person says, in the database first. It takes the place of what was said
// of those that turned out to be the device.
func (i *Inventory) say(ctx context.Context, ref string, change func(s *lanfolk.Said, own bool)) (*lanfolk.Device, error) {
	select {
	case i.saying <- struct{}{}:
		defer func() { <-i.saying }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	i.mu.Lock()
	g, d, err := i.find(ref)
	if err != nil {
		i.mu.Unlock()
		return nil, err
	}
	id := d.told.ID
	records := []lanfolk.DeviceRecord{{ID: id, Said: i.words[id]}}
	for _, a := range d.told.Aliases {
		if a = g.id + separator + a; !i.words[a].Empty() {
			records = append(records, lanfolk.DeviceRecord{ID: a, Said: i.words[a]})
		}
	}
	i.mu.Unlock()
	for n := range records {
		change(&records[n].Said, n == 0)
	}
	if err := i.o.Words.Commit(ctx, records); err != nil {
		return nil, fmt.Errorf("inventory: what was said of %s: %w", id, err)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if d.gone {
		return nil, fmt.Errorf("inventory: device %q: %w", clip(ref), lanfolk.ErrNotFound)
	}
	e := i.edit(g, "")
	e.touch(d, false)
	for _, r := range records {
		if i.words[r.ID] = r.Said; r.Said.Empty() {
			delete(i.words, r.ID)
		}
	}
	i.tell(e.events())
	return i.showDevice(g, d), nil
}

// unsay drops what was said of a gateway's devices.
func (i *Inventory) unsay(ctx context.Context, gateway string) error {
	i.mu.Lock()
	var ids []string
	for id := range i.words {
		if strings.HasPrefix(id, gateway+separator) {
			ids = append(ids, id)
		}
	}
	i.mu.Unlock()
	if len(ids) == 0 {
		return nil
	}
	if err := i.o.Words.Save(ctx, lanfolk.Batch{Forgotten: ids}); err != nil {
		return fmt.Errorf("inventory: what was said of devices of %s: %w", gateway, err)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, id := range ids {
		delete(i.words, id)
	}
	return nil
}
