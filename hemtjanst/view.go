package hemtjanst

import "iter"

// state is what is so about a device.
func (m *Model) state(d *device) State {
	if p := d.provider; p != nil && !p.present && m.devices[p.id] == nil {
		return Unreachable
	}
	return said(d)
}

func said(d *device) State {
	if d.root == nil {
		return Unknown
	}
	return d.root.said
}

func (m *Model) view(d *device) Device {
	v := Device{ID: d.id, Metadata: d.meta, State: m.state(d), Said: said(d), Problem: d.problem}
	if r := d.root; r != nil {
		v.Root = r.name
		if r.first != d || d.nextAtRoot != nil {
			v.Problem |= DuplicateRoot
		}
	}
	if p := d.provider; p != nil {
		v.Provider = p.id
		if m.devices[p.id] != nil {
			v.Problem |= Collision
		}
	}
	if p := m.providers[d.id]; p != nil && p.present {
		v.Problem |= Collision
	}
	return v
}

func (m *Model) viewProvider(p *provider) Provider {
	return Provider{ID: p.id, Present: p.present, Payload: p.payload, Since: p.since, Devices: p.count}
}

// Device returns a device.
func (m *Model) Device(id string) (Device, bool) {
	if d := m.devices[id]; d != nil {
		return m.view(d), true
	}
	return Device{}, false
}

// Provider returns a provider that is there, or that devices name.
func (m *Model) Provider(id string) (Provider, bool) {
	if p := m.providers[id]; p != nil {
		return m.viewProvider(p), true
	}
	return Provider{}, false
}

// Devices returns all devices, in no order. The model must not change meanwhile, as with all that follow.
func (m *Model) Devices() iter.Seq[Device] {
	return func(yield func(Device) bool) {
		for _, d := range m.devices {
			if !yield(m.view(d)) {
				return
			}
		}
	}
}

// DevicesOf returns the devices that name a provider.
func (m *Model) DevicesOf(providerID string) iter.Seq[Device] {
	return func(yield func(Device) bool) {
		if p := m.providers[providerID]; p != nil {
			for d := p.first; d != nil; d = d.next {
				if !yield(m.view(d)) {
					return
				}
			}
		}
	}
}

// DevicesAt returns the devices with a root.
func (m *Model) DevicesAt(rootName string) iter.Seq[Device] {
	return func(yield func(Device) bool) {
		if r := m.roots[rootName]; r != nil {
			for d := r.first; d != nil; d = d.nextAtRoot {
				if !yield(m.view(d)) {
					return
				}
			}
		}
	}
}

// Providers returns all providers that are there or that devices name: those of them that aren't
// Present are gone, and so their devices can't be reached.
func (m *Model) Providers() iter.Seq[Provider] {
	return func(yield func(Provider) bool) {
		for _, p := range m.providers {
			if !yield(m.viewProvider(p)) {
				return
			}
		}
	}
}
