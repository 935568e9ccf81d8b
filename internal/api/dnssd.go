package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/lanfolk/lanfolk/internal/find"
)

type browseQuery struct {
	Type    string   `query:"type" maxLength:"255" doc:"The service type, _http._tcp, perhaps with a subtype before it: _printer._sub._http._tcp. Without it types are listed."`
	Also    []string `query:"also,explode" maxItems:"16" doc:"Other types of the same function, less preferred; a name is told once."`
	Resolve bool     `query:"resolve" doc:"Ask for host, port, addresses and TXT, too."`
	Once    bool     `query:"once" doc:"End when things have settled."`
}

type resolveQuery struct {
	Name    string `query:"name" required:"true" minLength:"1" maxLength:"63" doc:"The instance's name."`
	Type    string `query:"type" required:"true" minLength:"1" maxLength:"255" doc:"Its service type, _http._tcp."`
	Timeout string `query:"timeout" default:"3s" doc:"How long to wait for answers, as Go writes durations."`
}

type reconfirmQuery struct {
	Name string `query:"name" required:"true" minLength:"1" maxLength:"63" doc:"The instance's name."`
	Type string `query:"type" required:"true" minLength:"1" maxLength:"255" doc:"Its service type, _http._tcp."`
}

type lookupQuery struct {
	Host    string `query:"host" required:"true" minLength:"1" maxLength:"255" doc:"A name in .local, or an address of which the name is asked for."`
	Timeout string `query:"timeout" default:"3s" doc:"How long to wait for answers, as Go writes durations."`
}

func (s *Server) dnssdRoutes() {
	op := operation("browse", http.MethodGet, "/browse", "List services by DNS-SD as they come and go", "ask",
		http.StatusServiceUnavailable, http.StatusNotImplemented)
	op.Description = "A line of JSON for each change; the fields from host to txt_raw come with resolve. Empty lines keep a quiet stream alive. " +
		"A client that takes nothing for 30 seconds is cut off."
	op.Responses = map[string]*huma.Response{"200": {
		Description: "Each line is one of these.",
		Content:     map[string]*huma.MediaType{"application/jsonl": {Schema: s.schema(find.Instance{}, "Instance")}},
	}}
	huma.Register(s.api, op, s.browse)

	op = operation("resolve", http.MethodGet, "/resolve", "Find host, port, addresses and TXT of one service instance", "ask", onceErrors()...)
	op.Description = onceDescription
	op.Middlewares = huma.Middlewares{unhurried}
	huma.Register(s.api, op, func(ctx context.Context, in *resolveQuery) (*struct{ Body []find.Instance }, error) {
		found, err := once(ctx, s, in.Timeout, func(ctx context.Context, timeout time.Duration) ([]find.Instance, error) {
			return s.o.DNSSD.Resolve(ctx, in.Name, in.Type, timeout)
		})
		return &struct{ Body []find.Instance }{found}, err
	})

	op = operation("reconfirm", http.MethodPost, "/reconfirm", "Say that a service instance didn't work", "ask", onceErrors()...)
	op.Description = "What is known of it is asked for again, and is forgotten unless somebody confirms it within ten seconds (RFC 6762 §10.4). " +
		"The answer is what was confirmed. " + onceDescription
	op.Middlewares = huma.Middlewares{unhurried}
	huma.Register(s.api, op, func(ctx context.Context, in *reconfirmQuery) (*struct{ Body []find.Instance }, error) {
		found, err := once(ctx, s, maxFindTimeout.String(), func(ctx context.Context, _ time.Duration) ([]find.Instance, error) {
			return s.o.DNSSD.Reconfirm(ctx, in.Name, in.Type)
		})
		return &struct{ Body []find.Instance }{found}, err
	})

	op = operation("lookup", http.MethodGet, "/lookup", "Find a host's addresses by mDNS, or the name behind an address", "ask", onceErrors()...)
	op.Description = onceDescription
	op.Middlewares = huma.Middlewares{unhurried}
	huma.Register(s.api, op, func(ctx context.Context, in *lookupQuery) (*struct{ Body []find.HostAddress }, error) {
		found, err := once(ctx, s, in.Timeout, func(ctx context.Context, timeout time.Duration) ([]find.HostAddress, error) {
			return s.o.DNSSD.Lookup(ctx, in.Host, timeout)
		})
		return &struct{ Body []find.HostAddress }{found}, err
	})
}

const onceDescription = "404: its owner says that there is none. 504: nobody answered in time."

func onceErrors() []int {
	return []int{http.StatusNotFound, http.StatusServiceUnavailable, http.StatusGatewayTimeout, http.StatusNotImplemented}
}

func errNoDNSSD() error {
	return huma.NewError(http.StatusNotImplemented, "DNS-SD can't be asked from here")
}

// once asks what has one answer.
func once[T any](ctx context.Context, s *Server, timeout string, ask func(context.Context, time.Duration) ([]T, error)) ([]T, error) {
	if s.o.DNSSD == nil {
		return nil, errNoDNSSD()
	}
	wait, err := parseTimeout(timeout)
	if err != nil {
		return nil, err
	}
	ctx, done, err := s.stream(ctx)
	if err != nil {
		return nil, failed(err)
	}
	defer done()
	found, err := ask(ctx, wait)
	switch {
	case err != nil:
		return nil, failed(err)
	case len(found) == 0:
		return nil, failed(find.ErrNoAnswer)
	}
	return found, nil
}

func (s *Server) browse(ctx context.Context, in *browseQuery) (*huma.StreamResponse, error) {
	if s.o.DNSSD == nil {
		return nil, errNoDNSSD()
	}
	ctx, done, err := s.stream(ctx)
	if err != nil {
		return nil, failed(err)
	}
	b, err := begin(ctx, s.o.DNSSD.Browse(ctx, find.BrowseRequest{Type: in.Type, Also: in.Also, Resolve: in.Resolve, Once: in.Once}))
	if err != nil {
		done()
		return nil, failed(err)
	}
	return &huma.StreamResponse{Body: func(c huma.Context) {
		defer done()
		_, w := humago.Unwrap(c)
		out := newEventWriter(w, "application/jsonl")
		if err := b.write(out, "\n", func(i find.Instance) error { return out.line(i) }); err != nil {
			s.log.DebugContext(ctx, "browse stream cut off", "err", err)
			return // the client has gone; done ends the search
		}
		if b.err != nil || ctx.Err() != nil {
			// What was sent is not all: break the connection off, so that the
			// client does not take it for all.
			panic(http.ErrAbortHandler)
		}
	}}, nil
}
