package enrol

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"time"

	"github.com/lanfolk/lanfolk/internal/enrol/invitation"
	"github.com/lanfolk/lanfolk/reverse/lanfolkpb"
)

// ErrNotEnrolled is returned where a certificate is needed and there is none.
var ErrNotEnrolled = errors.New("enrol: this gateway belongs to no hub; `lanfolk join` makes it one's")

// An Identity is who a gateway is at its hub: its key, its certificate, and the
// hub's authority, in one file. Its methods may be called from any goroutine, and
// several processes may have the same file: of those that talk to a hub about
// certificates one waits for the other.
type Identity struct {
	path string

	joining sync.Mutex // held by who talks to the hub about certificates
	mu      sync.Mutex
	kept    record
	now     *credential // nil before the first Join
}

// A credential is what a record holds, decoded.
type credential struct {
	cert tls.Certificate
	ca   *x509.Certificate
}

// record is what the file holds, as JSON; bytes are DER in base64.
type record struct {
	Version    int       `json:"version"`
	Gateway    string    `json:"gateway,omitempty"`
	Name       string    `json:"name,omitempty"`
	Hubs       []string  `json:"hubs,omitempty"` // HOST:PORT
	Key        []byte    `json:"key,omitempty"`  // PKCS #8
	Chain      [][]byte  `json:"chain,omitempty"`
	Authority  []byte    `json:"authority,omitempty"`
	RenewAfter time.Time `json:"renew_after,omitzero"`
	// Asked is what goes on with another hub than the one above.
	Asked *asked `json:"asked,omitempty"`
}

// asked is a key for which a hub was asked, or is about to be.
type asked struct {
	Pin []byte `json:"pin"` // of the hub's authority
	Key []byte `json:"key"`
}

const recordVersion = 1

// Open reads the file, which need not be there yet; its folder must be.
func Open(path string) (*Identity, error) {
	i := &Identity{path: path}
	if _, err := i.Reload(); err != nil {
		return nil, err
	}
	return i, nil
}

// Reload reads the file again, which another process may have written since, and
// returns whether the gateway's certificate is another one, or there is none any
// more. After an error all is as it was.
func (i *Identity) Reload() (changed bool, err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	r, c, err := readRecord(i.path)
	if err != nil {
		return false, err
	}
	changed = (c == nil) != (i.now == nil) || c != nil && !c.cert.Leaf.Equal(i.now.cert.Leaf)
	i.kept = r
	if changed {
		i.now = c
	}
	return changed, nil
}

// readRecord reads the file. Before the first Join there is no credential.
func readRecord(path string) (record, *credential, error) {
	none := record{Version: recordVersion}
	b, err := ReadSecret(path)
	if errors.Is(err, fs.ErrNotExist) {
		return none, nil, nil
	} else if err != nil {
		return none, nil, err
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	var r record
	if err := d.Decode(&r); err != nil {
		return none, nil, fmt.Errorf("enrol: %s: %w", path, err)
	}
	if r.Version != recordVersion {
		return none, nil, fmt.Errorf("enrol: %s is of version %d; this program knows %d", path, r.Version, recordVersion)
	}
	if r.Gateway == "" {
		return r, nil, nil
	}
	c, err := r.decode()
	if err != nil {
		return none, nil, fmt.Errorf("enrol: %s: %w", path, err)
	}
	return r, c, nil
}

// decode returns the credential, if its parts belong together. Whether it has
// expired is another question.
func (r *record) decode() (*credential, error) {
	key, err := parseKey(r.Key)
	if err != nil {
		return nil, err
	}
	ca, err := x509.ParseCertificate(r.Authority)
	if err != nil {
		return nil, fmt.Errorf("the authority: %w", err)
	}
	if len(r.Chain) == 0 {
		return nil, errors.New("no certificate")
	}
	leaf, err := x509.ParseCertificate(r.Chain[0])
	if err != nil {
		return nil, fmt.Errorf("the certificate: %w", err)
	}
	if id, err := GatewayOf(leaf); err != nil || id != r.Gateway {
		return nil, fmt.Errorf("the certificate is not %s's", clip(r.Gateway))
	}
	if !key.PublicKey.Equal(leaf.PublicKey) {
		return nil, errors.New("the certificate is of another key")
	}
	if err := leaf.CheckSignatureFrom(ca); err != nil {
		return nil, fmt.Errorf("the certificate is not of the hub's authority: %w", err)
	}
	// The hub knows its authority: the certificate alone says all.
	return &credential{cert: tls.Certificate{Certificate: r.Chain[:1], PrivateKey: key, Leaf: leaf}, ca: ca}, nil
}

func parseKey(der []byte) (*ecdsa.PrivateKey, error) {
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("the key: %w", err)
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("the key: a %T; want ECDSA", parsed)
	}
	return key, nil
}

// Status is how an Identity is doing. The zero value is before the first Join.
type Status struct {
	Gateway    string // the id that the hub assigned
	Name       string // what people call it there
	Hubs       []string
	Pin        invitation.Pin // of the hub's authority
	Since      time.Time      // of the certificate, by the hub's clock, set back a little
	Expires    time.Time
	RenewAfter time.Time
}

// Status returns how it is doing.
func (i *Identity) Status() Status {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.now == nil {
		return Status{}
	}
	leaf := i.now.cert.Leaf
	return Status{
		Gateway: i.kept.Gateway, Name: i.kept.Name, Hubs: slices.Clone(i.kept.Hubs), Pin: invitation.PinOf(i.now.ca),
		Since: leaf.NotBefore, Expires: leaf.NotAfter, RenewAfter: i.kept.RenewAfter,
	}
}

// TLS returns what a connection to the hub needs; each handshake shows the newest
// certificate. ErrNotEnrolled. After joining another hub it must be asked again.
func (i *Identity) TLS() (*tls.Config, error) {
	c := i.credential()
	if c == nil {
		return nil, ErrNotEnrolled
	}
	config := base()
	config.RootCAs = pool(c.ca)
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		if c := i.credential(); c != nil {
			return &c.cert, nil
		}
		return nil, ErrNotEnrolled // any more
	}
	return config, nil
}

func (i *Identity) credential() *credential {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.now
}

// keyFor returns the key with which to ask the hub with a pin: the one that it knows
// already, or was asked for before, or a new one, which then is on the disk.
func (i *Identity) keyFor(pin invitation.Pin) (*ecdsa.PrivateKey, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.now != nil && invitation.PinOf(i.now.ca) == pin {
		return i.now.cert.PrivateKey.(*ecdsa.PrivateKey), nil
	}
	if a := i.kept.Asked; a != nil && bytes.Equal(a.Pin, pin[:]) {
		return parseKey(a.Key)
	}
	key, err := newKey()
	if err != nil {
		return nil, fmt.Errorf("enrol: make a key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("enrol: make a key: %w", err)
	}
	changed := i.kept
	changed.Asked = &asked{Pin: pin[:], Key: der}
	if err := i.write(changed); err != nil {
		return nil, err
	}
	return key, nil
}

// accept checks what the hub answered to a request for the key, and keeps it.
// Nil hubs stay as they are.
func (i *Identity) accept(answer *lanfolkpb.Enrolled, key *ecdsa.PrivateKey, ca *x509.Certificate, hubs []string) error {
	if len(answer.GetChain()) == 0 {
		return errors.New("enrol: the hub answered without a certificate")
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("enrol: %w", err)
	}
	r := record{
		Version: recordVersion, Gateway: answer.GetGateway(), Name: answer.GetName(), Hubs: hubs,
		Key: der, Chain: answer.GetChain()[:1], Authority: ca.Raw,
	}
	c, err := r.decode()
	if err != nil {
		return fmt.Errorf("enrol: what the hub answered is no good: %w", err)
	}
	leaf := c.cert.Leaf
	usages := []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: pool(ca), KeyUsages: usages}); err != nil {
		return fmt.Errorf("enrol: what the hub answered is no good: %w", clock(err))
	}
	r.RenewAfter = renewal(time.Unix(answer.GetRenewAfter(), 0), leaf)
	i.mu.Lock()
	defer i.mu.Unlock()
	if hubs == nil {
		r.Hubs = i.kept.Hubs
	}
	if err := i.write(r); err != nil {
		return err
	}
	i.now = c
	return nil
}

// renewal returns when to renew a certificate: when the hub said, if that makes
// sense, else at two thirds of its life.
func renewal(said time.Time, leaf *x509.Certificate) time.Time {
	if said.After(leaf.NotBefore) && said.Before(leaf.NotAfter) {
		return said.UTC()
	}
	return leaf.NotBefore.Add(leaf.NotAfter.Sub(leaf.NotBefore) * 2 / 3).UTC()
}

// write keeps a record, on the disk first.
func (i *Identity) write(r record) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("enrol: %w", err)
	}
	if err := ReplaceSecret(i.path, append(b, '\n')); err != nil {
		return err
	}
	i.kept = r
	return nil
}
