package mqtt

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/test/lab"
)

// journal is what lanfolk's broker has on disk.
type journal struct {
	retained map[string]string // payloads by topic
	wills    map[string]string // their topics by client id
}

// readJournal reads a file of lines, each a checksum, a blank and an object; a last one that isn't whole
// doesn't count.
func readJournal(path string) (journal, error) {
	j := journal{map[string]string{}, map[string]string{}}
	b, err := os.ReadFile(path)
	if err != nil {
		return j, err
	}
	for line := range strings.Lines(string(b)) {
		_, body, _ := strings.Cut(line, " ")
		if !strings.HasSuffix(body, "\n") {
			continue
		}
		var r struct {
			Topic, Client string
			Message       *struct{ Payload []byte }
			Session       *struct{ Will *struct{ Topic string } }
		}
		if err := json.Unmarshal([]byte(body), &r); err != nil {
			return j, err
		}
		switch {
		case r.Topic != "" && r.Message != nil:
			j.retained[r.Topic] = string(r.Message.Payload)
		case r.Topic != "":
			delete(j.retained, r.Topic)
		case r.Session != nil && r.Session.Will != nil:
			j.wills[r.Client] = r.Session.Will.Topic
		default:
			delete(j.wills, r.Client)
		}
	}
	return j, nil
}

// waitJournal waits until a broker has something on disk. That takes it a tenth of a second when it has a processor.
func waitJournal(t *testing.T, path, what string, is func(journal) bool) {
	t.Helper()
	lab.Eventually(t, 30*time.Second, what, func() error {
		j, err := readJournal(path)
		if err == nil && !is(j) {
			err = fmt.Errorf("%d retained messages, wills %v", len(j.retained), j.wills)
		}
		return err
	})
}

// hasWill says whether somebody's will is on a topic.
func (j journal) hasWill(topic string) bool {
	return slices.Contains(slices.Collect(maps.Values(j.wills)), topic)
}
