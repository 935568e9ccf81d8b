package access

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/lanfolk/lanfolk/store/fleet"
)

// Objection returns why who asked for a command, which has this verb, may not have it run
// any more, "" if he may: his account is gone, his role or grants changed, or the
// gateway's labels did. Who asked at the hub's socket has no account that could change.
func (d *Desk) Objection(ctx context.Context, verb string, c fleet.Command) (why string, err error) {
	if strings.HasPrefix(c.By, uidPrefix) {
		return "", nil
	}
	u, err := d.Accounts.User(ctx, c.By)
	who := Who{Name: u.Name, Role: u.Role, Since: u.Created}
	switch {
	case errors.Is(err, fleet.ErrUnknown), err == nil && !who.Asked(c):
		return fmt.Sprintf("the account of %s who asked for it is gone", quoted(c.By)), nil
	case err != nil:
		return "", fmt.Errorf("access: %w", err)
	case who.MayRun(verb, nil) == nil: // whatever the labels are
		return "", nil
	}
	if who.Grants, err = d.Accounts.Grants(ctx, c.By); err != nil {
		return "", fmt.Errorf("access: %w", err)
	}
	g, err := d.Gateways.Gateway(ctx, c.Gateway, d.now())
	if err != nil && !errors.Is(err, fleet.ErrUnknown) { // one that was forgotten has no labels
		return "", fmt.Errorf("access: %w", err)
	}
	if err := who.MayRun(verb, g.Labels); err != nil {
		return fmt.Sprintf("%s may not have it run any more: %v", c.By, err), nil
	}
	return "", nil
}
