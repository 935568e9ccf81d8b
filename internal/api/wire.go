package api

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"time"
	"unicode"

	"github.com/danielgtaylor/huma/v2"

	"github.com/lanfolk/lanfolk"
)

// What goes out has no null where a list belongs, and all its times in UTC.
// The inventory's own objects must not be changed: these are copies.

func wireDevices(from []*lanfolk.Device) []*lanfolk.Device {
	to := make([]*lanfolk.Device, len(from))
	for i, d := range from {
		to[i] = wireDevice(d)
	}
	return to
}

func wireDevice(d *lanfolk.Device) *lanfolk.Device {
	c := *d
	c.Aliases, c.Names, c.MACs, c.Addresses = list(c.Aliases), list(c.Names), list(c.MACs), list(c.Addresses)
	c.Protocols, c.Tags, c.Separated = list(c.Protocols), list(c.Tags), list(c.Separated)
	c.Services = wireServices(c.Services)
	c.FirstSeen, c.LastSeen = c.FirstSeen.UTC(), c.LastSeen.UTC()
	return &c
}

func wireServices(from []*lanfolk.Service) []*lanfolk.Service {
	to := make([]*lanfolk.Service, len(from))
	for i, s := range from {
		to[i] = wireService(s)
	}
	return to
}

func wireService(s *lanfolk.Service) *lanfolk.Service {
	utc := s.FirstSeen.Location() == time.UTC && s.LastSeen.Location() == time.UTC && s.Expires.Location() == time.UTC
	if utc && s.Addresses != nil && s.Attributes != nil {
		return s
	}
	c := *s
	c.Addresses = list(c.Addresses)
	if c.Attributes == nil {
		c.Attributes = map[string]string{}
	}
	c.FirstSeen, c.LastSeen, c.Expires = c.FirstSeen.UTC(), c.LastSeen.UTC(), c.Expires.UTC()
	return &c
}

func wireEvidence(from []lanfolk.Evidence) []lanfolk.Evidence {
	to := make([]lanfolk.Evidence, len(from))
	for i, e := range from {
		e.Time, e.Identifiers = e.Time.UTC(), list(e.Identifiers)
		to[i] = e
	}
	return to
}

func wireReasons(from []lanfolk.Conclusion) []lanfolk.Conclusion {
	to := make([]lanfolk.Conclusion, len(from))
	for i, r := range from {
		r.Signals = list(r.Signals)
		to[i] = r
	}
	return to
}

func wireObservation(o lanfolk.Observation) lanfolk.Observation {
	o.First, o.Last = o.First.UTC(), o.Last.UTC()
	return o
}

func list[T string | lanfolk.MAC | netip.Addr | lanfolk.Identifier | lanfolk.Signal](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

// checkWords refuses names and tags that a person can't have meant: empty
// ones, and what shows as nothing or as something else.
func checkWords(what string, words []string, limit int) error {
	for i, w := range words {
		where := fmt.Sprintf("body.%s[%d]", what, i)
		switch {
		case strings.TrimSpace(w) != w || w == "":
			return refused(where, "is empty, or begins or ends with a space", w)
		case len(w) > limit:
			return refused(where, fmt.Sprintf("has %d bytes; at most %d", len(w), limit), w)
		case strings.ContainsFunc(w, func(r rune) bool { return r != ' ' && !unicode.IsPrint(r) }):
			return refused(where, "holds a character that can't be seen", w)
		}
	}
	return nil
}

func refused(where, why string, value any) error {
	return huma.NewError(http.StatusUnprocessableEntity, "validation failed",
		&huma.ErrorDetail{Location: where, Message: why, Value: value})
}
