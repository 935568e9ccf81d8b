package lanfolk

import (
	"slices"
	"strings"
	"time"
)

// Filter chooses devices and services. Its zero value chooses all of them; of
// the fields that are set, every one must fit.
type Filter struct {
	// Kind is KindDevice or KindService to watch only the one or the other.
	// Devices and Services ignore it.
	Kind     Kind
	Protocol string // a device fits that was heard by it
	Type     string // of a service; a device fits that offers one
	Gateway  string
	State    State
	// Since chooses what was first seen then or later: what is new.
	Since time.Time
	// Text occurs in a name, id, address, MAC, vendor, tag, type, host or
	// attribute, in any case.
	Text string
}

// MatchDevice says whether the filter chooses the device.
func (f *Filter) MatchDevice(d *Device) bool {
	switch {
	case f.Protocol != "" && !slices.Contains(d.Protocols, f.Protocol),
		f.Type != "" && !slices.ContainsFunc(d.Services, func(s *Service) bool { return s.Type == f.Type }),
		f.Gateway != "" && d.Gateway != f.Gateway,
		f.State != "" && d.State != f.State,
		!f.Since.IsZero() && d.FirstSeen.Before(f.Since):
		return false
	}
	return f.Text == "" || d.mentions(strings.ToLower(f.Text))
}

// MatchService says whether the filter chooses the service.
func (f *Filter) MatchService(s *Service) bool {
	switch {
	case f.Protocol != "" && s.Protocol != f.Protocol,
		f.Type != "" && s.Type != f.Type,
		f.Gateway != "" && s.Gateway != f.Gateway,
		f.State != "" && s.State != f.State,
		!f.Since.IsZero() && s.FirstSeen.Before(f.Since):
		return false
	}
	return f.Text == "" || s.mentions(strings.ToLower(f.Text))
}

// mentions says whether the device holds text, which is in lower case.
func (d *Device) mentions(text string) bool {
	if contains(text, d.ID, d.Vendor, d.Model, d.OS, d.Class) || contains(text, d.Aliases...) ||
		contains(text, d.Names...) || contains(text, d.Tags...) {
		return true
	}
	for _, m := range d.MACs {
		if strings.Contains(m.String(), text) {
			return true
		}
	}
	for _, a := range d.Addresses {
		if strings.Contains(a.String(), text) {
			return true
		}
	}
	return slices.ContainsFunc(d.Services, func(s *Service) bool { return s.mentions(text) })
}

// mentions says whether the service holds text, which is in lower case.
func (s *Service) mentions(text string) bool {
	if contains(text, s.ID, s.Name, s.Type, s.Host) {
		return true
	}
	for _, a := range s.Addresses {
		if strings.Contains(a.String(), text) {
			return true
		}
	}
	for k, v := range s.Attributes {
		if contains(text, k, v) {
			return true
		}
	}
	return false
}

func contains(text string, in ...string) bool {
	return slices.ContainsFunc(in, func(s string) bool { return strings.Contains(strings.ToLower(s), text) })
}
