package fleet

import (
	"encoding/hex"
	"fmt"
	"time"

	"github.com/lanfolk/lanfolk/store/internal/text"
)

// A WrittenEntry is an Entry as JSON, with which its hash can be checked again: bytes
// that are no UTF-8 are kept as characters of a private range.
type WrittenEntry struct {
	Seq     uint64    `json:"seq" doc:"1, 2, 3, …."`
	Time    time.Time `json:"time"`
	Who     string    `json:"who" doc:"A user, uid:N of the hub's local socket, or hub; empty for somebody who wasn't recognised."`
	What    string    `json:"what"`
	Gateway string    `json:"gateway" doc:"Empty where it is about none."`
	Ref     string    `json:"ref" doc:"The command's, user's, token's or grant's id."`
	Detail  string    `json:"detail"`
	Outcome string    `json:"outcome" doc:"How it ended; empty for an intent."`
	Hash    string    `json:"hash" doc:"SHA-256 over the entry and the one before, in hexadecimal."`
}

// Written returns the entry as it is written.
func (e Entry) Written() WrittenEntry {
	return WrittenEntry{
		Seq: e.Seq, Time: e.Time.UTC(), Who: text.Encode(e.Who), What: text.Encode(e.What), Gateway: text.Encode(e.Gateway),
		Ref: text.Encode(e.Ref), Detail: text.Encode(e.Detail), Outcome: text.Encode(e.Outcome), Hash: hex.EncodeToString(e.Hash[:]),
	}
}

// Entry undoes Written.
func (w WrittenEntry) Entry() (Entry, error) {
	e := Entry{
		Seq: w.Seq, Time: fromNanos(nanos(w.Time)), Who: text.Decode(w.Who), What: text.Decode(w.What), Gateway: text.Decode(w.Gateway),
		Ref: text.Decode(w.Ref), Detail: text.Decode(w.Detail), Outcome: text.Decode(w.Outcome),
	}
	hash, err := hex.DecodeString(w.Hash)
	if err != nil || len(hash) != len(e.Hash) {
		return Entry{}, fmt.Errorf("fleet: entry %d of the audit: its hash %q is none", w.Seq, w.Hash)
	}
	copy(e.Hash[:], hash)
	return e, nil
}
