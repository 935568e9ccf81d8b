package access

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/lanfolk/lanfolk/store/fleet"
)

// Bounds of labels.
const (
	maxLabels     = 64
	maxLabelKey   = 63  // bytes
	maxLabelValue = 128 // bytes
)

// A Change is what people say of a gateway; what is nil stays as it is.
type Change struct {
	Name   *string
	Labels map[string]*string // nil takes a label away; what isn't named stays
}

// ChangeGateway renames a gateway and changes its labels, and returns its record.
func (d *Desk) ChangeGateway(ctx context.Context, who Who, id string, c Change) (fleet.Standing, error) {
	if err := d.changeGateway(ctx, who, id, c); err != nil {
		return fleet.Standing{}, err
	}
	return d.changed(ctx, id)
}

// changed reads a record anew and tells of it.
func (d *Desk) changed(ctx context.Context, id string) (fleet.Standing, error) {
	g, err := d.Gateways.Gateway(ctx, id, d.now())
	if err == nil && d.Changed != nil {
		d.Changed(ctx, g)
	}
	return g, err
}

func (d *Desk) changeGateway(ctx context.Context, who Who, id string, c Change) error {
	if err := who.MayManage(); err != nil {
		return fmt.Errorf("access: change a gateway: %w", err)
	}
	if c.Name != nil && !printable(*c.Name, 64) {
		return fmt.Errorf("access: %w", invalid("the name %s: want at most 64 bytes that can be printed", quoted(*c.Name)))
	}
	d.labels.Lock()
	defer d.labels.Unlock()
	g, err := d.Gateways.Gateway(ctx, id, d.now())
	if err != nil {
		return fmt.Errorf("access: change a gateway: %w", err)
	}
	labels := maps.Clone(g.Labels)
	if labels == nil {
		labels = make(map[string]string)
	}
	for key, value := range c.Labels {
		if value == nil {
			delete(labels, key)
		} else {
			labels[key] = *value
		}
	}
	if err := CheckLabels(labels); err != nil {
		return fmt.Errorf("access: label a gateway: %w", err)
	}
	if c.Name != nil && *c.Name != g.Name {
		e := fleet.Entry{What: "gateway.name", Gateway: id, Detail: fmt.Sprintf("%q, before %q", *c.Name, g.Name)}
		if err := d.manage(ctx, who, e, func() (string, error) { return "", d.Gateways.Rename(ctx, id, *c.Name) }); err != nil {
			return err
		}
	}
	if maps.Equal(labels, g.Labels) {
		return nil
	}
	e := fleet.Entry{What: "gateway.label", Gateway: id, Detail: fmt.Sprintf("%s, before %s", labelText(labels), labelText(g.Labels))}
	return d.manage(ctx, who, e, func() (string, error) { return "", d.Gateways.SetLabels(ctx, id, labels) })
}

func labelText(labels map[string]string) string {
	if len(labels) == 0 {
		return "none"
	}
	return fleet.SelectorText(labels)
}

// CheckLabels says what is wrong with labels or a selector: a key has letters, digits and
// . _ / - between, a value anything that can be printed but for a comma, which stands
// between labels.
func CheckLabels(labels map[string]string) error {
	if len(labels) > maxLabels {
		return invalid("%d labels: at most %d", len(labels), maxLabels)
	}
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		value := labels[key]
		alnum := func(r rune) bool {
			return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
		}
		bad := strings.ContainsFunc(key, func(r rune) bool { return !alnum(r) && !strings.ContainsRune("._/-", r) })
		switch {
		case key == "" || len(key) > maxLabelKey || bad || !alnum(rune(key[0])) || !alnum(rune(key[len(key)-1])):
			return invalid("the label %s: want 1 to %d letters and digits, and between them any of . _ / -", quoted(key), maxLabelKey)
		case !printable(value, maxLabelValue) || strings.Contains(value, ","):
			return invalid("the label %s: its value %s: want at most %d bytes that can be printed, and no comma", key, quoted(value), maxLabelValue)
		}
	}
	return nil
}

// RevokeGateway ends what a gateway's certificates are good for, and what it has going
// on. It comes back under a new id only.
func (d *Desk) RevokeGateway(ctx context.Context, who Who, id, why string) error {
	err := who.MayManage()
	switch {
	case err != nil:
	case !printable(why, 200):
		err = invalid("the reason: want at most 200 bytes that can be printed")
	case strings.HasPrefix(id, fleet.InsecurePrefix):
		err = invalid("%s has no certificate that could be revoked: anybody may use that id", id)
	case d.Revocations == nil:
		err = fmt.Errorf("%w: it has no certificates to revoke", ErrOff)
	default:
		if from := who.from(); from != "" {
			why = strings.TrimSpace(why + " (" + from + ")")
		}
		if err = d.Revocations.Revoke(ctx, id, who.Name, why); err == nil {
			_, err = d.changed(ctx, id)
		}
	}
	if err != nil {
		return fmt.Errorf("access: revoke: %w", err)
	}
	return nil
}

// Revoked lists what was revoked, in its order.
func (d *Desk) Revoked(ctx context.Context, who Who) ([]fleet.Revocation, error) {
	if err := who.MayManage(); err != nil {
		return nil, fmt.Errorf("access: list revocations: %w", err)
	}
	return d.Tokens.Revocations(ctx, 0)
}

// ForgetGateway drops a gateway's record: ErrInUse for one that may come back, as it is
// online or has a certificate that wasn't revoked.
func (d *Desk) ForgetGateway(ctx context.Context, who Who, id string) error {
	err := who.MayManage()
	var g fleet.Standing
	if err == nil {
		g, err = d.Gateways.Gateway(ctx, id, d.now())
	}
	switch {
	case err != nil:
	case g.Online:
		err = fmt.Errorf("%w: it is online", ErrInUse)
	case !g.Insecure() && g.Revoked.IsZero():
		err = fmt.Errorf("%w: revoke it first", ErrInUse)
	}
	if err != nil {
		return fmt.Errorf("access: forget a gateway: %w", err)
	}
	e := fleet.Entry{What: "gateway.forget", Gateway: id, Detail: fmt.Sprintf("name %q, labels %s", g.Name, labelText(g.Labels))}
	err = d.manage(ctx, who, e, func() (string, error) { return "", d.Gateways.Forget(ctx, id) })
	if err == nil && d.Forgotten != nil {
		d.Forgotten(ctx, id)
	}
	return err
}

// Invite makes a string that lets one gateway join.
func (d *Desk) Invite(ctx context.Context, who Who, r JoinRequest) (join string, t fleet.Token, err error) {
	err = who.MayManage()
	switch {
	case err != nil:
	case d.Registrar == nil:
		err = fmt.Errorf("%w: it enrols nobody", ErrOff)
	case !printable(r.Name, 64):
		err = invalid("the name %s: want at most 64 bytes that can be printed", quoted(r.Name))
	default:
		r.By = who.Name
		join, t, err = d.Registrar.Invite(ctx, r)
	}
	if err != nil {
		return "", fleet.Token{}, fmt.Errorf("access: %w", err)
	}
	return join, t, nil
}

// JoinTokens lists tokens that let gateways join, the newest first.
func (d *Desk) JoinTokens(ctx context.Context, who Who) ([]fleet.Token, error) {
	if err := who.MayManage(); err != nil {
		return nil, fmt.Errorf("access: list tokens: %w", err)
	}
	return d.Tokens.Tokens(ctx)
}

// RemoveJoinToken takes back a token that lets a gateway join. One that joined by it
// stays.
func (d *Desk) RemoveJoinToken(ctx context.Context, who Who, id string) error {
	return d.manage(ctx, who, fleet.Entry{What: "token.remove", Ref: id}, func() (string, error) { return "", d.Tokens.RemoveToken(ctx, id) })
}
