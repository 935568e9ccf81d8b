package hostapd

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sort"
	"sync"
	"syscall"
	"time"
)

const (
	// Refresh is how often all stations are told again.
	Refresh = 30 * time.Second
	// every is how often the folders are looked at, and hostapd is asked whether it is still there.
	every = 2 * time.Second
	// maxInterfaces of all folders are watched.
	maxInterfaces = 64
)

// Report says that a station is connected to an interface, or no more.
type Report struct {
	Interface string
	Radio     Radio
	Station   Station
	Gone      bool
}

// Watcher watches the sockets in folders, as they come and go. Set Folders, Dial and Tell, then call Run.
type Watcher struct {
	Folders []string
	// Dial connects to a socket.
	Dial func(path string) (Conn, error)
	// Tell is called for each connected station when it comes, every Refresh, and when it
	// goes; by one goroutine for each interface.
	Tell func(...Report)
	Log  *slog.Logger // nil is silent

	mu     sync.Mutex
	states map[string]*State // by path
}

// State is how an interface is doing.
type State struct {
	Interface string
	Path      string // of its socket
	Attached  bool
	Radio     Radio
	Stations  int
	Err       error // why it isn't attached, nil while it is
	Events    uint64
	Attaches  uint64 // how often
}

// States returns how the interfaces are doing, by path.
func (w *Watcher) States() []State {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := make([]State, 0, len(w.states))
	for _, s := range w.states {
		all = append(all, *s)
	}
	sort.Slice(all, func(i, j int) bool { return all[i].Path < all[j].Path })
	return all
}

// Run watches until ctx ends, and then returns nil.
func (w *Watcher) Run(ctx context.Context) error {
	w.mu.Lock()
	w.states = map[string]*State{}
	w.mu.Unlock()
	tick := time.NewTicker(every)
	defer tick.Stop()
	running := map[string]context.CancelFunc{}
	done := make(chan string)
	var all sync.WaitGroup
	defer all.Wait()
	for {
		for _, path := range w.sockets() {
			if running[path] != nil || len(running) == maxInterfaces {
				continue
			}
			one, stop := context.WithCancel(ctx)
			running[path] = stop
			all.Go(func() {
				w.watch(one, path)
				select {
				case done <- path:
				case <-ctx.Done():
				}
			})
		}
		select {
		case <-ctx.Done():
			return nil
		case path := <-done: // its socket is gone
			running[path]()
			delete(running, path)
		case <-tick.C:
		}
	}
}

// sockets lists those in the folders.
func (w *Watcher) sockets() (paths []string) {
	for _, dir := range w.Folders {
		entries, err := os.ReadDir(dir)
		if err != nil {
			continue // most often there is no hostapd
		}
		for _, e := range entries {
			if e.Type()&fs.ModeSocket != 0 {
				paths = append(paths, filepath.Join(dir, e.Name()))
			}
		}
	}
	return paths
}

// watch keeps to one socket as long as it is there.
func (w *Watcher) watch(ctx context.Context, path string) {
	p := &port{watcher: w, path: path, name: filepath.Base(path), told: map[[6]byte]Station{}}
	w.update(path, func(s *State) { s.Interface, s.Path = p.name, path })
	defer func() {
		w.mu.Lock()
		delete(w.states, path)
		w.mu.Unlock()
	}()
	warned := ""
	for {
		err := p.session(ctx)
		if ctx.Err() != nil {
			return
		}
		// hostapd has ended, and its stations are connected no more. One that is only
		// slow keeps them, until they run out.
		if over(err) {
			p.tellGone()
		}
		w.update(path, func(s *State) { s.Attached, s.Err, s.Stations = false, err, len(p.told) })
		if w.Log != nil && err.Error() != warned && !over(err) {
			warned = err.Error()
			w.Log.Warn("hostapd can't be asked", "path", path, "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(every):
		}
		if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
			p.tellGone()
			return
		}
	}
}

// errOver says that hostapd said that it ends.
var errOver = errors.New("hostapd: it has ended")

// over says whether the error means that no hostapd is behind the socket.
func over(err error) bool {
	return errors.Is(err, errOver) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET)
}

func (w *Watcher) update(path string, change func(*State)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.states[path] == nil {
		w.states[path] = &State{}
	}
	change(w.states[path])
}

// port is one interface of hostapd.
type port struct {
	watcher *Watcher
	path    string
	name    string
	radio   Radio
	told    map[[6]byte]Station // that are connected
}

// session speaks with hostapd until that, or ctx, ends. The error is never nil unless ctx has ended.
func (p *port) session(ctx context.Context) error {
	conn, err := p.watcher.Dial(p.path)
	if err != nil {
		return err
	}
	s := newSession(conn)
	defer s.close()
	if err := s.attach(ctx); err != nil {
		return err
	}
	defer s.detach()
	if err := p.list(ctx, s); err != nil {
		return err
	}
	p.watcher.update(p.path, func(st *State) { st.Attached, st.Err = true, nil; st.Attaches++ })
	if p.watcher.Log != nil {
		p.watcher.Log.Info("hostapd tells its stations", "path", p.path, "n", len(p.told))
	}
	listed := time.Now()
	alive := time.NewTicker(every)
	defer alive.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.ended:
			return s.err
		case h := <-s.events:
			err = p.hear(ctx, s, h)
		case <-s.missed:
			err = p.list(ctx, s)
		case <-alive.C:
			// Of a hostapd that was killed, or has begun anew, only an attempt to send tells.
			if time.Since(listed) >= Refresh {
				listed = time.Now()
				err = p.list(ctx, s)
			} else {
				_, err = s.ask(ctx, "PING")
			}
		}
		if err != nil {
			return err
		}
	}
}

// list tells of all stations, and of those that have gone.
func (p *port) list(ctx context.Context, s *session) error {
	radio, err := s.radio(ctx, p.name)
	if err != nil {
		return err
	}
	list, err := s.stations(ctx)
	if err != nil {
		return err
	}
	p.radio = radio
	now := make(map[[6]byte]Station, len(list))
	var reports []Report
	for _, st := range list {
		if st.Authorized {
			now[st.MAC] = st
			reports = append(reports, Report{p.name, radio, st, false})
		}
	}
	for mac, st := range p.told {
		if _, ok := now[mac]; !ok {
			reports = append(reports, Report{p.name, radio, st, true})
		}
	}
	p.told = now
	p.tell(reports...)
	return nil
}

// hear takes an event.
func (p *port) hear(ctx context.Context, s *session, h heard) error {
	p.watcher.update(p.path, func(st *State) { st.Events++ })
	switch h.event {
	case Ended:
		return errOver
	case Disconnected:
		if st, ok := p.told[h.mac]; ok {
			delete(p.told, h.mac)
			p.tell(Report{p.name, p.radio, st, true})
		}
	case Connected:
		st, err := s.station(ctx, h.mac)
		if errors.Is(err, ErrNone) || errors.Is(err, errFail) {
			return nil // it has left already
		}
		if err != nil {
			return err
		}
		if len(p.told) < maxStations {
			p.told[h.mac] = st
			p.tell(Report{p.name, p.radio, st, false})
		}
	}
	return nil
}

// tellGone says that nobody is connected any more.
func (p *port) tellGone() {
	var reports []Report
	for _, st := range p.told {
		reports = append(reports, Report{p.name, p.radio, st, true})
	}
	clear(p.told)
	p.tell(reports...)
}

func (p *port) tell(reports ...Report) {
	p.watcher.update(p.path, func(s *State) { s.Radio, s.Stations = p.radio, len(p.told) })
	if len(reports) > 0 {
		p.watcher.Tell(reports...)
	}
}
