package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/lanfolk/lanfolk/internal/agent/guard"
	"github.com/lanfolk/lanfolk/reverse"
)

// A Program is what exec runs by its name, and how. No shell is involved.
type Program struct {
	Path string    // absolute
	Args []Pattern // one for each argument; there are as many as patterns
	User *User     // nil is the gateway's own
	Dir  string    // where it runs; "" is /
	Env  []string  // KEY=value; all that it has besides PATH, LANG and LANFOLK_GATEWAY
	// Timeout bounds how long it runs; 0 is an hour. The hub may grant less.
	Timeout time.Duration
	Broken  error // why it can't be run here; nil if it can
}

// User is the user that a program runs as.
type User = guard.User

const (
	maxArguments = 64
	runFor       = time.Hour
	tidyFor      = 2 * time.Second // between SIGTERM and SIGKILL
)

// A Pattern says what an argument may be, all of it. Its zero value fits nothing.
type Pattern struct{ all *regexp.Regexp }

// NewPattern returns the pattern of a regular expression (syntax of package
// regexp). It must fit the whole argument, whether it is anchored or not.
func NewPattern(expression string) (Pattern, error) {
	// By itself first, so that no parenthesis in it closes ours.
	if _, err := regexp.Compile(expression); err != nil {
		return Pattern{}, fmt.Errorf("agent: pattern: %w", err)
	}
	all, err := regexp.Compile(`\A(?:` + expression + `)\z`)
	if err != nil {
		return Pattern{}, fmt.Errorf("agent: pattern: %w", err)
	}
	return Pattern{all}, nil
}

// Fits says whether an argument may be s.
func (p Pattern) Fits(s string) bool {
	return p.all != nil && p.all.MatchString(s) && !strings.ContainsRune(s, 0)
}

func (p Program) check() error {
	switch {
	case !filepath.IsAbs(p.Path) || filepath.Clean(p.Path) != p.Path:
		return fmt.Errorf("path %q: want an absolute one", p.Path)
	case p.Dir != "" && !filepath.IsAbs(p.Dir):
		return fmt.Errorf("folder %q: want an absolute path", p.Dir)
	case len(p.Args) > maxArguments:
		return fmt.Errorf("%d arguments, more than %d", len(p.Args), maxArguments)
	case p.Timeout < 0:
		return fmt.Errorf("timeout %v: want more than 0", p.Timeout)
	}
	for _, v := range p.Env {
		if k, _, ok := strings.Cut(v, "="); !ok || k == "" || strings.ContainsRune(v, 0) {
			return fmt.Errorf("environment %q: want KEY=value", v)
		}
	}
	return nil
}

// execute runs a program that the config names.
func execute(ctx context.Context, a *Agent, args []string, w io.Writer) (ending, error) {
	name, args := args[0], args[1:]
	p, ok := a.config.Programs[name]
	if !ok {
		return ending{}, fmt.Errorf("%w: there is no program %q; there are %s", errDenied, name,
			strings.Join(slices.Sorted(maps.Keys(a.config.Programs)), ", "))
	}
	if p.Broken != nil {
		return ending{}, fmt.Errorf("%w: %s can't run: %w", errDenied, name, p.Broken)
	}
	if len(args) != len(p.Args) {
		return ending{}, fmt.Errorf("%w: %s takes %d arguments, not %d", errDenied, name, len(p.Args), len(args))
	}
	for i, arg := range args {
		if !p.Args[i].Fits(arg) {
			return ending{}, fmt.Errorf("%w: argument %d of %s can't be %q", errDenied, i+1, name, arg)
		}
	}
	p.Env = append(slices.Clone(p.Env), markOf(a.config.Folder))
	ctx, cancel := context.WithTimeoutCause(ctx, orElse(p.Timeout, runFor), reverse.ErrTimeout)
	defer cancel()
	e, err := p.run(ctx, args, w)
	if cause := context.Cause(ctx); cause != nil && errors.Is(err, errKilled) {
		return ending{}, &endedError{cause}
	}
	return e, err
}

// errKilled is returned by run for a program that was ended before its time.
var errKilled = errors.New("killed")

// run runs the program to its end, and that of all that it began.
func (p Program) run(ctx context.Context, args []string, w io.Writer) (ending, error) {
	if ctx.Err() != nil {
		return ending{}, errKilled
	}
	// The environment as exec.Cmd has it: of what is there twice the last one counts.
	env := exec.Cmd{Env: append([]string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"}, p.Env...)}
	r, err := guard.Start(guard.Program{
		Path: p.Path, Args: args, Dir: cmp.Or(p.Dir, "/"), Env: env.Environ(), User: p.User, Grace: tidyFor,
	}, w)
	if err != nil {
		return ending{}, err
	}
	stop := context.AfterFunc(ctx, r.End)
	defer stop()
	how, err := r.Wait()
	switch {
	case err != nil:
		return ending{}, err
	case how.Told:
		return ending{}, errKilled
	}
	return exitOf(how), nil
}

// exitOf says how a program ended by itself.
func exitOf(how guard.Ending) ending {
	var e ending
	switch w := how.Status; {
	case w.Signaled():
		e = ending{exit: 128 + int(w.Signal()), note: fmt.Sprintf("the program was ended by signal %d, %s", w.Signal(), w.Signal())}
	case w.ExitStatus() != 0:
		e = ending{exit: w.ExitStatus(), note: fmt.Sprintf("the program ended with exit code %d", w.ExitStatus())}
	}
	if how.Held {
		e.note = join(e.note, "the end of its output may be missing: somebody else held it open")
	}
	if how.Left {
		e.note = join(e.note, "something that it began can't be ended")
	}
	return e
}
