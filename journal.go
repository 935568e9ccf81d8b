package lanfolk

import (
	"context"
	"time"
)

// Snapshot is what a Registry remembers from its last run; Restore takes it.
type Snapshot struct {
	Devices   []DeviceRecord   `json:"devices"`
	Sightings []StoredSighting `json:"sightings"`
}

// DeviceRecord is what is kept of a device beside its sightings. Its ID is the
// key. A device that was merged into another one keeps its record, with
// MergedInto set, so that the merge can be undone.
type DeviceRecord struct {
	ID string `json:"id"`
	// MergedInto is the id of the device that this one turned out to be, ""
	// for a device of its own. It never names another merged one.
	MergedInto string `json:"merged_into,omitempty"`
	// Identifiers, Heard, Protocols and Gateway are the last known picture:
	// they are what is shown of a device that no sighting speaks of any more,
	// and they give it its id back when it returns. At most 64 identifiers,
	// 32 names and 32 protocols.
	Identifiers []Identifier `json:"identifiers"`
	Heard       []string     `json:"heard"` // names that it calls itself, best first
	Protocols   []string     `json:"protocols"`
	Gateway     string       `json:"gateway"`
	// Signals are those of sightings that have ended, at most 128.
	Signals   []Signal  `json:"signals,omitempty"`
	FirstSeen time.Time `json:"first_seen"`
	LastSeen  time.Time `json:"last_seen"`
	// Split is when it split off another device, the zero time if it didn't.
	Split time.Time `json:"split,omitzero"`
	Said  Said      `json:"said"`
}

// Said is what a person said about a device.
type Said struct {
	Names []string `json:"names"`
	Tags  []string `json:"tags"`
	// Separated holds the identifiers that must not join sightings any more.
	Separated []Identifier `json:"separated"`
}

// Empty says whether the person said nothing.
func (s Said) Empty() bool {
	return len(s.Names) == 0 && len(s.Tags) == 0 && len(s.Separated) == 0
}

// StoredSighting is a sighting as it is kept. Its Sighting's ID() is the key.
type StoredSighting struct {
	Sighting Sighting `json:"sighting"`
	// Device is the id of the device that the sighting was last joined to, ""
	// for a service of which the device is not known.
	Device    string    `json:"device"`
	FirstSeen time.Time `json:"first_seen"`
	// Ended says that the sighting had run out before it was saved, and is kept
	// to be shown. What its device still knows from it is in the device's record.
	Ended bool `json:"ended,omitempty"`
}

// Batch is what changed in the inventory since the batch before. A key occurs
// in it once, either as put or as removed.
type Batch struct {
	Devices   []DeviceRecord   // put: insert, or replace the record with that ID
	Forgotten []string         // ids of records to remove
	Sightings []StoredSighting // put: insert, or replace the sighting with that ID()
	Ended     []ID             // sightings to remove
}

// Sink keeps the inventory. The registry calls Save about once a second when
// there is something to save, from one goroutine, and never while a Commit of
// its Journal runs.
//
// Save must store all of the batch or nothing, and may take its time:
// discovery goes on meanwhile, and what changes is gathered for the next
// batch. It must not keep the slices after it returns, nor call the registry.
// When it returns an error the registry reports it in Stats and offers the
// same keys again later, with what is known by then. Removing a key that isn't
// there is no error.
type Sink interface {
	Save(ctx context.Context, b Batch) error
}

// Journal makes what a person said durable. The registry calls Commit before
// it acknowledges a name, a tag or a separation, and takes the word back when
// Commit fails.
//
// Commit must store all of the records (insert, or replace the one with that
// ID) or none, and must return only when they would survive a power cut. The
// records may be of devices that no Batch has held yet. It must not call the
// registry.
type Journal interface {
	Commit(ctx context.Context, records []DeviceRecord) error
}
