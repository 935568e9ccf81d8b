package passive

import (
	"errors"
	"net/netip"
	"strconv"

	"github.com/lanfolk/lanfolk/syncthing"
)

// Ports of Syncthing's discovery: local announcements by broadcast and by multicast, and
// what goes to and comes from a global server.
const (
	portSyncthing       = 21025
	portSyncthing6      = 21026
	portSyncthingGlobal = 22026
)

// syncthingMessage reads a packet of the Syncthing Device Discovery Protocol v2. It claims nothing: no
// announcement is signed, and the sender's address is known by ARP and neighbour discovery.
// Packets of other versions are nothing to count.
func (d *Decoder) syncthingMessage(c *context, b []byte) drop {
	m := &d.announcement
	err := m.Parse(b)
	asks := errors.Is(err, syncthing.ErrMagic)
	var q syncthing.Query
	if asks {
		q, err = syncthing.ParseQuery(b)
	}
	switch {
	case errors.Is(err, syncthing.ErrMagic):
		return dropNone
	case err != nil && !c.whole:
		return dropSyncthingCut
	case err != nil:
		return dropSyncthingForm
	}
	d.packet(protoSyncthing)
	f := d.start(c, ProtoSyncthing)
	if asks {
		f.Query = d.deviceText(q.ID)
		d.field("message", "query")
	} else {
		f.Response = true
		f.Query = d.deviceText(m.ID)
		message := "announcement"
		if c.src.Port() == portSyncthingGlobal && c.dst.Port() != portSyncthingGlobal {
			message = "answer"
		}
		d.field("message", message)
		if len(m.Addresses) > 0 {
			d.fieldText("addresses", d.addressesText(m.Addresses))
		}
		if len(m.Extra) > 0 {
			d.buf2 = d.buf2[:0]
			for i := range m.Extra {
				if i > 0 {
					d.buf2 = append(d.buf2, ',')
				}
				d.buf2 = append(d.buf2, d.deviceText(m.Extra[i].ID)...)
			}
			d.fieldText("extras", d.buf2)
		}
	}
	d.finish(c)
	return dropNone
}

// deviceText returns a device ID as Syncthing writes it.
func (d *Decoder) deviceText(id syncthing.DeviceID) string {
	d.buf, _ = id.AppendText(d.buf[:0]) // it has no error
	return d.text.get(d.buf)
}

// addressesText writes addresses into the scratch buffer; ":22000" is one without an IP.
func (d *Decoder) addressesText(all []netip.AddrPort) []byte {
	d.buf = d.buf[:0]
	for i, a := range all {
		if i > 0 {
			d.buf = append(d.buf, ',')
		}
		if a.Addr().IsValid() {
			d.buf = a.AppendTo(d.buf)
		} else {
			d.buf = strconv.AppendUint(append(d.buf, ':'), uint64(a.Port()), 10)
		}
	}
	return d.buf
}
