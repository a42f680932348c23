package train

import (
	"context"
	"errors"
	"math"
	"path/filepath"
	"slices"
	"testing"

	"d2nwg/internal/compute"
	"d2nwg/internal/progress"
	"d2nwg/llm"
	"d2nwg/llm/pack"
)

// writeBase writes weights as a checkpoint and opens it.
func writeBase(t testing.TB, cfg llm.Config, w Weights) *llm.Checkpoint {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "base")
	get := func(name string) ([]float32, error) { return w[name], nil }
	if err := llm.WriteCheckpoint(dir, cfg, cfg.DType, get, nil); err != nil {
		t.Fatal(err)
	}
	c, err := llm.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// answerTask answers every prompt with the same token.
func answerTask(cfg llm.Config, answer int) Data {
	questions := copyTask(cfg, 2, 12)
	return DataFunc(func(step int) (*pack.Batch, error) {
		b, err := questions.Batch(step)
		for i, w := range b.Weights {
			if w > 0 {
				b.Targets[i] = int32(answer)
			}
		}
		return b, err
	})
}

func TestAdaptersLearnAndStayIndependent(t *testing.T) {
	cfg := tiny()
	base := writeBase(t, cfg, roughWeights(cfg, 2))
	data := []Data{answerTask(cfg, 5), copyTask(cfg, 2, 12), answerTask(cfg, 9)}
	for _, name := range []string{compute.Go, compute.ONNX} {
		t.Run(name, func(t *testing.T) {
			opt := Options{Steps: 40, LearningRate: 2e-2, WeightDecay: 0.01, Clip: 0.3, Seed: 11, Backend: openBackend(t, name)}
			lr := LowRankOptions{Rank: 3}
			all, log, err := Adapters(context.Background(), base, data, lr, opt)
			if err != nil {
				t.Fatal(err)
			}
			for g := range data {
				if first, last := log.Loss[0][g], log.Loss[39][g]; !(last < first/3) {
					t.Errorf("adapter %d: loss went from %.3f to %.3f, want a third", g, first, last)
				}
			}
			const g = 1
			alone, aloneLog, err := Adapters(context.Background(), base, data[g:g+1], lr, opt)
			if err != nil {
				t.Fatal(err)
			}
			if d := math.Abs(aloneLog.Loss[39][0] - log.Loss[39][g]); d > 1e-3 {
				t.Errorf("adapter %d: last loss differs by %g when it trains alone", g, d)
			}
			closeFactors(t, all[g], alone[0])
			if err := all[0].Check(); err != nil {
				t.Error(err)
			}
		})
	}
}

func closeFactors(t *testing.T, a, b *llm.Variant) {
	t.Helper()
	if !slices.Equal(a.Names(), b.Names()) || len(a.Names()) != 14 {
		t.Fatalf("adapters of %v and %v, want all 14 matrices", a.Names(), b.Names())
	}
	for _, name := range a.Names() {
		want := make([]float64, len(b.LowRank[name].B))
		for i, v := range b.LowRank[name].B {
			want[i] = float64(v)
		}
		largest, worst := 0.0, 0.0
		for i, v := range a.LowRank[name].B {
			largest, worst = max(largest, math.Abs(want[i])), max(worst, math.Abs(float64(v)-want[i]))
		}
		if worst > 5e-3*largest {
			t.Errorf("B of %s differs by %g of at most %g", name, worst, largest)
		}
	}
}

// TestAdapterEqualsVariant wants the loss that an adapter trains on to be the loss of the checkpoint that its Variant describes.
func TestAdapterEqualsVariant(t *testing.T) {
	cfg := tiny()
	base := writeBase(t, cfg, roughWeights(cfg, 2))
	backend := openBackend(t, compute.Go)
	data := answerTask(cfg, 5)
	lr := LowRankOptions{Rank: 2, Modules: []string{"q_proj", "v_proj", "down_proj"}, Layers: []int{1}}
	opt := Options{Steps: 10, LearningRate: 2e-2, Backend: backend, Seed: 4}
	trained, _, err := Adapters(context.Background(), base, []Data{data}, lr, opt)
	if err != nil {
		t.Fatal(err)
	}
	v := trained[0]
	if len(v.Names()) != 3 {
		t.Fatalf("adapted %v, want three matrices of layer 1", v.Names())
	}
	w := Weights{}
	for _, s := range cfg.TensorShapes() {
		if w[s.Name], err = v.Weights(s.Name); err != nil {
			t.Fatal(err)
		}
	}
	init := map[string][]float32{}
	for name, f := range v.LowRank {
		init[name] = f.B
	}
	lr.Init = []map[string][]float32{init}
	opt.Steps = 1
	_, on, err := Adapters(context.Background(), base, []Data{data}, lr, opt)
	if err != nil {
		t.Fatal(err)
	}
	_, merged, err := Full(context.Background(), w, cfg, data, opt)
	if err != nil {
		t.Fatal(err)
	}
	if d := math.Abs(on.Loss[0][0] - merged.Loss[0][0]); d > 1e-5 {
		t.Errorf("loss %v with the adapter, %v with its variant's weights", on.Loss[0][0], merged.Loss[0][0])
	}
}

func TestAdaptersRefuse(t *testing.T) {
	cfg := tiny()
	base := writeBase(t, cfg, InitWeights(cfg, 1))
	opt := Options{Steps: 1, Backend: openBackend(t, compute.Go)}
	data := []Data{copyTask(cfg, 2, 12)}
	for name, lr := range map[string]LowRankOptions{
		"rank 0":         {},
		"rank too large": {Rank: 9},
		"unknown module": {Rank: 2, Modules: []string{"norm"}},
		"unknown layer":  {Rank: 2, Layers: []int{2}},
		"unknown tensor": {Rank: 2, Init: []map[string][]float32{{"model.norm.weight": make([]float32, 16)}}},
		"too many":       {Rank: 2, Init: make([]map[string][]float32, 2)},
	} {
		if _, _, err := Adapters(context.Background(), base, data, lr, opt); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, _, err := Adapters(context.Background(), base, nil, LowRankOptions{Rank: 2}, opt); err == nil {
		t.Error("no data: no error")
	}
}

func TestAdaptersResume(t *testing.T) {
	cfg := tiny()
	base := writeBase(t, cfg, roughWeights(cfg, 2))
	data := []Data{answerTask(cfg, 5), answerTask(cfg, 6)}
	opt := Options{Steps: 6, Backend: openBackend(t, compute.Go)}
	lr := LowRankOptions{Rank: 2}
	want, _, err := Adapters(context.Background(), base, data, lr, opt)
	if err != nil {
		t.Fatal(err)
	}
	opt.StateDir = t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	opt.Progress = func(e progress.Event) {
		if e.Done == 3 {
			cancel()
		}
	}
	if _, _, err := Adapters(ctx, base, data, lr, opt); !errors.Is(err, context.Canceled) {
		t.Fatalf("interrupted run returned %v", err)
	}
	got, log, err := Adapters(context.Background(), base, data, lr, opt)
	if err != nil || log.Resumed != 3 {
		t.Fatalf("resumed from step %d, error %v", log.Resumed, err)
	}
	for g := range want {
		for _, name := range want[g].Names() {
			if !slices.Equal(got[g].LowRank[name].B, want[g].LowRank[name].B) {
				t.Fatalf("adapter %d: B of %s differs after a resume", g, name)
			}
		}
	}
	opt.Seed++
	if _, _, err := Adapters(context.Background(), base, data, lr, opt); err == nil {
		t.Error("a state of another shared factor was accepted")
	}
}
