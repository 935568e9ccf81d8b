package client

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/lanfolk/lanfolk/internal/api/wire"
	"github.com/lanfolk/lanfolk/store/fleet"
)

// What these calls ask for, a hub alone can do.

// Users lists a hub's accounts.
func (c *Client) Users(ctx context.Context) ([]wire.User, error) {
	var out []wire.User
	return out, c.get(ctx, "/users", nil, &out)
}

// CreateUser makes an account. No role is admin for the first one and viewer for others;
// no password is one that can use API tokens only.
func (c *Client) CreateUser(ctx context.Context, name, role, password string) (wire.User, error) {
	var out wire.User
	return out, c.call(ctx, http.MethodPost, "/users", nil, said("name", name, "role", role, "password", password), &out)
}

// SetRole changes what a user may do everywhere.
func (c *Client) SetRole(ctx context.Context, name, role string) error {
	return c.do(ctx, http.MethodPatch, "/users/"+url.PathEscape(name), said("role", role))
}

// SetPassword gives a user a new password, which ends all of the user's sign-ins.
// current is for users who change their own.
func (c *Client) SetPassword(ctx context.Context, name, current, password string) error {
	return c.do(ctx, http.MethodPatch, "/users/"+url.PathEscape(name), said("password", password, "current_password", current))
}

// RemoveUser drops an account with its sign-ins, API tokens and grants.
func (c *Client) RemoveUser(ctx context.Context, name string) error {
	return c.do(ctx, http.MethodDelete, "/users/"+url.PathEscape(name), nil)
}

// Grants lists a user's grants, for "" all that the caller may see.
func (c *Client) Grants(ctx context.Context, user string) ([]wire.Grant, error) {
	var out []wire.Grant
	return out, c.get(ctx, "/grants", ofUser(user), &out)
}

// Grant lets a user run a verb at gateways that have all labels of the selector.
func (c *Client) Grant(ctx context.Context, user, verb string, selector map[string]string) (wire.Grant, error) {
	var out wire.Grant
	body := map[string]any{"user": user, "verb": verb}
	if len(selector) > 0 {
		body["selector"] = selector
	}
	return out, c.call(ctx, http.MethodPost, "/grants", nil, body, &out)
}

// RemoveGrant takes a grant back.
func (c *Client) RemoveGrant(ctx context.Context, id string) error {
	return c.do(ctx, http.MethodDelete, "/grants/"+url.PathEscape(id), nil)
}

// APITokens lists a user's API tokens, for "" all that the caller may see.
func (c *Client) APITokens(ctx context.Context, user string) ([]wire.APIToken, error) {
	var out []wire.APIToken
	return out, c.get(ctx, "/api-tokens", ofUser(user), &out)
}

// CreateAPIToken makes an API token of a user, of the caller for "". It lasts for ttl, 0
// is for ever.
func (c *Client) CreateAPIToken(ctx context.Context, user, name string, ttl time.Duration) (wire.NewAPIToken, error) {
	var out wire.NewAPIToken
	return out, c.call(ctx, http.MethodPost, "/api-tokens", nil, said("user", user, "name", name, "ttl", lasts(ttl)), &out)
}

// RevokeAPIToken ends an API token.
func (c *Client) RevokeAPIToken(ctx context.Context, id string) error {
	return c.do(ctx, http.MethodDelete, "/api-tokens/"+url.PathEscape(id), nil)
}

// JoinTokens lists tokens that let gateways join.
func (c *Client) JoinTokens(ctx context.Context) ([]wire.JoinToken, error) {
	var out []wire.JoinToken
	return out, c.get(ctx, "/join-tokens", nil, &out)
}

// JoinTokenRequest asks for a token that lets one gateway join.
type JoinTokenRequest struct {
	Name      string        // what a new one will be called
	Gateway   string        // the one that is to join again, by its id or name; "" is a new one
	TTL       time.Duration // 0 leaves it to the hub
	NoAddress bool          // leave out where the hub is: the gateway looks for it by DNS-SD
}

// CreateJoinToken makes a token that lets one gateway join.
func (c *Client) CreateJoinToken(ctx context.Context, r JoinTokenRequest) (wire.NewJoinToken, error) {
	var out wire.NewJoinToken
	body := map[string]any{"no_address": r.NoAddress}
	for key, value := range said("name", r.Name, "gateway", r.Gateway, "ttl", lasts(r.TTL)) {
		body[key] = value
	}
	return out, c.call(ctx, http.MethodPost, "/join-tokens", nil, body, &out)
}

// RemoveJoinToken takes back a token that lets a gateway join.
func (c *Client) RemoveJoinToken(ctx context.Context, id string) error {
	return c.do(ctx, http.MethodDelete, "/join-tokens/"+url.PathEscape(id), nil)
}

// Revocations lists gateways whose certificates were revoked.
func (c *Client) Revocations(ctx context.Context) ([]wire.Revocation, error) {
	var out []wire.Revocation
	return out, c.get(ctx, "/revocations", nil, &out)
}

// A GatewayChange is what people say of a gateway; what is nil stays as it is.
type GatewayChange struct {
	Name   *string            `json:"name,omitempty"`
	Labels map[string]*string `json:"labels,omitempty"` // nil takes a label away
}

// ChangeGateway renames a gateway, named by its id or name, or changes its labels.
func (c *Client) ChangeGateway(ctx context.Context, ref string, change GatewayChange) (wire.Gateway, error) {
	var out wire.Gateway
	return out, c.call(ctx, http.MethodPatch, "/gateways/"+url.PathEscape(ref), nil, change, &out)
}

// RevokeGateway ends what a gateway's certificates are good for, and what it has going on.
func (c *Client) RevokeGateway(ctx context.Context, ref, why string) error {
	return c.do(ctx, http.MethodPost, "/gateways/"+url.PathEscape(ref)+"/revoke", map[string]string{"why": why})
}

// ForgetGateway drops the record of a gateway that is offline and was revoked.
func (c *Client) ForgetGateway(ctx context.Context, ref string) error {
	return c.do(ctx, http.MethodDelete, "/gateways/"+url.PathEscape(ref), nil)
}

// Audit returns a page of the hub's audit, the newest first.
func (c *Client) Audit(ctx context.Context, f fleet.AuditFilter) ([]fleet.Entry, error) {
	v := url.Values{}
	set(v, "gateway", f.Gateway)
	set(v, "who", f.Who)
	set(v, "what", f.What)
	set(v, "ref", f.Ref)
	if f.Before > 0 {
		v.Set("before", strconv.FormatUint(f.Before, 10))
	}
	if f.Limit > 0 {
		v.Set("limit", strconv.Itoa(f.Limit))
	}
	var written []fleet.WrittenEntry
	if err := c.get(ctx, "/audit", v, &written); err != nil {
		return nil, err
	}
	out := make([]fleet.Entry, len(written))
	for i, w := range written {
		e, err := w.Entry()
		if err != nil {
			return nil, fmt.Errorf("client: %w", err)
		}
		out[i] = e
	}
	return out, nil
}

// AuditHead returns the audit's end, signed.
func (c *Client) AuditHead(ctx context.Context) (fleet.Seal, fleet.Head, error) {
	var text json.RawMessage
	if err := c.get(ctx, "/audit/head", nil, &text); err != nil {
		return fleet.Seal{}, fleet.Head{}, err
	}
	seal, err := fleet.ParseSeal(text, nil)
	if err != nil {
		return fleet.Seal{}, fleet.Head{}, fmt.Errorf("client: %w", err)
	}
	head := fleet.Head{Seq: seal.Seq, Time: seal.Time}
	_, err = hex.Decode(head.Hash[:], []byte(seal.Hash)) // ParseSeal has looked at its length
	return seal, head, err
}

// AuditStart returns what stands for the audit's entries that were let go.
func (c *Client) AuditStart(ctx context.Context) (start fleet.Checkpoint, err error) {
	return start, c.get(ctx, "/audit/start", nil, &start)
}

// AuditEntries yields every entry of the audit, from the first on that is kept. The last
// pair may hold an error.
func (c *Client) AuditEntries(ctx context.Context) iter.Seq2[fleet.Entry, error] {
	return func(yield func(fleet.Entry, error) bool) {
		whole := false
		err := c.lines(ctx, "/audit/entries", nil, "application/jsonl", silence, func(line []byte) (bool, error) {
			if bytes.HasPrefix(line, []byte(`{"event"`)) {
				whole = true
				return true, nil
			}
			var w fleet.WrittenEntry
			if err := json.Unmarshal(line, &w); err != nil {
				return false, fmt.Errorf("client: the audit of %s: %w", c.where, err)
			}
			e, err := w.Entry()
			if err != nil {
				return false, fmt.Errorf("client: %w", err)
			}
			return yield(e, nil), nil
		})
		if err == nil && !whole {
			err = fmt.Errorf("%w: %s broke the audit off", ErrNotRunning, c.where)
		}
		if err != nil && !errors.Is(err, errStopped) {
			yield(fleet.Entry{}, err)
		}
	}
}

// do is call for what answers nothing.
func (c *Client) do(ctx context.Context, method, path string, body any) error {
	resp, err := c.send(ctx, method, path, nil, body, "application/json")
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// said is a body of the pairs that say something.
func said(pairs ...string) map[string]string {
	body := make(map[string]string)
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			body[pairs[i]] = pairs[i+1]
		}
	}
	return body
}

func ofUser(name string) url.Values {
	v := url.Values{}
	set(v, "user", name)
	return v
}

func lasts(ttl time.Duration) string {
	if ttl == 0 {
		return ""
	}
	return ttl.String()
}
