package lora

import (
	"context"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"d2nwg/llm"
	"d2nwg/safetensors"

	"gonum.org/v1/gonum/mat"
)

// merged writes a variant and opens what was written.
func merged(t testing.TB, v *llm.Variant) *llm.Checkpoint {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "merged")
	if err := v.Write(dir, llm.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	return openBase(t, dir)
}

// TestExtractUndoesMerge: what was merged in float32 is extracted again with ΔW 1e-6 of itself away, over ranks and
// shapes on both sides of where the method changes.
func TestExtractUndoesMerge(t *testing.T) {
	t.Parallel()
	small, large := tiny(), tiny()
	large.HiddenSize, large.IntermediateSize, large.VocabSize = 176, 320, 250
	for _, cfg := range []llm.Config{small, large} {
		base := newBase(t, cfg, safetensors.F32, 7) // weights of deviation 0.02
		for _, rank := range []int{1, 4, 16} {
			v := everyLinear(base, rank, uint64(rank))
			v.LowRank[llm.EmbedName] = lowRank(cfg.VocabSize, cfg.HiddenSize, rank, 77)
			for name, lr := range v.LowRank { // as large as the weights: what is merged is rounded as they are
				for i := range lr.B {
					lr.B[i] *= 0.2 / float32(math.Sqrt(float64(rank)))
				}
				v.LowRank[name] = lr
			}
			v.Replace["model.norm.weight"] = normals(cfg.HiddenSize, 1, 5)
			got, report, err := Extract(context.Background(), base, merged(t, v), ExtractOptions{Rank: rank})
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(got.Names(), v.Names()) || len(report) != len(v.Names()) {
				t.Fatalf("names %v, want %v", got.Names(), v.Names())
			}
			for name, lr := range v.LowRank {
				if d := apart(dense(got.LowRank[name]), dense(lr)); d > 1e-6 {
					t.Errorf("hidden %d, rank %d: ΔW of %s is %g of itself away", cfg.HiddenSize, rank, name, d)
				}
			}
			if !slices.Equal(got.Replace["model.norm.weight"], v.Replace["model.norm.weight"]) {
				t.Error("the norm differs")
			}
			for _, e := range report {
				if e.Kind == KindWhole {
					continue
				}
				want := dense(v.LowRank[e.Tensor])
				if norm := math.Sqrt(dot(want, want)); math.Abs(e.Norm-norm) > 1e-5*norm || e.Kept < 1-1e-6 {
					t.Errorf("%s: norm %g, want %g; kept %g", e.Tensor, e.Norm, norm, e.Kept)
				}
			}
		}
	}
}

// TestExtractIsNearest: of a difference of full rank it keeps what the singular values allow.
func TestExtractIsNearest(t *testing.T) {
	t.Parallel()
	cfg := tiny()
	cfg.HiddenSize, cfg.IntermediateSize = 160, 200
	base, tuned := newBase(t, cfg, safetensors.F32, 7), newBase(t, cfg, safetensors.BF16, 8)
	const rank = 12
	v, report, err := Extract(context.Background(), base, tuned, ExtractOptions{Rank: rank})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range report {
		lr, ok := v.LowRank[e.Tensor]
		if !ok {
			continue
		}
		from, _ := base.Float32(e.Tensor)
		to, _ := tuned.Float32(e.Tensor)
		d := wide(to)
		for i := range d {
			d[i] -= float64(from[i])
		}
		shape, _ := base.Tensor(e.Tensor)
		var svd mat.SVD
		if !svd.Factorize(mat.NewDense(shape.Shape[0], shape.Shape[1], slices.Clone(d)), mat.SVDNone) {
			t.Fatal("no singular values")
		}
		total, best := 0.0, 0.0
		for i, s := range svd.Values(nil) {
			if total += s * s; i < rank {
				best += s * s
			}
		}
		left := apart(dense(lr), d)
		if kept := 1 - left*left; math.Abs(kept-e.Kept) > 1e-6 || kept < best/total-0.005 || kept > best/total+1e-6 {
			t.Errorf("%s: kept %g, said to be %g, best %g", e.Tensor, kept, e.Kept, best/total)
		}
		if math.Abs(e.Norm-math.Sqrt(total)) > 1e-9*e.Norm {
			t.Errorf("%s: norm %g, want %g", e.Tensor, e.Norm, math.Sqrt(total))
		}
	}
}

func TestExtractChoices(t *testing.T) {
	t.Parallel()
	base, tuned := newBase(t, tiny(), safetensors.F32, 7), newBase(t, tiny(), safetensors.F32, 8)
	v, report, err := Extract(context.Background(), base, tuned,
		ExtractOptions{Rank: 2, Whole: []string{llm.EmbedTokens, q1 + ".weight"}, Ignore: []string{"norm", "input_layernorm", "k_proj"}})
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]string{llm.EmbedName: KindWhole, q1 + ".weight": KindWhole, q0 + ".weight": KindLowRank, k1 + ".weight": KindIgnored,
		"model.norm.weight": KindIgnored, "model.layers.1.input_layernorm.weight": KindIgnored, "model.layers.1.post_attention_layernorm.weight": KindWhole}
	for _, e := range report {
		if want, ok := kinds[e.Tensor]; ok && e.Kind != want {
			t.Errorf("%s is %s, want %s", e.Tensor, e.Kind, want)
		}
		if changed := slices.Contains(v.Names(), e.Tensor); changed != (e.Kind != KindIgnored) || e.Kind == KindIgnored && e.Kept != 0 {
			t.Errorf("%s is %s, in the variant %v, kept %g", e.Tensor, e.Kind, changed, e.Kept)
		}
	}
	if len(report) != len(base.Config.TensorShapes()) {
		t.Errorf("%d tensors reported", len(report))
	}
	if err := Write(filepath.Join(t.TempDir(), "adapter"), v, WriteOptions{}); err != nil {
		t.Error(err)
	}
}

func TestExtractRefuses(t *testing.T) {
	t.Parallel()
	base := newBase(t, tiny(), safetensors.F32, 7)
	other := func(change func(*llm.Config)) *llm.Checkpoint {
		cfg := tiny()
		change(&cfg)
		return newBase(t, cfg, safetensors.F32, 8)
	}
	broken := &llm.Variant{Base: base, Replace: map[string][]float32{"model.norm.weight": normals(24, 1, 1)}}
	same := other(func(*llm.Config) {})
	done, cancel := context.WithCancel(context.Background())
	cancel()
	for name, c := range map[string]struct {
		ctx   context.Context
		tuned *llm.Checkpoint
		opt   ExtractOptions
		want  string
	}{
		"rank 0":             {nil, same, ExtractOptions{}, "rank"},
		"itself":             {nil, base, ExtractOptions{Rank: 1}, "same weights"},
		"another width":      {nil, other(func(c *llm.Config) { c.IntermediateSize = 41 }), ExtractOptions{Rank: 1}, "intermediate_size"},
		"another theta":      {nil, other(func(c *llm.Config) { c.RopeTheta = 5 }), ExtractOptions{Rank: 1}, "rope_theta"},
		"another scaling":    {nil, other(func(c *llm.Config) { c.RopeScaling = &llm.RopeScaling{Type: llm.RopeLinear, Factor: 2} }), ExtractOptions{Rank: 1}, "rotary"},
		"a tied head":        {nil, other(func(c *llm.Config) { c.TieWordEmbeddings = true }), ExtractOptions{Rank: 1}, "tie_word_embeddings"},
		"an unknown module":  {nil, same, ExtractOptions{Rank: 1, Ignore: []string{"q_prj"}}, "q_prj"},
		"an unknown tensor":  {nil, same, ExtractOptions{Rank: 1, Whole: []string{"model.layers.9.mlp.up_proj.weight"}}, "layers.9"},
		"an interrupted one": {done, same, ExtractOptions{Rank: 1}, "canceled"},
		"nothing low-rank":   {nil, merged(t, broken), ExtractOptions{Rank: 1}, ""},
	} {
		if c.ctx == nil {
			c.ctx = context.Background()
		}
		v, _, err := Extract(c.ctx, base, c.tuned, c.opt)
		if c.want == "" { // a variant, but no adapter
			if err != nil || Write(filepath.Join(t.TempDir(), "x"), v, WriteOptions{}) == nil {
				t.Errorf("%s: %v, and an adapter", name, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func BenchmarkExtract(b *testing.B) {
	for _, shape := range [][2]int{{2048, 2048}, {8192, 2048}, {2048, 8192}} {
		cfg := tiny()
		cfg.HiddenSize, cfg.IntermediateSize, cfg.Layers, cfg.Heads, cfg.KVHeads, cfg.HeadDim = shape[1], shape[0], 1, 2, 1, 16
		base := newBase(b, cfg, safetensors.BF16, 7)
		up := "model.layers.0.mlp.up_proj.weight"
		lr := lowRank(shape[0], shape[1], 16, 1)
		for i := range lr.B {
			lr.B[i] *= 0.01
		}
		tuned := merged(b, &llm.Variant{Base: base, LowRank: map[string]llm.LowRank{up: lr}})
		b.Run(fmt.Sprint(shape), func(b *testing.B) {
			for b.Loop() {
				if _, _, err := Extract(context.Background(), base, tuned, ExtractOptions{Rank: 16}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
