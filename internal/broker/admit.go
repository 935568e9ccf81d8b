package broker

import (
	"errors"
	"unicode/utf8"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
)

// admit checks a CONNECT: its names, who it is, its will. A client that may
// come in has a session from then on.
func (b *Broker) admit(cl *mqtt.Client, pk packets.Packet) (packets.Code, error) {
	switch {
	case b.closing.Load():
		return packets.ErrServerUnavailable, errors.New("shutting down")
	case len(cl.ID) > maxClientID || !utf8.ValidString(cl.ID):
		return packets.ErrClientIdentifierNotValid, errors.New("client id too long")
	case len(pk.Connect.Username) > maxUserName || !utf8.Valid(pk.Connect.Username):
		return packets.ErrBadUsernameOrPassword, errors.New("user name too long, or no text")
	}
	c, _ := cl.Net.Conn.(*conn)
	if c == nil {
		return packets.ErrServerUnavailable, errors.New("no connection of the broker's own")
	}
	user, ok := b.authenticate(c, pk)
	if !ok {
		return packets.ErrBadUsernameOrPassword, errors.New("wrong user or password")
	}
	g := b.options.Rules.grant(user, cl.ID)
	if pk.Connect.WillFlag {
		switch {
		case !validTopic(pk.Connect.WillTopic):
			return packets.ErrTopicNameInvalid, errors.New("the will's topic is none to publish to")
		case !g.mayWrite(pk.Connect.WillTopic):
			return packets.ErrNotAuthorized, errors.New("the will's topic is not the client's to write")
		}
	}
	b.mu.Lock()
	old := b.sessions[cl.ID]
	b.mu.Unlock()
	if old != nil && old.user != user {
		return packets.ErrNotAuthorized, errors.New("the client id is another user's")
	}
	s := &session{
		id: cl.ID, user: user, client: cl, conn: c, grant: g, ended: make(chan struct{}),
		expiry: expiryOf(cl, b.limits.SessionExpiry),
	}
	s.will = newWill(pk, s.expiry)
	cl.Properties.Will = mqtt.Will{} // it is the broker's to speak
	c.session.Store(s)
	return packets.CodeSuccess, nil
}

// authenticate returns who a client is, "" for anonymous.
func (b *Broker) authenticate(c *conn, pk packets.Packet) (user string, ok bool) {
	switch name, has := c.certificate(); {
	case has:
		return name, name != "" && len(name) <= maxUserName
	case b.options.Users != nil && pk.Connect.UsernameFlag:
		user = string(pk.Connect.Username)
		return user, b.options.Users.Check(user, string(pk.Connect.Password))
	case b.options.Anonymous:
		return "", true
	}
	return "", b.options.Users == nil && !b.options.Certificates && c.fromLoopback()
}
