package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// A normalizer rewrites the text before the model sees it.
type normalizer interface{ normalize(s string) string }

// A decoder rewrites the list of tokens on the way back to text.
type decoder interface {
	decode(tokens []string) []string
}

// component is any object of tokenizer.json: "type" says which one, the other fields depend on it.
type component struct {
	Type        string            `json:"type"`
	Normalizers []json.RawMessage `json:"normalizers"`
	Processors  []json.RawMessage `json:"processors"`
	Decoders    []json.RawMessage `json:"decoders"`
	Prepend     string            `json:"prepend"`
	Pattern     struct {
		String *string `json:"String"`
		Regex  *string `json:"Regex"`
	} `json:"pattern"`
	Content string `json:"content"`
	Start   int    `json:"start"`
	Stop    int    `json:"stop"`
}

func isNull(raw json.RawMessage) bool { return len(raw) == 0 || string(raw) == "null" }

func parseComponent(kind string, raw json.RawMessage) (component, error) {
	var c component
	if err := json.Unmarshal(raw, &c); err != nil {
		return c, fmt.Errorf("%s: %w", kind, err)
	}
	return c, nil
}

func unknown(kind, name string) error {
	return fmt.Errorf("the %s %q isn't supported", kind, name)
}

// replace is Replace of a fixed text, as normalizer and as decoder.
type replace struct{ old, new string }

func (r replace) normalize(s string) string { return strings.ReplaceAll(s, r.old, r.new) }

func (r replace) decode(tokens []string) []string {
	for i, t := range tokens {
		tokens[i] = strings.ReplaceAll(t, r.old, r.new)
	}
	return tokens
}

func parseReplace(kind string, c component) (replace, error) {
	if c.Pattern.Regex != nil {
		return replace{}, fmt.Errorf("the %s Replace with the regular expression %q isn't supported", kind, *c.Pattern.Regex)
	}
	if c.Pattern.String == nil || *c.Pattern.String == "" {
		return replace{}, fmt.Errorf("the %s Replace lacks its pattern", kind)
	}
	return replace{*c.Pattern.String, c.Content}, nil
}

// prepend puts a text before any text that isn't empty.
type prepend string

func (p prepend) normalize(s string) string {
	if s == "" {
		return s
	}
	return string(p) + s
}

type normalizers []normalizer

func (all normalizers) normalize(s string) string {
	for _, n := range all {
		s = n.normalize(s)
	}
	return s
}

func parseNormalizer(raw json.RawMessage) (normalizer, error) {
	if isNull(raw) {
		return nil, nil
	}
	c, err := parseComponent("normalizer", raw)
	if err != nil {
		return nil, err
	}
	switch c.Type {
	case "Sequence":
		var all normalizers
		for _, raw := range c.Normalizers {
			n, err := parseNormalizer(raw)
			if err != nil {
				return nil, err
			}
			if n != nil {
				all = append(all, n)
			}
		}
		return all, nil
	case "Prepend":
		return prepend(c.Prepend), nil
	case "Replace":
		return parseReplace("normalizer", c)
	}
	return nil, unknown("normalizer", c.Type)
}

// parsePreTokenizer accepts files without one: the model takes each piece of text as one word.
func parsePreTokenizer(raw json.RawMessage) error {
	if isNull(raw) {
		return nil
	}
	c, err := parseComponent("pre-tokenizer", raw)
	if err != nil {
		return err
	}
	return unknown("pre-tokenizer", c.Type)
}

// templatePart is a part of what the post-processor puts together: fixed ids, or the text's.
type templatePart struct {
	ids  []int
	text bool
}

type template struct {
	Single []struct {
		SpecialToken *struct {
			ID string `json:"id"`
		}
		Sequence *struct {
			ID string `json:"id"`
		}
	} `json:"single"`
	SpecialTokens map[string]struct {
		IDs []int `json:"ids"`
	} `json:"special_tokens"`
}

// parsePostProcessor returns nil where nothing is added to a text.
func parsePostProcessor(raw json.RawMessage) ([]templatePart, error) {
	if isNull(raw) {
		return nil, nil
	}
	c, err := parseComponent("post-processor", raw)
	if err != nil {
		return nil, err
	}
	if c.Type != "TemplateProcessing" {
		return nil, unknown("post-processor", c.Type)
	}
	var t template
	if err := json.Unmarshal(raw, &t); err != nil {
		return nil, fmt.Errorf("post-processor TemplateProcessing: %w", err)
	}
	var parts []templatePart
	for _, p := range t.Single {
		switch {
		case p.Sequence != nil && p.Sequence.ID == "A":
			parts = append(parts, templatePart{text: true})
		case p.SpecialToken != nil:
			special, ok := t.SpecialTokens[p.SpecialToken.ID]
			if !ok {
				return nil, fmt.Errorf("post-processor TemplateProcessing: special_tokens lacks %q", p.SpecialToken.ID)
			}
			parts = append(parts, templatePart{ids: special.IDs})
		default:
			return nil, errors.New("post-processor TemplateProcessing: single holds neither a special token nor sequence A")
		}
	}
	return parts, nil
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
			out = append(out, strings.Repeat("\uFFFD", len(run)))
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
	for _, c := range token[3:5] {
		i := strings.IndexRune("0123456789abcdef", c|0x20)
		if i < 0 {
			return 0, false
		}
		b = b<<4 | i
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
		for range s.start {
			t = strings.TrimPrefix(t, s.content)
		}
		for range s.stop {
			t = strings.TrimSuffix(t, s.content)
		}
		tokens[i] = t
	}
	return tokens
}

type decoders []decoder

func (all decoders) decode(tokens []string) []string {
	for _, d := range all {
		tokens = d.decode(tokens)
	}
	return tokens
}

func parseDecoder(raw json.RawMessage) (decoder, error) {
	if isNull(raw) {
		return nil, nil
	}
	c, err := parseComponent("decoder", raw)
	if err != nil {
		return nil, err
	}
	switch c.Type {
	case "Sequence":
		var all decoders
		for _, raw := range c.Decoders {
			d, err := parseDecoder(raw)
			if err != nil {
				return nil, err
			}
			if d != nil {
				all = append(all, d)
			}
		}
		return all, nil
	case "Replace":
		return parseReplace("decoder", c)
	case "ByteFallback":
		return byteFallback{}, nil
	case "Fuse":
		return fuse{}, nil
	case "Strip":
		if utf8.RuneCountInString(c.Content) != 1 || c.Start < 0 || c.Stop < 0 {
			return nil, fmt.Errorf("the decoder Strip needs one character and counts of 0 or more, not %q, %d and %d",
				c.Content, c.Start, c.Stop)
		}
		return strip{c.Content, c.Start, c.Stop}, nil
	}
	return nil, unknown("decoder", c.Type)
}
