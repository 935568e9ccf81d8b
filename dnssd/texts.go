package dnssd

import (
	"fmt"
	"slices"
	"time"

	"github.com/lanfolk/lanfolk/dnswire"
)

// texts fills in what the TXT records of a service say.
func (c *catalog) texts(now time.Time, s *service, facts []*fact, pic *Service) {
	var list []TXT
	var broken error
	var newest *fact
	for _, f := range facts {
		t, err := textOf(f.rr)
		if err != nil {
			// Of several the same one each time.
			if broken == nil || err.Error() < broken.Error() {
				broken = err
			}
			continue
		}
		list = append(list, t)
		if newest == nil || f.since > newest.since || f.since == newest.since && slices.Compare(t, pic.TXT) < 0 {
			newest, pic.TXT = f, t
		}
	}
	if newest == nil {
		pic.TXT = nil
	}
	if c.replaces(now, s, facts) {
		return // the old one stays for another second: there may be just one
	}
	pic.Broken, pic.TXTs = broken, nil
	if len(list) > 1 {
		slices.SortFunc(list, slices.Compare[TXT])
		pic.TXTs = list
	}
}

// textOf returns the strings of a TXT record. One empty string says the same
// as none (RFC 6763 §6.1).
func textOf(rr dnswire.RR) (TXT, error) {
	s, ok := rr.TXT()
	if !ok {
		return nil, cutShort(rr.Data)
	}
	if len(s) == 1 && s[0] == "" {
		return nil, nil
	}
	return s, nil
}

// cutShort says which string of a TXT record is longer than what is left of it.
func cutShort(data string) error {
	n := 1
	for len(data) > int(data[0])+1 {
		data = data[1+int(data[0]):]
		n++
	}
	return fmt.Errorf("dnssd: TXT record: string %d is said to have %d bytes, %d are left", n, data[0], len(data)-1)
}
