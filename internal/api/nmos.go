package api

import (
	"context"
	"iter"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/lanfolk/lanfolk/internal/find"
)

// NMOS looks for a studio's APIs: a source.NMOS. An error that matches
// lanfolk.ErrInvalid is about the request.
type NMOS interface {
	// Select returns what is chosen when the first look is complete; its Selected
	// is nil where nothing fits.
	Select(ctx context.Context, r find.SelectRequest) (find.Selection, error)
	// WatchSelection tries the chosen API again and again, and yields what changes
	// until ctx ends; then without an error.
	WatchSelection(ctx context.Context, r find.SelectRequest) iter.Seq2[find.SelectionChange, error]
}

// SelectQuery is a find.SelectRequest as a query.
type SelectQuery struct {
	Type        string   `query:"type" default:"netctrl" maxLength:"64" doc:"Which API: netctrl, register, registration, query, node, system, auth or mqtt."`
	Versions    []string `query:"api_version" maxItems:"64" doc:"The versions that the client speaks, with commas between: v1.2,v1.3. None means any."`
	Proto       string   `query:"proto" maxLength:"16" doc:"http or https, for mqtt mqtt or secure-mqtt. None means any."`
	Auth        string   `query:"auth" enum:"true,false" doc:"Whether the API must insist on authorization, or must not. None means any."`
	Mode        string   `query:"mode" enum:"both,unicast,mdns" default:"both" doc:"By what it is looked for; both asks by mDNS where no DNS server knows one."`
	Domains     []string `query:"domain,explode" maxItems:"64" doc:"Where to look by unicast DNS. None means the domains that the node's machine searches."`
	Servers     []string `query:"server,explode" maxItems:"8" doc:"The DNS servers, ADDRESS or ADDRESS:PORT. None means those that the node asks."`
	URL         string   `query:"url" maxLength:"2048" doc:"Where the API is: then nothing is looked for."`
	Development bool     `query:"development" doc:"Take APIs, too, that say they are for development."`
	FallBack    bool     `query:"fall_back" doc:"Ask by mDNS, too, where DNS servers know APIs, but none that fits."`
	Merge       bool     `query:"merge" doc:"Ask by both in any case, and make one list of it."`
	Seed        string   `query:"seed" pattern:"^[0-9]{0,20}$" doc:"Makes the choice among equals the same each time."`
}

// watchSelectQuery is SelectQuery with what a watch needs more.
type watchSelectQuery struct {
	SelectQuery
	Return     bool   `query:"return" doc:"Go back to a better API when it comes."`
	CheckEvery string `query:"check_every" default:"5s" doc:"How often the chosen API is tried, as Go writes durations."`
	Timeout    string `query:"timeout" default:"5s" doc:"After which time a try has failed, as Go writes durations."`
	CA         string `query:"ca" maxLength:"16384" doc:"Certificates (PEM) that sign those of the APIs. None means those that the node's machine trusts."`
}

func (q *SelectQuery) request() (find.SelectRequest, error) {
	r := find.SelectRequest{
		Kind: q.Type, Versions: q.Versions, Proto: q.Proto, Mode: q.Mode, Domains: q.Domains, Servers: q.Servers,
		URL: q.URL, Development: q.Development, FallBack: q.FallBack, Merge: q.Merge,
	}
	if q.Auth != "" {
		must := q.Auth == "true"
		r.Auth = &must
	}
	if q.Seed != "" {
		seed, err := strconv.ParseUint(q.Seed, 10, 64)
		if err != nil {
			return r, refused("query.seed", "is no number of 64 bits", q.Seed)
		}
		r.Seed = &seed
	}
	return r, nil
}

func (q *watchSelectQuery) request() (find.SelectRequest, error) {
	r, err := q.SelectQuery.request()
	if err != nil {
		return r, err
	}
	r.Return, r.CA = q.Return, q.CA
	for _, d := range []struct {
		where, text string
		to          *time.Duration
	}{{"query.check_every", q.CheckEvery, &r.CheckEvery}, {"query.timeout", q.Timeout, &r.Timeout}} {
		if *d.to, err = time.ParseDuration(d.text); err != nil || *d.to <= 0 {
			return r, refused(d.where, "is no duration above 0", d.text)
		}
	}
	return r, nil
}

func (s *Server) nmosRoutes() {
	op := operation("select-nmos", http.MethodGet, "/nmos/select", "Choose one of a studio's APIs (AMWA NMOS)", "ask",
		http.StatusServiceUnavailable, http.StatusNotImplemented)
	op.Description = "Looks for the API by DNS-SD as AMWA's specifications say, and says which one to use, and why not the others. " +
		"selected is null where none fits."
	op.Middlewares = huma.Middlewares{unhurried}
	huma.Register(s.api, op, func(ctx context.Context, in *SelectQuery) (*struct{ Body find.Selection }, error) {
		if s.o.NMOS == nil {
			return nil, errNoNMOS()
		}
		r, err := in.request()
		if err != nil {
			return nil, err
		}
		ctx, done, err := s.stream(ctx)
		if err != nil {
			return nil, failed(err)
		}
		defer done()
		got, err := s.o.NMOS.Select(ctx, r)
		if err != nil {
			return nil, failed(err)
		}
		return &struct{ Body find.Selection }{got}, nil
	})

	huma.Register(s.api, operation("list-nmos", http.MethodGet, "/nmos", "List the studio's APIs that the configuration asks for", "node", http.StatusNotImplemented),
		func(context.Context, *struct{}) (*struct{ Body []find.KeptSelection }, error) {
			if s.o.Selections == nil {
				return nil, huma.NewError(http.StatusNotImplemented, "no configuration is kept here")
			}
			return &struct{ Body []find.KeptSelection }{s.o.Selections()}, nil
		})

	op = operation("watch-nmos", http.MethodGet, "/nmos/events", "Watch which of a studio's APIs is chosen", "ask",
		http.StatusServiceUnavailable, http.StatusNotImplemented)
	op.Description = "Server-sent events: what is chosen, again when that changes, and when the others change. The chosen API is tried again and again. " +
		"Comments keep a quiet stream alive. A client that takes nothing for 30 seconds is cut off."
	op.Responses = map[string]*huma.Response{"200": {
		Description: "The name of each event is its field event, its data this as JSON.",
		Content:     map[string]*huma.MediaType{"text/event-stream": {Schema: s.schema(find.SelectionChange{}, "SelectionChange")}},
	}}
	huma.Register(s.api, op, s.watchSelection)
}

func errNoNMOS() error {
	return huma.NewError(http.StatusNotImplemented, "no API of a studio can be looked for from here")
}

func (s *Server) watchSelection(ctx context.Context, in *watchSelectQuery) (*huma.StreamResponse, error) {
	if s.o.NMOS == nil {
		return nil, errNoNMOS()
	}
	r, err := in.request()
	if err != nil {
		return nil, err
	}
	ctx, done, err := s.stream(ctx)
	if err != nil {
		return nil, failed(err)
	}
	b, err := begin(ctx, s.o.NMOS.WatchSelection(ctx, r))
	if err != nil {
		done()
		return nil, failed(err)
	}
	return &huma.StreamResponse{Body: func(c huma.Context) {
		defer done()
		_, w := humago.Unwrap(c)
		out := newEventWriter(w, "text/event-stream")
		err := b.write(out, ": alive\n\n", func(ch find.SelectionChange) error { return out.message(ch.Event, ch) })
		switch {
		case err != nil:
			s.log.DebugContext(ctx, "selection stream cut off", "err", err)
		case b.err != nil:
			s.log.WarnContext(ctx, "a selection ended", "err", b.err)
			panic(http.ErrAbortHandler) // so that the client doesn't take it for the node's end
		}
	}}, nil
}
