package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// post is the line of post-processors: tokens put around those of the text, and offsets trimmed.
type post struct {
	before, after []int
	framed        bool
	// trims holds a value for each processor by which offsets leave out the white space that tokens of a byte-level
	// vocabulary begin and end with: whether the one space put before the text is spared.
	trims []bool
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

func (p *post) parse(raw json.RawMessage) error {
	if isNull(raw) {
		return nil
	}
	c, err := parseComponent("post-processor", raw)
	if err != nil {
		return err
	}
	switch c.Type {
	case "Sequence":
		for _, raw := range c.Processors {
			if err := p.parse(raw); err != nil {
				return err
			}
		}
		return nil
	case "ByteLevel":
		p.addTrim(c)
		return nil
	case "RobertaProcessing", "BertProcessing":
		if c.Type == "RobertaProcessing" {
			p.addTrim(c)
		}
		return p.frame(c.Cls.id, c.Sep.id)
	case "TemplateProcessing":
		var t template
		if err := json.Unmarshal(raw, &t); err != nil {
			return fmt.Errorf("post-processor TemplateProcessing: %w", err)
		}
		return p.add(t)
	}
	return unsupported("post-processor", c.Type)
}

func (p *post) addTrim(c component) {
	if flag(c.TrimOffsets, true) {
		p.trims = append(p.trims, flag(c.AddPrefixSpace, true))
	}
}

// frame puts one token before the text and one after it.
func (p *post) frame(before, after *int) error {
	if before == nil || after == nil {
		return errors.New("the post-processor lacks its cls or sep")
	}
	if p.framed {
		return errFramed
	}
	p.framed, p.before, p.after = true, []int{*before}, []int{*after}
	return nil
}

var errFramed = errors.New("two post-processors that add tokens aren't supported")

func (p *post) add(t template) error {
	if p.framed {
		return errFramed
	}
	p.framed = true
	text := false
	for _, part := range t.Single {
		switch {
		case part.Sequence != nil && part.Sequence.ID == "A" && !text:
			text = true
		case part.SpecialToken != nil:
			special, ok := t.SpecialTokens[part.SpecialToken.ID]
			if !ok {
				return fmt.Errorf("post-processor TemplateProcessing: special_tokens lacks %.100q", part.SpecialToken.ID)
			}
			if text {
				p.after = append(p.after, special.IDs...)
			} else {
				p.before = append(p.before, special.IDs...)
			}
		default:
			return errors.New("post-processor TemplateProcessing: single holds other things than special tokens and sequence A once")
		}
	}
	if !text {
		return errors.New("post-processor TemplateProcessing: single lacks the sequence A")
	}
	return nil
}

// trimmed takes the white space at both ends of a token off its offsets [start, end) in code points; with spare not a
// single space at its start.
func trimmed(start, end int, token string, spare bool) (int, int) {
	lead := len(token) - len(strings.TrimLeftFunc(token, isSpaceChar))
	leading := utf8.RuneCountInString(token[:lead])
	trailing := utf8.RuneCountInString(token) - utf8.RuneCountInString(strings.TrimRightFunc(token, isSpaceChar))
	if spare && leading == 1 {
		leading = 0
	}
	start = min(start+leading, end)
	if end >= trailing {
		end = max(end-trailing, start)
	}
	return start, end
}

// isSpaceChar tells white space, also as a byte-level vocabulary spells a space.
func isSpaceChar(r rune) bool { return r == 'Ġ' || isSpace(r) }
