package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/lanfolk/lanfolk/reverse"
)

// maxListed bounds what list says.
const maxListed = 10_000

// listed is one file that can be fetched.
type listed struct {
	Name     string    `json:"name"`
	Size     int64     `json:"size"`
	Modified time.Time `json:"modified"`
}

// list writes which files there are: those that get fetches.
func (a *Agent) list(ctx context.Context, w io.Writer) (ending, error) {
	root, err := os.OpenRoot(a.config.Files)
	if err != nil {
		return ending{}, err
	}
	defer root.Close()
	var e ending
	files := []listed{}
	err = fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil && name == ".":
			return err
		case err != nil || !d.Type().IsRegular():
			return nil // what can't be read can't be fetched
		case len(files) == maxListed:
			e.note = fmt.Sprintf("only the first %d files are listed", maxListed)
			return fs.SkipAll
		}
		if info, err := d.Info(); err == nil {
			files = append(files, listed{name, info.Size(), info.ModTime().UTC()})
		}
		return nil
	})
	if err != nil {
		return ending{}, err
	}
	return e, array(w, files)
}

// array writes a JSON array, an element a line.
func array[T any](w io.Writer, all []T) error {
	before := "["
	for _, v := range all {
		b, err := json.Marshal(v)
		if err != nil {
			return err
		}
		if _, err := w.Write(slices.Concat([]byte(before), b)); err != nil {
			return err
		}
		before = ",\n"
	}
	if len(all) == 0 {
		_, err := io.WriteString(w, "[]\n")
		return err
	}
	_, err := io.WriteString(w, "]\n")
	return err
}

// checkName refuses what no file below the folder is called.
func checkName(name string) error {
	switch {
	case path.IsAbs(name):
		return fmt.Errorf("%w: %q begins with a /; names are those that list says", errDenied, name)
	case slices.Contains(strings.Split(name, "/"), ".."):
		return fmt.Errorf("%w: %q leads upwards; names are those that list says", errDenied, name)
	case !fs.ValidPath(name) || name == ".":
		return fmt.Errorf("%w: %q is not the name of a file", errDenied, name)
	}
	return nil
}

// openFile opens a file below the folder of get. No symbolic link leads out of
// it (os.Root).
func (a *Agent) openFile(name string) (*os.File, *source, error) {
	if err := checkName(name); err != nil {
		return nil, nil, err
	}
	root, err := os.OpenRoot(a.config.Files)
	if err != nil {
		return nil, nil, err
	}
	defer root.Close()
	// A pipe would hold up whoever opens it.
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, noFile(name, err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%w: %q is not a regular file", errDenied, name)
	}
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, &source{Name: name, Size: info.Size(), Modified: info.ModTime().UnixNano()}, nil
}

// noFile says why a file can't be opened, without the folder it would be in.
func noFile(name string, err error) error {
	var at *fs.PathError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("there is no file %q", name)
	case errors.As(err, &at):
		return fmt.Errorf("%w: %q: %w", errDenied, name, at.Err)
	}
	return fmt.Errorf("%q: %w", name, err)
}

// fetch sends a file.
func (a *Agent) fetch(ctx context.Context, id, name string, terms reverse.Terms) *reverse.Outgoing {
	f, src, err := a.openFile(name)
	if err != nil {
		return a.refuse(ctx, id, err)
	}
	if terms.MaxBytes > 0 && uint64(src.Size) > terms.MaxBytes {
		f.Close()
		return a.refuse(ctx, id, fmt.Errorf("%q has %d bytes, more than %d", name, src.Size, terms.MaxBytes))
	}
	if err := a.journal.add(record{ID: id, State: started, Keep: keep(terms), Source: src}, false); err != nil {
		f.Close()
		return a.refuse(ctx, id, err)
	}
	out := a.send(ctx, id, f, src)
	out.Fresh = true
	return out
}

func (a *Agent) send(ctx context.Context, id string, f *os.File, src *source) *reverse.Outgoing {
	c := newContent(ctx, f, f, src.Size)
	a.hold(id, c)
	return &reverse.Outgoing{Type: reverse.TypeFile, Content: c, End: c.end}
}

// readOn sends the rest of a file after a restart, if it is the same one.
func (a *Agent) readOn(ctx context.Context, e entry) *reverse.Outgoing {
	f, src, err := a.openFile(e.source.Name)
	if err != nil {
		return reverse.Failure(reverse.StatusInterrupted, fmt.Sprintf("the gateway was started anew while it sent the file, and then: %v", err))
	}
	if *src != *e.source {
		f.Close()
		return reverse.Failure(reverse.StatusInterrupted, "the gateway was started anew while it sent the file, which has changed since")
	}
	return a.send(ctx, e.id, f, src)
}
