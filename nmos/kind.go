package nmos

// Kind is one row of the table of APIs that NMOS specifications advertise.
type Kind struct {
	Name    string // "netctrl": what commands call it
	Service string // "_nmos-netctrl._tcp"
	Spec    string // the specification that defines it
	Path    string // where the API begins on its host, "" for what isn't HTTP
	// Protos are the values that api_proto may have.
	Protos []string
	// Has says which of the other keys the kind has; a key that it doesn't have is
	// ignored (RFC 6763 §6.3).
	HasVersion, HasAuth, HasPriority, HasSelector bool
	// Legacy says that missing keys have the meaning that they had before they
	// were invented: v1.0, http, no authorization.
	Legacy bool
	// With is another kind's Name that names the same API: a client that looks
	// for one looks for both and drops duplicates (IS-04, Upgrade Path).
	With string
}

// Kinds returns the table, in the order in which commands list it.
func Kinds() []Kind {
	web := []string{"http", "https"}
	return []Kind{
		{Name: "netctrl", Service: "_nmos-netctrl._tcp", Spec: "IS-06", Path: "/x-nmos/netctrl/", Protos: web, HasVersion: true, HasAuth: true, HasPriority: true},
		{Name: "register", Service: "_nmos-register._tcp", Spec: "IS-04", Path: "/x-nmos/registration/", Protos: web, HasVersion: true, HasAuth: true, HasPriority: true, With: "registration"},
		{Name: "registration", Service: "_nmos-registration._tcp", Spec: "IS-04 up to v1.2", Path: "/x-nmos/registration/", Protos: web, HasVersion: true, HasAuth: true, HasPriority: true, Legacy: true, With: "register"},
		{Name: "query", Service: "_nmos-query._tcp", Spec: "IS-04", Path: "/x-nmos/query/", Protos: web, HasVersion: true, HasAuth: true, HasPriority: true},
		{Name: "node", Service: "_nmos-node._tcp", Spec: "IS-04", Path: "/x-nmos/node/", Protos: web, HasVersion: true, HasAuth: true},
		{Name: "system", Service: "_nmos-system._tcp", Spec: "IS-09", Path: "/x-nmos/system/", Protos: web, HasVersion: true, HasPriority: true},
		{Name: "auth", Service: "_nmos-auth._tcp", Spec: "IS-10", Path: "/.well-known/oauth-authorization-server", Protos: []string{"https"}, HasVersion: true, HasPriority: true, HasSelector: true},
		{Name: "mqtt", Service: "_nmos-mqtt._tcp", Spec: "IS-07", Protos: []string{"mqtt", "secure-mqtt"}, HasAuth: true},
	}
}

// KindOf returns the kind with the name, "netctrl", or the service type,
// "_nmos-netctrl._tcp".
func KindOf(name string) (Kind, bool) {
	for _, k := range Kinds() {
		if k.Name == name || k.Service == name {
			return k, true
		}
	}
	return Kind{}, false
}
