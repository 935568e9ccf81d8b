package tged

// Running says whether Run runs, so that Reload does something.
func (f *File) Running() bool { return f.reload.Load() != nil }

// Entries returns how many services the table remembers.
func (t *Table) Entries() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.entries)
}
