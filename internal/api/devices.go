package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/lanfolk/lanfolk"
)

// DevicePath names one device.
type DevicePath struct {
	Ref string `path:"ref" maxLength:"255" doc:"The device's id, an alias of it, a name, a MAC or an IP address."`
}

type deviceList struct{ Body []*lanfolk.Device }
type oneDevice struct{ Body *lanfolk.Device }

// Explanation is a device and every piece of evidence for it.
type Explanation struct {
	Device   *lanfolk.Device      `json:"device"`
	Evidence []lanfolk.Evidence   `json:"evidence" doc:"What was heard about it, and why it was taken to be about this device."`
	Reasons  []lanfolk.Conclusion `json:"reasons" doc:"What speaks for and against the model, OS and class that it is taken to have."`
}

// Said is what a person says of a device. What is left out stays as it is.
type Said struct {
	Names *[]string `json:"names,omitempty" maxItems:"16" doc:"Names, the first one is shown. They come before what the device calls itself. Empty: none."`
	Tags  *[]string `json:"tags,omitempty" maxItems:"32" doc:"Tags. Empty: none."`
}

func (s *Server) deviceRoutes() {
	huma.Register(s.api, operation("list-devices", http.MethodGet, "/devices", "List devices", "inventory"),
		func(_ context.Context, in *FilterQuery) (*deviceList, error) {
			f, err := in.filter()
			if err != nil {
				return nil, err
			}
			return &deviceList{wireDevices(s.o.Inventory.Devices(f))}, nil
		})

	huma.Register(s.api, operation("get-device", http.MethodGet, "/devices/{ref}", "Get a device", "inventory", http.StatusNotFound, http.StatusConflict),
		func(_ context.Context, in *DevicePath) (*oneDevice, error) {
			return answerDevice(s.o.Inventory.Device(in.Ref))
		})

	huma.Register(s.api, operation("explain-device", http.MethodGet, "/devices/{ref}/evidence", "Explain a device", "inventory", http.StatusNotFound, http.StatusConflict),
		func(_ context.Context, in *DevicePath) (*struct{ Body Explanation }, error) {
			d, evidence, err := s.o.Inventory.Explain(in.Ref)
			if err != nil {
				return nil, failed(err)
			}
			reasons, err := s.o.Inventory.Reasons(d.ID)
			if err != nil {
				return nil, failed(err)
			}
			return &struct{ Body Explanation }{Explanation{wireDevice(d), wireEvidence(evidence), wireReasons(reasons)}}, nil
		})

	huma.Register(s.api, operation("list-last-seen", http.MethodGet, "/last-seen", "Say when devices were last heard", "inventory"), s.lastSeen)

	huma.Register(s.api, change("name-device", http.MethodPatch, "/devices/{ref}", "Set a device's names and tags"),
		func(ctx context.Context, in *struct {
			DevicePath
			Body Said
		}) (*oneDevice, error) {
			return s.say(ctx, in.Ref, in.Body)
		})

	huma.Register(s.api, change("separate-device", http.MethodPost, "/devices/{ref}/separate", "Let an identifier join no sightings of a device"),
		func(ctx context.Context, in *struct {
			DevicePath
			Body lanfolk.Identifier
		}) (*oneDevice, error) {
			d, err := s.o.Inventory.Separate(ctx, in.Ref, in.Body)
			if err == nil {
				s.audit(ctx, "device separated", "device", d.ID, "identifier", in.Body.String())
			}
			return answerDevice(d, err)
		})

	huma.Register(s.api, change("rejoin-device", http.MethodPost, "/devices/{ref}/rejoin", "Let a separated identifier join sightings again"),
		func(ctx context.Context, in *struct {
			DevicePath
			Body lanfolk.Identifier
		}) (*oneDevice, error) {
			d, err := s.o.Inventory.Rejoin(ctx, in.Ref, in.Body)
			if err == nil {
				s.audit(ctx, "device rejoined", "device", d.ID, "identifier", in.Body.String())
			}
			return answerDevice(d, err)
		})
}

// LastSeen is when a device was last heard.
type LastSeen struct {
	ID       string    `json:"id"`
	LastSeen time.Time `json:"last_seen"`
}

// lastSeen answers what the event stream leaves out: that a device was heard
// again is no change. What is not known any more is left out.
func (s *Server) lastSeen(_ context.Context, in *struct {
	ID []string `query:"id" required:"true" maxItems:"200" doc:"Devices' ids, with commas between."`
}) (*struct{ Body []LastSeen }, error) {
	out := make([]LastSeen, 0, len(in.ID))
	for _, id := range in.ID {
		if d, err := s.o.Inventory.Device(id); err == nil {
			out = append(out, LastSeen{id, d.LastSeen.UTC()})
		}
	}
	return &struct{ Body []LastSeen }{out}, nil
}

// say sets names, tags or both. The device is the same by its id even when the
// reference was a name that this changes.
func (s *Server) say(ctx context.Context, ref string, said Said) (*oneDevice, error) {
	d, err := s.o.Inventory.Device(ref)
	if err != nil {
		return nil, failed(err)
	}
	if said.Names != nil {
		if err := checkWords("names", *said.Names, 255); err != nil {
			return nil, err
		}
	}
	if said.Tags != nil {
		if err := checkWords("tags", *said.Tags, 64); err != nil {
			return nil, err
		}
	}
	if said.Names != nil {
		if d, err = s.o.Inventory.SetNames(ctx, d.ID, *said.Names...); err != nil {
			return nil, failed(err)
		}
		s.audit(ctx, "device named", "device", d.ID, "names", *said.Names)
	}
	if said.Tags != nil {
		if d, err = s.o.Inventory.SetTags(ctx, d.ID, *said.Tags...); err != nil {
			return nil, failed(err)
		}
		s.audit(ctx, "device tagged", "device", d.ID, "tags", *said.Tags)
	}
	return answerDevice(d, nil)
}

func answerDevice(d *lanfolk.Device, err error) (*oneDevice, error) {
	if err != nil {
		return nil, failed(err)
	}
	return &oneDevice{wireDevice(d)}, nil
}

// operation describes an operation that changes nothing.
func operation(id, method, path, summary, tag string, errors ...int) huma.Operation {
	return huma.Operation{OperationID: id, Method: method, Path: path, Summary: summary, Tags: []string{tag},
		Errors: append(errors, http.StatusUnauthorized, http.StatusForbidden)}
}

// change describes an operation on a device that changes it. It is done when
// it survives a power cut.
func change(id, method, path, summary string) huma.Operation {
	op := operation(id, method, path, summary, "inventory", http.StatusNotFound, http.StatusConflict)
	op.MaxBodyBytes = maxBody
	op.BodyReadTimeout = 30 * time.Second // it also bounds the wait for the disk
	return op
}
