package tged

// Entries returns how many services the table remembers.
func (t *Table) Entries() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.entries)
}
