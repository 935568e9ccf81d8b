package reverse

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"
)

// Type says what a resource is: the type of reverse_access.ResourceRequest.
type Type uint32

// The types of resources.
const (
	TypeError        Type = 0 // the gateway could not do what it was told
	TypeResult       Type = 1 // what a command printed
	TypeListing      Type = 2 // what can be fetched
	TypeFile         Type = 3 // a file that was fetched
	TypeInventory    Type = 4 // changes of the gateway's inventory
	TypeFingerprints Type = 5 // rows of the gateway's fingerprint database
)

// String returns the type's name, "type 9" for one that has none.
func (t Type) String() string {
	names := [...]string{"error", "result", "listing", "file", "inventory", "fingerprints"}
	if int64(t) < int64(len(names)) {
		return names[t]
	}
	return fmt.Sprintf("type %d", uint32(t))
}

// Answers says whether resources of the type answer a command.
func (t Type) Answers() bool { return t <= TypeFile }

// The statuses of reverse_access.ResourceReply.
const (
	Accepted uint32 = 0
	Refused  uint32 = 1 // Control.Progress tells why
)

// Bounds of a resource, in bytes.
const (
	MaxMeta  = 8 << 10   // of meta
	MaxChunk = 256 << 10 // of data
	MaxError = 4 << 10   // of Meta.Error
)

// Status is how a command ended.
type Status string

// The statuses that a gateway reports.
const (
	StatusOK          Status = "ok"
	StatusError       Status = "error"       // it ran and failed, or couldn't be begun
	StatusTimeout     Status = "timeout"     // its time was over
	StatusDenied      Status = "denied"      // the gateway doesn't allow it
	StatusCancelled   Status = "cancelled"   // the hub called it off
	StatusInterrupted Status = "interrupted" // the gateway died while it ran; it doesn't run again
)

func (s Status) known() bool {
	switch s {
	case StatusOK, StatusError, StatusTimeout, StatusDenied, StatusCancelled, StatusInterrupted:
		return true
	}
	return false
}

// Meta is what the meta of a ResourceRequest says about the chunk beside it. It
// travels as JSON. The chunks of one ID have the numbers 0, 1, 2, …; Status and
// what follows it count in the last one only.
type Meta struct {
	ID     string `json:"id"`               // of the command; of a feed its epoch
	Seq    uint64 `json:"seq"`              // the chunk's number
	Last   bool   `json:"last"`             // no chunk follows
	Status Status `json:"status,omitempty"` // of a command
	Exit   int    `json:"exit"`             // a program's exit code; 0 where there is none
	Error  string `json:"error,omitempty"`  // for people, at most MaxError bytes
	// SHA256 is of all chunks together, 64 hexadecimal digits. Of a result that did not
	// end well it may be missing: then nobody knows any more what was sent, and what
	// came is all there is.
	SHA256 string `json:"sha256,omitempty"`
	Total  uint64 `json:"total"` // bytes of all chunks together
}

// ErrForeign is what ParseMeta returns for a meta that isn't ours: its sender
// knows nothing of lanfolk, and its answer belongs to the command that is
// outstanding on its connection.
var ErrForeign = errors.New("reverse: not lanfolk's meta")

// ParseMeta reads a meta. Text that is no JSON object with an "id" is
// ErrForeign; one that is, and is wrong, is an error that says where.
func ParseMeta(text string) (Meta, error) {
	if len(text) > MaxMeta {
		return Meta{}, fmt.Errorf("reverse: meta has %d bytes, more than %d", len(text), MaxMeta)
	}
	var id struct {
		ID *json.RawMessage `json:"id"`
	}
	if err := json.Unmarshal([]byte(text), &id); err != nil || id.ID == nil {
		return Meta{}, ErrForeign
	}
	var m Meta
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		return Meta{}, metaError(err)
	}
	return m, m.check()
}

func metaError(err error) error {
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		return fmt.Errorf("reverse: meta, byte %d: %s can't be a %s", wrong.Offset, wrong.Field, wrong.Value)
	}
	return fmt.Errorf("reverse: meta: %w", err)
}

func (m *Meta) check() error {
	switch {
	case m.ID == "" || len(m.ID) > maxID || !printable(m.ID):
		return fmt.Errorf("reverse: meta: id %q: want 1 to %d printable ASCII characters", clip(m.ID), maxID)
	case m.Status != "" && !m.Status.known():
		return fmt.Errorf("reverse: meta: unknown status %q", clip(string(m.Status)))
	case len(m.Error) > MaxError:
		return fmt.Errorf("reverse: meta: error has %d bytes, more than %d", len(m.Error), MaxError)
	case m.SHA256 != "" && !isSHA256(m.SHA256):
		return fmt.Errorf("reverse: meta: sha256 %q: want 64 hexadecimal digits in lower case", clip(m.SHA256))
	case m.Last && m.SHA256 == "" && (m.Status == StatusOK || m.Status == ""):
		return errors.New("reverse: meta: the last chunk has no sha256")
	}
	return nil
}

// maxID bounds what is accepted as an id of a command or an epoch.
const maxID = 64

func isSHA256(s string) bool {
	var sum [32]byte
	if len(s) != hex.EncodedLen(len(sum)) || bytes.ContainsAny([]byte(s), "ABCDEF") {
		return false
	}
	_, err := hex.Decode(sum[:], []byte(s))
	return err == nil
}

func printable(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// clip shortens what a stranger sent for an error.
func clip(s string) string {
	const most = 80
	if len(s) <= most {
		return s
	}
	return s[:most] + "…"
}

// String returns the meta as it travels. An error that is too long is cut, at a
// character's end.
func (m Meta) String() string {
	if len(m.Error) > MaxError {
		end := MaxError
		for end > 0 && !utf8.RuneStart(m.Error[end]) {
			end--
		}
		m.Error = m.Error[:end]
	}
	b, err := json.Marshal(m)
	if err != nil {
		panic(err) // strings, numbers and a bool always marshal
	}
	return string(b)
}
