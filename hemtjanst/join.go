package hemtjanst

import "strings"

// attach joins a device with the root and the provider that its metadata name.
func (m *Model) attach(d *device) {
	var rootName, providerID string
	if d.problem == 0 {
		var hasRoot, hasProvider, rootOK, providerOK bool
		walk(d.meta.raw, func(at member) {
			switch at.name {
			case "root":
				hasRoot = true
				rootName, rootOK = unquote(d.meta.raw[at.value:at.end])
			case "providerID":
				hasProvider = true
				providerID, providerOK = unquote(d.meta.raw[at.value:at.end])
			}
		})
		switch {
		case !hasRoot || !rootOK || rootName == "":
			rootName = ""
			d.problem |= NoRoot
		case unusable(rootName) != "":
			rootName = ""
			d.problem |= UnusableRoot
		}
		if hasProvider && (!providerOK || providerID != "" && unusable(providerID) != "") {
			providerID = ""
			d.problem |= BadProvider
		}
	}
	if d.root == nil || d.root.name != rootName {
		m.leaveRoot(d)
		if rootName != "" {
			m.joinRoot(d, rootName)
		}
	}
	if d.provider == nil || d.provider.id != providerID {
		m.leaveProvider(d)
		if providerID != "" {
			m.joinProvider(d, providerID)
		}
	}
}

func (m *Model) joinRoot(d *device, name string) {
	r := m.roots[name]
	if r == nil {
		r = m.newRoot(name)
	} else if r.first == nil {
		m.orphans--
	}
	d.root, d.nextAtRoot, d.prevAtRoot = r, r.first, nil
	if r.first != nil {
		r.first.prevAtRoot = d
	}
	r.first = d
}

func (m *Model) leaveRoot(d *device) {
	r := d.root
	if r == nil {
		return
	}
	if d.prevAtRoot != nil {
		d.prevAtRoot.nextAtRoot = d.nextAtRoot
	} else {
		r.first = d.nextAtRoot
	}
	if d.nextAtRoot != nil {
		d.nextAtRoot.prevAtRoot = d.prevAtRoot
	}
	d.root, d.nextAtRoot, d.prevAtRoot = nil, nil, nil
	if r.first == nil {
		if r.there && m.orphans < orDefault(m.MaxOrphans, DefaultMaxOrphans) {
			m.orphans++
		} else {
			m.dropRoot(r)
		}
	}
}

func (m *Model) newRoot(name string) *root {
	r := &root{name: strings.Clone(name)}
	if m.roots == nil {
		m.roots = map[string]*root{}
	}
	m.roots[r.name] = r
	m.bytes += len(name)
	return r
}

func (m *Model) dropRoot(r *root) {
	delete(m.roots, r.name)
	m.bytes -= len(r.name)
}

func (m *Model) joinProvider(d *device, id string) {
	p := m.providers[id]
	if p == nil {
		p = m.newProvider(id)
	}
	d.provider, d.next, d.prev = p, p.first, nil
	if p.first != nil {
		p.first.prev = d
	}
	p.first = d
	p.count++
}

func (m *Model) leaveProvider(d *device) {
	p := d.provider
	if p == nil {
		return
	}
	if d.prev != nil {
		d.prev.next = d.next
	} else {
		p.first = d.next
	}
	if d.next != nil {
		d.next.prev = d.prev
	}
	d.provider, d.next, d.prev = nil, nil, nil
	if p.count--; p.count == 0 && !p.present {
		m.dropProvider(p)
	}
}

func (m *Model) newProvider(id string) *provider {
	p := &provider{id: strings.Clone(id)}
	if m.providers == nil {
		m.providers = map[string]*provider{}
	}
	m.providers[p.id] = p
	m.bytes += len(id)
	return p
}

func (m *Model) dropProvider(p *provider) {
	delete(m.providers, p.id)
	m.bytes -= len(p.id) + len(p.payload)
}
