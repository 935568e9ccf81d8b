package config

import (
	"errors"
	"net/url"
	"strings"
)

// PostgresURL is the URL of a PostgreSQL database, "" for none. It may hold a
// password.
type PostgresURL string

// UnmarshalText implements encoding.TextUnmarshaler.
func (p *PostgresURL) UnmarshalText(b []byte) error {
	text := string(b)
	if text != "" && (!isPostgres(text) || !postgresURL(text)) { // it may hold a password: don't repeat it
		return errors.New("this is no URL of PostgreSQL: want postgres://USER@HOST:PORT/DATABASE")
	}
	*p = PostgresURL(text)
	return nil
}

// MarshalText implements encoding.TextMarshaler. A password stands there as
// "xxxxx": what is written is for people's eyes.
func (p PostgresURL) MarshalText() ([]byte, error) {
	if p == "" {
		return nil, nil
	}
	return []byte(redacted(string(p))), nil
}

// WithoutPassword returns the URL without the passwords that it may hold.
func (p PostgresURL) WithoutPassword() string {
	u, err := url.Parse(string(p))
	if err != nil {
		return "" // UnmarshalText let none in
	}
	if u.User != nil {
		u.User = url.User(u.User.Username())
	}
	q := u.Query()
	q.Del("password")
	q.Del("sslpassword")
	u.RawQuery = q.Encode()
	return u.String()
}

func isPostgres(text string) bool {
	return strings.HasPrefix(text, "postgres:") || strings.HasPrefix(text, "postgresql:")
}

func postgresURL(text string) bool {
	u, err := url.Parse(text)
	if err != nil || u.Opaque != "" || u.Fragment != "" || !strings.HasPrefix(text, u.Scheme+"://") {
		return false
	}
	_, err = url.ParseQuery(u.RawQuery)
	return err == nil
}

// redacted writes a URL without the passwords that it may hold.
func redacted(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return "postgres://xxxxx" // UnmarshalText let none in
	}
	// Only what holds a password is written anew: the rest stays as it is.
	if q := u.Query(); q.Has("password") || q.Has("sslpassword") {
		for _, key := range []string{"password", "sslpassword"} {
			if q.Has(key) {
				q.Set(key, "xxxxx")
			}
		}
		u.RawQuery = q.Encode()
	} else if _, secret := u.User.Password(); !secret {
		return text
	}
	return u.Redacted()
}
