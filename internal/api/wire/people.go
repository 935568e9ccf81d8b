package wire

import "time"

// User is an account of a hub, as it goes out.
type User struct {
	Name    string    `json:"name"`
	Role    string    `json:"role" enum:"viewer,operator,admin"`
	Created time.Time `json:"created"`
	By      string    `json:"by" doc:"Who made the account."`
}

// Grant lets a user do more at some gateways.
type Grant struct {
	ID       string            `json:"id"`
	User     string            `json:"user"`
	Verb     string            `json:"verb" enum:"exec,get,capture"`
	Selector map[string]string `json:"selector" doc:"Labels that the gateway has, all of them; empty is every gateway."`
	By       string            `json:"by"`
	Created  time.Time         `json:"created"`
}

// APIToken stands for a user in programs.
type APIToken struct {
	ID      string     `json:"id"`
	User    string     `json:"user"`
	Name    string     `json:"name" doc:"What it is for."`
	Created time.Time  `json:"created"`
	Expires *time.Time `json:"expires" doc:"Null: never."`
	Used    *time.Time `json:"used" doc:"When last, to the minute; null: never."`
}

// NewAPIToken is an API token that was made just now.
type NewAPIToken struct {
	APIToken
	Token string `json:"token" doc:"What to send as Authorization: Bearer. It is shown only now."`
}

// JoinToken lets one gateway join.
type JoinToken struct {
	ID      string     `json:"id"`
	Name    string     `json:"name" doc:"What the gateway will be called."`
	Gateway string     `json:"gateway" doc:"The one that may use it, to join again; empty: whoever has it."`
	By      string     `json:"by"`
	Created time.Time  `json:"created"`
	Expires time.Time  `json:"expires"`
	Used    *time.Time `json:"used" doc:"When a gateway joined by it; null: none did."`
}

// NewJoinToken is a join token that was made just now.
type NewJoinToken struct {
	JoinToken
	Token string `json:"token" doc:"What lanfolk join takes. It is shown only now."`
}

// Revocation ended what a gateway's certificates are good for.
type Revocation struct {
	Gateway string    `json:"gateway"`
	Time    time.Time `json:"time"`
	By      string    `json:"by"`
	Why     string    `json:"why"`
}
