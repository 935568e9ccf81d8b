package broker

import (
	"bufio"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Passwords are users with hashed passwords, as Mosquitto keeps them in a file:
//
//	alice:$7$101$<salt>$<hash>	PBKDF2-HMAC-SHA512, with its rounds
//	bob:$6$<salt>$<hash>	SHA-512 of password and salt
//
// Salt and hash are base64.
type Passwords struct {
	users map[string]secret
	slots chan struct{} // how many are checked at the same time
}

type secret struct {
	rounds     int // 0: one SHA-512
	salt, hash []byte
}

// What a line may say, and what is made.
const (
	maxRounds    = 10_000_000
	madeRounds   = 20_000 // about 10 ms
	madeSalt     = 12     // bytes, as Mosquitto's
	maxUserName  = 512    // bytes
	checkersMost = 2
)

// ReadPasswords reads a password file. Empty lines and those that begin with #
// are skipped. Errors name the line and never what stands in it.
func ReadPasswords(r io.Reader) (*Passwords, error) {
	p := &Passwords{users: make(map[string]secret), slots: make(chan struct{}, checkersMost)}
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimRight(lines.Text(), "\r")
		if line == "" || line[0] == '#' {
			continue
		}
		user, rest, ok := strings.Cut(line, ":")
		if !ok || user == "" {
			return nil, fmt.Errorf("line %d: want USER:HASH", n)
		}
		if _, twice := p.users[user]; twice {
			return nil, fmt.Errorf("line %d: the user has a line already", n)
		}
		s, err := parseSecret(rest)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		p.users[user] = s
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	return p, nil
}

func parseSecret(s string) (secret, error) {
	f := strings.Split(s, "$")
	var x secret
	switch {
	case len(f) == 4 && f[0] == "" && f[1] == "6":
		f = f[2:]
	case len(f) == 5 && f[0] == "" && f[1] == "7":
		n, err := strconv.Atoi(f[2])
		if err != nil || n < 1 || n > maxRounds {
			return x, fmt.Errorf("the rounds must be 1 to %d", maxRounds)
		}
		x.rounds, f = n, f[3:]
	default:
		return x, errors.New("no hash that is known; make one with mosquitto_passwd or lanfolk mqtt passwd")
	}
	var err error
	if x.salt, err = base64.StdEncoding.DecodeString(f[0]); err != nil {
		return x, errors.New("the salt is no base64")
	}
	if x.hash, err = base64.StdEncoding.DecodeString(f[1]); err != nil || len(x.hash) != sha512.Size {
		return x, errors.New("the hash is not 64 bytes of base64")
	}
	return x, nil
}

// PasswordLine makes a line of a password file, without its end.
func PasswordLine(user, password string) (string, error) {
	if user == "" || len(user) > maxUserName || strings.ContainsAny(user, ":\r\n\x00") || user[0] == '#' {
		return "", fmt.Errorf("user %q: want a name without a colon or line end that doesn't begin with #", user)
	}
	if password == "" {
		return "", errors.New("the password is empty")
	}
	salt := make([]byte, madeSalt)
	_, _ = rand.Read(salt) // it never fails
	x := secret{rounds: madeRounds, salt: salt}
	hash, err := x.derive(password)
	if err != nil {
		return "", err
	}
	b64 := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("%s:$7$%d$%s$%s", user, x.rounds, b64(salt), b64(hash)), nil
}

func (s secret) derive(password string) ([]byte, error) {
	if s.rounds == 0 {
		h := sha512.Sum512(append([]byte(password), s.salt...))
		return h[:], nil
	}
	return pbkdf2.Key(sha512.New, password, s.salt, s.rounds, sha512.Size)
}

// Check says whether the password is the user's. It takes as long for a user
// that doesn't exist.
func (p *Passwords) Check(user, password string) bool {
	s, ok := p.users[user]
	if !ok {
		s = secret{rounds: madeRounds, salt: make([]byte, madeSalt), hash: make([]byte, sha512.Size)}
	}
	p.slots <- struct{}{}
	defer func() { <-p.slots }()
	hash, err := s.derive(password)
	return err == nil && subtle.ConstantTimeCompare(hash, s.hash) == 1 && ok
}
