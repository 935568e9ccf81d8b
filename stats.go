package lanfolk

// Stats are the registry's counters since it was made, and its sizes now.
type Stats struct {
	Devices   int `json:"devices"`
	Sightings int `json:"sightings"` // with services that ran out and fresh goodbyes
	Queued    int `json:"queued"`
	Watchers  int `json:"watchers"`

	Observed  uint64 `json:"observed"`
	Refreshed uint64 `json:"refreshed"` // held nothing new but the time
	Goodbyes  uint64 `json:"goodbyes"`
	Expired   uint64 `json:"expired"`
	Merges    uint64 `json:"merges"`
	Rejoins   uint64 `json:"rejoins"` // joins computed anew for a part of the inventory

	// Sightings that were not taken, by reason.
	Self          uint64 `json:"self"`           // what lanfolk said itself
	Late          uint64 `json:"late"`           // had run out when they came
	Stale         uint64 `json:"stale"`          // older than what was known
	Refused       uint64 `json:"refused"`        // without a key or kind, or with a key too long
	DroppedQueue  uint64 `json:"dropped_queue"`  // the queue was full
	DroppedSource uint64 `json:"dropped_source"` // one speaker had said too much
	DroppedFull   uint64 `json:"dropped_full"`   // the inventory was full

	Clipped        uint64 `json:"clipped"`         // cut down to the bounds of a sighting
	Evicted        uint64 `json:"evicted"`         // sightings thrown out for newer ones
	EvictedDevices uint64 `json:"evicted_devices"` // remembered devices thrown out for newer ones
	Resyncs        uint64 `json:"resyncs"`         // watchers that were too slow

	Saved      uint64 `json:"saved"` // batches that the sink took
	SaveErrors uint64 `json:"save_errors"`
	// SaveError is why the last batch could not be saved, "" if it was.
	SaveError string `json:"save_error"`
}
