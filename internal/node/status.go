package node

import (
	"time"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/internal/daemon"
	"github.com/lanfolk/lanfolk/internal/find"
	"github.com/lanfolk/lanfolk/store"
)

// Status is what `lanfolk status` shows.
type Status struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	PID     int    `json:"pid"`
	State   string `json:"state"` // the state folder
	Config  string `json:"config"`
	Page    string `json:"page"` // the page's address, "" if HTTP is off
	// Network names the network namespace that the node lives in, as
	// /proc/self/ns/net does: the socket can be reached from others, too.
	Network string    `json:"network"`
	Started time.Time `json:"started"`
	// Healthy says that every part that could run does, and the store writes.
	Healthy   bool          `json:"healthy"`
	Links     []Link        `json:"links"`
	Parts     []daemon.Part `json:"parts"`
	Store     Store         `json:"store"`
	Inventory Inventory     `json:"inventory"`
	// NMOS are the APIs of a studio that the config wants.
	NMOS []find.KeptSelection `json:"nmos"`
	// Advertised are the APIs of a studio that the node advertises.
	Advertised []AdvertisedAPI `json:"nmos_advertised"`
	// MQTT is the broker on which devices announce themselves.
	MQTT MQTT `json:"mqtt"`
	// Leases are files of DHCP servers on this machine, AccessPoints what hostapd runs on it.
	Leases       []LeaseFile   `json:"leases"`
	AccessPoints []AccessPoint `json:"access_points"`
	// Hub is the hub whose gateway this node is.
	Hub HubLink `json:"hub"`
}

// AdvertisedAPI is an API that the node advertises.
type AdvertisedAPI struct {
	Name string          `json:"name"`
	Type string          `json:"type"` // "register"
	Ways []AdvertisedWay `json:"ways"`
}

// AdvertisedWay is how an API stands in one way: by mDNS, or in one domain.
type AdvertisedWay struct {
	Via        string     `json:"via"`      // "mdns" or "unicast"
	Instance   string     `json:"instance"` // its full name at present
	Host       string     `json:"host"`
	State      string     `json:"state"` // probing, announced; registering, registered, withdrawn; dead, failed
	Interfaces []string   `json:"interfaces"`
	Expires    *time.Time `json:"expires"` // when it goes if the node dies
	Error      string     `json:"error"`
}

// Link is an interface and what the node does on it.
type Link struct {
	Name      string   `json:"name"`
	MAC       string   `json:"mac"`
	Up        bool     `json:"up"`
	Addresses []string `json:"addresses"`
	Used      bool     `json:"used"`
	Why       string   `json:"why"` // why it isn't used
}

// Store is how the database is.
type Store struct {
	Path    string     `json:"path"`
	Healthy bool       `json:"healthy"`
	Error   string     `json:"error"`
	Since   *time.Time `json:"since"`   // since when it fails
	Pending uint64     `json:"pending"` // fingerprint rows that wait in memory
	Written uint64     `json:"written"`
	Dropped uint64     `json:"dropped"` // for want of room
	// DroppedShare are rows let go because their MAC had taken its share of the room.
	DroppedShare uint64 `json:"dropped_share"`
	// Failures is how often the database took no rows since the start.
	Failures uint64 `json:"failures"`
	// Forgotten are rows removed from the database since the start, by why: too old,
	// too many of one MAC, too many.
	Forgotten store.Forgotten `json:"forgotten"`
}

// Inventory counts what is known.
type Inventory struct {
	Devices   int           `json:"devices"`
	Services  int           `json:"services"`
	Sightings int           `json:"sightings"`
	Stats     lanfolk.Stats `json:"stats"`
}
