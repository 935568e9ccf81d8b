package dnswire

// Steps returns how many labels and pointers Parse reads for the names of a message.
func Steps(b []byte) int {
	m, err := Parse(b)
	if err != nil {
		return -1
	}
	p := parser{msg: b, limit: 1 << 30}
	for q := range m.Questions() {
		p.name(q.Name.off(), len(b))
	}
	for r := range m.Records() {
		p.name(r.Name.off(), len(b))
		_, off, end := r.Name.rdata()
		p.rdata(r.Type, off, end)
	}
	return p.steps
}
