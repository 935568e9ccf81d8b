package fleet

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"iter"
	"time"
)

// An Entry is one line of the audit.
type Entry struct {
	Seq     uint64 // 1, 2, 3, …; set by Append
	Time    time.Time
	Who     string   // a user, uid:N of the local socket, or hub
	What    string   // run, result, sign-in, token.create, grant, revoke, …
	Gateway string   // "" where it is about none
	Ref     string   // the command's, token's or grant's id
	Detail  string   // the command's line, say
	Outcome string   // how it ended; "" for an intent
	Hash    [32]byte // over the entry and the one before; set by Append
}

// A Head is the end of the audit at some moment.
type Head struct {
	Seq  uint64   // of the last entry; 0 if there is none
	Hash [32]byte // its hash
	Time time.Time
}

// AuditFilter says which entries are meant; the zero value is all.
type AuditFilter struct {
	Gateway, Who, What, Ref string
	Before                  uint64 // numbers below this one; 0 is from the end
	Limit                   int    // 0 is 100, and so is anything above 1000
}

// Audit is a log whose entries hold each other by a chain of hashes. All of its
// methods may be called at once.
type Audit interface {
	// Append adds entries in their order, all or none, and returns the new head.
	Append(ctx context.Context, entries ...Entry) (Head, error)
	// Head returns the end.
	Head(ctx context.Context) (Head, error)
	// Entries returns a page, the newest first.
	Entries(ctx context.Context, f AuditFilter) ([]Entry, error)
	// All returns every entry from the first on that is kept.
	All(ctx context.Context) iter.Seq2[Entry, error]
	// Start returns what stands for the entries that were let go, the zero Checkpoint
	// if none was.
	Start(ctx context.Context) (Checkpoint, error)
	// Cut lets the oldest entries go, at most limit, up to the first that isn't from
	// before a moment; never the last one. let is told what stood for those that went
	// before, and the heads that the audit had with each that goes, and makes what stands
	// for all of them, and what the audit says of it; all comes in one step, or nothing
	// after let's error. It returns how many went; for none let isn't called.
	// ErrTampered: they aren't what was written, and so they stay.
	Cut(ctx context.Context, before time.Time, limit int, let func(start Checkpoint, gone []Head) (Checkpoint, Entry, error)) (int, error)
}

// chain returns the hash of an entry that follows one with the hash before: SHA-256
// over before and the entry's fields, each behind its length, so that no two entries
// give the same bytes.
func (e *Entry) chain(before [32]byte) [32]byte {
	b := make([]byte, 0, 256)
	b = append(b, "lanfolk audit 1\n"...)
	b = append(b, before[:]...)
	b = binary.BigEndian.AppendUint64(b, e.Seq)
	b = binary.BigEndian.AppendUint64(b, uint64(nanos(e.Time)))
	for _, field := range []string{e.Who, e.What, e.Gateway, e.Ref, e.Detail, e.Outcome} {
		b = binary.BigEndian.AppendUint32(b, uint32(len(field)))
		b = append(b, field...)
	}
	return sha256.Sum256(b)
}
