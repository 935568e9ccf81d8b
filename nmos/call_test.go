package nmos_test

import (
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/nmos"
)

func TestCall(t *testing.T) {
	type message struct{ Text string }
	status, silence := 0, make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/x-nmos/netctrl/v1.0/silent":
			<-silence
			return
		case "/x-nmos/netctrl/v1.0/broken":
			_, _ = w.Write([]byte(`{"Text":`))
			return
		case "/x-nmos/netctrl/v1.0/endless":
			_, _ = w.Write([]byte(`{"Text":"` + strings.Repeat("x", 2<<20) + `"}`))
			return
		}
		var in message
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s %s: %v", r.Method, r.URL, err)
		}
		in.Text = r.Method + " " + r.URL.Path + " " + in.Text
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(in)
	}))
	defer s.Close()
	defer close(silence)
	addr, port := at(t, s)
	sel := selection(t, "netctrl", "http", "ctl.local", port, addr)
	p := nmos.Probe{DialContext: (&net.Dialer{}).DialContext, Timeout: 5 * time.Second}
	var out message
	for _, status = range []int{200, 201, 404, 409, 501, 503} {
		out = message{}
		got, err := p.Call(t.Context(), sel, http.MethodPost, "resource", message{"hello"}, &out)
		if got != status || errors.Is(err, nmos.ErrServer) != (status == 503) || (err != nil) != (status == 503) {
			t.Errorf("%d: status %d, error %v", status, got, err)
		}
		want := ""
		if status < 300 {
			want = "POST /x-nmos/netctrl/v1.0/resource hello"
		}
		if out.Text != want {
			t.Errorf("%d: answer %q, want %q", status, out.Text, want)
		}
	}
	for _, path := range []string{"broken", "endless"} {
		if got, err := p.Call(t.Context(), sel, http.MethodGet, path, nil, &out); got != 200 || err == nil || !strings.HasPrefix(err.Error(), "its answer: ") {
			t.Errorf("%s: status %d, error %v", path, got, err)
		}
		if got, err := p.Call(t.Context(), sel, http.MethodGet, path, nil, nil); got != 200 || err != nil {
			t.Errorf("%s, which nobody reads: status %d, error %v", path, got, err)
		}
	}
	if _, err := p.Call(t.Context(), sel, http.MethodPost, "x", func() {}, nil); err == nil {
		t.Error("no error for what is no JSON")
	}
	if _, err := p.Call(t.Context(), nmos.Selection{}, http.MethodGet, "", nil, nil); err == nil || err.Error() != "nmos: call: nothing is selected" {
		t.Errorf("nothing: %v", err)
	}
	p.Timeout = 50 * time.Millisecond
	if _, err := p.Call(t.Context(), sel, http.MethodGet, "silent", nil, nil); err == nil || !strings.Contains(err.Error(), "no answer in 50ms") {
		t.Errorf("silence: %v", err)
	}
}
