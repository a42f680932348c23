package pack

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestAddLaysOutPrefixAndExamples(t *testing.T) {
	b := NewBatch(2, 10)
	used := b.Add(1, []int{7, 8, 9}, []Example{
		{Prompt: []int{1, 2}, Answer: []int{3, 4}},
		{Prompt: []int{5}, Answer: []int{6}},
		{Prompt: []int{5, 5, 5, 5}, Answer: []int{6, 6}},
	})
	if used != 2 {
		t.Fatalf("%d examples fitted, want 2", used)
	}
	want := &Batch{
		Rows: 2, Len: 10,
		IDs:       []int32{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 8, 9, 1, 2, 3, 5, 0, 0, 0},
		Targets:   []int32{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 4, 6, 0, 0, 0},
		Positions: []int32{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 3, 0, 0, 0},
		Segments:  []int32{-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 1, 1, 1, 2, -1, -1, -1},
		Weights:   []float32{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 0, 0, 0},
	}
	if d := cmp.Diff(want, b); d != "" {
		t.Fatal(d)
	}
	if n := b.LossTokens(); n != 3 {
		t.Fatalf("%d loss tokens, want 3", n)
	}
}

func TestTextTakesLenPlusOne(t *testing.T) {
	b := NewBatch(1, 3)
	Text(b, 0, []int{4, 5, 6, 7, 8})
	want := &Batch{
		Rows: 1, Len: 3, IDs: []int32{4, 5, 6}, Targets: []int32{5, 6, 7}, Positions: []int32{0, 1, 2},
		Segments: []int32{0, 0, 0}, Weights: []float32{1, 1, 1},
	}
	if d := cmp.Diff(want, b); d != "" {
		t.Fatal(d)
	}
	Text(b, 0, []int{4}) // a single token has nothing to predict, and the former row must be gone
	if d := cmp.Diff(NewBatch(1, 3), b); d != "" {
		t.Fatal(d)
	}
}

func TestPrefixThatDoesNotFit(t *testing.T) {
	b := NewBatch(1, 3)
	b.Add(0, []int{1}, []Example{{Prompt: []int{2}, Answer: []int{3}}})
	if used := b.Add(0, []int{1, 2, 3, 4}, []Example{{Prompt: []int{2}, Answer: []int{3}}}); used != 0 {
		t.Fatalf("%d examples fitted", used)
	}
	if d := cmp.Diff(NewBatch(1, 3), b); d != "" {
		t.Fatal(d)
	}
}

func TestVisibleOfPadding(t *testing.T) {
	b := NewBatch(1, 4)
	b.Add(0, []int{1}, []Example{{Prompt: []int{2}, Answer: []int{3}}})
	for q := range 4 {
		for k := range 4 {
			want := q == k || (q == 1 && k == 0)
			if got := b.Visible(0, q, k); got != want {
				t.Errorf("Visible(%d, %d) = %v", q, k, got)
			}
		}
	}
}

// What each loss position can see, in order of position, must be exactly the sequence prefix + prompt + answer up to
// the target: that's the whole promise of the package.
func TestEveryTargetSeesItsOwnSequence(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tokens := func(name string, lo, hi int) []int {
			return rapid.SliceOfN(rapid.IntRange(1, 99), lo, hi).Draw(t, name)
		}
		prefix := tokens("prefix", 0, 6)
		var examples []Example
		for i := range rapid.IntRange(0, 5).Draw(t, "n") {
			examples = append(examples, Example{tokens(fmt.Sprint("prompt", i), 0, 4), tokens(fmt.Sprint("answer", i), 0, 4)})
		}
		b := NewBatch(2, rapid.IntRange(1, 30).Draw(t, "len"))
		used := b.Add(1, prefix, examples)
		var want [][]int // one a target: what it is conditioned on, then itself
		for _, e := range examples[:used] {
			whole := append(append(append([]int{}, prefix...), e.Prompt...), e.Answer...)
			for i := len(whole) - len(e.Answer); i < len(whole); i++ {
				if i > 0 { // the first token of all has nothing to be predicted from
					want = append(want, whole[:i+1])
				}
			}
		}
		if d := cmp.Diff(want, seen(t, b, 1)); d != "" {
			t.Fatal(d)
		}
		if len(seen(t, b, 0)) != 0 {
			t.Fatal("another row was touched")
		}
	})
}

// seen lists, for every loss position of a row, the tokens it sees by position and its target.
func seen(t *rapid.T, b *Batch, row int) [][]int {
	var all [][]int
	at := row * b.Len
	for q := range b.Len {
		if b.Weights[at+q] == 0 {
			continue
		}
		s := make([]int, b.Positions[at+q]+2)
		n := 0
		for k := range b.Len {
			if b.Visible(row, q, k) {
				s[b.Positions[at+k]] = int(b.IDs[at+k])
				n++
			}
		}
		if n != len(s)-1 {
			t.Fatalf("position %d sees %d tokens, its position says %d", q, n, len(s)-1)
		}
		s[len(s)-1] = int(b.Targets[at+q])
		all = append(all, s)
	}
	return all
}
