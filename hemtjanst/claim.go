package hemtjanst

import (
	"errors"
	"fmt"
)

// claim is a device that a speaker announces.
type claim struct {
	id, root  string
	doc       string // its metadata, with root and providerID
	reachable bool
}

// Errors of devices that can't be announced together.
var (
	ErrDuplicate = errors.New("hemtjanst: two devices with the same id or root")
)

// check makes a claim of what a user says about a device.
func (s *speaker) check(id, root string, meta Metadata, reachable bool, provider string) (claim, error) {
	if err := CheckName(id); err != nil {
		return claim{}, fmt.Errorf("device id: %w", err)
	}
	if err := CheckName(root); err != nil {
		return claim{}, fmt.Errorf("root of device %s: %w", id, err)
	}
	if id == provider {
		return claim{}, fmt.Errorf("%w: %s is the provider", ErrDuplicate, id)
	}
	if meta.Root() != root {
		meta = meta.With("root", root)
	}
	if _, has := meta.member("providerID"); has && provider == "" || meta.Provider() != provider {
		meta = meta.With("providerID", provider)
	}
	if len(meta.raw) > MaxMetadata {
		return claim{}, fmt.Errorf("device %s: %w: %d bytes, at most %d are read", id, ErrMetadata, len(meta.raw), MaxMetadata)
	}
	return claim{id: id, root: root, doc: meta.raw, reachable: reachable}, nil
}

// set makes these the claims, all or none of them.
func (s *speaker) set(all []claim) error {
	claims, roots := make(map[string]claim, len(all)), make(map[string]string, len(all))
	for _, c := range all {
		if _, ok := claims[c.id]; ok {
			return fmt.Errorf("%w: id %s", ErrDuplicate, c.id)
		}
		if other, ok := roots[c.root]; ok {
			return fmt.Errorf("%w: root %s of %s and %s", ErrDuplicate, c.root, other, c.id)
		}
		claims[c.id], roots[c.root] = c, c.id
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for id := range s.claims {
		if _, ok := claims[id]; !ok {
			s.mark(id)
		}
	}
	for _, c := range all {
		if old, ok := s.claims[c.id]; !ok || old != c {
			s.mark(c.id)
		}
	}
	s.claims, s.roots = claims, roots
	s.awake()
	return nil
}

// put adds a claim or changes it.
func (s *speaker) put(c claim) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if other, ok := s.roots[c.root]; ok && other != c.id {
		return fmt.Errorf("%w: root %s of %s and %s", ErrDuplicate, c.root, other, c.id)
	}
	old, ok := s.claims[c.id]
	if ok && old == c {
		return nil
	}
	if s.claims == nil {
		s.claims, s.roots = map[string]claim{}, map[string]string{}
	}
	if ok {
		delete(s.roots, old.root)
	}
	s.claims[c.id], s.roots[c.root] = c, c.id
	s.mark(c.id)
	s.awake()
	return nil
}

func (s *speaker) remove(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old, ok := s.claims[id]; ok {
		delete(s.claims, id)
		delete(s.roots, old.root)
		s.mark(id)
		s.awake()
	}
}

// mark and awake are called with the lock held.
func (s *speaker) mark(id string) {
	if !s.marked[id] {
		if s.marked == nil {
			s.marked = map[string]bool{}
		}
		s.marked[id] = true
		s.dirty = append(s.dirty, id)
	}
}

func (s *speaker) awake() {
	if s.wake == nil {
		s.wake = make(chan struct{}, 1)
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
}
