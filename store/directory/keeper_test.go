package directory

import (
	"bytes"
	"errors"
	"io/fs"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/lanfolk/lanfolk/syncthing"
)

// memory is a disk that fails when it is told to, and that knows what of it would survive a
// kill and what a power cut.
type memory struct {
	mu     sync.Mutex
	files  map[string]*memoryFile
	synced map[string]*memoryFile // what names a power cut leaves
	fails  func(what string) error
	room   int64
	slow   string        // what takes until it is let go
	let    chan struct{} // closed then
}

// wait waits if what is done is slow.
func (m *memory) wait(what string) {
	m.mu.Lock()
	slow, let := m.slow == what, m.let
	m.mu.Unlock()
	if slow {
		<-let
	}
}

type memoryFile struct {
	on     *memory
	b      []byte
	synced []byte
	closed bool
}

var errClosed = errors.New("used after it was closed")

func newMemory() *memory {
	return &memory{files: map[string]*memoryFile{}, synced: map[string]*memoryFile{}, fails: func(string) error { return nil }, room: 1 << 40}
}

func (m *memory) create(name string) (file, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.fails("create"); err != nil {
		return nil, err
	}
	m.files[name] = &memoryFile{on: m}
	return m.files[name], nil
}

func (m *memory) rename(from, to string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.fails("rename"); err != nil {
		return err
	}
	m.files[to] = m.files[from]
	delete(m.files, from)
	return nil
}

func (m *memory) remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.files[name] == nil {
		return fs.ErrNotExist
	}
	delete(m.files, name)
	return nil
}

func (m *memory) sync() error {
	m.wait("sync folder")
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.fails("sync folder"); err != nil {
		return err
	}
	m.synced = maps.Clone(m.files)
	return nil
}

func (m *memory) free() (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.room, m.fails("free")
}

func (f *memoryFile) WriteAt(b []byte, at int64) (int, error) {
	f.on.mu.Lock()
	defer f.on.mu.Unlock()
	if f.closed {
		return 0, errClosed
	}
	n, err := len(b), f.on.fails("write")
	if err != nil {
		n /= 3
	}
	if grow := int(at) + n - len(f.b); grow > 0 {
		f.b = append(f.b, make([]byte, grow)...)
	}
	copy(f.b[at:], b[:n])
	return n, err
}

func (f *memoryFile) Sync() error {
	f.on.wait("sync")
	f.on.mu.Lock()
	defer f.on.mu.Unlock()
	if f.closed {
		return errClosed
	}
	if err := f.on.fails("sync"); err != nil {
		return err
	}
	f.synced = bytes.Clone(f.b)
	return nil
}

func (f *memoryFile) Close() error {
	f.on.mu.Lock()
	defer f.on.mu.Unlock()
	f.closed = true
	return nil
}

// rig is a keeper of a directory on a disk in memory.
type rig struct {
	t          rapid.TB
	disk       *memory
	d          *syncthing.Directory
	mu         sync.Mutex
	log, whole *syncthing.Tail
	k          *keeper
	said       bytes.Buffer
	now        time.Time
}

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func newRig(t rapid.TB) *rig {
	r := &rig{t: t, disk: newMemory(), now: start}
	f, err := r.disk.create(stateFile)
	if err != nil || r.disk.sync() != nil {
		t.Fatal(err)
	}
	r.open(f, &syncthing.Directory{Unlimited: true}, 0)
	return r
}

func (r *rig) open(f file, d *syncthing.Directory, size int64) {
	r.d = d
	r.log, r.whole = d.Tails(&r.mu)
	r.k = &keeper{disk: r.disk, log: slog.New(slog.NewTextHandler(&r.said, nil)), step: 1,
		current: output{file: f, size: size, write: 1}, begun: size > 0, unsynced: true}
}

// devices is more than a keeper that writes as little as it can writes at once.
const devices = 300

// put announces a device at the address n.
func (r *rig) put(id, n uint32) {
	a := netip.AddrFrom4([4]byte{192, byte(n >> 16), byte(n >> 8), byte(n)})
	r.d.Put(r.now, &syncthing.Device{ID: syncthing.DeviceID{byte(id), byte(id >> 8), 1}, Addresses: []netip.AddrPort{netip.AddrPortFrom(a, 1)}}, a)
}

// save saves and, if nothing is slow, waits for what then runs in the background.
func (r *rig) save() error {
	err := r.k.save(r.now, r.log, r.whole)
	if r.disk.slow == "" {
		r.settle()
	}
	r.now = r.now.Add(500 * time.Millisecond)
	return err
}

// wait waits until what runs in the background is over, so that the next save takes it in.
func (k *keeper) wait() {
	if c := k.background; c != nil {
		d := <-c
		c <- d
	}
}

// Settle is wait, for tests from outside.
func (s *State) Settle() { s.keep.wait() }

// settle ends what is slow, and waits for it.
func (r *rig) settle() {
	if r.disk.slow != "" {
		close(r.disk.let)
	}
	r.k.wait()
	r.disk.mu.Lock()
	defer r.disk.mu.Unlock()
	r.disk.slow = ""
}

// slow makes something slow until settle.
func (r *rig) slow(what string) {
	r.settle()
	r.disk.mu.Lock()
	defer r.disk.mu.Unlock()
	r.disk.slow, r.disk.let = what, make(chan struct{})
}

// all is what a directory knows.
func (r *rig) all(d *syncthing.Directory) map[uint32][]netip.AddrPort {
	out := map[uint32][]netip.AddrPort{}
	for id := range uint32(devices) {
		if got := d.Get(r.now, syncthing.DeviceID{byte(id), byte(id >> 8), 1}, nil); len(got) > 0 {
			out[id] = got
		}
	}
	return out
}

// restart returns what a restart would find, after a kill or after a power cut.
func (r *rig) restart(power bool) (*syncthing.Directory, syncthing.Restored) {
	r.t.Helper()
	r.disk.mu.Lock()
	defer r.disk.mu.Unlock()
	names, b := r.disk.files, []byte(nil)
	if power {
		names = r.disk.synced
	}
	if f := names[stateFile]; f == nil {
		r.t.Fatal("the file is gone")
	} else if b = f.b; power {
		b = f.synced
	}
	d := &syncthing.Directory{Unlimited: true}
	got, err := d.Restore(r.now, bytes.NewReader(b))
	if err != nil {
		r.t.Fatal(err)
	}
	return d, got
}

// holds restarts after a kill, and fails unless all that was saved is there. What was
// announced since may be there, too.
func (r *rig) holds(saved map[uint32][]netip.AddrPort) (*syncthing.Directory, syncthing.Restored) {
	r.t.Helper()
	d, got := r.restart(false)
	if got.Damaged > 0 {
		r.t.Fatalf("%+v", got)
	}
	now := r.all(d)
	for id, want := range saved {
		if len(now[id]) == 0 || now[id][0].Addr().Less(want[0].Addr()) {
			r.t.Fatalf("device %d: %v, saved was %v", id, now[id], want)
		}
	}
	return d, got
}

// differ returns how many of b a hasn't as they are.
func differ(a, b map[uint32][]netip.AddrPort) (n int) {
	for id := range b {
		if !slices.Equal(a[id], b[id]) {
			n++
		}
	}
	return n
}

// Whatever fails and whenever the process is killed, what a save that succeeded wrote is there.
func TestWhatWasSavedIsThere(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := newRig(t)
		var broken atomic.Int32 // of ten operations
		seed := rapid.Uint64().Draw(t, "seed")
		luck, ids := rand.New(rand.NewPCG(seed, 0)), rand.New(rand.NewPCG(seed, 1)) // the background can't draw
		r.disk.fails = func(string) error {
			if luck.IntN(10) >= int(broken.Load()) {
				return nil
			}
			return []error{syscall.ENOSPC, syscall.EIO}[luck.IntN(2)]
		}
		saved := r.all(r.d)
		n := uint32(0)
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			for range rapid.SampledFrom([]int{0, 1, 5, 300}).Draw(t, "announcements") {
				n++
				r.put(ids.Uint32N(devices), n)
			}
			broken.Store(rapid.SampledFrom([]int32{0, 0, 1, 5, 10}).Draw(t, "broken"))
			r.k.due = r.k.due || rapid.IntRange(0, 5).Draw(t, "due") == 0
			r.k.step = rapid.SampledFrom([]int64{1, 1 << 20}).Draw(t, "step")
			if rapid.Bool().Draw(t, "later") {
				r.now = r.now.Add(retryEvery)
			}
			if rapid.IntRange(0, 3).Draw(t, "slow") == 0 {
				r.slow(rapid.SampledFrom([]string{"", "sync", "sync folder"}).Draw(t, "what is slow"))
			}
			if r.save() == nil {
				saved = r.all(r.d)
			}
			if r.disk.slow == "" {
				broken.Store(0)
			}
			r.holds(saved)
			if _, got := r.restart(true); got.Damaged > 0 {
				t.Fatalf("after a power cut: %+v", got)
			}
			if rapid.IntRange(0, 9).Draw(t, "restart") == 0 {
				r.settle() // which may have given another file the name
				d, got := r.holds(saved)
				f := r.disk.files[stateFile]
				f.b = f.b[:got.Size]
				r.open(f, d, got.Size)
				saved = r.all(d)
			}
		}
		r.settle()
		broken.Store(0)
		// Once the disk works again all of it is saved, soon.
		for range 5 {
			r.now = r.now.Add(retryEvery)
			_ = r.save()
		}
		if err := r.save(); err != nil {
			t.Fatalf("the disk works, but %v", err)
		}
		for what, power := range map[string]bool{"a kill": false, "a power cut": true} {
			r.now = r.now.Add(syncEvery)
			_ = r.save()
			if d, got := r.restart(power); differ(r.all(d), r.all(r.d)) > 0 || got.Torn > 0 {
				t.Fatalf("after %s: %d devices are others; %+v", what, differ(r.all(d), r.all(r.d)), got)
			}
		}
		if err := r.k.close(); err != nil {
			t.Fatal(err)
		}
	})
}
