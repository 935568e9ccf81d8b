package fleet

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strings"

	"golang.org/x/crypto/argon2"
)

// argon2Version is 1.3, the one of RFC 9106.
const argon2Version = argon2.Version

// A cost is what a guess at a password takes.
type cost struct {
	passes  uint32
	kib     uint32 // of memory
	threads uint8
}

// passwordCost is the first choice of OWASP's Password Storage Cheat Sheet: a hub has other
// work for its cores, and lets only a few try at once.
func passwordCost() cost { return cost{passes: 1, kib: 46 << 10, threads: 1} }

const (
	saltBytes   = 16
	keyBytes    = 32
	maxPassword = 1024 // bytes
	// How many passwords are hashed at once: whoever tries many must not take all
	// memory.
	maxHashing = 2
)

// passwords hashes and checks them.
type passwords struct {
	cost cost
	turn chan struct{} // one token for each that may hash
}

func newPasswords(c cost) *passwords { return &passwords{c, make(chan struct{}, maxHashing)} }

// derive runs Argon2id (RFC 9106) when it is its turn.
func (p *passwords) derive(ctx context.Context, password string, salt []byte, c cost, length int) ([]byte, error) {
	select {
	case p.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-p.turn }()
	return argon2.IDKey([]byte(password), salt, c.passes, c.kib, c.threads, uint32(length)), nil
}

// hash returns what is kept of a password, in the PHC string format.
func (p *passwords) hash(ctx context.Context, password string) (string, error) {
	salt := make([]byte, saltBytes)
	rand.Read(salt) // never fails
	key, err := p.derive(ctx, password, salt, p.cost, keyBytes)
	if err != nil {
		return "", err
	}
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2Version, p.cost.kib, p.cost.passes, p.cost.threads,
		b64.EncodeToString(salt), b64.EncodeToString(key)), nil
}

// check says whether a password is the one of which kept was made. For a kept that is
// no hash, as "", it takes as long and says no.
func (p *passwords) check(ctx context.Context, password, kept string) (bool, error) {
	c, salt, want, ok := parsePHC(kept)
	if !ok {
		c, salt, want = p.cost, make([]byte, saltBytes), make([]byte, keyBytes)
	}
	got, err := p.derive(ctx, password, salt, c, len(want))
	return ok && err == nil && subtle.ConstantTimeCompare(got, want) == 1, err
}

// parsePHC reads what hash wrote, perhaps at another cost.
func parsePHC(s string) (c cost, salt, key []byte, ok bool) {
	parts := strings.Split(s, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" || parts[2] != fmt.Sprintf("v=%d", argon2Version) {
		return c, nil, nil, false
	}
	if n, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &c.kib, &c.passes, &c.threads); n != 3 || err != nil {
		return c, nil, nil, false
	}
	const maxKiB, maxPasses = 1 << 20, 100
	salt, saltErr := base64.RawStdEncoding.DecodeString(parts[4])
	key, keyErr := base64.RawStdEncoding.DecodeString(parts[5])
	ok = saltErr == nil && keyErr == nil && len(salt) >= 8 && len(key) >= 16 && len(key) <= 64 &&
		0 < c.kib && c.kib <= maxKiB && 0 < c.passes && c.passes <= maxPasses && c.threads > 0
	return c, salt, key, ok
}
