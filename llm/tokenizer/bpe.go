package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"
)

// bpe is the model of byte-pair encoding: a word becomes its characters, of which the neighbours with the lowest rank
// are merged until no pair has a rank; of equal ranks the leftmost goes first.
type bpe struct {
	*vocabulary
	pairs        *pairTable
	byteLevel    bool       // words are bytes, each of which is a character
	single       [256]int32 // id of a one-byte character, -1 where the vocabulary lacks it
	fallback     [256]int32 // id of <0x..>, -1 where the vocabulary lacks it
	byteFallback bool       // a character that isn't in the vocabulary becomes its bytes
	unk          int32      // what it becomes else; -1: nothing
	fuseUnk      bool       // a run of unknown characters becomes one unk
	ignoreMerges bool       // a word that is in the vocabulary isn't taken apart
	joints       *joints    // nil: long words aren't cut
}

type modelFile struct {
	Type                    string          `json:"type"`
	Dropout                 *float64        `json:"dropout"`
	UnkToken                *string         `json:"unk_token"`
	ContinuingSubwordPrefix string          `json:"continuing_subword_prefix"`
	EndOfWordSuffix         string          `json:"end_of_word_suffix"`
	FuseUnk                 bool            `json:"fuse_unk"`
	ByteFallback            bool            `json:"byte_fallback"`
	IgnoreMerges            bool            `json:"ignore_merges"`
	vocab, merges           json.RawMessage // large: read by reader
}

// readModel splits the model's object into its large parts and the others.
func readModel(raw json.RawMessage) (modelFile, error) {
	var f modelFile
	if isNull(raw) {
		return f, errors.New("the model is missing")
	}
	all, err := members(raw)
	if err != nil {
		return f, fmt.Errorf("model: %w", err)
	}
	f.vocab, f.merges = all["vocab"], all["merges"]
	delete(all, "vocab")
	delete(all, "merges")
	var small struct {
		Type string `json:"type"`
	}
	rest, err := json.Marshal(all)
	if err == nil {
		err = json.Unmarshal(rest, &small)
	}
	if err != nil {
		return f, fmt.Errorf("model: %w", err)
	}
	if small.Type != "BPE" && small.Type != "" { // old files don't name it
		return f, unsupported("model", small.Type)
	}
	if err := json.Unmarshal(rest, &f); err != nil {
		return f, fmt.Errorf("model BPE: %w", err)
	}
	switch {
	case f.Dropout != nil && *f.Dropout != 0:
		return f, errors.New("the model BPE with dropout isn't supported")
	case f.ContinuingSubwordPrefix != "":
		return f, errors.New("the model BPE with continuing_subword_prefix isn't supported")
	case f.EndOfWordSuffix != "":
		return f, errors.New("the model BPE with end_of_word_suffix isn't supported")
	case isNull(f.vocab):
		return f, errors.New("the model BPE lacks its vocab")
	case isNull(f.merges):
		return f, errors.New("the model BPE lacks its merges")
	}
	return f, nil
}

func parseModel(raw json.RawMessage, byteLevel bool) (*bpe, error) {
	f, err := readModel(raw)
	if err != nil {
		return nil, err
	}
	m := &bpe{byteLevel: byteLevel, byteFallback: f.ByteFallback, unk: -1, fuseUnk: f.FuseUnk, ignoreMerges: f.IgnoreMerges}
	if m.vocabulary, err = readVocabulary(f.vocab, byteLevel); err != nil {
		return nil, fmt.Errorf("model BPE: %w", err)
	}
	lacksUnk := false
	if f.UnkToken != nil {
		id, ok := m.id(*f.UnkToken, byteLevel)
		if lacksUnk = !ok; ok {
			m.unk = int32(id)
		}
	}
	m.index()
	if m.pairs, err = readMerges(f.merges, m.vocabulary, byteLevel); err != nil {
		return nil, fmt.Errorf("model BPE: %w", err)
	}
	m.joints = newJoints(m)
	if lacksUnk && !m.allSingle() { // else no character is unknown
		return nil, fmt.Errorf("model BPE: the vocab lacks the unk_token %.100q", *f.UnkToken)
	}
	return m, nil
}

// index fills the tables of one-byte tokens.
func (m *bpe) index() {
	lookup := func(id int32, ok bool) int32 {
		if !ok {
			return -1
		}
		return id
	}
	for b := range 256 {
		id, ok := m.ids[string([]byte{byte(b)})]
		m.single[b] = lookup(id, ok)
		id, ok = m.ids[fmt.Sprintf("<0x%02X>", b)]
		m.fallback[b] = lookup(id, ok)
	}
}

// whole returns the token of a word that isn't taken apart.
func (m *bpe) whole(word string) (int32, bool) {
	if !m.ignoreMerges {
		return 0, false
	}
	id, ok := m.ids[word]
	return id, ok
}

// symbol is a token of a word that is being merged. Its size is in bytes of the word, 0 once it is merged away.
type symbol struct{ id, size int32 }

// symbols appends the characters of a word to s. A byte that isn't part of UTF-8 counts as a character.
func (m *bpe) symbols(s []symbol, word string) []symbol {
	if m.byteLevel && m.allSingle() {
		s = slices.Grow(s, len(word))
		for i := range len(word) {
			s = append(s, symbol{id: m.single[word[i]], size: 1})
		}
		return s
	}
	unknown := symbol{id: -1} // an unk that waits: with fuseUnk those that follow join it
	for i, n := 0, 0; i < len(word); i += n {
		id, ok := int32(-1), false
		if c := word[i]; m.byteLevel || c < utf8.RuneSelf {
			n, id = 1, m.single[c]
			ok = id >= 0
		} else {
			_, n = utf8.DecodeRuneInString(word[i:])
			id, ok = m.ids[word[i:i+n]]
		}
		switch {
		case ok:
			if unknown.size > 0 {
				s = append(s, unknown)
				unknown.size = 0
			}
			s = append(s, symbol{id: id, size: int32(n)})
		case m.byteFallback && m.hasBytes(word[i:i+n]):
			// As in the reference an unk that waits stays behind these bytes.
			for j := range n {
				s = append(s, symbol{id: m.fallback[word[i+j]], size: 1})
			}
		case m.unk >= 0:
			if unknown.size > 0 && !m.fuseUnk {
				s = append(s, unknown)
				unknown.size = 0
			}
			unknown.id, unknown.size = m.unk, unknown.size+int32(n)
		}
	}
	if unknown.size > 0 {
		s = append(s, unknown)
	}
	return s
}

// allSingle tells whether every byte is a token.
func (m *bpe) allSingle() bool { return m.joints != nil && m.joints.complete }

func (m *bpe) hasBytes(s string) bool {
	for i := range len(s) {
		if m.fallback[s[i]] < 0 {
			return false
		}
	}
	return true
}

// shortWord is the number of symbols up to which looking through all of them for the next merge is the fastest way.
const shortWord = 80

// mergeShort merges up to shortWord symbols in place and returns how many are left.
func (m *bpe) mergeShort(s []symbol) int {
	var memory [shortWord]merge
	pairs := memory[:max(len(s)-1, 0)] // of each symbol with the next one
	for i := range pairs {
		pairs[i] = m.pairs.find(s[i].id, s[i+1].id)
	}
	for {
		at, best := 0, noMerge
		for i := range pairs {
			if r := pairs[i].rank; r < best {
				at, best = i, r
			}
		}
		if best == noMerge {
			return len(s)
		}
		s[at] = symbol{pairs[at].id, s[at].size + s[at+1].size}
		copy(s[at+1:], s[at+2:])
		copy(pairs[at:], pairs[at+1:])
		s, pairs = s[:len(s)-1], pairs[:len(pairs)-1]
		if at < len(pairs) {
			pairs[at] = m.pairs.find(s[at].id, s[at+1].id)
		}
		if at > 0 {
			pairs[at-1] = m.pairs.find(s[at-1].id, s[at].id)
		}
	}
}
