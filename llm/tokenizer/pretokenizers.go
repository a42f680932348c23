package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// A step is a pre-tokenizer: it hands the pieces of t, maybe rewritten, to emit.
type step interface {
	split(t text, emit func(text))
}

// preTokenizer is a line of steps; the pieces that leave the last one are the words that the model sees.
type preTokenizer struct {
	steps     []step
	byteLevel bool // words are bytes, not characters
}

// split hands the words of t to emit.
func (p *preTokenizer) split(level int, t text, emit func(text)) {
	switch {
	case t.s == "":
	case level == len(p.steps):
		emit(t)
	case level == len(p.steps)-1:
		p.steps[level].split(t, emit)
	default:
		p.steps[level].split(t, func(piece text) { p.split(level+1, piece, emit) })
	}
}

func parsePreTokenizer(raw json.RawMessage) (preTokenizer, error) {
	var p preTokenizer
	if err := p.parse(raw); err != nil {
		return p, err
	}
	if n := len(p.steps); n > 0 && p.steps[n-1] == (byteChars{}) {
		p.steps = p.steps[:n-1] // nothing sees the characters: words stay bytes
	} else if p.byteLevel {
		p.steps = append(p.steps, charBytes{})
	}
	return p, nil
}

func (p *preTokenizer) parse(raw json.RawMessage) error {
	if isNull(raw) {
		return nil
	}
	c, err := parseComponent("pre-tokenizer", raw)
	if err != nil {
		return err
	}
	switch c.Type {
	case "Sequence":
		for _, raw := range c.Pretokenizers {
			if err := p.parse(raw); err != nil {
				return err
			}
		}
		return nil
	case "ByteLevel":
		return p.addByteLevel(c)
	case "Digits":
		behavior := "Contiguous"
		if c.IndividualDigits {
			behavior = "Isolated"
		}
		return p.add(splitter{digits{}, behavior, false}, nil)
	case "Punctuation":
		behavior := c.Behavior
		if behavior == "" {
			behavior = "Isolated"
		}
		return p.add(newSplitter(c.Type, punctuation{}, behavior))
	case "Metaspace":
		return p.add(newMetaspace(c))
	case "Split":
		return p.add(newSplit(c))
	}
	return unsupported("pre-tokenizer", c.Type)
}

func (p *preTokenizer) add(s step, err error) error {
	if err == nil && p.byteLevel {
		if _, ok := s.(metaspace); ok {
			err = errors.New("the pre-tokenizer Metaspace isn't supported after ByteLevel")
		}
	}
	if err != nil {
		return err
	}
	p.steps = append(p.steps, s)
	return nil
}

// addByteLevel adds up to three steps: a space put in front, GPT-2's split, and bytes as characters.
func (p *preTokenizer) addByteLevel(c component) error {
	if p.byteLevel {
		return errors.New("two pre-tokenizers ByteLevel aren't supported")
	}
	if flag(c.AddPrefixSpace, true) {
		p.steps = append(p.steps, prefixSpace{})
	}
	if flag(c.UseRegex, true) {
		p.steps = append(p.steps, scanSplit{scannerOf(gpt2Regex)})
	}
	p.steps = append(p.steps, byteChars{})
	p.byteLevel = true
	return nil
}

// scanSplit splits into the words of a scanner.
type scanSplit struct{ words scanner }

func (x scanSplit) split(t text, emit func(text)) {
	for i := 0; i < len(t.s); {
		end := x.words.next(t.s, i)
		emit(t.slice(i, end))
		i = end
	}
}

// prefixSpace puts a space before a piece that has none.
type prefixSpace struct{}

func (prefixSpace) split(t text, emit func(text)) {
	if !strings.HasPrefix(t.s, " ") {
		t = t.prepended(" ")
	}
	emit(t)
}

// byteChars writes every byte as the character that stands for it in a vocabulary of bytes.
type byteChars struct{}

func (byteChars) split(t text, emit func(text)) {
	b := builder{from: t}
	b.grow(2 * len(t.s))
	for i := range len(t.s) {
		b.put(byteChar[t.s[i]], i)
	}
	emit(b.text())
}

// charBytes takes byteChars back, after other steps have seen the characters.
type charBytes struct{}

func (charBytes) split(t text, emit func(text)) {
	b := builder{from: t}
	b.grow(len(t.s))
	for i, r := range t.s {
		if c, ok := charByte(r); ok {
			b.put(string([]byte{c}), i)
		} else {
			b.keep(i, i+utf8.RuneLen(r))
		}
	}
	emit(b.text())
}

// byteChar holds the character that stands for each byte: printable ones for themselves, the others from U+0100 on
// (GPT-2's encoder.py, bytes_to_unicode).
var byteChar = func() (all [256]string) {
	next := rune(256)
	for b := range all {
		r := rune(b)
		if !(r >= '!' && r <= '~' || r >= 0xA1 && r <= 0xAC || r >= 0xAE) {
			r = next
			next++
		}
		all[b] = string(r)
	}
	return all
}()

// charByte is the inverse of byteChar.
func charByte(r rune) (byte, bool) {
	switch {
	case r >= 256 && r <= 288: // 0 … 32
		return byte(r - 256), true
	case r >= 289 && r <= 322: // 127 … 160
		return byte(r - 289 + 127), true
	case r == 323:
		return 0xAD, true
	}
	return byte(r), r >= '!' && r <= '~' || r >= 0xA1 && r <= 0xFF && r != 0xAD
}

// finder finds the delimiters of a Split.
type finder interface{ find(s string) []match }

// literal finds a fixed text.
type literal string

func (l literal) find(s string) []match {
	var found []match
	for at := 0; ; {
		i := strings.Index(s[at:], string(l))
		if i < 0 {
			return found
		}
		found = append(found, match{at + i, at + i + len(l)})
		at += i + len(l)
	}
}

// digits finds characters of the class N.
type digits struct{}

func (digits) find(s string) []match {
	var found []match
	for i, r := range s {
		if classes().of(r)&classN != 0 {
			found = append(found, match{i, i + utf8.RuneLen(r)})
		}
	}
	return found
}

// scannedWords finds what a scanner finds, for splits that don't just isolate it.
type scannedWords struct{ words scanner }

func (x scannedWords) find(s string) []match {
	var found []match
	for i := 0; i < len(s); {
		end := x.words.next(s, i)
		found = append(found, match{i, end})
		i = end
	}
	return found
}

// splitter splits at what finder finds; invert makes what lies between the delimiters.
type splitter struct {
	finder   finder
	behavior string
	invert   bool
}

var behaviors = []string{"Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"}

func newSplitter(name string, f finder, behavior string) (splitter, error) {
	if !slices.Contains(behaviors, behavior) {
		return splitter{}, fmt.Errorf("the pre-tokenizer %s with the behavior %.100q isn't supported", name, behavior)
	}
	return splitter{finder: f, behavior: behavior}, nil
}

func newSplit(c component) (step, error) {
	s, err := newSplitter(c.Type, nil, c.Behavior)
	if err != nil {
		return nil, err
	}
	s.invert = c.Invert
	switch {
	case c.Pattern.String != nil && *c.Pattern.String != "":
		s.finder = literal(*c.Pattern.String)
	case c.Pattern.Regex == nil:
		return nil, errors.New("the pre-tokenizer Split lacks its pattern")
	default:
		if words := scannerOf(*c.Pattern.Regex); words != nil {
			if s.behavior == "Isolated" || s.behavior == "Removed" && s.invert { // its words cover every text
				return scanSplit{words}, nil
			}
			s.finder = scannedWords{words}
			break
		}
		re, err := newRegex(*c.Pattern.Regex)
		if err != nil {
			return nil, fmt.Errorf("the pre-tokenizer Split: %w", err)
		}
		s.finder = re
	}
	return s, nil
}

// part is a stretch of text that is a delimiter or lies between delimiters.
type part struct {
	match
	delimiter bool
}

func (x splitter) split(t text, emit func(text)) {
	for _, p := range x.merge(x.parts(t.s)) {
		if p.start < p.end {
			emit(t.slice(p.start, p.end))
		}
	}
}

// parts cuts all of s at the delimiters.
func (x splitter) parts(s string) []part {
	var parts []part
	at := 0
	for _, m := range x.finder.find(s) {
		if at < m.start {
			parts = append(parts, part{match{at, m.start}, x.invert})
		}
		parts = append(parts, part{m, !x.invert})
		at = m.end
	}
	if at < len(s) {
		parts = append(parts, part{match{at, len(s)}, x.invert})
	}
	return parts
}

// merge joins parts as the behavior says. Of delimiters in a row MergedWithPrevious joins the first to what is before
// it, MergedWithNext the last to what is after it.
func (x splitter) merge(parts []part) []part {
	backwards := x.behavior == "MergedWithNext"
	if backwards {
		slices.Reverse(parts)
	}
	var out []part
	previous := false
	for _, p := range parts {
		join := false
		switch x.behavior {
		case "Removed":
			if p.delimiter {
				continue
			}
		case "Contiguous":
			join = p.delimiter == previous
		case "MergedWithPrevious", "MergedWithNext":
			join = p.delimiter && !previous
		}
		previous = p.delimiter
		if last := len(out) - 1; join && last >= 0 {
			out[last].start, out[last].end = min(out[last].start, p.start), max(out[last].end, p.end)
		} else {
			out = append(out, p)
		}
	}
	if backwards {
		slices.Reverse(out)
	}
	return out
}

// metaspace writes spaces as ▁, puts one in front, and splits before each.
type metaspace struct {
	replacement string
	scheme      string // where one is put in front: "always", "first" (only at the start of the whole text), "never"
	words       bool
}

func newMetaspace(c component) (step, error) {
	scheme := c.PrependScheme
	if scheme == "" {
		scheme = "always"
	}
	if c.AddPrefixSpace != nil && !*c.AddPrefixSpace {
		if c.PrependScheme != "" && scheme != "never" {
			return nil, fmt.Errorf("the component Metaspace has add_prefix_space false and prepend_scheme %.100q, which disagree", scheme)
		}
		scheme = "never"
	}
	if !slices.Contains([]string{"always", "first", "never"}, scheme) {
		return nil, fmt.Errorf("the component Metaspace with the prepend_scheme %.100q isn't supported", scheme)
	}
	if utf8.RuneCountInString(c.Replacement) != 1 {
		return nil, fmt.Errorf("the component Metaspace needs one character as replacement, not %.100q", c.Replacement)
	}
	return metaspace{c.Replacement, scheme, flag(c.Split, true)}, nil
}

func (m metaspace) split(t text, emit func(text)) {
	t = t.replaced(" ", m.replacement)
	if !strings.HasPrefix(t.s, m.replacement) && (m.scheme == "always" || m.scheme == "first" && t.start == 0) {
		t = t.prepended(m.replacement)
	}
	if !m.words {
		emit(t)
		return
	}
	splitter{literal(m.replacement), "MergedWithNext", false}.split(t, emit)
}

// decode is Metaspace as decoder.
func (m metaspace) decode(tokens []string) []string {
	for i, t := range tokens {
		space := " "
		if i == 0 && m.scheme != "never" {
			space = ""
		}
		tokens[i] = strings.ReplaceAll(t, m.replacement, space)
	}
	return tokens
}
