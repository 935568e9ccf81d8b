package hemtjanst

func (m *Model) tellRoot(first *device, events []Event) []Event {
	for d := first; d != nil; d = d.nextAtRoot {
		events = m.tell(d, events)
	}
	return events
}

func (m *Model) tellAll(p *provider, events []Event) []Event {
	for d := p.first; d != nil; d = d.next {
		events = m.tell(d, events)
	}
	return events
}

// tell appends an event if a device isn't as it was when it was told last.
func (m *Model) tell(d *device, events []Event) []Event {
	if !m.complete {
		return events
	}
	now := uint8(1)
	if !m.lean {
		now += uint8(m.state(d))
	}
	if d.told == now && !d.changed {
		return events
	}
	kind := DeviceChanged
	if d.told == 0 {
		kind = DeviceAdded
	}
	d.told, d.changed = now, false
	return append(events, Event{Kind: kind, Device: m.view(d)})
}

func (m *Model) tellProvider(p *provider, events []Event) []Event {
	if !m.complete || !p.present || p.told && !p.changed {
		return events
	}
	kind := ProviderChanged
	if !p.told {
		kind = ProviderAdded
	}
	p.told, p.changed = true, false
	return append(events, Event{Kind: kind, Provider: m.viewProvider(p)})
}
