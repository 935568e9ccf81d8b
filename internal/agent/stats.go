package agent

// Stats say how an Agent is doing.
type Stats struct {
	Remembered   int    `json:"remembered"`    // commands whose ids are known
	Waiting      int    `json:"waiting"`       // of these, commands whose results the hub hasn't taken
	JournalBytes int64  `json:"journal_bytes"` // of the file
	ResultBytes  int64  `json:"result_bytes"`  // on the disk
	ResultRoom   int64  `json:"result_room"`   // how many there may be
	Commands     uint64 `json:"commands"`      // that were accepted since the start
	Refused      uint64 `json:"refused"`       // of these, commands that weren't begun
	Failures     uint64 `json:"failures"`      // times that the journal could not be written
}

// Stats returns how the agent is doing.
func (a *Agent) Stats() Stats {
	s := Stats{
		ResultBytes: a.room.used.Load(), ResultRoom: a.room.most,
		Commands: a.commands.Load(), Refused: a.refused.Load(),
	}
	j := a.journal
	j.mu.Lock()
	defer j.mu.Unlock()
	s.Remembered, s.Waiting, s.JournalBytes, s.Failures = len(j.table.entries), j.table.open, j.size, j.failures
	return s
}
