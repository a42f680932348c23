package tokenizer

import (
	"math/bits"
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
		if len(e.t.post.trims) > 0 {
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
		if end == i+1 && !e.offsets && m.single[word[i]] >= 0 { // the most frequent part of all: one character
			e.ids = append(e.ids, int(m.single[word[i]]))
			i = end
			continue
		}
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
	c := &e.cache[hash(word)&(cacheSize-1)]
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

// hash is a fast hash of a short text: what a place in the cache needs.
func hash(s string) uint64 {
	n := len(s)
	var a, b uint64
	switch {
	case n >= 16:
		a = load8(s, 0) ^ load8(s, n/2-4)<<1
		b = load8(s, n-8)
	case n >= 8:
		a, b = load8(s, 0), load8(s, n-8)
	case n >= 4:
		a, b = load4(s, 0), load4(s, n-4)
	case n > 0:
		a = uint64(s[0]) | uint64(s[n/2])<<8 | uint64(s[n-1])<<16
	}
	high, low := bits.Mul64(a^0x9E3779B97F4A7C15, b^0xD1B54A32D192ED03^uint64(n)<<56)
	return high ^ low
}

func load4(s string, i int) uint64 {
	_ = s[i+3]
	return uint64(s[i]) | uint64(s[i+1])<<8 | uint64(s[i+2])<<16 | uint64(s[i+3])<<24
}

func load8(s string, i int) uint64 { return load4(s, i) | load4(s, i+4)<<32 }

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
			if len(e.t.post.trims) > 0 {
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
