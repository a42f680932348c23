package tokenizer

import (
	"encoding/json"
	"fmt"
	"strings"
)

// merge says that two neighbours may be joined: of all that may, the lowest rank goes first.
type merge struct{ rank, id int32 }

// pairTable maps pairs of ids to merges: open addressing, since it is asked for every pair of neighbours in a word.
type pairTable struct {
	slots               []pairSlot
	mask                uint64
	left, right, result []int32 // by rank
}

type pairSlot struct {
	pair uint64 // left + 1 in the upper half, right in the lower; 0: free
	merge
}

func newPairTable(n int) *pairTable {
	size := 16
	for size < n+n/2 {
		size *= 2
	}
	return &pairTable{
		slots: make([]pairSlot, size), mask: uint64(size - 1),
		left: make([]int32, 0, n), right: make([]int32, 0, n), result: make([]int32, 0, n),
	}
}

func pairKey(left, right int32) uint64 { return uint64(uint32(left+1))<<32 | uint64(uint32(right)) }

func pairHash(key uint64) uint64 {
	key *= 0x9E3779B97F4A7C15 // Fibonacci hashing: 2⁶⁴ / golden ratio
	return key ^ key>>32
}

// add adds the merge of the next rank. A pair that comes again gets the later rank, as in the reference.
func (p *pairTable) add(left, right, id int32) {
	rank := int32(len(p.left))
	p.left, p.right, p.result = append(p.left, left), append(p.right, right), append(p.result, id)
	key := pairKey(left, right)
	for i := pairHash(key) & p.mask; ; i = (i + 1) & p.mask {
		if s := &p.slots[i]; s.pair == 0 || s.pair == key {
			*s = pairSlot{key, merge{rank, id}}
			return
		}
	}
}

// noMerge is the rank of a pair that isn't merged.
const noMerge = int32(1<<31 - 1)

func (p *pairTable) find(left, right int32) merge {
	key := pairKey(left, right)
	for i := pairHash(key) & p.mask; ; i = (i + 1) & p.mask {
		switch s := &p.slots[i]; s.pair {
		case key:
			return s.merge
		case 0:
			return merge{rank: noMerge}
		}
	}
}

// readMerges reads ["a b", …] or [["a", "b"], …].
func readMerges(raw json.RawMessage, v *vocabulary, byteLevel bool) (*pairTable, error) {
	pairs := newPairTable(countMerges(raw))
	r := reader{data: raw}
	rank := 0
	err := r.array(func() error {
		left, right, skip, err := r.pair(rank)
		if err != nil || skip {
			return err
		}
		rank++
		return pairs.addTokens(left, right, v, byteLevel)
	})
	if err != nil {
		return nil, fmt.Errorf("merges: %w", err)
	}
	return pairs, nil
}

// countMerges bounds the number of merges from above by the quotes.
func countMerges(raw []byte) int {
	n := 0
	for _, c := range raw {
		if c == '"' {
			n++
		}
	}
	return n/2 + 1
}

// pair reads one merge. The head of a merges.txt, which some files hold, is to be skipped.
func (r *reader) pair(rank int) (left, right string, skip bool, err error) {
	parts := 0
	if r.peek() == '[' {
		err = r.array(func() (err error) {
			left = right
			right, err = r.text()
			parts++
			return err
		})
	} else if line, e := r.text(); e != nil {
		err = e
	} else if strings.HasPrefix(line, "#version") {
		return "", "", true, nil
	} else {
		left, right, _ = strings.Cut(line, " ")
		parts = 1 + strings.Count(line, " ")
	}
	if err == nil && parts != 2 {
		err = fmt.Errorf("merge %d has %d parts instead of 2", rank, parts)
	}
	return left, right, false, err
}

// addTokens adds the merge of two tokens, spelled as in the file.
func (p *pairTable) addTokens(left, right string, v *vocabulary, byteLevel bool) error {
	l, ok1 := v.id(left, byteLevel)
	r, ok2 := v.id(right, byteLevel)
	both, ok3 := v.id(left+right, byteLevel)
	if !ok1 || !ok2 || !ok3 {
		return fmt.Errorf("the vocab lacks a part or the result of merge %d, %.100q + %.100q", len(p.left), left, right)
	}
	p.add(int32(l), int32(r), int32(both))
	return nil
}
