package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/internal/find"
)

// maxFindTimeout is the longest search over the API.
const maxFindTimeout = 5 * time.Minute

// FoundDevice is a device that answered, as it goes out.
type FoundDevice struct {
	Kind lanfolk.Kind `json:"kind" enum:"device"`
	*lanfolk.Device
	Heard *Fingerprint `json:"heard,omitempty" doc:"The newest announcement of its host's name by mDNS that was heard, if one was."`
}

// FoundService is a service that answered, as it goes out.
type FoundService struct {
	Kind lanfolk.Kind `json:"kind" enum:"service"`
	*lanfolk.Service
	Heard *Fingerprint `json:"heard,omitempty" doc:"The newest announcement of its host's name by mDNS that was heard, if one was."`
}

type findQuery struct {
	Q       string   `query:"q" required:"true" minLength:"1" maxLength:"255" doc:"A service type, a host or device name, a MAC or an IP address, the name of a service in TGED, a Syncthing device ID, or the id or type of a device on an MQTT broker."`
	Via     []string `query:"via" maxItems:"32" doc:"Ask by these protocols only, with commas between."`
	Timeout string   `query:"timeout" default:"3s" doc:"How long to wait for answers, as Go writes durations."`
	First   bool     `query:"first" doc:"End at the first answer."`
}

func (s *Server) findRoutes() {
	op := operation("find", http.MethodGet, "/find", "Ask the network now, by every protocol at once", "ask",
		http.StatusNotFound, http.StatusServiceUnavailable, http.StatusGatewayTimeout, http.StatusNotImplemented)
	op.Description = "A line of JSON for each answer, as it comes. 404: somebody who must know says that there is none. 504: nobody answered in time."
	op.Responses = map[string]*huma.Response{"200": {
		Description: "Each line is one of these.",
		Content: map[string]*huma.MediaType{"application/jsonl": {Schema: &huma.Schema{OneOf: []*huma.Schema{
			s.schema(FoundService{}, "FoundService"), s.schema(FoundDevice{}, "FoundDevice"),
		}}}},
	}}
	op.Middlewares = huma.Middlewares{unhurried}
	huma.Register(s.api, op, s.find)
}

// unhurried takes the server's timeout for answers off a search, which may have
// nothing to say for longer.
func unhurried(ctx huma.Context, next func(huma.Context)) {
	_, w := humago.Unwrap(ctx)
	// An error means that there is no timeout: a test's recorder.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(maxFindTimeout + writeTimeout))
	next(ctx)
}

func (s *Server) find(ctx context.Context, in *findQuery) (*huma.StreamResponse, error) {
	if s.o.Finder == nil {
		return nil, huma.NewError(http.StatusNotImplemented, "nothing can be asked from here")
	}
	query, err := find.ParseQuery(in.Q)
	if err != nil {
		return nil, refused("query.q", err.Error(), in.Q)
	}
	timeout, err := parseTimeout(in.Timeout)
	if err != nil {
		return nil, err
	}
	ctx, done, err := s.stream(ctx)
	if err != nil {
		return nil, failed(err)
	}
	// The status depends on whether there is a first answer: wait for it.
	answers := make(chan find.Answer, 16)
	ended := make(chan error, 1)
	go func() {
		err := s.o.Finder.Find(ctx, find.Request{Query: query, Via: in.Via, Timeout: timeout, First: in.First}, func(a find.Answer) {
			select {
			case answers <- a:
			case <-ctx.Done():
			}
		})
		close(answers)
		ended <- err
	}()
	a, ok := <-answers
	if !ok {
		defer done()
		if err := <-ended; err != nil {
			return nil, failed(err)
		}
		return nil, failed(find.ErrNoAnswer)
	}
	return &huma.StreamResponse{Body: func(c huma.Context) {
		defer done()
		_, w := humago.Unwrap(c)
		out := newEventWriter(w, "application/jsonl")
		for ok {
			if err := out.answer(a); err != nil {
				return // the client has gone; done ends the search
			}
			a, ok = <-answers
		}
		if err := <-ended; err != nil {
			// What was sent is not all: break the connection off, so that the
			// client does not take it for all.
			panic(http.ErrAbortHandler)
		}
	}}, nil
}

// parseTimeout reads how long a search may take.
func parseTimeout(text string) (time.Duration, error) {
	timeout, err := time.ParseDuration(text)
	if err != nil || timeout <= 0 || timeout > maxFindTimeout {
		return 0, refused("query.timeout", "is no duration between 0 and "+maxFindTimeout.String(), text)
	}
	return timeout, nil
}

func (w *eventWriter) answer(a find.Answer) error {
	var heard *Fingerprint
	if a.Heard != nil {
		row := wireFingerprint(*a.Heard)
		heard = &row
	}
	if a.Service != nil {
		return w.line(FoundService{lanfolk.KindService, wireService(a.Service), heard})
	}
	return w.line(FoundDevice{lanfolk.KindDevice, wireDevice(a.Device), heard})
}
