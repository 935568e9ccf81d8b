package broker

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// The journal is lines of text: a checksum (CRC-32C of what follows the blank,
// eight hexadecimal digits), a blank, a JSON object. A later line about the
// same topic or client replaces an earlier one.
//
//	1c291ca3 {"lanfolk":"mqtt journal","version":1}
//	9d1f02b7 {"topic":"device/d1","message":{"payload":"e30=","qos":1}}
//	5b7a0f11 {"client":"c1","session":{"will":{"topic":"provider/p1","retain":true,"qos":2}}}
//	0a64e0c2 {"topic":"device/d1"}
const (
	journalName    = "mqtt journal"
	journalVersion = 1
)

// record is one line.
type record struct {
	Lanfolk string `json:"lanfolk,omitempty"` // of the first line alone
	Version int    `json:"version,omitempty"`

	Topic   string    `json:"topic,omitempty"`
	Message *retained `json:"message,omitempty"` // nil: gone

	Client  string `json:"client,omitempty"`
	Session *away  `json:"session,omitempty"` // nil: gone
}

// retained is a retained message.
type retained struct {
	Payload     []byte      `json:"payload,omitempty"`
	QoS         byte        `json:"qos,omitempty"`
	Created     int64       `json:"created,omitempty"` // seconds since 1970
	Expires     int64       `json:"expires,omitempty"` // the same
	Origin      string      `json:"origin,omitempty"`
	ContentType string      `json:"content_type,omitempty"`
	Response    string      `json:"response_topic,omitempty"`
	Correlation []byte      `json:"correlation,omitempty"`
	Format      *byte       `json:"format,omitempty"`
	User        [][2]string `json:"user,omitempty"`
}

// away is what is kept of a client's session.
type away struct {
	Username      string         `json:"username,omitempty"`
	MQTT          byte           `json:"mqtt,omitempty"` // protocol version: 3, 4, 5
	Keeps         bool           `json:"keeps,omitempty"`
	Expiry        uint32         `json:"expiry,omitempty"` // seconds
	Subscriptions []subscription `json:"subscriptions,omitempty"`
	Will          *will          `json:"will,omitempty"`
}

type subscription struct {
	Filter            string `json:"filter"`
	QoS               byte   `json:"qos,omitempty"`
	Identifier        int    `json:"identifier,omitempty"`
	RetainHandling    byte   `json:"retain_handling,omitempty"`
	RetainAsPublished bool   `json:"retain_as_published,omitempty"`
	NoLocal           bool   `json:"no_local,omitempty"`
}

// will is what the broker says for a client that has died.
type will struct {
	Topic       string      `json:"topic"`
	Payload     []byte      `json:"payload,omitempty"` // empty: it clears the topic
	QoS         byte        `json:"qos,omitempty"`
	Retain      bool        `json:"retain,omitempty"`
	Delay       uint32      `json:"delay,omitempty"` // seconds
	Expiry      uint32      `json:"expiry,omitempty"`
	ContentType string      `json:"content_type,omitempty"`
	User        [][2]string `json:"user,omitempty"`
}

const sumLen = 9 // the checksum and the blank

// appendRecord adds a line.
func appendRecord(b []byte, r record) ([]byte, error) {
	body, err := json.Marshal(r)
	if err != nil {
		return b, err
	}
	b = fmt.Appendf(b, "%08x ", crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)))
	return append(append(b, body...), '\n'), nil
}

var (
	errTorn   = errors.New("the rest is torn or damaged")
	errNotOur = errors.New("no journal of lanfolk's broker, or a newer one's")
)

// maxRecord bounds a line: a packet's worth of payload in base64, and more.
const maxRecord = 4 << 20

// readRecords hands each record to put and returns how many bytes of r were
// good. The error is errTorn when what follows isn't, errNotOur when nothing is.
func readRecords(r io.Reader, put func(record)) (good int64, err error) {
	in := bufio.NewReaderSize(r, 64<<10)
	for first := true; ; first = false {
		line, err := readLine(in)
		atEnd := errors.Is(err, io.EOF)
		if atEnd && len(line) == 0 {
			return good, nil
		}
		if err != nil && !atEnd && !errors.Is(err, errTorn) {
			return good, err
		}
		rec, ok := parseRecord(line)
		switch {
		case first && (!ok || rec.Lanfolk != journalName || rec.Version != journalVersion):
			return 0, errNotOur
		case !ok || err != nil:
			return good, errTorn
		case !first:
			put(rec)
		}
		good += int64(len(line))
	}
}

// readLine reads a line with its end; errTorn if it is longer than any may be.
func readLine(in *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := in.ReadSlice('\n')
		line = append(line, part...)
		if len(line) > maxRecord {
			return line, errTorn
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, err
		}
	}
}

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
