package store_test

import (
	"testing"
	"time"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/store"
)

func TestRowsMerge(t *testing.T) {
	at := time.Unix(1_700_000_000, 0)
	row := func(query string, seconds int) lanfolk.Observation {
		when := at.Add(time.Duration(seconds) * time.Second)
		return lanfolk.Observation{ObservationKey: lanfolk.ObservationKey{Protocol: "mdns", Query: query}, First: when, Last: when, Count: 1}
	}
	var rows store.Rows
	for i, o := range []lanfolk.Observation{row("a", 5), row("b", 7), row("a", 9), row("a", 1)} {
		if first := rows.Add(o); first != (i < 2) {
			t.Errorf("observation %d: first of its row is %v", i, first)
		}
	}
	got := rows.Sorted()
	if len(got) != 2 || got[0].Query != "a" || got[1].Query != "b" {
		t.Fatalf("rows %+v; want a, heard last, before b", got)
	}
	if a := got[0]; a.Count != 3 || !a.First.Equal(at.Add(time.Second)) || !a.Last.Equal(at.Add(9*time.Second)) {
		t.Errorf("row a %+v; want 3 from second 1 to 9", a)
	}
}
