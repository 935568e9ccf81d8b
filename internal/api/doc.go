// Package api serves the inventory over HTTP: JSON with an OpenAPI 3.1
// document at /api/v1, server-sent events for what changes, Prometheus metrics
// and the page.
//
// One Server answers on every listener that is handed to Serve:
//
//	unix socket    who may open it is admin; the peer's uid goes into the audit
//	TCP            an API token (Authorization: Bearer) or the page's cookie
//
// A hub has an access.Desk, which knows people, and callers have roles and grants: each
// operation takes a right, and what says nothing is for admins unless it reads. Browsers
// sign in by name and password there; their cookie (__Host-, for TLS alone) is good with
// the session's token in X-CSRF-Token, but for what only reads. Event streams ask every
// two seconds whether their caller may still have them.
//
// A node knows no people: there a browser gets its cookie by a sign-in token, which
// works once and for a short time. The token stands in the fragment of the printed
// address, so that it is in no request line, no Referer and no log; the page posts it
// and wipes it from the history.
//
// A TCP request must name this host in its Host header, or a web page elsewhere
// could reach the API by a DNS name that it lets point here (DNS rebinding),
// and a browser's request must come from this very origin.
//
// Errors are problem details (RFC 9457). Not implemented: HTTP/2 (a browser
// opens six connections at most; the page closes its stream while nobody sees
// it), resuming a stream by Last-Event-ID (each begins with the full picture).
package api
