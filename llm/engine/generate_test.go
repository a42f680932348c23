package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"d2nwg/llm"
)

// Whatever the company, the logits of every step must be those of LogitsLast, to the bit, and next must be called in
// order of the sequences. The tokens come from outside, so that sequences of all kinds are met.
func TestGenerateIsIndependentOfCompany(t *testing.T) {
	models := everyModel(t, 6)
	rapid.Check(t, func(rt *rapid.T) {
		m := models[rapid.SampledFrom(slices.Sorted(maps.Keys(models))).Draw(rt, "model")]
		vocab := m.Config().VocabSize
		token := rapid.IntRange(0, vocab-1)
		prompts := rapid.SliceOfN(rapid.SliceOfN(token, 1, 20), 0, 6).Draw(rt, "prompts")
		tails := make([][]int, len(prompts))
		for i := range tails {
			tails[i] = rapid.SliceOfN(token, 0, 6).Draw(rt, fmt.Sprint("tail", i))
		}
		steps, last := make([]int, len(prompts)), -1
		err := m.Generate(context.Background(), prompts, func(i int, logits []float32) (int, bool) {
			if last >= 0 && i <= last && steps[i] == 0 {
				rt.Fatalf("sequence %d comes after %d in the first step", i, last)
			}
			last = i
			n := steps[i]
			steps[i]++
			want, err := m.LogitsLast(append(slices.Clone(prompts[i]), tails[i][:n]...))
			if err != nil {
				rt.Fatal(err)
			}
			if !slices.Equal(logits, want) {
				rt.Fatalf("sequence %d, step %d: the logits aren't those of LogitsLast", i, n)
			}
			if n == len(tails[i]) {
				return -1, false // what comes with false isn't looked at
			}
			return tails[i][n], true
		})
		if err != nil {
			rt.Fatal(err)
		}
		for i, n := range steps {
			if n != len(tails[i])+1 {
				rt.Fatalf("sequence %d was asked %d times, want %d", i, n, len(tails[i])+1)
			}
		}
	})
}

// next must be called step by step, in each step for the sequences that go on in ascending order.
func TestGenerateAsksInOrder(t *testing.T) {
	checkpoint, _ := randomModel(t, shapes()["grouped"], 2)
	m := mustModel(t, checkpoint)
	lengths := []int{3, 1, 4, 2}
	var got []int
	err := m.Generate(context.Background(), [][]int{{1}, {2, 3}, {4}, {5, 6, 7}}, func(i int, _ []float32) (int, bool) {
		got = append(got, i)
		lengths[i]--
		return 1, lengths[i] > 0
	})
	if want := []int{0, 1, 2, 3, 0, 2, 3, 0, 2, 2}; err != nil || !cmp.Equal(got, want) {
		t.Errorf("next was called for %v, %v, want %v", got, err, want)
	}
}

func TestGenerateFails(t *testing.T) {
	checkpoint, _ := randomModel(t, shapes()["grouped"], 2)
	m := mustModel(t, checkpoint)
	most := m.Config().MaxPositions
	on := func(int, []float32) (int, bool) { return 1, true }
	never := func(int, []float32) (int, bool) { t.Error("next is called all the same"); return 0, false }
	err := m.Generate(context.Background(), [][]int{{1}, {}}, never)
	if err == nil || !strings.Contains(err.Error(), "sequence 1") {
		t.Errorf("an empty prompt gives %v", err)
	}
	if err := m.Generate(context.Background(), [][]int{{1}, make([]int, most+1)}, never); !errors.Is(err, ErrTooLong) {
		t.Errorf("a long prompt gives %v", err)
	}
	err = m.Generate(context.Background(), [][]int{{1, 2}, make([]int, most-2)}, on)
	if !errors.Is(err, ErrTooLong) || !strings.Contains(err.Error(), "sequence 1") {
		t.Errorf("at the end of the positions: %v", err)
	}
	beyond := func(int, []float32) (int, bool) { return m.Config().VocabSize, true }
	err = m.Generate(context.Background(), [][]int{{1}}, beyond)
	if err == nil {
		t.Error("a token outside the vocabulary is taken")
	}
	ctx, cancel := context.WithCancel(context.Background())
	err = m.Generate(ctx, [][]int{{1}}, func(int, []float32) (int, bool) { cancel(); return 1, true })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("a context cancelled at the first token gives %v", err)
	}
}

// One embedding is broken, and the head is another matrix: only the sequence that meets its token fails, and is named.
func TestGenerateNamesTheBrokenSequence(t *testing.T) {
	checkpoint, ref := randomModel(t, shapes()["biased"], 2)
	w := slices.Clone(ref.w[llm.EmbedName])
	m := mustModel(t, checkpoint)
	w[7*m.Config().HiddenSize] = float32(math.NaN())
	broken, err := m.With(&llm.Variant{Base: checkpoint, Replace: map[string][]float32{llm.EmbedName: w}})
	if err != nil {
		t.Fatal(err)
	}
	asked := 0
	err = broken.Generate(context.Background(), [][]int{{1}, {7}}, func(int, []float32) (int, bool) {
		asked++
		return 1, true
	})
	if !errors.Is(err, ErrNotFinite) || !strings.Contains(err.Error(), "sequence 1") || asked != 1 {
		t.Errorf("a broken embedding gives %v after %d questions", err, asked)
	}
}

// BenchmarkGenerateBatch measures tokens a second of the bundled model's shape, by number of prompts.
func BenchmarkGenerateBatch(b *testing.B) {
	checkpoint, _ := randomModel(b, tiny(), 1)
	m := mustModel(b, checkpoint)
	for _, n := range []int{1, 16} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			random := rand.New(rand.NewPCG(1, 1))
			prompts := make([][]int, n)
			for i := range prompts {
				prompts[i] = randomIDs(random, 8, m.Config().VocabSize)
			}
			const steps = 64
			for b.Loop() {
				left := n * steps
				err := m.Generate(context.Background(), prompts, func(_ int, logits []float32) (int, bool) {
					left--
					return slices.Index(logits, slices.Max(logits)), left >= n
				})
				if err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N*n*steps)/b.Elapsed().Seconds(), "tokens/s")
		})
	}
}
