package explore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"d2nwg/internal/stats"
	"d2nwg/llm"
	"d2nwg/safetensors"
)

// tinyBase is a random checkpoint of a few hundred weights.
func tinyBase(t *testing.T) *llm.Checkpoint { return tinyCheckpoint(t, "F32") }

func tinyCheckpoint(t *testing.T, dtype safetensors.DType) *llm.Checkpoint {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "base")
	cfg := llm.Llama32_1B()
	cfg.VocabSize, cfg.HiddenSize, cfg.IntermediateSize, cfg.Layers = 16, 8, 12, 2
	cfg.Heads, cfg.KVHeads, cfg.HeadDim = 2, 1, 4
	if err := llm.RandomCheckpoint(dir, cfg, dtype, 0, 1); err != nil {
		t.Fatal(err)
	}
	c, err := llm.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

var tinyNames = []string{
	"model.layers.0.self_attn.q_proj.weight", "model.layers.0.mlp.up_proj.weight",
	"model.layers.1.self_attn.q_proj.weight", "model.layers.1.mlp.down_proj.weight",
}

// lowRank makes a relative whose B factors are f's values; all share one A.
func lowRank(base *llm.Checkpoint, f func() float64) *llm.Variant {
	v := &llm.Variant{Base: base, LowRank: map[string]llm.LowRank{}}
	seed := uint64(4)
	for _, name := range tinyNames {
		t, _ := base.Tensor(name)
		b := make([]float32, t.Shape[0]*2)
		for i := range b {
			b[i] = float32(f())
		}
		v.LowRank[name] = llm.LowRank{Rank: 2, B: b, Seed: &seed}
	}
	return v
}

func relatives(base *llm.Checkpoint, n int, seed uint64) []Relative {
	r := rand.New(rand.NewPCG(seed, 1))
	var out []Relative
	for i := range n {
		out = append(out, Relative{Name: fmt.Sprint("relative ", i), Variant: lowRank(base, r.NormFloat64), Similarity: r.Float64()})
	}
	return out
}

// fakeScorer answers with f(candidate, split, item).
type fakeScorer struct {
	items    int
	salt     string
	f        func(v *llm.Variant, hash uint64, split Split, item int) float64
	calls    int
	stopAt   int            // fail at this call, once; 0 = never
	seen     map[string]int // scorings by candidate, split and item
	selected int            // items of select scored
}

var errStopped = errors.New("stopped")

func (s *fakeScorer) Score(ctx context.Context, v *llm.Variant, split Split) (Scores, error) {
	all := make([]int, s.items)
	for i := range all {
		all[i] = i
	}
	return s.ScoreItems(ctx, v, split, all)
}
func (s *fakeScorer) ScoreItems(_ context.Context, v *llm.Variant, split Split, items []int) (Scores, error) {
	if s.calls++; s.calls == s.stopAt {
		return Scores{}, errStopped
	}
	hash, err := v.Hash()
	if err != nil {
		return Scores{}, err
	}
	h := fnv.New64a()
	fmt.Fprint(h, hash, s.salt)
	scores := Scores{Items: make([]float64, len(items)), Tie: make([]float64, len(items))}
	for at, i := range items {
		scores.Items[at] = s.f(v, h.Sum64(), split, i)
		if s.seen != nil {
			s.seen[fmt.Sprint(hash, split, i)]++
		}
		if split == stats.Select {
			s.selected++
		}
	}
	return scores, nil
}
func (s *fakeScorer) Hash(split Split) string { return "items of " + string(split) + s.salt }
func (s *fakeScorer) Items(Split) int         { return s.items }
func (s *fakeScorer) Metric() string          { return "fake" }

// uniform is a number in [0, 1) that depends on all arguments.
func uniform(hash uint64, split Split, item int) float64 {
	h := fnv.New64a()
	binary.Write(h, binary.LittleEndian, []uint64{hash, uint64(item)})
	h.Write([]byte(split))
	return rand.New(rand.NewPCG(h.Sum64(), 0)).Float64()
}

// nullScore doesn't depend on what the candidate is, only on which it is: every difference is chance.
func nullScore(_ *llm.Variant, hash uint64, split Split, item int) float64 {
	if uniform(hash, split, item) < 0.3 {
		return 1
	}
	return 0
}

// plantedScore gets better the closer the candidate's B factors are to `goal` everywhere.
func plantedScore(goal float32) func(*llm.Variant, uint64, Split, int) float64 {
	return func(v *llm.Variant, hash uint64, split Split, item int) float64 {
		var distance, n float64
		for _, name := range tinyNames {
			t, _ := v.Base.Tensor(name)
			b := v.LowRank[name].B
			for i := range t.Shape[0] * 2 {
				d := float64(goal)
				if b != nil {
					d -= float64(b[i])
				}
				distance += d * d
				n++
			}
		}
		difficulty := uniform(7, split, item) // the item's own, the same for all candidates
		if difficulty+0.1*uniform(hash, split, item) < 1/(1+distance/n) {
			return 1
		}
		return 0
	}
}

// generatorOf proposes candidates around centre.
func generatorOf(base *llm.Checkpoint, name, kind string, centre, spread float64) Source {
	return NewSource(name, kind, func(_ context.Context, i int) (*llm.Variant, error) {
		r := rand.New(rand.NewPCG(99, uint64(i)))
		return lowRank(base, func() float64 { return centre + spread*r.NormFloat64() }), nil
	})
}
