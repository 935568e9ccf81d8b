package broker

import (
	"bufio"
	"fmt"
	"io"
	"strings"
)

// Rules say which topics a client may read and write, as in Mosquitto's ACL
// file:
//
//	topic read public/#	everyone, with no user line above
//	user alice
//	topic readwrite home/#
//	topic deny home/secret/#
//	pattern write device/%u	every user; %u is its name, %c its client id
//
// What no line allows is denied, and deny beats what allows.
type Rules struct {
	anonymous []rule // for clients without a user
	users     map[string][]rule
	patterns  []rule
}

type rule struct {
	filter                  string
	pattern                 bool // %u and %c stand for something
	read, write, denyAccess bool
}

// HemtjanstRules are the rules of a broker that has users but no rules file: a
// user reads everything and writes what belongs to a device or provider of its
// own name. current/+ is no device's: who reads a snapshot says something there,
// to hear when it is over.
func HemtjanstRules() *Rules {
	r, err := ReadRules(strings.NewReader(`topic readwrite #
pattern read #
pattern write device/%u
pattern write device/%u/#
pattern write provider/%u
pattern write current/%u/#
pattern write current/+
pattern write desired/%u/#
`))
	if err != nil {
		panic(err) // it is part of the program
	}
	return r
}

// ReadRules reads an ACL file. Errors name the line.
func ReadRules(r io.Reader) (*Rules, error) {
	rules := &Rules{users: make(map[string][]rule)}
	lines := bufio.NewScanner(r)
	user, named := "", false
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		word, rest, _ := strings.Cut(line, " ")
		rest = strings.TrimSpace(rest)
		switch word {
		case "user":
			if rest == "" {
				return nil, fmt.Errorf("line %d: user without a name", n)
			}
			user, named = rest, true
			continue
		case "topic", "pattern":
		default:
			return nil, fmt.Errorf("line %d: %q: want user, topic or pattern", n, word)
		}
		x, err := parseRule(rest)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		switch {
		case word == "pattern":
			x.pattern = true
			rules.patterns = append(rules.patterns, x)
		case named:
			rules.users[user] = append(rules.users[user], x)
		default:
			rules.anonymous = append(rules.anonymous, x)
		}
	}
	return rules, lines.Err()
}

// parseRule reads "[read|write|readwrite|deny] FILTER".
func parseRule(s string) (rule, error) {
	access, filter, ok := strings.Cut(s, " ")
	x := rule{filter: strings.TrimSpace(filter)}
	switch {
	case ok && access == "read":
		x.read = true
	case ok && access == "write":
		x.write = true
	case ok && access == "readwrite":
		x.read, x.write = true, true
	case ok && access == "deny":
		x.denyAccess = true
	default: // a topic may hold blanks
		x.filter, x.read, x.write = s, true, true
	}
	if err := checkFilter(x.filter); err != nil {
		return x, err
	}
	return x, nil
}

// checkFilter returns an error if s is no topic filter, MQTT 5 §4.7.1.
func checkFilter(s string) error {
	if s == "" {
		return fmt.Errorf("the topic is missing")
	}
	levels := strings.Split(s, "/")
	for i, l := range levels {
		if strings.Contains(l, "#") && (l != "#" || i != len(levels)-1) || strings.Contains(l, "+") && l != "+" {
			return fmt.Errorf("topic %q: # stands alone at the end, + alone in its level", s)
		}
	}
	return nil
}

// grant is what one client may do.
type grant struct {
	rules   []rule // with nothing left to stand for something else
	anyRead bool   // every topic that doesn't begin with $
	any     bool   // the same, for writing, too
}

// grant returns what a client may do. user is "" for an anonymous one.
func (r *Rules) grant(user, client string) grant {
	if r == nil {
		return grant{anyRead: true, any: true}
	}
	var g grant
	if user == "" {
		g.rules = append(g.rules, r.anonymous...)
	} else {
		g.rules = append(g.rules, r.users[user]...)
	}
	for _, p := range r.patterns {
		uses := strings.Contains(p.filter, "%u") && !ownable(user) || strings.Contains(p.filter, "%c") && !ownable(client)
		if uses { // a name with a wildcard in it would be more than a name
			continue
		}
		p.filter = strings.NewReplacer("%u", user, "%c", client).Replace(p.filter)
		g.rules = append(g.rules, p)
	}
	denies := false
	for _, x := range g.rules {
		denies = denies || x.denyAccess
	}
	for _, x := range g.rules {
		g.anyRead = g.anyRead || x.filter == "#" && x.read && !denies
		g.any = g.any || x.filter == "#" && x.read && x.write && !denies
	}
	return g
}

func ownable(name string) bool { return name != "" && !strings.ContainsAny(name, "+#/$") }

func (g grant) mayRead(topic string) bool {
	return !strings.HasPrefix(topic, "$") && (g.anyRead || g.may(topic, func(x rule) bool { return x.read }))
}

func (g grant) mayWrite(topic string) bool {
	return !strings.HasPrefix(topic, "$") && (g.any || g.may(topic, func(x rule) bool { return x.write }))
}

func (g grant) may(topic string, allows func(rule) bool) bool {
	ok := false
	for _, x := range g.rules {
		if !x.denyAccess && (ok || !allows(x)) || !matches(x.filter, topic) {
			continue
		}
		if x.denyAccess {
			return false
		}
		ok = true
	}
	return ok
}

// maySubscribe says whether a filter can match anything that may be read; each
// message is asked about once more when it is delivered.
func (g grant) maySubscribe(filter string) bool {
	if g.anyRead {
		return true
	}
	for _, x := range g.rules {
		if x.denyAccess && covers(x.filter, filter) {
			return false
		}
	}
	for _, x := range g.rules {
		if x.read && overlap(x.filter, filter) {
			return true
		}
	}
	return false
}

// matches says whether a filter matches a topic, MQTT 5 §4.7.
func matches(filter, topic string) bool {
	if strings.HasPrefix(topic, "$") && (strings.HasPrefix(filter, "+") || strings.HasPrefix(filter, "#")) {
		return false
	}
	for {
		f, restF, moreF := strings.Cut(filter, "/")
		if f == "#" {
			return true
		}
		t, restT, moreT := strings.Cut(topic, "/")
		if f != "+" && f != t {
			return false
		}
		if !moreT {
			return !moreF || restF == "#" // "a/#" matches "a"
		}
		if !moreF {
			return false
		}
		filter, topic = restF, restT
	}
}

// covers says whether every topic that inner matches is matched by outer.
func covers(outer, inner string) bool {
	for {
		o, restO, moreO := strings.Cut(outer, "/")
		i, restI, moreI := strings.Cut(inner, "/")
		switch {
		case o == "#":
			return true
		case i == "#", o != "+" && o != i:
			return false
		case !moreI:
			return !moreO || restO == "#"
		case !moreO:
			return false
		}
		outer, inner = restO, restI
	}
}

// overlap says whether some topic is matched by both filters.
func overlap(a, b string) bool {
	for {
		x, restA, moreA := strings.Cut(a, "/")
		y, restB, moreB := strings.Cut(b, "/")
		switch {
		case x == "#", y == "#":
			return true
		case x != "+" && y != "+" && x != y:
			return false
		case !moreA && !moreB:
			return true
		case !moreA:
			return restB == "#"
		case !moreB:
			return restA == "#"
		}
		a, b = restA, restB
	}
}
