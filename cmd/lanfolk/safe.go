package main

import (
	"bytes"
	"io"
	"unicode/utf8"
)

// safeWriter makes what strangers say safe for a terminal, as visible does, line by line
// and for any size: it keeps nothing but the bytes of a character that isn't whole.
// Each line begins with the prefix.
type safeWriter struct {
	w      io.Writer
	prefix string
	inside bool   // of a line
	rest   []byte // of a character
}

// Write implements io.Writer.
func (s *safeWriter) Write(p []byte) (int, error) {
	text := append(s.rest, p...)
	whole := len(text)
	for i := max(0, whole-utf8.UTFMax); i < whole; i++ {
		if utf8.RuneStart(text[i]) && !utf8.FullRune(text[i:]) {
			whole = i
		}
	}
	if err := s.write(text[:whole]); err != nil {
		return 0, err
	}
	s.rest = bytes.Clone(text[whole:])
	return len(p), nil
}

// end writes what is left, and ends the line.
func (s *safeWriter) end() error {
	if err := s.write(s.rest); err != nil {
		return err
	}
	s.rest = nil
	if !s.inside {
		return nil
	}
	s.inside = false
	_, err := io.WriteString(s.w, "\n")
	return err
}

func (s *safeWriter) write(text []byte) error {
	var out bytes.Buffer
	for line := range bytes.Lines(text) {
		if !s.inside {
			out.WriteString(s.prefix)
		}
		line, s.inside = bytes.CutSuffix(line, []byte("\n"))
		s.inside = !s.inside
		for i, field := range bytes.Split(line, []byte("\t")) {
			if i > 0 {
				out.WriteByte('\t')
			}
			out.WriteString(visible(string(field)))
		}
		if !s.inside {
			out.WriteByte('\n')
		}
	}
	_, err := s.w.Write(out.Bytes())
	return err
}
