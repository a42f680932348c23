package tokenizer

import (
	"slices"
	"unicode/utf8"
)

// joints are the pairs of characters that a merge may join: the last one of a left part with the first one of a right
// part. No token spans any other pair, so a word may be cut there and its parts be merged by themselves, with the same
// result: their merges can't meet.
type joints struct {
	ascii    [utf8.RuneSelf][2]uint64 // of byte-level models all bytes are in bytes instead
	bytes    *[256][4]uint64
	runes    [jointBits / 64]uint64 // by hash: that of another pair only leaves a cut out, which changes no token
	complete bool                   // no word has unknown characters
}

const jointBits = 1 << 19

// newJoints returns nil where cutting a word could change its tokens: where unknown characters fuse across a cut or
// vanish, so that their neighbours meet, or where a merge has a part that stands for other characters than its own.
func newJoints(m *bpe) *joints {
	j := &joints{complete: true}
	for b := range 256 {
		if m.byteLevel {
			j.complete = j.complete && m.single[b] >= 0
		} else {
			j.complete = j.complete && m.byteFallback && m.fallback[b] >= 0
		}
	}
	if !j.complete && (m.fuseUnk || m.byteFallback || m.unk < 0) {
		return nil
	}
	alias := map[int32]bool{m.unk: true}
	if m.byteFallback {
		for _, id := range m.fallback {
			alias[id] = true
		}
	}
	if m.byteLevel {
		j.bytes = new([256][4]uint64)
	}
	for rank, left := range m.pairs.left {
		right := m.pairs.right[rank]
		l, r := m.tokens[left], m.tokens[right]
		if alias[left] || alias[right] || l == "" || r == "" {
			return nil
		}
		j.add(l, r)
	}
	return j
}

func (j *joints) add(left, right string) {
	if j.bytes != nil {
		a, b := left[len(left)-1], right[0]
		j.bytes[a][b>>6] |= 1 << (b & 63)
		return
	}
	a, _ := utf8.DecodeLastRuneInString(left)
	b, _ := utf8.DecodeRuneInString(right)
	if a < utf8.RuneSelf && b < utf8.RuneSelf {
		j.ascii[a][b>>6] |= 1 << (b & 63)
		return
	}
	h := jointHash(a, b)
	j.runes[h/64] |= 1 << (h % 64)
}

func jointHash(a, b rune) uint64 {
	return (uint64(a)<<21 | uint64(b)) * 0x9E3779B97F4A7C15 >> 45 // 64 − 19 bits
}

// cut returns the end of the part of the word that begins at i: the first place behind i where no merge can join, or
// the end of the word.
func (j *joints) cut(word string, i int) int {
	if j.bytes != nil {
		for i++; i < len(word); i++ {
			a, b := word[i-1], word[i]
			if j.bytes[a][b>>6]>>(b&63)&1 == 0 {
				break
			}
		}
		return i
	}
	a, n := utf8.DecodeRuneInString(word[i:])
	for i += n; i < len(word); i += n {
		var b rune
		if c := word[i]; c < utf8.RuneSelf {
			b, n = rune(c), 1
		} else {
			b, n = utf8.DecodeRuneInString(word[i:])
		}
		if !j.joined(a, b) {
			return i
		}
		a = b
	}
	return i
}

func (j *joints) joined(a, b rune) bool {
	if a < utf8.RuneSelf && b < utf8.RuneSelf {
		return j.ascii[a][b>>6]>>(b&63)&1 != 0
	}
	h := jointHash(a, b)
	return j.runes[h/64]>>(h%64)&1 != 0
}

// queue holds the places of a long word where two symbols may be merged, the lowest rank first and of one rank the
// leftmost. A word of a million characters has few ranks at a time, and most places of a rank come in order, so lists
// by rank are faster than one heap of places.
type queue struct {
	ranks heap    // those that have places
	list  []int32 // by rank: index in lists, 0 for none
	lists []places
	spare []int32 // lists that are free
	links []link  // of the symbols that are left
}

// link says which symbols stand before and after one, -1 for none.
type link struct{ prev, next int32 }

// places are those of one rank: run holds those that came in order, from next on; late the others.
type places struct {
	run  []int32
	next int
	late heap
}

func newQueue(ranks int) *queue { return &queue{list: make([]int32, ranks), lists: make([]places, 1)} }

func (q *queue) push(rank, place int32) {
	i := q.list[rank]
	if i == 0 {
		q.ranks.push(rank)
		if n := len(q.spare); n > 0 {
			i, q.spare = q.spare[n-1], q.spare[:n-1]
		} else {
			i = int32(len(q.lists))
			q.lists = append(q.lists, places{})
		}
		q.list[rank] = i
	}
	p := &q.lists[i]
	if n := len(p.run); n > p.next && p.run[n-1] > place {
		p.late.push(place)
	} else {
		p.run = append(p.run, place)
	}
}

// pop takes the first place out. The queue isn't empty.
func (q *queue) pop() (rank, place int32) {
	rank = q.ranks[0]
	p := &q.lists[q.list[rank]]
	if len(p.late) > 0 && (p.next == len(p.run) || p.late[0] < p.run[p.next]) {
		place = p.late.pop()
	} else {
		place = p.run[p.next]
		p.next++
	}
	if p.next == len(p.run) && len(p.late) == 0 {
		p.run, p.next = p.run[:0], 0
		q.spare = append(q.spare, q.list[rank])
		q.list[rank] = 0
		q.ranks.pop()
	}
	return rank, place
}

// heap is a binary heap, the lowest number on top.
type heap []int32

func (h *heap) push(x int32) {
	*h = append(*h, x)
	s := *h
	for i := len(s) - 1; i > 0; {
		parent := (i - 1) / 2
		if s[parent] <= s[i] {
			return
		}
		s[i], s[parent] = s[parent], s[i]
		i = parent
	}
}

func (h *heap) pop() int32 {
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
		if child+1 < n && s[child+1] < s[child] {
			child++
		}
		if s[i] <= s[child] {
			return top
		}
		s[i], s[child] = s[child], s[i]
		i = child
	}
}

// mergeLong merges symbols in place and returns how many are left, in O(n log n).
func (m *bpe) mergeLong(s []symbol, q *queue) int {
	q.links = slices.Grow(q.links[:0], len(s))[:len(s)]
	links := q.links
	for i := range s {
		links[i] = link{int32(i) - 1, int32(i) + 1}
	}
	links[len(s)-1].next = -1
	for i := range s[1:] {
		if found := m.pairs.find(s[i].id, s[i+1].id); found.rank != noMerge {
			q.push(found.rank, int32(i))
		}
	}
	find := func(i, next int32) {
		if found := m.pairs.find(s[i].id, s[next].id); found.rank != noMerge {
			q.push(found.rank, i)
		}
	}
	for len(q.ranks) > 0 {
		rank, i := q.pop()
		next := links[i].next
		if s[i].size == 0 || next < 0 || s[i].id != m.pairs.left[rank] || s[next].id != m.pairs.right[rank] {
			continue // changed since
		}
		s[i] = symbol{m.pairs.result[rank], s[i].size + s[next].size}
		s[next].size = 0
		next = links[next].next
		links[i].next = next
		if next >= 0 {
			links[next].prev = i
			find(i, next)
		}
		if prev := links[i].prev; prev >= 0 {
			find(prev, i)
		}
	}
	return len(slices.DeleteFunc(s, func(x symbol) bool { return x.size == 0 }))
}
