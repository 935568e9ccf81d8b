package mqtt

import (
	"bytes"
	"encoding/json"
	"os"
	"testing"
)

// cases is the file of scenarios. A member that isn't known is an error: it
// would be a condition that nobody checks.
type cases struct {
	What           string            `json:"what"`
	Document       map[string]string `json:"document"`
	Verbs          map[string]string `json:"verbs"`
	Matching       map[string]string `json:"matching"`
	DeviceDocument json.RawMessage   `json:"default_device_document"`
	Validated      string            `json:"validated"`
	Scenarios      []scenario        `json:"scenarios"`
}

type scenario struct {
	ID       string            `json:"id"`
	Title    string            `json:"title"`
	Why      string            `json:"why"`
	Tags     []string          `json:"tags"`
	Steps    []step            `json:"steps"`
	Expect   expectation       `json:"expect"`
	AllUnder *allUnder         `json:"all_under"`
	Within   int               `json:"within_ms"`
	Derived  map[string]string `json:"derived"`
}

type step struct {
	Do        string                     `json:"do"`
	As        string                     `json:"as"`
	ID        string                     `json:"id"`
	Root      string                     `json:"root"`
	Tenant    string                     `json:"tenant"`
	Provider  string                     `json:"provider"`
	ClientID  string                     `json:"client_id"`
	Devices   []device                   `json:"devices"`
	Prefix    string                     `json:"prefix"`
	Count     int                        `json:"count"`
	KeepAlive int                        `json:"keepalive_s"`
	Grace     *int                       `json:"grace_ms"`
	Topic     string                     `json:"topic"`
	Payload   string                     `json:"payload"`
	Retain    bool                       `json:"retain"`
	How       string                     `json:"how"`
	AtLeast   int                        `json:"at_least"`
	Millis    int                        `json:"ms"`
	Within    int                        `json:"within_ms"`
	Retained  map[string]json.RawMessage `json:"retained"`
}

type device struct {
	ID        string `json:"id"`
	Root      string `json:"root"`
	Reachable bool   `json:"reachable"`
}

type expectation struct {
	Retained  map[string]json.RawMessage `json:"retained"`
	OnlyUnder string                     `json:"only_under"`
	Never     []struct {
		Topic   string `json:"topic"`
		Payload string `json:"payload"`
	} `json:"never"`
}

type allUnder struct {
	Prefix  string `json:"prefix"`
	Payload string `json:"payload"`
	Count   int    `json:"count"`
}

func readCases(t *testing.T) cases {
	t.Helper()
	b, err := os.ReadFile("testdata/mqtt-cases.json")
	if err != nil {
		t.Fatal(err)
	}
	var c cases
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&c); err != nil {
		t.Fatal(err)
	}
	if len(c.Scenarios) == 0 {
		t.Fatal("no scenarios")
	}
	return c
}
