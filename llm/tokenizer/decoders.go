package tokenizer

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"
)

// A decoder rewrites the list of tokens on the way back to text.
type decoder interface {
	decode(tokens []string) []string
}

// parseDecoder appends the decoders that raw describes to all, the members of a Sequence one by one.
func parseDecoder(all []decoder, raw json.RawMessage) ([]decoder, error) {
	if isNull(raw) {
		return all, nil
	}
	c, err := parseComponent("decoder", raw)
	if err != nil {
		return nil, err
	}
	switch c.Type {
	case "Sequence":
		for _, raw := range c.Decoders {
			if all, err = parseDecoder(all, raw); err != nil {
				return nil, err
			}
		}
		return all, nil
	case "Replace":
		r, err := parseReplace("decoder", c)
		return append(all, r), err
	case "ByteLevel":
		return append(all, byteLevel{}), nil
	case "ByteFallback":
		return append(all, byteFallback{}), nil
	case "Fuse":
		return append(all, fuse{}), nil
	case "Metaspace":
		s, err := newMetaspace(c)
		if err != nil {
			return nil, fmt.Errorf("decoder: %w", err)
		}
		return append(all, s.(metaspace)), nil
	case "Strip":
		if utf8.RuneCountInString(c.Content) != 1 || c.Start < 0 || c.Stop < 0 {
			return nil, fmt.Errorf("the decoder Strip needs one character and counts of 0 or more, not %.100q, %d and %d",
				c.Content, c.Start, c.Stop)
		}
		return append(all, strip{c.Content, c.Start, c.Stop}), nil
	}
	return nil, unsupported("decoder", c.Type)
}

// byteLevel makes one text of the bytes that the characters of all tokens stand for.
type byteLevel struct{}

func (byteLevel) decode(tokens []string) []string {
	var all []byte
	for _, t := range tokens {
		if word, ok := wordBytes(t); ok {
			t = word
		}
		all = append(all, t...)
	}
	return []string{lossy(all)}
}

// lossy is the text of bytes with one U+FFFD for each maximal part that isn't UTF-8, as the Unicode standard recommends
// (section 3.9) and Rust does.
func lossy(b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	out := make([]byte, 0, len(b)+8)
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		if r == utf8.RuneError && n == 1 {
			n = invalidPart(b)
			out = append(out, "\uFFFD"...)
		} else {
			out = append(out, b[:n]...)
		}
		b = b[n:]
	}
	return string(out)
}

// invalidPart is the length of the longest start of b that could begin a character, at least 1 (Unicode, table 3-7).
func invalidPart(b []byte) int {
	low, high, more := byte(0x80), byte(0xBF), 0
	switch c := b[0]; {
	case c >= 0xE0 && c <= 0xEF:
		more = 1
		if c == 0xE0 {
			low = 0xA0
		} else if c == 0xED {
			high = 0x9F
		}
	case c >= 0xF0 && c <= 0xF4:
		more = 2
		if c == 0xF0 {
			low = 0x90
		} else if c == 0xF4 {
			high = 0x8F
		}
	}
	n := 1
	for n <= more && n < len(b) && b[n] >= low && b[n] <= high {
		n++
		low, high = 0x80, 0xBF
	}
	return n
}

// byteFallback joins runs of tokens <0x00>…<0xFF> into text; a run that isn't UTF-8 gives one U+FFFD a byte.
type byteFallback struct{}

func (byteFallback) decode(tokens []string) []string {
	var out []string
	var run []byte
	flush := func() {
		switch {
		case len(run) == 0:
		case utf8.Valid(run):
			out = append(out, string(run))
		default:
			for range run {
				out = append(out, "\uFFFD")
			}
		}
		run = run[:0]
	}
	for _, t := range tokens {
		if b, ok := byteOf(t); ok {
			run = append(run, b)
			continue
		}
		flush()
		out = append(out, t)
	}
	flush()
	return out
}

// byteOf returns the byte that a token such as <0x0A> stands for.
func byteOf(token string) (byte, bool) {
	if len(token) != 6 || token[:3] != "<0x" || token[5] != '>' {
		return 0, false
	}
	b := 0
	for i := 3; i < 5; i++ {
		digit := strings.IndexByte("0123456789abcdef", token[i]|0x20)
		if digit < 0 || token[i] < '0' {
			return 0, false
		}
		b = b<<4 | digit
	}
	return byte(b), true
}

// fuse makes one token of all.
type fuse struct{}

func (fuse) decode(tokens []string) []string { return []string{strings.Join(tokens, "")} }

// strip takes up to start and stop copies of a character off both ends of every token.
type strip struct {
	content     string
	start, stop int
}

func (s strip) decode(tokens []string) []string {
	for i, t := range tokens {
		for n := s.start; n > 0 && strings.HasPrefix(t, s.content); n-- {
			t = t[len(s.content):]
		}
		for n := s.stop; n > 0 && strings.HasSuffix(t, s.content); n-- {
			t = t[:len(t)-len(s.content)]
		}
		tokens[i] = t
	}
	return tokens
}
