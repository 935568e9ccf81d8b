package feed

import (
	"encoding/json"
	"fmt"
	"math"
	"net/netip"
	"time"

	"github.com/lanfolk/lanfolk"
)

// Bounds of a document beside its length.
const (
	maxList = 512
	maxText = 4 << 10 // bytes
	// maxMilli is the last moment of the year 9999: JSON has no later one.
	maxMilli = 253402300799999
)

// milli is a moment in milliseconds since 1970, 0 for none.
func milli(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return min(max(t.UnixMilli(), 0), maxMilli)
}

func moment(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

// deviceDoc is a device as it travels.
type deviceDoc struct {
	Aliases   []string             `json:"aliases,omitempty"`
	Names     []string             `json:"names,omitempty"`
	MACs      []lanfolk.MAC        `json:"macs,omitempty"`
	Addresses []netip.Addr         `json:"addresses,omitempty"`
	Vendor    string               `json:"vendor,omitempty"`
	Model     string               `json:"model,omitempty"`
	ModelSure float64              `json:"model_confidence,omitempty"`
	OS        string               `json:"os,omitempty"`
	OSSure    float64              `json:"os_confidence,omitempty"`
	Class     string               `json:"class,omitempty"`
	ClassSure float64              `json:"class_confidence,omitempty"`
	State     lanfolk.State        `json:"state"`
	Protocols []string             `json:"protocols,omitempty"`
	Tags      []string             `json:"tags,omitempty"`
	Separated []lanfolk.Identifier `json:"separated,omitempty"`
	RandomMAC bool                 `json:"random_mac,omitempty"`
	First     int64                `json:"first_seen,omitempty"`
	Last      int64                `json:"last_seen,omitempty"`
}

// DeviceDoc returns the document of a device. Without times it says not when the device
// was heard last: as long as nothing else changes it stays the same.
func DeviceDoc(d *lanfolk.Device, times bool) []byte {
	x := deviceDoc{
		Aliases: d.Aliases[:min(len(d.Aliases), maxList)], Names: d.Names, MACs: d.MACs, Addresses: d.Addresses, Vendor: d.Vendor,
		Model: d.Model, ModelSure: d.ModelConfidence, OS: d.OS, OSSure: d.OSConfidence, Class: d.Class, ClassSure: d.ClassConfidence,
		State: d.State, Protocols: d.Protocols, Tags: d.Tags, Separated: bare(d.Separated[:min(len(d.Separated), maxList)]), RandomMAC: d.RandomMAC, First: milli(d.FirstSeen),
	}
	if times {
		x.Last = milli(d.LastSeen)
	}
	b := marshal(x)
	if len(b) > MaxDoc { // of a device that swallowed hundreds
		x.Aliases, x.Separated = x.Aliases[:min(len(x.Aliases), 64)], x.Separated[:min(len(x.Separated), 16)]
		b = marshal(x)
	}
	return b
}

// marshal returns JSON. What this package marshals always can be.
func marshal(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

// bare returns identifiers without their gateway, which is the sender.
func bare(ids []lanfolk.Identifier) []lanfolk.Identifier {
	out := make([]lanfolk.Identifier, len(ids))
	for n, i := range ids {
		i.Gateway = ""
		out[n] = i
	}
	return out
}

// ParseDevice reads a device's document. ID, Services and Gateway are left to the caller.
func ParseDevice(doc []byte) (*lanfolk.Device, error) {
	var x deviceDoc
	if err := unmarshal(doc, &x); err != nil {
		return nil, err
	}
	var c checks
	c.list("aliases", len(x.Aliases))
	for _, id := range x.Aliases {
		c.that(GoodID(id), "an alias is no id")
	}
	c.texts("names", x.Names)
	c.list("macs", len(x.MACs))
	c.addresses(x.Addresses)
	c.text("vendor", x.Vendor)
	c.answer("model", x.Model, x.ModelSure)
	c.answer("os", x.OS, x.OSSure)
	c.answer("class", x.Class, x.ClassSure)
	c.state(x.State)
	c.texts("protocols", x.Protocols)
	c.texts("tags", x.Tags)
	c.identifiers("separated", x.Separated)
	c.times(x.First, x.Last)
	if c.err != nil {
		return nil, c.err
	}
	return &lanfolk.Device{
		Aliases: full(x.Aliases), Names: full(x.Names), MACs: full(x.MACs), Addresses: full(x.Addresses), Vendor: x.Vendor,
		Model: x.Model, ModelConfidence: x.ModelSure, OS: x.OS, OSConfidence: x.OSSure, Class: x.Class, ClassConfidence: x.ClassSure,
		State: x.State, Protocols: full(x.Protocols), Tags: full(x.Tags), Separated: bare(x.Separated), RandomMAC: x.RandomMAC,
		FirstSeen: moment(x.First), LastSeen: moment(x.Last),
	}, nil
}

// full returns a list that isn't nil and has no room to spare.
func full[T any](s []T) []T {
	if len(s) == cap(s) && s != nil {
		return s
	}
	return append(make([]T, 0, len(s)), s...)
}

// serviceDoc is a service as it travels.
type serviceDoc struct {
	Name       string            `json:"name,omitempty"`
	Type       string            `json:"type,omitempty"`
	Protocol   string            `json:"protocol,omitempty"`
	Host       string            `json:"host,omitempty"`
	Addresses  []netip.Addr      `json:"addresses,omitempty"`
	Port       uint16            `json:"port,omitempty"`
	Attributes map[string]string `json:"attributes,omitempty"`
	State      lanfolk.State     `json:"state"`
	Device     string            `json:"device,omitempty"`
	Interface  string            `json:"interface,omitempty"`
	First      int64             `json:"first_seen,omitempty"`
	Last       int64             `json:"last_seen,omitempty"`
	Expires    int64             `json:"expires,omitempty"`
}

// ServiceDoc returns the document of a service. Without times it is without those that
// each refresh moves.
func ServiceDoc(s *lanfolk.Service, times bool) []byte {
	x := serviceDoc{
		Name: s.Name, Type: s.Type, Protocol: s.Protocol, Host: s.Host, Addresses: s.Addresses, Port: s.Port, Attributes: s.Attributes,
		State: s.State, Device: s.Device, Interface: s.Interface, First: milli(s.FirstSeen),
	}
	if times {
		x.Last, x.Expires = milli(s.LastSeen), milli(s.Expires)
	}
	return marshal(x)
}

// ParseService reads a service's document. ID and Gateway are left to the caller.
func ParseService(doc []byte) (*lanfolk.Service, error) {
	var x serviceDoc
	if err := unmarshal(doc, &x); err != nil {
		return nil, err
	}
	var c checks
	for what, text := range map[string]string{"name": x.Name, "type": x.Type, "protocol": x.Protocol, "host": x.Host, "interface": x.Interface} {
		c.text(what, text)
	}
	c.addresses(x.Addresses)
	c.list("attributes", len(x.Attributes))
	for k, v := range x.Attributes {
		c.text("attributes", k)
		c.text("attributes", v)
	}
	c.state(x.State)
	c.that(x.Device == "" || GoodID(x.Device), "the device is no id")
	c.times(x.First, x.Last, x.Expires)
	if c.err != nil {
		return nil, c.err
	}
	if x.Attributes == nil {
		x.Attributes = map[string]string{}
	}
	return &lanfolk.Service{
		Name: x.Name, Type: x.Type, Protocol: x.Protocol, Host: x.Host, Addresses: full(x.Addresses), Port: x.Port, Attributes: x.Attributes,
		State: x.State, Device: x.Device, Interface: x.Interface, FirstSeen: moment(x.First), LastSeen: moment(x.Last), Expires: moment(x.Expires),
	}, nil
}

// checks keeps the first thing that is wrong with a document.
type checks struct{ err error }

func (c *checks) that(ok bool, why string, args ...any) {
	if !ok && c.err == nil {
		c.err = fmt.Errorf(why, args...)
	}
}

func (c *checks) list(what string, n int) {
	c.that(n <= maxList, "%s: %d of them, at most %d", what, n, maxList)
}

func (c *checks) text(what, s string) {
	c.that(len(s) <= maxText, "%s: %d bytes, at most %d", what, len(s), maxText)
}

func (c *checks) texts(what string, all []string) {
	c.list(what, len(all))
	for _, s := range all {
		c.text(what, s)
	}
}

func (c *checks) addresses(all []netip.Addr) {
	c.list("addresses", len(all))
	for _, a := range all {
		c.that(a.IsValid(), "addresses: one is empty")
	}
}

func (c *checks) answer(what, value string, sure float64) {
	c.text(what, value)
	c.that(sure >= 0 && sure <= 1 && !math.IsNaN(sure), "%s_confidence: %v, want 0 to 1", what, sure)
}

func (c *checks) state(s lanfolk.State) {
	switch s {
	case lanfolk.Reachable, lanfolk.Unreachable, lanfolk.Unknown:
	default:
		c.that(false, "state: %q is none", clip(string(s)))
	}
}

func (c *checks) identifiers(what string, ids []lanfolk.Identifier) {
	c.list(what, len(ids))
	for _, i := range ids {
		c.text(what, string(i.Kind))
		c.text(what, i.Value)
		c.text(what, i.Link)
	}
}

func (c *checks) times(all ...int64) {
	for _, ms := range all {
		c.that(ms >= 0 && ms <= maxMilli, "%d is no time in milliseconds", ms)
	}
}
