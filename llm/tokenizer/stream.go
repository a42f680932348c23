package tokenizer

import "strings"

// Stream decodes ids as they come, for output that appears token by token. What it gives out never ends within a
// character: bytes wait for those that complete it.
type Stream struct {
	tok         Tokenizer
	skipSpecial bool
	ids         []int  // those decoded together: the last ones given out, and those that wait
	given       string // text of the former
	n           int    // number of the former
}

// NewStream returns a Stream that decodes as tok.Decode(ids, skipSpecial) would.
func NewStream(tok Tokenizer, skipSpecial bool) *Stream {
	return &Stream{tok: tok, skipSpecial: skipSpecial}
}

// maxWaiting bounds how many ids wait: no character has more bytes than a few, so more are U+FFFD themselves.
const maxWaiting = 8

// Add takes the next id and returns the text that can be given out, often none.
func (s *Stream) Add(id int) string {
	s.ids = append(s.ids, id)
	text := s.tok.Decode(s.ids, s.skipSpecial)
	if len(text) <= len(s.given) || strings.HasSuffix(text, "\uFFFD") && len(s.ids)-s.n < maxWaiting {
		return ""
	}
	return s.give(text)
}

// give gives out text and keeps the newest ids as what the next ones follow: what a token's text is may depend on the
// one before it.
func (s *Stream) give(text string) string {
	fresh := strings.TrimPrefix(text, s.given)
	s.ids = append(s.ids[:0], s.ids[s.n:]...)
	s.given, s.n = s.tok.Decode(s.ids, s.skipSpecial), len(s.ids)
	return fresh
}

// Rest returns what still waits, after the last id.
func (s *Stream) Rest() string {
	text := s.tok.Decode(s.ids, s.skipSpecial)
	if len(text) <= len(s.given) {
		return ""
	}
	return s.give(text)
}
