package tokenizer

import (
	"strings"
	"unicode/utf8"
)

// span is a stretch of bytes of the text to encode.
type span struct{ start, end int32 }

// text is a stretch of the text to encode on its way through normalizers and pre-tokenizers.
type text struct {
	s     string
	start int    // where in the text to encode it began, in bytes
	spans []span // for each byte of s, what it stands for; nil where offsets aren't asked for
}

// original is the text to encode: every byte stands for the character it belongs to.
func original(s string, offsets bool) text {
	t := text{s: s}
	if !offsets {
		return t
	}
	t.spans = make([]span, len(s))
	for i := 0; i < len(s); {
		_, n := utf8.DecodeRuneInString(s[i:])
		for j := range n {
			t.spans[i+j] = span{int32(i), int32(i + n)}
		}
		i += n
	}
	return t
}

func (t text) slice(from, to int) text {
	cut := text{s: t.s[from:to], start: t.start + from}
	if t.spans != nil {
		cut.spans = t.spans[from:to]
		cut.start = int(cut.span().start)
	}
	return cut
}

// span is what all of the text stands for.
func (t text) span() span {
	if len(t.spans) == 0 {
		return span{int32(t.start), int32(t.start)}
	}
	return span{t.spans[0].start, t.spans[len(t.spans)-1].end}
}

// builder makes a text out of another one. Whatever is put in stands for what a byte of the old one stood for.
type builder struct {
	from  text
	s     strings.Builder
	spans []span
}

func (b *builder) grow(n int) {
	b.s.Grow(n)
	if b.from.spans != nil {
		b.spans = make([]span, 0, n)
	}
}

// keep copies bytes of the old text.
func (b *builder) keep(from, to int) {
	b.s.WriteString(b.from.s[from:to])
	if b.from.spans != nil {
		b.spans = append(b.spans, b.from.spans[from:to]...)
	}
}

// put writes new text that stands for what byte at of the old text stood for; for the very start where at < 0.
func (b *builder) put(s string, at int) {
	b.s.WriteString(s)
	if b.from.spans == nil {
		return
	}
	stands := span{int32(b.from.start), int32(b.from.start)}
	if at >= 0 {
		stands = b.from.spans[at]
	}
	for range len(s) {
		b.spans = append(b.spans, stands)
	}
}

func (b *builder) text() text {
	return text{s: b.s.String(), start: b.from.start, spans: b.spans}
}

// prepended returns t with a prefix before it that stands for t's first character.
func (t text) prepended(prefix string) text {
	if t.spans == nil {
		t.s = prefix + t.s
		return t
	}
	b := builder{from: t}
	b.grow(len(prefix) + len(t.s))
	_, first := utf8.DecodeRuneInString(t.s)
	for i, r := range prefix {
		at := 0
		if i > 0 {
			at = first - 1
		}
		b.put(string(r), at)
	}
	stands := first - 1
	if prefix == "" {
		stands = -1 // as in the reference, which looks at what is before the character
	}
	b.put(t.s[:first], stands)
	b.keep(first, len(t.s))
	return b.text()
}

// replaced returns t with every old text replaced; the new one stands for the last character of the old.
func (t text) replaced(old, new string) text {
	if t.spans == nil {
		t.s = strings.ReplaceAll(t.s, old, new)
		return t
	}
	b := builder{from: t}
	b.grow(len(t.s))
	at := 0
	for {
		i := strings.Index(t.s[at:], old)
		if i < 0 {
			break
		}
		b.keep(at, at+i)
		at += i + len(old)
		b.put(new, at-1)
	}
	b.keep(at, len(t.s))
	return b.text()
}
