package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// bpe is the model of byte-pair encoding: a word becomes its characters, of which the neighbours with the lowest rank
// are merged until no pair has a rank; of equal ranks the leftmost goes first.
type bpe struct {
	vocab        map[string]int
	merges       map[[2]int32]merge
	bytes        [256]int32 // id of <0x..>, -1 where the vocabulary lacks it
	ascii        [128]int32 // id of the one-byte characters, -1 where the vocabulary lacks it
	byteFallback bool       // a character that isn't in the vocabulary becomes its bytes
	unk          int32      // what it becomes else; -1: nothing
	fuseUnk      bool       // a run of unknown characters becomes one unk
	ignoreMerges bool       // a word that is in the vocabulary isn't taken apart
}

type merge struct{ rank, id int32 }

type modelFile struct {
	Type                    string          `json:"type"`
	Dropout                 *float64        `json:"dropout"`
	UnkToken                *string         `json:"unk_token"`
	ContinuingSubwordPrefix string          `json:"continuing_subword_prefix"`
	EndOfWordSuffix         string          `json:"end_of_word_suffix"`
	FuseUnk                 bool            `json:"fuse_unk"`
	ByteFallback            bool            `json:"byte_fallback"`
	IgnoreMerges            bool            `json:"ignore_merges"`
	Vocab                   map[string]int  `json:"vocab"`
	Merges                  json.RawMessage `json:"merges"`
}

func parseModel(raw json.RawMessage) (*bpe, error) {
	if isNull(raw) {
		return nil, errors.New("the model is missing")
	}
	var kind struct {
		Type string `json:"type"`
	}
	if err := json.Unmarshal(raw, &kind); err != nil {
		return nil, fmt.Errorf("model: %w", err)
	}
	if kind.Type != "BPE" && kind.Type != "" { // old files don't name it
		return nil, unknown("model", kind.Type)
	}
	var f modelFile
	if err := json.Unmarshal(raw, &f); err != nil {
		return nil, fmt.Errorf("model BPE: %w", err)
	}
	switch {
	case f.Dropout != nil && *f.Dropout != 0:
		return nil, errors.New("the model BPE with dropout isn't supported")
	case f.ContinuingSubwordPrefix != "":
		return nil, errors.New("the model BPE with continuing_subword_prefix isn't supported")
	case f.EndOfWordSuffix != "":
		return nil, errors.New("the model BPE with end_of_word_suffix isn't supported")
	case f.Vocab == nil:
		return nil, errors.New("the model BPE lacks its vocab")
	}
	m := &bpe{vocab: f.Vocab, byteFallback: f.ByteFallback, unk: -1, fuseUnk: f.FuseUnk, ignoreMerges: f.IgnoreMerges}
	if f.UnkToken != nil {
		id, ok := f.Vocab[*f.UnkToken]
		if !ok {
			return nil, fmt.Errorf("model BPE: the vocab lacks the unk_token %q", *f.UnkToken)
		}
		m.unk = int32(id)
	}
	m.index()
	return m, m.readMerges(f.Merges)
}

// index fills the tables of one-byte tokens.
func (m *bpe) index() {
	lookup := func(token string) int32 {
		if id, ok := m.vocab[token]; ok {
			return int32(id)
		}
		return -1
	}
	for b := range m.bytes {
		m.bytes[b] = lookup(fmt.Sprintf("<0x%02X>", b))
	}
	for c := range m.ascii {
		m.ascii[c] = lookup(string(rune(c)))
	}
}

// readMerges reads ["a b", …] or [["a", "b"], …].
func (m *bpe) readMerges(raw json.RawMessage) error {
	if isNull(raw) {
		return nil
	}
	var pairs [][]string
	var lines []string
	if json.Unmarshal(raw, &lines) == nil {
		for _, line := range lines {
			pairs = append(pairs, strings.Split(line, " "))
		}
	} else if err := json.Unmarshal(raw, &pairs); err != nil {
		return fmt.Errorf("model BPE: merges: %w", err)
	}
	m.merges = make(map[[2]int32]merge, len(pairs))
	for rank, p := range pairs {
		if len(p) != 2 {
			return fmt.Errorf("model BPE: merge %d has %d parts instead of 2", rank, len(p))
		}
		left, ok1 := m.vocab[p[0]]
		right, ok2 := m.vocab[p[1]]
		both, ok3 := m.vocab[p[0]+p[1]]
		if !ok1 || !ok2 || !ok3 {
			return fmt.Errorf("model BPE: the vocab lacks a part or the result of merge %d, %q + %q", rank, p[0], p[1])
		}
		m.merges[[2]int32{int32(left), int32(right)}] = merge{int32(rank), int32(both)}
	}
	return nil
}

// appendWord appends the ids of one word.
func (m *bpe) appendWord(ids []int, word string) []int {
	if m.ignoreMerges {
		if id, ok := m.vocab[word]; ok {
			return append(ids, id)
		}
	}
	first := len(ids)
	ids = m.appendCharacters(ids, word)
	if len(m.merges) == 0 || len(ids)-first < 2 {
		return ids
	}
	return ids[:first+m.merge(ids[first:])]
}

// appendCharacters appends the ids of the characters of a word. A byte that isn't part of UTF-8 counts as a character.
func (m *bpe) appendCharacters(ids []int, word string) []int {
	unknown := 0 // unks that wait: with fuseUnk those that follow join them
	flush := func() {
		if unknown > 0 {
			ids = append(ids, int(m.unk))
		}
		unknown = 0
	}
	for i, n := 0, 0; i < len(word); i += n {
		var id int32
		if c := word[i]; c < utf8.RuneSelf {
			n, id = 1, m.ascii[c]
		} else {
			_, n = utf8.DecodeRuneInString(word[i:])
			id = -1
			if v, ok := m.vocab[word[i:i+n]]; ok {
				id = int32(v)
			}
		}
		switch {
		case id >= 0:
			flush()
			ids = append(ids, int(id))
		case m.byteFallback && m.hasBytes(word[i:i+n]):
			for j := range n {
				ids = append(ids, int(m.bytes[word[i+j]]))
			}
		case m.unk >= 0:
			if !m.fuseUnk {
				flush()
			}
			unknown++
		}
	}
	flush()
	return ids
}

func (m *bpe) hasBytes(s string) bool {
	for i := range len(s) {
		if m.bytes[s[i]] < 0 {
			return false
		}
	}
	return true
}

// symbol is a token of the word being merged, in a doubly linked list by index.
type symbol struct{ id, prev, next int32 } // id −1: merged away

// candidate is a pair that may be merged: the symbol at pos with the one after it.
type candidate struct{ rank, pos, id int32 }

func (c candidate) before(d candidate) bool {
	return c.rank < d.rank || c.rank == d.rank && c.pos < d.pos
}

// merge merges ids in place and returns how many are left. Pairs wait in a heap, O(n log n); those whose symbols have
// changed meanwhile are recognized when they come up.
func (m *bpe) merge(ids []int) int {
	symbols := make([]symbol, len(ids))
	for i, id := range ids {
		symbols[i] = symbol{int32(id), int32(i) - 1, int32(i) + 1}
	}
	symbols[len(ids)-1].next = -1
	var h heap
	push := func(pos int32) {
		if next := symbols[pos].next; next >= 0 {
			if found, ok := m.merges[[2]int32{symbols[pos].id, symbols[next].id}]; ok {
				h.push(candidate{found.rank, pos, found.id})
			}
		}
	}
	for i := range symbols {
		push(int32(i))
	}
	for len(h) > 0 {
		c := h.pop()
		left := &symbols[c.pos]
		if left.id < 0 || left.next < 0 {
			continue
		}
		right := &symbols[left.next]
		if found, ok := m.merges[[2]int32{left.id, right.id}]; !ok || found.id != c.id {
			continue // stale
		}
		left.id, left.next, right.id = c.id, right.next, -1
		if left.next >= 0 {
			symbols[left.next].prev = c.pos
		}
		if left.prev >= 0 {
			push(left.prev)
		}
		push(c.pos)
	}
	n := 0
	for _, s := range symbols {
		if s.id >= 0 {
			ids[n] = int(s.id)
			n++
		}
	}
	return n
}

// heap is a binary heap of candidates, the first to merge on top.
type heap []candidate

func (h *heap) push(c candidate) {
	*h = append(*h, c)
	s := *h
	for i := len(s) - 1; i > 0; {
		parent := (i - 1) / 2
		if !s[i].before(s[parent]) {
			return
		}
		s[i], s[parent] = s[parent], s[i]
		i = parent
	}
}

func (h *heap) pop() candidate {
	s := *h
	top, n := s[0], len(s)-1
	s[0] = s[n]
	s = s[:n]
	*h = s
	for i := 0; ; {
		child := 2*i + 1
		if child >= n {
			return top
		}
		if child+1 < n && s[child+1].before(s[child]) {
			child++
		}
		if !s[child].before(s[i]) {
			return top
		}
		s[i], s[child] = s[child], s[i]
		i = child
	}
}
