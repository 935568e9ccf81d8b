package api

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/lanfolk/lanfolk"
)

// DeviceEvent is one change of a device, as it goes out.
type DeviceEvent struct {
	Event lanfolk.Op   `json:"event" enum:"add,update,remove"`
	Kind  lanfolk.Kind `json:"kind" enum:"device"`
	*lanfolk.Device
}

// ServiceEvent is one change of a service, as it goes out.
type ServiceEvent struct {
	Event lanfolk.Op   `json:"event" enum:"add,update,remove"`
	Kind  lanfolk.Kind `json:"kind" enum:"service"`
	*lanfolk.Service
}

// SyncedEvent ends the first picture, and each one after a gap.
type SyncedEvent struct {
	Event lanfolk.Op `json:"event" enum:"synced"`
	ID    string     `json:"id" enum:""`
}

// FilterQuery is a lanfolk.Filter as a query.
type FilterQuery struct {
	Protocol string    `query:"protocol" maxLength:"64" doc:"Heard by this protocol: mdns."`
	Type     string    `query:"type" maxLength:"255" doc:"Services of this type, devices that offer one: _ipp._tcp."`
	Gateway  string    `query:"gateway" maxLength:"255" doc:"Heard by this gateway."`
	State    string    `query:"state" enum:"reachable,unreachable,unknown" doc:"In this state."`
	New      bool      `query:"new" doc:"First seen within the last 24 hours."`
	Since    time.Time `query:"since" doc:"First seen at this time or later."`
	Q        string    `query:"q" maxLength:"255" doc:"Occurs in a name, id, address, MAC, vendor, tag, type, host or attribute, in any case."`
}

// newFor is how long a thing counts as new.
const newFor = 24 * time.Hour

func (q *FilterQuery) filter() (lanfolk.Filter, error) {
	f := lanfolk.Filter{
		Protocol: q.Protocol, Type: q.Type, Gateway: q.Gateway,
		State: lanfolk.State(q.State), Since: q.Since, Text: q.Q,
	}
	if q.New {
		if !q.Since.IsZero() {
			return f, refused("query.new", "says the same as since: name one of them", q.New)
		}
		f.Since = time.Now().Add(-newFor)
	}
	return f, nil
}

type watchQuery struct {
	FilterQuery
	Kind string `query:"kind" enum:"device,service,all" default:"device" doc:"What to watch. With all, services come as events of their own and the list in a device stays empty."`
}

func (s *Server) eventRoutes() {
	op := operation("watch", http.MethodGet, "/events", "Watch the inventory", "inventory", http.StatusServiceUnavailable)
	op.Description = "Server-sent events: an add for everything that fits, a synced, then what changes. " +
		"Each connection begins with the full picture; Last-Event-ID means nothing. Comments keep a quiet stream alive. " +
		"A client that takes nothing for 30 seconds is cut off."
	op.Responses = map[string]*huma.Response{"200": {
		Description: "The name of each event is its field event, its data one of these as JSON.",
		Content: map[string]*huma.MediaType{"text/event-stream": {Schema: &huma.Schema{OneOf: []*huma.Schema{
			s.schema(DeviceEvent{}, "DeviceEvent"), s.schema(ServiceEvent{}, "ServiceEvent"), s.schema(SyncedEvent{}, "SyncedEvent"),
		}}}},
	}}
	huma.Register(s.api, op, func(ctx context.Context, in *watchQuery) (*huma.StreamResponse, error) {
		f, err := in.filter()
		if err != nil {
			return nil, err
		}
		if in.Kind != "all" {
			f.Kind = lanfolk.Kind(in.Kind)
		}
		ctx, done, err := s.stream(ctx)
		if err != nil {
			return nil, failed(err)
		}
		return &huma.StreamResponse{Body: func(c huma.Context) {
			defer done()
			_, w := humago.Unwrap(c)
			s.watch(ctx, w, f, in.Kind == "all")
		}}, nil
	})
}

// watch writes events to w until ctx ends or the client is gone or too slow.
func (s *Server) watch(ctx context.Context, w http.ResponseWriter, f lanfolk.Filter, apart bool) {
	out := newEventWriter(w, "text/event-stream")
	out.apart = apart
	if err := out.comment("lanfolk"); err != nil {
		return
	}

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	events := gathered(ctx, s.o.Inventory.Watch(ctx, f))
	quiet := time.NewTicker(heartbeat)
	defer quiet.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-quiet.C:
			if err := out.comment("alive"); err != nil {
				return
			}
		case e, ok := <-events:
			if !ok {
				return // ctx has ended
			}
			if err := out.batch(e, events); err != nil {
				s.log.DebugContext(ctx, "event stream cut off", "err", err)
				return
			}
			quiet.Reset(heartbeat)
		}
	}
}

// gathered lets events that come together be written together.
func gathered(ctx context.Context, from <-chan lanfolk.Event) <-chan lanfolk.Event {
	to := make(chan lanfolk.Event, maxBatch)
	go func() {
		defer close(to)
		for {
			select {
			case e, ok := <-from:
				if !ok {
					return
				}
				select {
				case to <- e:
				case <-ctx.Done():
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	return to
}

// eventWriter writes server-sent events (HTML Standard §9.2) or lines of JSON.
type eventWriter struct {
	control *http.ResponseController
	buf     *bufio.Writer
	enc     *json.Encoder
	apart   bool // devices go without their services
}

// newEventWriter begins a stream.
func newEventWriter(w http.ResponseWriter, contentType string) *eventWriter {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // a proxy must not wait for more
	w.WriteHeader(http.StatusOK)
	out := &eventWriter{control: http.NewResponseController(w), buf: bufio.NewWriterSize(w, 32<<10)}
	out.enc = json.NewEncoder(out.buf)
	out.enc.SetEscapeHTML(false)
	return out
}

// maxBatch is how many events go out before the deadline is set anew.
const maxBatch = 256

// batch writes e and what is waiting behind it, and then flushes.
func (w *eventWriter) batch(e lanfolk.Event, more <-chan lanfolk.Event) error {
	if err := w.deadline(); err != nil {
		return err
	}
	for n := 1; ; n++ {
		if err := w.event(e); err != nil {
			return err
		}
		if n == maxBatch {
			return w.flush()
		}
		select {
		case next, ok := <-more:
			if !ok {
				return w.flush()
			}
			e = next
		default:
			return w.flush()
		}
	}
}

func (w *eventWriter) event(e lanfolk.Event) error {
	var data any
	switch {
	case e.Device != nil:
		d := wireDevice(e.Device)
		if w.apart {
			d.Services = []*lanfolk.Service{}
		}
		data = DeviceEvent{e.Op, lanfolk.KindDevice, d}
	case e.Service != nil:
		data = ServiceEvent{e.Op, lanfolk.KindService, wireService(e.Service)}
	default:
		data = SyncedEvent{Event: e.Op}
	}
	return w.data(string(e.Op), data)
}

func (w *eventWriter) comment(text string) error { return w.text(": " + text + "\n\n") }

// text writes what carries no event.
func (w *eventWriter) text(s string) error {
	if err := w.deadline(); err != nil {
		return err
	}
	if _, err := w.buf.WriteString(s); err != nil {
		return err
	}
	return w.flush()
}

// message writes one event with data of any kind.
func (w *eventWriter) message(name string, data any) error {
	if err := w.deadline(); err != nil {
		return err
	}
	if err := w.data(name, data); err != nil {
		return err
	}
	return w.flush()
}

// data adds an event to what is to be written.
func (w *eventWriter) data(name string, data any) error {
	if _, err := w.buf.WriteString("event: " + name + "\ndata: "); err != nil {
		return err
	}
	if err := w.enc.Encode(data); err != nil { // ends the line
		return err
	}
	return w.buf.WriteByte('\n')
}

// line writes one line of JSON.
func (w *eventWriter) line(v any) error {
	if err := w.deadline(); err != nil {
		return err
	}
	if err := w.enc.Encode(v); err != nil {
		return err
	}
	return w.flush()
}

func (w *eventWriter) flush() error {
	if err := w.buf.Flush(); err != nil {
		return err
	}
	return w.control.Flush()
}

func (w *eventWriter) deadline() error {
	err := w.control.SetWriteDeadline(time.Now().Add(writeTimeout))
	if errors.Is(err, http.ErrNotSupported) { // a test's recorder
		return nil
	}
	return err
}
