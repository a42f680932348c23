package safetensors

import (
	"bytes"
	"cmp"
	"encoding/json"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// scanner reads JSON that has been checked to be valid UTF-8, token by token and without allocating. encoding/json is
// not used because it keeps the last of two equal keys, replaces broken escapes, and reads 1.0 or 1e3 where the format
// asks for integers.
type scanner struct {
	data []byte
	pos  int
}

// text is a JSON string as it stands in the file, between its quotes.
type text struct {
	raw     []byte
	at      int // where raw begins in the scanner's data
	escaped bool
}

// syntax reports where and what the scanner did not expect.
func (s *scanner) syntax(want string) *FormatError {
	if s.pos >= len(s.data) {
		return broken(RuleJSON, "the JSON ends where %s was expected", want)
	}
	r, _ := utf8.DecodeRune(s.data[s.pos:])
	return broken(RuleJSON, "%s was expected at JSON byte %d, not %q", want, s.pos, r)
}

func (s *scanner) space() {
	for s.pos < len(s.data) {
		switch s.data[s.pos] {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return
		}
	}
}

// accept skips white space and consumes c if it comes next.
func (s *scanner) accept(c byte) bool {
	s.space()
	if s.pos < len(s.data) && s.data[s.pos] == c {
		s.pos++
		return true
	}
	return false
}

// next skips white space and tells whether c comes next.
func (s *scanner) next(c byte) bool {
	s.space()
	return s.pos < len(s.data) && s.data[s.pos] == c
}

func (s *scanner) expect(c byte, what string) *FormatError {
	if !s.accept(c) {
		return s.syntax(what)
	}
	return nil
}

// more reports whether another item follows in an object or array whose opening bracket has been read, and steps over the
// comma before it. It is called with first set for the first item.
func (s *scanner) more(end byte, first bool) (bool, *FormatError) {
	if s.accept(end) {
		return false, nil
	}
	if !first {
		if !s.accept(',') {
			return false, s.syntax("a comma or a closing bracket")
		}
		s.space() // what follows must now be an item: a closing bracket will not do
	}
	return true, nil
}

// key reads a key and its colon.
func (s *scanner) key() (text, *FormatError) {
	key, err := s.text("a key")
	if err != nil {
		return text{}, err
	}
	return key, s.expect(':', "a colon")
}

// text reads a string and checks its escapes.
func (s *scanner) text(what string) (text, *FormatError) {
	if err := s.expect('"', what); err != nil {
		return text{}, err
	}
	start, escaped := s.pos, false
	for s.pos < len(s.data) {
		switch c := s.data[s.pos]; {
		case c == '"':
			s.pos++
			return text{s.data[start : s.pos-1], start, escaped}, nil
		case c == '\\':
			escaped = true
			if err := s.escape(); err != nil {
				return text{}, err
			}
		case c < ' ':
			return text{}, broken(RuleJSON, "a control character stands in a string at JSON byte %d", s.pos)
		default:
			s.pos++
		}
	}
	return text{}, broken(RuleJSON, "the JSON ends inside a string")
}

// escape checks one escape sequence and steps over it; half a surrogate pair is refused, for it is no character.
func (s *scanner) escape() *FormatError {
	r, n := unescape(s.data[s.pos:])
	if n == 0 || r < 0 {
		return broken(RuleJSON, "a broken escape stands in a string at JSON byte %d", s.pos)
	}
	s.pos += n
	return nil
}

// unescape decodes the escape sequence at the start of b and returns its character and length, length 0 if broken.
func unescape(b []byte) (rune, int) {
	if len(b) < 2 {
		return 0, 0
	}
	switch b[1] {
	case '"', '\\', '/':
		return rune(b[1]), 2
	case 'b':
		return '\b', 2
	case 'f':
		return '\f', 2
	case 'n':
		return '\n', 2
	case 'r':
		return '\r', 2
	case 't':
		return '\t', 2
	case 'u':
		r := hex4(b)
		if !utf16.IsSurrogate(r) {
			return r, 6
		}
		if pair := utf16.DecodeRune(r, hex4(b[min(6, len(b)):])); pair != utf8.RuneError {
			return pair, 12
		}
	}
	return 0, 0
}

// hex4 reads \uXXXX at the start of b, −1 if it is not there.
func hex4(b []byte) rune {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return -1
	}
	var r rune
	for _, c := range b[2:6] {
		switch {
		case '0' <= c && c <= '9':
			r = r<<4 | rune(c-'0')
		case 'a' <= c && c <= 'f':
			r = r<<4 | rune(c-'a'+10)
		case 'A' <= c && c <= 'F':
			r = r<<4 | rune(c-'A'+10)
		default:
			return -1
		}
	}
	return r
}

// count reads a non-negative integer: no sign, fraction, exponent or leading zero.
func (s *scanner) count() (int64, *FormatError) {
	s.space()
	start := s.pos
	var v uint64
	for s.pos < len(s.data) && '0' <= s.data[s.pos] && s.data[s.pos] <= '9' {
		d := uint64(s.data[s.pos] - '0')
		if v > (1<<63-1-d)/10 {
			return 0, broken(RuleOverflow, "the number at JSON byte %d does not fit", start)
		}
		v = v*10 + d
		s.pos++
	}
	switch {
	case s.pos == start:
		e := s.syntax("a non-negative integer")
		e.Rule = RuleNumber
		return 0, e
	case s.data[start] == '0' && s.pos > start+1:
		return 0, broken(RuleNumber, "the number at JSON byte %d has a leading zero", start)
	case s.pos < len(s.data) && bytes.IndexByte([]byte(".eE"), s.data[s.pos]) >= 0:
		return 0, broken(RuleNumber, "the number at JSON byte %d is not an integer", start)
	}
	return int64(v), nil
}

// end checks that nothing but white space follows.
func (s *scanner) end() *FormatError {
	s.space()
	if s.pos < len(s.data) {
		return s.syntax("the end")
	}
	return nil
}

// is compares with a plain string without allocating.
func (t text) is(name string) bool {
	if !t.escaped {
		return string(t.raw) == name
	}
	return t.String() == name
}

// String decodes the string into a copy of its own.
func (t text) String() string {
	if !t.escaped {
		return string(t.raw)
	}
	return string(t.append(make([]byte, 0, len(t.raw))))
}

// append appends the decoded string, which is never longer than it stands in the file.
func (t text) append(dst []byte) []byte {
	if !t.escaped {
		return append(dst, t.raw...)
	}
	for b := t.raw; len(b) > 0; {
		r, n := character(b)
		dst, b = utf8.AppendRune(dst, r), b[n:]
	}
	return dst
}

// compare orders by the decoded characters, whose order is also that of their UTF-8 bytes.
func (t text) compare(u text) int {
	if !t.escaped && !u.escaped {
		return bytes.Compare(t.raw, u.raw)
	}
	a, b := t.raw, u.raw
	for len(a) > 0 && len(b) > 0 {
		ra, na := character(a)
		rb, nb := character(b)
		if ra != rb {
			return cmp.Compare(ra, rb)
		}
		a, b = a[na:], b[nb:]
	}
	return cmp.Compare(len(a), len(b))
}

// character decodes the first character of a checked string and returns its length there.
func character(b []byte) (rune, int) {
	if b[0] == '\\' {
		r, n := unescape(b)
		return r, max(n, 1)
	}
	return utf8.DecodeRune(b)
}

// appendJSON appends s as a JSON string, escaped as little as JSON allows.
func appendJSON(dst []byte, s string) []byte {
	dst = append(dst, '"')
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c == '\n':
			dst = append(dst, `\n`...)
		case c == '\r':
			dst = append(dst, `\r`...)
		case c == '\t':
			dst = append(dst, `\t`...)
		case c == '\b':
			dst = append(dst, `\b`...)
		case c == '\f':
			dst = append(dst, `\f`...)
		case c < ' ':
			dst = append(dst, `\u00`...)
			dst = append(dst, "0123456789abcdef"[c>>4], "0123456789abcdef"[c&15])
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '"')
}

// appendCount appends n in decimal.
func appendCount(dst []byte, n int64) []byte { return strconv.AppendInt(dst, n, 10) }

// maxDepth bounds the nesting of values that are kept as they stand.
const maxDepth = 32

// skip reads any JSON value.
func (s *scanner) skip(depth int) *FormatError {
	s.space()
	if depth > maxDepth {
		return broken(RuleJSON, "the JSON is nested more than %d deep", maxDepth)
	}
	if s.pos >= len(s.data) {
		return s.syntax("a value")
	}
	switch c := s.data[s.pos]; c {
	case '{', '[':
		s.pos++
		return s.skipItems(c+2, depth+1) // in ASCII each closing bracket is two after its opening one
	case '"':
		_, err := s.text("a string")
		return err
	}
	start := s.pos
	for s.pos < len(s.data) && bytes.IndexByte([]byte(" \t\r\n,]}"), s.data[s.pos]) < 0 {
		s.pos++
	}
	if !json.Valid(s.data[start:s.pos]) {
		s.pos = start
		return s.syntax("a value")
	}
	return nil
}

// skipItems reads the items of an object or array up to its closing bracket.
func (s *scanner) skipItems(end byte, depth int) *FormatError {
	for first := true; ; first = false {
		more, err := s.more(end, first)
		if err != nil || !more {
			return err
		}
		if end == '}' {
			if _, err := s.key(); err != nil {
				return err
			}
		}
		if err := s.skip(depth); err != nil {
			return err
		}
	}
}
