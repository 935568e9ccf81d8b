package fleet

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"time"
)

// ErrTampered is what VerifyAudit returns for an audit that was changed, with the
// number of the entry where that shows.
var ErrTampered = errors.New("the audit was changed")

// A Seal is an audit's head, signed by a key that lies outside the database. Kept
// elsewhere, it shows when entries up to it are changed or missing later. It is
// written as JSON.
type Seal struct {
	Seq       uint64    `json:"seq"`
	Hash      string    `json:"hash"` // hexadecimal
	Time      time.Time `json:"time"`
	Key       string    `json:"key"`       // the public one, base64
	Signature string    `json:"signature"` // base64, Ed25519
}

// message is what is signed.
func (s *Seal) message() []byte {
	return []byte("lanfolk audit head 1\n" + strconv.FormatUint(s.Seq, 10) + "\n" + s.Hash + "\n" + strconv.FormatInt(nanos(s.Time), 10) + "\n")
}

// Sign seals a head.
func (h Head) Sign(key ed25519.PrivateKey) Seal {
	s := Seal{
		Seq: h.Seq, Hash: hex.EncodeToString(h.Hash[:]), Time: h.Time.UTC(),
		Key: base64.StdEncoding.EncodeToString(key.Public().(ed25519.PublicKey)),
	}
	s.Signature = base64.StdEncoding.EncodeToString(ed25519.Sign(key, s.message()))
	return s
}

// ParseSeal reads a seal and checks its signature. A nil key takes the one that the
// seal names itself, and so proves only that the seal is whole.
func ParseSeal(b []byte, key ed25519.PublicKey) (Seal, error) {
	var s Seal
	if err := json.Unmarshal(b, &s); err != nil {
		return Seal{}, fmt.Errorf("fleet: the audit's head: %w", err)
	}
	named, err := base64.StdEncoding.DecodeString(s.Key)
	if err != nil || len(named) != ed25519.PublicKeySize {
		return Seal{}, errors.New("fleet: the audit's head: it names no key")
	}
	if key == nil {
		key = named
	}
	signature, err := base64.StdEncoding.DecodeString(s.Signature)
	hash, hashErr := hex.DecodeString(s.Hash)
	if err != nil || hashErr != nil || len(hash) != 32 || !key.Equal(ed25519.PublicKey(named)) || !ed25519.Verify(key, s.message(), signature) {
		return Seal{}, fmt.Errorf("fleet: the audit's head: %w: its signature isn't that key's", ErrTampered)
	}
	return s, nil
}

// VerifyAudit reads all entries, from the first on, and says whether they are what
// was written: none changed, removed, put in or in another place. head is the end that
// the database itself names. Seals are heads from before, which must be among the
// entries: without one, nothing shows that the tail was cut and the database's own head
// with it, or that all hashes were made anew. It returns how many entries there are.
func VerifyAudit(entries iter.Seq2[Entry, error], head Head, seals ...Seal) (uint64, error) {
	wanted := make(map[uint64][]string)
	for _, s := range seals {
		wanted[s.Seq] = append(wanted[s.Seq], s.Hash)
	}
	var last Entry
	check := func(e *Entry) error {
		for _, hash := range wanted[e.Seq] {
			if hash != hex.EncodeToString(e.Hash[:]) {
				return fmt.Errorf("fleet: %w: entry %d isn't the one that was sealed", ErrTampered, e.Seq)
			}
		}
		delete(wanted, e.Seq)
		return nil
	}
	if err := check(&last); err != nil {
		return 0, err
	}
	for e, err := range entries {
		switch {
		case err != nil:
			return last.Seq, err
		case e.Seq != last.Seq+1:
			return last.Seq, fmt.Errorf("fleet: %w: entry %d follows %d", ErrTampered, e.Seq, last.Seq)
		case e.chain(last.Hash) != e.Hash:
			return last.Seq, fmt.Errorf("fleet: %w: entry %d doesn't match its hash, or the entry before it does not", ErrTampered, e.Seq)
		}
		if err := check(&e); err != nil {
			return last.Seq, err
		}
		last = e
	}
	for seq := range wanted {
		return last.Seq, fmt.Errorf("fleet: %w: it ends with entry %d, and entry %d was sealed", ErrTampered, last.Seq, seq)
	}
	if head.Seq != last.Seq || head.Hash != last.Hash {
		return last.Seq, fmt.Errorf("fleet: %w: it ends with entry %d; entry %d was the last", ErrTampered, last.Seq, head.Seq)
	}
	return last.Seq, nil
}
