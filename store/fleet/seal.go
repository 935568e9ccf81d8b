package fleet

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
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

// What is signed begins with what it is: no seal can be taken for a checkpoint.
const (
	signsHead       = "lanfolk audit head 1\n"
	signsCheckpoint = "lanfolk audit checkpoint 1\n"
)

// message is what is signed.
func (s *Seal) message(what string) []byte {
	return []byte(what + strconv.FormatUint(s.Seq, 10) + "\n" + s.Hash + "\n" + strconv.FormatInt(nanos(s.Time), 10) + "\n")
}

// Sign seals a head.
func (h Head) Sign(key ed25519.PrivateKey) Seal { return h.sign(signsHead, key) }

func (h Head) sign(what string, key ed25519.PrivateKey) Seal {
	s := Seal{
		Seq: h.Seq, Hash: hex.EncodeToString(h.Hash[:]), Time: h.Time.UTC(),
		Key: base64.StdEncoding.EncodeToString(key.Public().(ed25519.PublicKey)),
	}
	s.Signature = base64.StdEncoding.EncodeToString(ed25519.Sign(key, s.message(what)))
	return s
}

// ParseSeal reads a seal and checks its signature. A nil key takes the one that the
// seal names itself, and so proves only that the seal is whole.
func ParseSeal(b []byte, key ed25519.PublicKey) (Seal, error) {
	var s Seal
	if err := json.Unmarshal(b, &s); err != nil {
		return Seal{}, fmt.Errorf("fleet: the audit's head: %w", err)
	}
	if err := s.check(signsHead, key); errors.Is(err, errSignature) {
		return Seal{}, fmt.Errorf("fleet: the audit's head: %w: %w", ErrTampered, err)
	} else if err != nil {
		return Seal{}, fmt.Errorf("fleet: the audit's head: %w", err)
	}
	return s, nil
}

var errSignature = errors.New("its signature isn't that key's")

func (s *Seal) check(what string, key ed25519.PublicKey) error {
	named, err := base64.StdEncoding.DecodeString(s.Key)
	if err != nil || len(named) != ed25519.PublicKeySize {
		return errors.New("it names no key")
	}
	if key == nil {
		key = named
	}
	signature, err := base64.StdEncoding.DecodeString(s.Signature)
	hash, hashErr := hex.DecodeString(s.Hash)
	if err != nil || hashErr != nil || len(hash) != 32 || !key.Equal(ed25519.PublicKey(named)) || !ed25519.Verify(key, s.message(what), signature) {
		return errSignature
	}
	return nil
}

// A Checkpoint stands for an audit's first entries, which were let go since they were
// old: it is the last of them, signed. The chain goes on from there. The zero value
// stands for none. It is written as JSON.
type Checkpoint Seal

// Checkpoint signs what stands for the entries up to this one.
func (h Head) Checkpoint(key ed25519.PrivateKey) Checkpoint {
	return Checkpoint(h.sign(signsCheckpoint, key))
}

// Check checks the signature. A nil key takes the one that the checkpoint names itself,
// and so proves only that it is whole.
func (c Checkpoint) Check(key ed25519.PublicKey) error {
	if c == (Checkpoint{}) {
		return nil
	}
	if err := (*Seal)(&c).check(signsCheckpoint, key); err != nil {
		return fmt.Errorf("fleet: the audit's checkpoint: %w: %w", ErrTampered, err)
	}
	return nil
}

// last returns what the first entry that is kept follows.
func (c Checkpoint) last() Entry {
	e := Entry{Seq: c.Seq}
	if hash, err := hex.DecodeString(c.Hash); err == nil { // else no entry follows it
		copy(e.Hash[:], hash)
	}
	return e
}

// checkAmong is Check, and asks that the key is one of those that signed seals, if there
// are some.
func (c Checkpoint) checkAmong(seals []Seal) error {
	if err := c.Check(nil); err != nil {
		return err
	}
	if c != (Checkpoint{}) && len(seals) > 0 && !slices.ContainsFunc(seals, func(s Seal) bool { return s.Key == c.Key }) {
		return fmt.Errorf("fleet: the audit's checkpoint: %w: it is signed by %s, and no sealed head is", ErrTampered, c.Key)
	}
	return nil
}

// follows says whether an entry is the one that was written behind another.
func (e *Entry) follows(last *Entry) error {
	switch {
	case e.Seq != last.Seq+1:
		return fmt.Errorf("fleet: %w: entry %d follows %d", ErrTampered, e.Seq, last.Seq)
	case e.chain(last.Hash) != e.Hash:
		return fmt.Errorf("fleet: %w: entry %d doesn't match its hash, or the entry before it does not", ErrTampered, e.Seq)
	}
	return nil
}

// VerifyAudit reads all entries, from the first on that is kept, and says whether they are
// what was written: none changed, removed, put in or in another place. start stands for
// those that were let go; it must be signed, by one of the keys that signed seals if there
// are some. head is the end that the database itself names. Seals are heads from before,
// which must be among the entries, but for those that were let go: without one, nothing
// shows that the tail was cut and the database's own head with it, or that all hashes
// were made anew. It returns the number of the last entry that is right.
func VerifyAudit(start Checkpoint, entries iter.Seq2[Entry, error], head Head, seals ...Seal) (uint64, error) {
	last := start.last()
	if err := start.checkAmong(seals); err != nil {
		return 0, err
	}
	wanted := make(map[uint64][]string)
	for _, s := range seals {
		if s.Seq >= start.Seq {
			wanted[s.Seq] = append(wanted[s.Seq], s.Hash)
		}
	}
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
		if err == nil {
			err = e.follows(&last)
		}
		if err != nil {
			return last.Seq, err
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
