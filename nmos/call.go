package nmos

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// Call sends one request to the API that was selected: path is below
// Selection.Base, in becomes its JSON body, nil for none, and the JSON of an
// answer 2xx goes to out, nil for nowhere. An error says that the API doesn't
// work, as Check's does, and is what Client.Failed wants to know. What
// any other status means is for the caller to judge.
func (p Probe) Call(ctx context.Context, s Selection, method, path string, in, out any) (status int, err error) {
	if s.Advert == nil {
		return 0, errors.New("nmos: call: nothing is selected")
	}
	ctx, cancel := p.limit(ctx)
	defer cancel()
	status, err = p.send(ctx, s, method, s.Base()+path, in, out)
	return status, explain(ctx, err)
}

// send sends a request on a connection of its own: one that is kept would be
// the first to break when the API's host is exchanged.
func (p Probe) send(ctx context.Context, s Selection, method, url string, in, out any) (int, error) {
	var body io.Reader = http.NoBody
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return 0, err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return 0, err
	}
	req.Close = true
	req.Header.Set("Accept", "application/json")
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	c := p.Client(s)
	c.Timeout = 0 // ctx ends in time, and its error says more
	defer c.CloseIdleConnections()
	resp, err := c.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	status, rest := resp.StatusCode, io.LimitReader(resp.Body, maxBody)
	switch {
	case unable(status):
		return status, fmt.Errorf("%w: it says %q", ErrServer, statusLine(status))
	case out != nil && status/100 == 2:
		if err := json.NewDecoder(rest).Decode(out); err != nil {
			return status, fmt.Errorf("its answer: %w", err)
		}
		return status, nil
	}
	_, err = io.Copy(io.Discard, rest)
	return status, err
}
