package tokenizer

import (
	"fmt"
	"sort"
	"strings"
	"unicode"
	"unicode/utf8"
)

// addedToken is an entry of added_tokens: a text recognized as a whole, before the model sees anything.
type addedToken struct {
	ID         int    `json:"id"`
	Content    string `json:"content"`
	SingleWord bool   `json:"single_word"` // only where no word character stands beside it
	LStrip     bool   `json:"lstrip"`      // swallows the white space before it
	RStrip     bool   `json:"rstrip"`      // swallows the white space after it
	Normalized bool   `json:"normalized"`  // looked for in normalized text
	Special    bool   `json:"special"`
}

type addedTokens struct {
	all             []addedToken
	byContent       map[string]addedToken
	special         map[int]bool
	raw, normalized matcher
}

func newAddedTokens(all []addedToken, n normalizer) (addedTokens, error) {
	a := addedTokens{all: all, byContent: map[string]addedToken{}, special: map[int]bool{}}
	for _, t := range all {
		if t.Content == "" {
			return a, fmt.Errorf("added token %d is empty", t.ID)
		}
		a.byContent[t.Content] = t
		if t.Special {
			a.special[t.ID] = true
		}
		pattern := t.Content
		if !t.Normalized {
			a.raw.add(pattern, t)
			continue
		}
		if n != nil {
			pattern = n.normalize(pattern)
		}
		a.normalized.add(pattern, t)
	}
	a.raw.sort()
	a.normalized.sort()
	return a, nil
}

// piece is a stretch of text, or an added token where id ≥ 0.
type piece struct {
	text string
	id   int
}

// matcher finds added tokens, leftmost first and of those at one place the longest.
type matcher struct {
	byFirst [256][]pattern // by first byte, longest first
	count   int
}

type pattern struct {
	text  string
	token addedToken
}

func (m *matcher) add(text string, t addedToken) {
	if text != "" {
		m.byFirst[text[0]] = append(m.byFirst[text[0]], pattern{text, t})
		m.count++
	}
}

func (m *matcher) sort() {
	for _, p := range m.byFirst {
		sort.SliceStable(p, func(i, j int) bool { return len(p[i].text) > len(p[j].text) })
	}
}

// find returns the first match in s at or after from.
func (m *matcher) find(s string, from int) (start int, p pattern, ok bool) {
	for i := from; i < len(s); i++ {
		for _, p := range m.byFirst[s[i]] {
			if strings.HasPrefix(s[i:], p.text) {
				return i, p, true
			}
		}
	}
	return 0, pattern{}, false
}

// split cuts s at the added tokens.
func (m *matcher) split(s string) []piece {
	if m.count == 0 || s == "" {
		return []piece{{s, -1}}
	}
	var pieces []piece
	done, next := 0, 0 // text before done has been given out; the search goes on at next
	for {
		start, p, ok := m.find(s, next)
		if !ok {
			break
		}
		stop := start + len(p.text)
		next = stop
		if p.token.SingleWord && (endsWithWord(s[:start]) || startsWithWord(s[stop:])) {
			continue
		}
		if p.token.LStrip {
			start = max(len(strings.TrimRightFunc(s[:start], unicode.IsSpace)), done)
		}
		if p.token.RStrip {
			stop = len(s) - len(strings.TrimLeftFunc(s[stop:], unicode.IsSpace))
		}
		if done < start {
			pieces = append(pieces, piece{s[done:start], -1})
		}
		pieces = append(pieces, piece{s[start:stop], p.token.ID})
		done = stop
	}
	if done < len(s) {
		pieces = append(pieces, piece{s[done:], -1})
	}
	return pieces
}

func endsWithWord(s string) bool {
	r, n := utf8.DecodeLastRuneInString(s)
	return n > 0 && isWord(r)
}

func startsWithWord(s string) bool {
	r, n := utf8.DecodeRuneInString(s)
	return n > 0 && isWord(r)
}

// isWord is \w of Unicode's regular expressions (UTS 18): alphabetic, mark, decimal digit, connector or join control.
func isWord(r rune) bool {
	return unicode.In(r, unicode.L, unicode.Nl, unicode.Other_Alphabetic, unicode.M, unicode.Nd, unicode.Pc,
		unicode.Join_Control)
}
