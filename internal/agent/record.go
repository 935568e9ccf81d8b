package agent

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/lanfolk/lanfolk/reverse"
)

// The journal is lines of text: a checksum (CRC-32C of what follows the blank,
// eight hexadecimal digits), a blank, a JSON object. A later line about a
// command adds to an earlier one.
//
//	5f0c21aa {"lanfolk":"agent journal","version":1}
//	0b9e7d13 {"id":"01K9…","state":"accepted","accepted":1763776800,"keep":86400}
//	c4417f02 {"id":"01K9…","state":"started"}
//	7a93be55 {"id":"01K9…","state":"done","result":{"type":1,"status":"ok","sha256":"…","total":3,"text":"b2sK"}}
//	19f2d0c8 {"id":"01K9…","state":"acknowledged"}
const (
	journalName    = "agent journal"
	journalVersion = 1
)

// state is how far a command has come.
type state string

const (
	accepted     state = "accepted"     // it came; nothing of it has begun
	started      state = "started"      // from here on it doesn't run again
	done         state = "done"         // it has a result
	acknowledged state = "acknowledged" // the hub has the result, or wants none
)

// rank orders the states; 0 is none of them.
func (s state) rank() int {
	switch s {
	case accepted:
		return 1
	case started:
		return 2
	case done:
		return 3
	case acknowledged:
		return 4
	}
	return 0
}

// record is one line.
type record struct {
	Lanfolk string `json:"lanfolk,omitempty"` // of the first line alone
	Version int    `json:"version,omitempty"`
	Floor   string `json:"floor,omitempty"` // no unknown command up to this id runs

	ID       string  `json:"id,omitempty"`
	State    state   `json:"state,omitempty"`
	Accepted int64   `json:"accepted,omitempty"` // seconds since 1970, by this machine's clock
	Keep     int64   `json:"keep,omitempty"`     // seconds after Accepted for which the id is remembered
	Source   *source `json:"source,omitempty"`
	Result   *result `json:"result,omitempty"`
}

// source is the file that a command fetches. The same file can be read on after
// a restart.
type source struct {
	Name     string `json:"name"`
	Size     int64  `json:"size"`
	Modified int64  `json:"modified"` // nanoseconds since 1970
}

// result is how a command ended. What it said stands in Text if that is little,
// else in a file of its own.
type result struct {
	Type   reverse.Type   `json:"type"`
	Status reverse.Status `json:"status"`
	Exit   int            `json:"exit,omitempty"`
	Error  string         `json:"error,omitempty"`
	SHA256 []byte         `json:"sha256"`
	Total  int64          `json:"total"`
	Text   []byte         `json:"text,omitempty"`
}

const (
	sumLen    = 9         // the checksum and the blank
	maxRecord = 128 << 10 // bytes of a line: an error and a text of maxInline, escaped
)

// check returns why a line that isn't the first can't be one of ours.
func (r *record) check() error {
	switch {
	case r.Lanfolk != "":
		return errors.New("a head in the middle")
	case r.State.rank() == 0:
		return fmt.Errorf("unknown state %q", r.State)
	case r.State == done && r.Result == nil:
		return errors.New("done without a result")
	case r.Result != nil && (len(r.Result.SHA256) != 32 || r.Result.Total < int64(len(r.Result.Text)) || len(r.Result.Text) > maxInline):
		return errors.New("a result that can't be")
	case r.Source != nil && r.Source.Size < 0:
		return errors.New("a file of negative size")
	case r.Accepted < 0 || r.Keep < 0 || r.Keep > maxKeep:
		return errors.New("a time that can't be")
	}
	return reverse.CheckID(r.ID)
}

// appendRecord adds a line.
func appendRecord(b []byte, r record) ([]byte, error) {
	body, err := json.Marshal(r)
	if err != nil {
		return b, err
	}
	b = fmt.Appendf(b, "%08x ", crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)))
	return append(append(b, body...), '\n'), nil
}

// parseRecord reads a line with its end. False: it is damaged.
func parseRecord(line []byte) (record, bool) {
	var r record
	if len(line) <= sumLen || line[len(line)-1] != '\n' || line[sumLen-1] != ' ' {
		return r, false
	}
	body := line[sumLen : len(line)-1]
	if !bytes.Equal(line[:sumLen-1], fmt.Appendf(nil, "%08x", crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)))) {
		return r, false
	}
	return r, json.Unmarshal(body, &r) == nil
}

// Errors of a journal that isn't ours to read.
var (
	ErrNewer   = errors.New("the journal was written by a newer lanfolk")
	ErrForeign = errors.New("not the journal of a gateway")
)

// readRecords reads a journal. Damage counts the lines that can't be read; a last
// line without an end isn't damage, for nobody has relied on it.
func readRecords(r io.Reader) (t *table, damage int, err error) {
	t = newTable()
	in := bufio.NewReaderSize(r, 16<<10)
	for first := true; ; first = false {
		line, whole, err := readLine(in)
		if errors.Is(err, io.EOF) {
			return t, damage, nil
		}
		if err != nil {
			return nil, 0, err
		}
		rec, ok := parseRecord(line)
		switch {
		case !whole || !ok:
			damage++
		case first && rec.Lanfolk != "" && rec.Lanfolk != journalName:
			return nil, 0, fmt.Errorf("%w: it is a %q", ErrForeign, rec.Lanfolk)
		case first && rec.Version > journalVersion:
			return nil, 0, fmt.Errorf("%w: version %d, this one reads %d", ErrNewer, rec.Version, journalVersion)
		case first && rec.Lanfolk != "":
			t.floor = rec.Floor
			t.lines++
		case rec.check() != nil || first:
			damage++
			if reverse.CheckID(rec.ID) == nil {
				t.newest = max(t.newest, rec.ID)
			}
		default:
			t.apply(rec)
			t.lines++
		}
	}
}

// readLine reads a line with its end; whole is false if it is longer than any
// may be, then the line is but its beginning. The error is io.EOF when what is
// left has no end.
func readLine(in *bufio.Reader) (line []byte, whole bool, err error) {
	whole = true
	for {
		part, err := in.ReadSlice('\n')
		if len(line)+len(part) > maxRecord {
			whole, part = false, nil
		}
		line = append(line, part...)
		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, whole, err
		}
	}
}
