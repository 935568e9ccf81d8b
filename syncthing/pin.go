package syncthing

import "net/netip"

// pin is the prefixes that a device was first announced from.
type pin struct {
	v4   [3]byte
	v6   [8]byte
	have pinned
}

type pinned uint8

const (
	pinned4 pinned = 1 << iota
	pinned6
)

// pins are those of a directory's devices, by their number. They take memory once there are any.
type pins struct{ chunks []*[chunkSize]pin }

// at returns a device's pin; nil if there is none.
func (p *pins) at(i uint32) *pin {
	if n := int((i - 1) / chunkSize); n < len(p.chunks) && p.chunks[n] != nil {
		return &p.chunks[n][(i-1)%chunkSize]
	}
	return nil
}

// make returns a device's pin, to be set.
func (p *pins) make(i uint32) *pin {
	n := int((i - 1) / chunkSize)
	for len(p.chunks) <= n {
		p.chunks = append(p.chunks, nil)
	}
	if p.chunks[n] == nil {
		p.chunks[n] = new([chunkSize]pin)
	}
	return &p.chunks[n][(i-1)%chunkSize]
}

func (p *pins) clear(i uint32) {
	if at := p.at(i); at != nil {
		*at = pin{}
	}
}

// set pins a device to the prefix of src, unless it has one of that family.
func (p *pins) set(i uint32, src netip.Addr) {
	at := p.make(i)
	switch b := src.As16(); {
	case !src.IsValid():
	case src.Unmap().Is4() && at.have&pinned4 == 0:
		at.have |= pinned4
		copy(at.v4[:], b[12:])
	case src.Unmap().Is6() && at.have&pinned6 == 0:
		at.have |= pinned6
		copy(at.v6[:], b[:])
	}
}

// conflict says whether a device, that is known, is pinned to another prefix than that of src.
func (d *Directory) conflict(i uint32, src netip.Addr) bool {
	if !d.alive(d.now, d.addresses.at(d.devices.at(i).first)) { // forgotten but for Expire
		d.pins.clear(i)
	}
	at := d.pins.at(i)
	if at == nil || !src.IsValid() {
		return false
	}
	b := src.As16()
	if src.Unmap().Is4() {
		return at.have&pinned4 != 0 && at.v4 != [3]byte(b[12:15])
	}
	return at.have&pinned6 != 0 && at.v6 != [8]byte(b[:8])
}
