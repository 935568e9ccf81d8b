package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/lanfolk/lanfolk/internal/access"
	"github.com/lanfolk/lanfolk/internal/api/wire"
	"github.com/lanfolk/lanfolk/reverse"
	"github.com/lanfolk/lanfolk/store/fleet"
)

// Bounds of what may be asked for.
const (
	// maxCommandBody holds the longest line, quoted.
	maxCommandBody = 512 << 10
	// maxLines bounds the bytes of one line at all of its gateways.
	maxLines = 64 << 20
	// defaultTime and defaultQueueTime are for those who name no time.
	defaultTime      = time.Hour
	defaultQueueTime = 24 * time.Hour
	maxTime          = 7 * 24 * time.Hour
	// maxCommands is the longest page of commands.
	maxCommands = 1000
	// maxDetail bounds the line in the audit of what was refused, in bytes.
	maxDetail = 256
)

// CommandPath names one command.
type CommandPath struct {
	ID string `path:"id" maxLength:"64" doc:"The command's id."`
}

type oneCommand struct{ Body Command }

func (s *Server) commandRoutes() {
	run := operation("run-command", http.MethodPost, "/commands", "Run a command at one gateway or many", "fleet",
		http.StatusNotFound, http.StatusConflict, http.StatusServiceUnavailable, http.StatusNotImplemented)
	run.Description = "The answer is a command for each gateway, kept before it is sent; what becomes of them tells /commands/events. " +
		"Where nothing of it is for the caller: 403. Where a part is, the rest comes back as denied."
	run.MaxBodyBytes = maxCommandBody
	run.BodyReadTimeout = 30 * time.Second // it also bounds the wait for the disk
	huma.Register(s.api, takes(toSelf, run), s.run)

	huma.Register(s.api, operation("list-commands", http.MethodGet, "/commands", "List commands, newest first", "fleet",
		http.StatusNotFound, http.StatusConflict, http.StatusNotImplemented), s.listCommands)

	huma.Register(s.api, operation("get-command", http.MethodGet, "/commands/{id}", "Get a command, and the beginning of its result", "fleet",
		http.StatusNotFound, http.StatusNotImplemented), s.getCommand)

	huma.Register(s.api, takes(toSelf, operation("cancel-command", http.MethodPost, "/commands/{id}/cancel", "Call a command off", "fleet",
		http.StatusNotFound, http.StatusConflict, http.StatusNotImplemented)), s.cancelCommand)

	s.outputRoutes()
	s.commandEventRoutes()
}

func (s *Server) runsCommands() bool {
	return s.listsGateways() && s.o.Fleet.Commands != nil && s.o.Fleet.Runner != nil
}

func (s *Server) run(ctx context.Context, in *struct{ Body wire.NewCommand }) (*struct{ Body []Command }, error) {
	if !s.runsCommands() {
		return nil, errNoFleet()
	}
	line, words, err := lineOf(in.Body)
	if err != nil {
		return nil, err
	}
	timeout, err := timeOf(in.Body)
	if err != nil {
		return nil, err
	}
	gateways, err := s.targets(ctx, in.Body)
	if err != nil {
		return nil, err
	}
	if len(line)*len(gateways) > maxLines {
		return nil, refused("body", fmt.Sprintf("a line of %d bytes for %d gateways is too much", len(line), len(gateways)), nil)
	}
	denied, err := s.denied(ctx, line, words[0], gateways)
	if err != nil {
		return nil, failed(err)
	}
	allowed := make([]fleet.Gateway, 0, len(gateways))
	for _, g := range gateways {
		if denied[g.ID] == nil {
			allowed = append(allowed, g)
		}
	}
	made, err := s.o.Fleet.Runner.Submit(ctx, fleet.Request{
		By: whoOf(ctx).Name, Line: line, Gateways: allowed, Timeout: timeout, Queue: in.Body.Queue,
	})
	if err != nil {
		return nil, failed(err)
	}
	out := make([]Command, 0, len(gateways))
	now := time.Now()
	for _, g := range gateways {
		if why := denied[g.ID]; why != nil {
			out = append(out, wireCommand(fleet.Command{
				Gateway: g.ID, Line: line, By: whoOf(ctx).Name, Created: now, Ended: now, State: fleet.Denied, Error: why.Error(),
			}, g.Name))
		} else if len(made) > 0 {
			out, made = append(out, wireCommand(made[0], g.Name)), made[1:]
		}
	}
	return &struct{ Body []Command }{out}, nil
}

// lineOf returns what is to be run, as a line and in words.
func lineOf(c wire.NewCommand) (line string, words []string, err error) {
	switch {
	case (c.Line == "") == (len(c.Argv) == 0):
		return "", nil, refused("body", "say what to run by one of line and argv", nil)
	case c.Line != "":
		if words, err = reverse.Split(c.Line); err != nil {
			return "", nil, refused("body.line", err.Error(), nil)
		}
		// In our own quotes: what was decided on is also what a client runs that gives
		// the line to a shell, in whose eyes "list ; reboot" is more than a list.
		if line, err = reverse.Join(words...); err != nil {
			return "", nil, refused("body.line", err.Error(), nil)
		}
		return line, words, nil
	}
	if line, err = reverse.Join(c.Argv...); err != nil {
		return "", nil, refused("body.argv", err.Error(), nil)
	}
	return line, c.Argv, nil
}

func timeOf(c wire.NewCommand) (time.Duration, error) {
	switch {
	case c.Timeout != "":
	case c.Queue:
		return defaultQueueTime, nil
	default:
		return defaultTime, nil
	}
	d, err := time.ParseDuration(c.Timeout)
	if err != nil || d <= 0 || d > maxTime {
		return 0, refused("body.timeout", "is no duration between 0 and "+maxTime.String(), c.Timeout)
	}
	return d, nil
}

// targets returns the gateways that are meant, each once.
func (s *Server) targets(ctx context.Context, c wire.NewCommand) ([]fleet.Gateway, error) {
	ways := 0
	for _, used := range []bool{len(c.Gateways) > 0, len(c.Selector) > 0, c.All} {
		if used {
			ways++
		}
	}
	if ways != 1 {
		return nil, refused("body", "say where to run it by one of gateways, selector and all", nil)
	}
	if len(c.Gateways) == 0 {
		p, err := s.roster.get(ctx, 0)
		if err != nil {
			return nil, failed(err)
		}
		var out []fleet.Gateway
		for _, g := range p.list {
			if g.Revoked.IsZero() && fleet.Matches(c.Selector, g.Labels) {
				out = append(out, g.Gateway)
			}
		}
		if len(out) == 0 {
			return nil, huma.NewError(http.StatusNotFound, "no gateway has these labels")
		}
		return out, nil
	}
	var out []fleet.Gateway
	known := make(map[string]bool)
	for _, ref := range c.Gateways {
		g, err := s.gateway(ctx, ref)
		switch {
		case err != nil:
			return nil, failed(err)
		case !g.Revoked.IsZero():
			return nil, huma.NewError(http.StatusConflict, fmt.Sprintf("gateway %s was revoked", g.ID))
		case !known[g.ID]:
			known[g.ID] = true
			out = append(out, g.Gateway)
		}
	}
	return out, nil
}

// denied says of which gateways, by id, the caller may not have a verb run, and why;
// an error if of all. It is in the audit then.
func (s *Server) denied(ctx context.Context, line, verb string, gateways []fleet.Gateway) (map[string]error, error) {
	who := whoOf(ctx)
	why := make(map[string]error)
	entry := fleet.Entry{Time: time.Now(), Who: who.Name, What: "run", Detail: clipLine(line), Outcome: string(fleet.Denied)}
	var entries []fleet.Entry
	var last error
	for _, g := range gateways {
		if err := who.MayRun(verb, g.Labels); err != nil {
			why[g.ID], last = err, err
			entry.Gateway = g.ID
			entries = append(entries, entry)
		}
	}
	all := len(why) == len(gateways)
	if all && len(entries) > 1 { // who may do nothing can't fill the audit
		entry.Gateway = ""
		entry.Outcome = fmt.Sprintf("%s for all %d gateways", fleet.Denied, len(gateways))
		entries = []fleet.Entry{entry}
	}
	if len(entries) > 0 && s.o.Fleet.Audit != nil {
		if _, err := s.o.Fleet.Audit.Append(ctx, entries...); err != nil {
			return nil, err
		}
	}
	if all {
		return nil, last
	}
	return why, nil
}

func clipLine(s string) string {
	if len(s) <= maxDetail {
		return s
	}
	return validPrefix(s, maxDetail) + "…"
}

type commandQuery struct {
	Gateway string   `query:"gateway" maxLength:"255" doc:"For this gateway: its id or name."`
	By      string   `query:"by" maxLength:"255" doc:"Asked for by this user."`
	Status  []string `query:"status" maxItems:"9" enum:"queued,running,ok,error,timeout,offline,denied,cancelled,interrupted" doc:"In one of these states, with commas between."`
	Before  string   `query:"before" maxLength:"64" doc:"Older than the command of this id."`
	Limit   int      `query:"limit" minimum:"0" maximum:"1000" doc:"At most so many, 100 if it is left out."`

	self url.URL
}

// Resolve keeps the request's address for the header Link.
func (in *commandQuery) Resolve(ctx huma.Context) []error {
	in.self = ctx.URL()
	return nil
}

// commandPage is an answer.
type commandPage struct {
	// Link names the next page, if there may be one (RFC 8288).
	Link string `header:"Link" doc:"The next page's address with rel=\"next\", where there are more commands."`
	Body []Command
}

func (s *Server) listCommands(ctx context.Context, in *commandQuery) (*commandPage, error) {
	if !s.runsCommands() {
		return nil, errNoFleet()
	}
	f := fleet.CommandFilter{By: in.By, States: statesOf(in.Status), Before: in.Before, Limit: in.Limit}
	if f.Limit == 0 {
		f.Limit = 100
	}
	var err error
	if f.Gateway, err = s.gatewayID(ctx, in.Gateway); err != nil {
		return nil, failed(err)
	}
	page := &commandPage{}
	commands, err := s.o.Fleet.Commands.Commands(ctx, f)
	if err != nil {
		return nil, failed(err)
	}
	p, err := s.roster.get(ctx, rosterAge)
	if err != nil {
		return nil, failed(err)
	}
	page.Body = make([]Command, len(commands))
	for i, c := range commands {
		page.Body[i] = wireCommand(c, p.name(c.Gateway))
	}
	if n := len(commands); n > 0 && n == f.Limit {
		q := in.self.Query()
		q.Set("before", commands[n-1].ID)
		page.Link = fmt.Sprintf(`<%s?%s>; rel="next"`, in.self.Path, q.Encode())
	}
	return page, nil
}

// statesOf returns the states in which a command shows as one of these.
func statesOf(statuses []string) []fleet.State {
	var states []fleet.State
	for _, st := range statuses {
		if states = append(states, fleet.State(st)); st == string(fleet.Running) {
			states = append(states, fleet.Sent)
		}
	}
	return states
}

// gatewayID returns the id of a gateway that a filter names. One without a record may
// still have commands.
func (s *Server) gatewayID(ctx context.Context, ref string) (string, error) {
	if ref == "" {
		return "", nil
	}
	g, err := s.gateway(ctx, ref)
	return g.ID, err
}

func (s *Server) getCommand(ctx context.Context, in *CommandPath) (*oneCommand, error) {
	if !s.runsCommands() {
		return nil, errNoFleet()
	}
	c, err := s.o.Fleet.Runner.Command(ctx, in.ID)
	if err != nil {
		return nil, failed(err)
	}
	out := wireCommand(c, s.gatewayName(ctx, c.Gateway))
	if s.mayReadOutput(ctx, c) == nil {
		if out.Output, err = s.excerpt(ctx, c); err != nil {
			return nil, failed(err)
		}
	}
	return &oneCommand{out}, nil
}

func (s *Server) cancelCommand(ctx context.Context, in *CommandPath) (*oneCommand, error) {
	if !s.runsCommands() {
		return nil, errNoFleet()
	}
	c, err := s.o.Fleet.Runner.Command(ctx, in.ID)
	if err != nil {
		return nil, failed(err)
	}
	who := whoOf(ctx)
	if !who.Asked(c) && who.MayManage() != nil {
		return nil, failed(fmt.Errorf("%w: it is %s's command; an admin may call it off, too", access.ErrDenied, c.By))
	}
	if c, err = s.o.Fleet.Runner.Cancel(ctx, who.Name, c.ID); err != nil {
		return nil, failed(err)
	}
	return &oneCommand{wireCommand(c, s.gatewayName(ctx, c.Gateway))}, nil
}

// mayReadOutput says whether the caller may have a command's result: who asked for it
// may, and whoever might run it himself. What only reads a viewer may read, too, as he
// may read what the hub itself knows.
func (s *Server) mayReadOutput(ctx context.Context, c fleet.Command) error {
	who := whoOf(ctx)
	if who.Asked(c) {
		return nil
	}
	words, err := reverse.Split(c.Line)
	if err != nil {
		return who.MayManage()
	}
	var labels map[string]string
	switch g, err := s.o.Fleet.Gateways.Gateway(ctx, c.Gateway, time.Now()); {
	case err == nil:
		labels = g.Labels
	case !errors.Is(err, fleet.ErrUnknown): // else it was forgotten, and has no labels
		return err
	}
	if who.Role == fleet.Viewer {
		who.Role = fleet.Operator
	}
	return who.MayRun(words[0], labels)
}
