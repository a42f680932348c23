package tokenizer

import (
	"encoding/json"
	"fmt"
	"strings"
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
	byID            map[int]addedToken
	byContent       map[string]int
	special         map[string]bool // by content
	decoded         map[int]string  // what the decoder sees where it isn't the content: the normalized form
	raw, normalized matcher
}

// parseAdded numbers the added tokens as the reference does: those in the model's vocabulary have its ids, the others
// follow after it in order, whatever the file says.
func parseAdded(raw json.RawMessage, normalizers []normalizer, m *bpe) (addedTokens, error) {
	a := addedTokens{
		byID: map[int]addedToken{}, byContent: map[string]int{}, special: map[string]bool{}, decoded: map[int]string{},
	}
	var all []addedToken
	if !isNull(raw) {
		if err := json.Unmarshal(raw, &all); err != nil {
			return a, fmt.Errorf("added_tokens: %w", err)
		}
	}
	next := m.size
	for _, t := range all {
		if t.Content == "" {
			continue // the reference leaves it out
		}
		id, ok := a.byContent[t.Content]
		if !ok {
			id, ok = m.id(t.Content, m.byteLevel)
		}
		if !ok {
			id = next
			next++
		}
		if id >= maxID {
			return a, fmt.Errorf("added token %.100q has the id %d, outside 0…%d", t.Content, id, maxID-1)
		}
		t.ID = id
		a.byID[id], a.byContent[t.Content] = t, id
		if t.Special {
			a.special[t.Content] = true
		}
		delete(a.decoded, id)
		if t.Normalized {
			if normal := normalizeAll(normalizers, t.Content); normal != t.Content {
				a.decoded[id] = normal
			}
		}
	}
	for id, t := range a.byID {
		pattern, into := t.Content, &a.raw
		if t.Normalized {
			into = &a.normalized
			if normal, ok := a.decoded[id]; ok {
				pattern = normal
			}
		}
		if err := into.add(pattern, t); err != nil {
			return a, err
		}
	}
	return a, nil
}

func normalizeAll(all []normalizer, s string) string {
	t := text{s: s}
	for _, n := range all {
		t = n.normalize(t)
	}
	return t.s
}

// piece is a stretch of text, or an added token where id ≥ 0.
type piece struct {
	text text
	id   int
}

// matcher finds added tokens, leftmost first and of those at one place the longest, in a trie of their bytes.
type matcher struct {
	nodes []trieNode
	first [256]bool
	only  string // the first byte where all tokens have the same one
}

type trieNode struct {
	next  map[byte]int32
	token *addedToken // that ends here
}

// maxNodes bounds the memory of a matcher, a few hundred MB; Gemma's 6,000 tokens take 50,000 nodes.
const maxNodes = 1 << 21

func (m *matcher) add(pattern string, t addedToken) error {
	if pattern == "" {
		return fmt.Errorf("added token %.100q is empty once normalized", t.Content)
	}
	if len(m.nodes)+len(pattern) > maxNodes {
		return fmt.Errorf("the added tokens are longer than %d bytes together", maxNodes)
	}
	if len(m.nodes) == 0 {
		m.nodes = make([]trieNode, 1)
		m.only = pattern[:1]
	}
	if m.only != pattern[:1] {
		m.only = ""
	}
	m.first[pattern[0]] = true
	at := int32(0)
	for i := range len(pattern) {
		next, ok := m.nodes[at].next[pattern[i]]
		if !ok {
			next = int32(len(m.nodes))
			if m.nodes[at].next == nil {
				m.nodes[at].next = map[byte]int32{}
			}
			m.nodes[at].next[pattern[i]] = next
			m.nodes = append(m.nodes, trieNode{})
		}
		at = next
	}
	if other := m.nodes[at].token; other != nil {
		return fmt.Errorf("the added tokens %.100q and %.100q are the same once normalized", other.Content, t.Content)
	}
	m.nodes[at].token = &t
	return nil
}

// find returns the first match in s at or after from.
func (m *matcher) find(s string, from int) (start, stop int, token *addedToken) {
	for i := from; i < len(s); i++ {
		if m.only != "" {
			skip := strings.IndexByte(s[i:], m.only[0])
			if skip < 0 {
				return 0, 0, nil
			}
			i += skip
		} else if !m.first[s[i]] {
			continue
		}
		at := int32(0)
		for j := i; j < len(s); j++ {
			next, ok := m.nodes[at].next[s[j]]
			if !ok {
				break
			}
			if at = next; m.nodes[at].token != nil {
				stop, token = j+1, m.nodes[at].token
			}
		}
		if token != nil {
			return i, stop, token
		}
	}
	return 0, 0, nil
}

// split cuts t at the added tokens.
func (m *matcher) split(t text) []piece {
	s := t.s
	if len(m.nodes) == 0 || s == "" {
		return []piece{{t, -1}}
	}
	var pieces []piece
	done, next := 0, 0 // text before done has been given out; the search goes on at next
	spaces := match{-1, -1}
	for {
		start, stop, token := m.find(s, next)
		if token == nil {
			break
		}
		next = stop
		if token.SingleWord && (endsWithWord(s[:start]) || startsWithWord(s[stop:])) {
			continue
		}
		if token.LStrip {
			start = done + len(strings.TrimRightFunc(s[done:max(start, done)], isSpace))
		}
		if token.RStrip {
			if stop < spaces.start || stop > spaces.end {
				spaces = match{stop, len(s) - len(strings.TrimLeftFunc(s[stop:], isSpace))}
			}
			stop = spaces.end
		}
		if start >= stop {
			continue // the one before swallowed it; the reference leaves it out, too, or panics
		}
		if done < start {
			pieces = append(pieces, piece{t.slice(done, start), -1})
		}
		pieces = append(pieces, piece{t.slice(start, stop), token.ID})
		done = stop
	}
	if done < len(s) {
		pieces = append(pieces, piece{t.slice(done, len(s)), -1})
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
