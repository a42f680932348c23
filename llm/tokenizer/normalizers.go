package tokenizer

import (
	"encoding/json"
	"fmt"
)

// A normalizer rewrites the text before it is split.
type normalizer interface{ normalize(t text) text }

// component is any object of tokenizer.json: "type" says which one, the other fields depend on it.
type component struct {
	Type          string            `json:"type"`
	Normalizers   []json.RawMessage `json:"normalizers"`
	Pretokenizers []json.RawMessage `json:"pretokenizers"`
	Processors    []json.RawMessage `json:"processors"`
	Decoders      []json.RawMessage `json:"decoders"`
	Prepend       string            `json:"prepend"`
	Pattern       struct {
		String *string `json:"String"`
		Regex  *string `json:"Regex"`
	} `json:"pattern"`
	Content          string `json:"content"`
	Start            int    `json:"start"`
	Stop             int    `json:"stop"`
	Behavior         string `json:"behavior"`
	Invert           bool   `json:"invert"`
	AddPrefixSpace   *bool  `json:"add_prefix_space"`
	TrimOffsets      *bool  `json:"trim_offsets"`
	UseRegex         *bool  `json:"use_regex"`
	Replacement      string `json:"replacement"`
	PrependScheme    string `json:"prepend_scheme"`
	Split            *bool  `json:"split"`
	IndividualDigits bool   `json:"individual_digits"`
	Cls              named  `json:"cls"`
	Sep              named  `json:"sep"`
}

// named is a token written as ["<s>", 1].
type named struct{ id *int }

func (n *named) UnmarshalJSON(data []byte) error {
	var name *string
	pair := [2]any{&name, &n.id}
	return json.Unmarshal(data, &pair)
}

func isNull(raw json.RawMessage) bool { return len(raw) == 0 || string(raw) == "null" }

// maxDepth bounds how deep a component may nest: what reads it goes as deep.
const maxDepth = 32

func parseComponent(kind string, raw json.RawMessage) (component, error) {
	var c component
	depth, deepest := 0, 0
	for _, b := range raw {
		switch b { // brackets within texts count, too: the bound is far off for real files
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		}
		deepest = max(deepest, depth)
	}
	if deepest > maxDepth {
		return c, fmt.Errorf("the %s nests more than %d deep", kind, maxDepth)
	}
	if err := json.Unmarshal(raw, &c); err != nil {
		return c, fmt.Errorf("%s: %w", kind, err)
	}
	return c, nil
}

// unsupported names what this package doesn't know.
func unsupported(kind, name string) error {
	return fmt.Errorf("the %s %.100q isn't supported", kind, name)
}

// flag is the value of a setting that may be left out.
func flag(setting *bool, otherwise bool) bool {
	if setting == nil {
		return otherwise
	}
	return *setting
}

// parseNormalizer appends the normalizers that raw describes to all, the members of a Sequence one by one.
func parseNormalizer(all []normalizer, raw json.RawMessage) ([]normalizer, error) {
	if isNull(raw) {
		return all, nil
	}
	c, err := parseComponent("normalizer", raw)
	if err != nil {
		return nil, err
	}
	switch c.Type {
	case "Sequence":
		for _, raw := range c.Normalizers {
			if all, err = parseNormalizer(all, raw); err != nil {
				return nil, err
			}
		}
		return all, nil
	case "Prepend":
		return append(all, prepend(c.Prepend)), nil
	case "Replace":
		r, err := parseReplace("normalizer", c)
		return append(all, r), err
	case "NFC", "NFD", "NFKC", "NFKD":
		return append(all, newNormalForm(c.Type)), nil
	}
	return nil, unsupported("normalizer", c.Type)
}

// prepend puts a text before any text that isn't empty.
type prepend string

func (p prepend) normalize(t text) text {
	if t.s == "" {
		return t
	}
	return t.prepended(string(p))
}

// replace is Replace of a fixed text or of what a regular expression finds, as normalizer and as decoder.
type replace struct {
	old   string
	regex *regex // nil: old is meant
	new   string
}

func parseReplace(kind string, c component) (*replace, error) {
	switch {
	case c.Pattern.Regex != nil:
		re, err := newRegex(*c.Pattern.Regex)
		if err != nil {
			return nil, fmt.Errorf("the %s Replace: %w", kind, err)
		}
		return &replace{regex: re, new: c.Content}, nil
	case c.Pattern.String == nil || *c.Pattern.String == "":
		return nil, fmt.Errorf("the %s Replace lacks its pattern", kind)
	}
	return &replace{old: *c.Pattern.String, new: c.Content}, nil
}

func (r *replace) normalize(t text) text {
	if r.regex == nil {
		return t.replaced(r.old, r.new)
	}
	b := builder{from: t}
	at := 0
	for _, m := range r.regex.find(t.s) {
		b.keep(at, m.start)
		b.put(r.new, m.end-1)
		at = m.end
	}
	b.keep(at, len(t.s))
	return b.text()
}

func (r *replace) decode(tokens []string) []string {
	for i, t := range tokens {
		tokens[i] = r.normalize(text{s: t}).s
	}
	return tokens
}
