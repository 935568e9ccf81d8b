package lanfolk

// Find returns the inventory's picture of what a sighting with this identity
// was about: the service it told of, or for another kind its device. Both are
// nil while no such sighting has been taken in or after it ended.
func (r *Registry) Find(id ID) (*Service, *Device) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.core
	sc := c.scopes[scope{Protocol: id.Protocol, Gateway: id.Gateway, Link: id.Link, Kind: id.Kind}]
	if sc == nil {
		return nil, nil
	}
	f := c.facts.find(c.hash(sc.num, id.Key), func(f *fact) bool { return f.scope == sc && f.key() == id.Key })
	switch {
	case f == nil || f.dev == nil || f.gone:
		return nil, nil
	case f.service():
		return f.picture(), nil
	}
	return nil, c.picture(f.dev.root())
}
