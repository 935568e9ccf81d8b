package find

// Zone is a DNS-SD zone that a node publishes services in.
type Zone struct {
	Domain   string `json:"domain"`
	Serial   uint32 `json:"serial"` // of the SOA record
	Services int    `json:"services"`
	Records  int    `json:"records"` // all of them
}
