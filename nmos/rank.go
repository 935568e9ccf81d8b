package nmos

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// Needs is what a client asks of an API.
type Needs struct {
	Versions    []Version // those that the client speaks; none means any
	Proto       string    // "http" or "https"; "" means any
	Auth        *bool     // whether authorization must, or must not, be needed; nil means any
	Development bool      // priorities of 100 and more count, too
}

// Discarded is an advertisement that can't be used, and why.
type Discarded struct {
	Found
	Reason error
}

// Ranked is a list of advertisements in order of preference.
type Ranked struct {
	// Groups are in order; the members of a group are equal and in order of
	// name, so that two calls give the same list.
	Groups    [][]*Advert
	Discarded []Discarded
}

// Rank parses what was found, discards what doesn't fit, and puts the rest in order: by
// the latest version that both sides speak, then by priority (IS-06 v1.0.1, APIs: Discovery,
// step 5). A version that the client doesn't speak is of no use to it and gives
// no preference. Of several that name the same API, host, port and protocol,
// the best is kept (IS-04 v1.3.1, Upgrade Path).
func (n Needs) Rank(kinds []Kind, found []Found) Ranked {
	var r Ranked
	var list []ranking
	for _, f := range found {
		a, v, err := n.check(kinds, f)
		if err != nil {
			r.Discarded = append(r.Discarded, Discarded{f, err})
			continue
		}
		list = append(list, ranking{a, v})
	}
	slices.SortStableFunc(list, func(x, y ranking) int { return cmp.Or(x.compare(y), strings.Compare(x.Name, y.Name)) })
	places := map[place]string{}
	var last ranking
	for _, x := range list {
		at := placeOf(x.Proto, x.Targets[0])
		if first, dup := places[at]; dup {
			r.Discarded = append(r.Discarded, Discarded{x.Found, reason(fmt.Sprintf("the same API as %q", first))})
			continue
		}
		places[at] = x.Name
		if len(r.Groups) == 0 || x.compare(last) != 0 {
			r.Groups = append(r.Groups, nil)
		}
		group := &r.Groups[len(r.Groups)-1]
		*group = append(*group, x.Advert)
		last = x
	}
	return r
}

// ranking is an advert with the version that a client would speak with it.
type ranking struct {
	*Advert
	version Version
}

func (x ranking) compare(y ranking) int {
	return cmp.Or(y.version.Compare(x.version), cmp.Compare(x.Priority, y.Priority))
}

// check parses a service and says whether it fits.
func (n Needs) check(kinds []Kind, f Found) (*Advert, Version, error) {
	i := slices.IndexFunc(kinds, func(k Kind) bool { return strings.EqualFold(k.Service, f.Service) })
	if i < 0 {
		return nil, Version{}, reason(fmt.Sprintf("%s wasn't asked for", f.Service))
	}
	a, err := Parse(kinds[i], f)
	if err != nil {
		return nil, Version{}, err
	}
	v, ok := n.version(a)
	if !ok {
		return nil, v, reason(fmt.Sprintf("api_ver %s: this client speaks %s", FormatVersions(a.Versions), FormatVersions(n.Versions)))
	}
	switch {
	case n.Proto != "" && a.Proto != n.Proto:
		return nil, v, reason(fmt.Sprintf("api_proto is %s: this client needs %s", a.Proto, n.Proto))
	case n.Auth != nil && a.Kind.HasAuth && a.Auth && !*n.Auth:
		return nil, v, reason("api_auth is true: this client has no authorization")
	case n.Auth != nil && a.Kind.HasAuth && !a.Auth && *n.Auth:
		return nil, v, reason("api_auth is false: this client insists on authorization")
	case a.Priority > MaxLive && !n.Development:
		return nil, v, reason(fmt.Sprintf("pri %d is for development, 0 to %d is live", a.Priority, MaxLive))
	}
	return a, v, nil
}

// version returns the latest version that both sides speak, and false if there
// is none. A kind without versions has the zero Version.
func (n Needs) version(a *Advert) (Version, bool) {
	switch {
	case !a.Kind.HasVersion || len(a.Versions) == 0:
		return Version{}, true
	case len(n.Versions) == 0:
		return a.Versions[len(a.Versions)-1], true
	}
	return common(a.Versions, n.Versions)
}

// Order returns the adverts in the order in which to try them: the groups in
// order, the members of each shuffled by r, so that clients spread over equals.
func (l Ranked) Order(r *rand.Rand) []*Advert {
	var out []*Advert
	for _, g := range l.Groups {
		from := len(out)
		out = append(out, g...)
		r.Shuffle(len(g), func(i, j int) { out[from+i], out[from+j] = out[from+j], out[from+i] })
	}
	return out
}
