package tokenizer

import (
	"hash/maphash"
	"unicode/utf8"
)

// encoder is the memory of one Encode: it keeps the tokens of words it has met.
type encoder struct {
	t       *tokenizer
	offsets bool
	ids     []int
	spans   []span   // of each token, in bytes of the text; only with offsets
	texts   []string // of each token, spelled as in the file; only with offsets that will be trimmed
	symbols []symbol
	queue   *queue // of long words
	seed    maphash.Seed
	cache   [cacheSize]cached
}

// cached is a word with its tokens. Both are bounded, so that a hostile text can't make the memory grow.
type cached struct {
	length, n uint8
	word      [cachedBytes]byte
	ids       [cachedTokens]int32
}

const (
	cacheSize    = 1 << 13 // words; a power of two
	cachedBytes  = 38
	cachedTokens = 8
)

// encode appends the tokens of a whole text.
func (e *encoder) encode(s string) {
	add := e.add // one closure for all words
	for _, outer := range e.t.added.raw.split(original(s, e.offsets)) {
		if outer.id >= 0 {
			e.addToken(outer)
			continue
		}
		t := outer.text
		for _, n := range e.t.normalizers {
			t = n.normalize(t)
		}
		for _, inner := range e.t.added.normalized.split(t) {
			if inner.id >= 0 {
				e.addToken(inner)
			} else {
				e.t.pre.split(0, inner.text, add)
			}
		}
	}
}

// addToken appends an added token.
func (e *encoder) addToken(p piece) {
	e.ids = append(e.ids, p.id)
	if e.offsets {
		e.spans = append(e.spans, p.text.span())
		if e.t.post.trim {
			e.texts = append(e.texts, p.text.s)
		}
	}
}

// add appends the tokens of a word. A long one is cut where no merge can join, which keeps the parts in the cache.
func (e *encoder) add(t text) {
	m, word := e.t.model, t.s
	if len(word) <= cachedBytes || m.joints == nil {
		e.addPart(t, true)
		return
	}
	if id, ok := m.whole(word); ok {
		e.addSymbols(t, append(e.symbols[:0], symbol{id: id, size: int32(len(word))}))
		return
	}
	for i := 0; i < len(word); {
		end := m.joints.cut(word, i)
		e.addPart(t.slice(i, end), false)
		i = end
	}
}

// addPart appends the tokens of a whole word or of a part of one.
func (e *encoder) addPart(t text, whole bool) {
	word := t.s
	if len(word) > cachedBytes || e.offsets {
		e.addSymbols(t, e.tokens(word, whole))
		return
	}
	length := uint8(len(word))
	if !whole && e.t.model.ignoreMerges {
		length |= 0x80 // its tokens may be others than those of the same word by itself
	}
	c := &e.cache[maphash.String(e.seed, word)&(cacheSize-1)]
	if c.length == length && string(c.word[:len(word)]) == word {
		for _, id := range c.ids[:c.n] {
			e.ids = append(e.ids, int(id))
		}
		return
	}
	s := e.tokens(word, whole)
	e.addSymbols(t, s)
	if len(s) > cachedTokens {
		return
	}
	c.length, c.n = length, uint8(len(s))
	copy(c.word[:], word)
	for i, x := range s {
		c.ids[i] = x.id
	}
}

// tokens returns the tokens of a word, valid until the next call.
func (e *encoder) tokens(word string, whole bool) []symbol {
	m := e.t.model
	if id, ok := m.whole(word); ok && whole {
		return append(e.symbols[:0], symbol{id: id, size: int32(len(word))})
	}
	s := m.symbols(e.symbols[:0], word)
	e.symbols = s
	if len(s) > shortWord {
		if e.queue == nil {
			e.queue = newQueue(len(m.pairs.left))
		}
		return s[:m.mergeLong(s, e.queue)]
	}
	return s[:m.mergeShort(s)]
}

// addSymbols appends the tokens of t.
func (e *encoder) addSymbols(t text, s []symbol) {
	at := 0
	for _, x := range s {
		e.ids = append(e.ids, int(x.id))
		if e.offsets {
			end := at + int(x.size)
			e.spans = append(e.spans, t.slice(at, end).span())
			if e.t.post.trim {
				e.texts = append(e.texts, e.t.model.spelled(int(x.id), e.t.model.byteLevel))
			}
			at = end
		}
	}
}

// characters converts spans of bytes of s to code points: start, end, start, end, …
func characters(out []int, s string, spans []span) {
	at := make([]int32, len(s)+1) // the character that each byte belongs to
	n := int32(-1)
	for i := range len(s) {
		if utf8.RuneStart(s[i]) {
			n++
		}
		at[i] = n
	}
	at[len(s)] = n + 1
	for i, x := range spans {
		out[2*i], out[2*i+1] = int(at[x.start]), int(at[x.end])
	}
}
