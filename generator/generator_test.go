package generator

import (
	"context"
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"d2nwg/generator/tokens"
	"d2nwg/internal/compute"
	"d2nwg/internal/progress"
	"d2nwg/safetensors"
)

func openBackend(t *testing.T, name string) *compute.Backend {
	t.Helper()
	b, err := compute.Open(context.Background(), name)
	if err != nil {
		t.Skip(err)
	}
	return b
}

// tiny is a configuration that trains in a second, and a zoo of 4·2·2 combinations over two layers of two modules.
func tiny(t *testing.T) (Config, composed) {
	t.Helper()
	cfg, err := Default(Modern)
	if err != nil {
		t.Fatal(err)
	}
	cfg.ChunkLen, cfg.SampleSteps, cfg.Seed = 24, 6, 3
	v, d := &cfg.VAE, &cfg.Diffusion
	v.Latent, v.Hidden, v.Blocks, v.Embed, v.Batch, v.Steps, v.Warmup = 12, 16, 1, 4, 32, 30, 5
	d.Width, d.Blocks, d.Heads, d.Batch, d.Steps, d.Warmup = 16, 1, 2, 8, 30, 5
	var specs []tokens.Spec
	for l := range 2 {
		for _, m := range []struct {
			name string
			out  int
		}{{"q_proj", 16}, {"up_proj", 25}} {
			specs = append(specs, tokens.Spec{Name: m.name + string(rune('0'+l)), Module: m.name, Layer: l, Shape: []int{m.out, 2}})
		}
	}
	return cfg, compose(specs, [3]int{4, 2, 2}, 8, 0.2, 1)
}

func train(t *testing.T, cfg Config, set Set, opt TrainOptions) *Generator {
	t.Helper()
	g, err := Train(context.Background(), cfg, set, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	return g
}

func sampled(t *testing.T, g *Generator, cond []float32, n int, seed uint64) []map[string][]float32 {
	t.Helper()
	s, err := g.Sample(context.Background(), cond, n, seed)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSavedGeneratorSamplesTheSame(t *testing.T) {
	for _, name := range []string{compute.Go, compute.ONNX} {
		t.Run(name, func(t *testing.T) {
			b := openBackend(t, name)
			cfg, all := tiny(t)
			g := train(t, cfg, all.set, TrainOptions{Backend: b})
			want := sampled(t, g, all.set.Conditions[0], 3, 7)
			dir := t.TempDir()
			if err := g.Save(dir); err != nil {
				t.Fatal(err)
			}
			h, err := Open(dir, b)
			if err != nil {
				t.Fatal(err)
			}
			defer h.Close()
			if d := cmp.Diff(want, sampled(t, h, all.set.Conditions[0], 3, 7)); d != "" {
				t.Errorf("the loaded generator samples something else: %s", d)
			}
			if d := cmp.Diff(sampled(t, g, nil, 1, 7), sampled(t, h, nil, 1, 7)); d != "" {
				t.Errorf("the loaded generator samples something else without a condition: %s", d)
			}
			if d := cmp.Diff(g.Summary(), h.Summary()); d != "" {
				t.Error(d)
			}
			again := train(t, cfg, all.set, TrainOptions{Backend: b})
			if d := cmp.Diff(want, sampled(t, again, all.set.Conditions[0], 3, 7)); d != "" {
				t.Errorf("the same seed trains another generator: %s", d)
			}
			first := sampled(t, g, all.set.Conditions[0], 1, 7)
			if d := cmp.Diff(want[:1], first); d != "" {
				t.Errorf("sample 0 of 1 is not sample 0 of 3: %s", d)
			}
			if cmp.Equal(first, sampled(t, g, all.set.Conditions[0], 1, 8)) {
				t.Error("another seed gives the same sample")
			}
			for name, v := range first[0] {
				for _, x := range v {
					if math.IsNaN(float64(x)) {
						t.Fatalf("%s holds NaN", name)
					}
				}
			}
		})
	}
}

// The line must carry the condition to combinations never seen, and a reconstruction must keep the weights.
func TestGeneralizesToUnseenCombinations(t *testing.T) {
	b := openBackend(t, compute.Go)
	cfg, all := tiny(t)
	seen, held := all.part(0, 13), all.part(13, 16)
	center := meanOf(seen.set.Weights)
	g := train(t, cfg, seen.set, TrainOptions{Backend: b})
	rec, err := g.ReconstructAll(seen.set.Weights)
	if err != nil {
		t.Fatal(err)
	}
	for i := range rec {
		if c, size := agreement(rec[i], seen.set.Weights[i], center); c < 0.95 || math.Abs(size-1) > 0.15 {
			t.Errorf("reconstruction of %s: correlation %.3f, size %.2f", seen.set.Names[i], c, size)
		}
	}
	for i, c := range held.set.Conditions {
		m, err := g.ConditionalMean(c)
		if err != nil {
			t.Fatal(err)
		}
		got, _ := agreement(m, held.truth[i], center)
		mean, _ := agreement(meanOf(sampled(t, g, c, 8, 1)), held.truth[i], center)
		if got < 0.85 || mean < 0.75 {
			t.Errorf("%s, never seen: correlation of the conditional mean %.3f, of the mean of 8 samples %.3f", held.set.Names[i], got, mean)
		}
	}
	if s := g.Summary(); s.RidgeR2 < 0.5 || s.VAEError > 0.3 {
		t.Errorf("summary %+v", s)
	}
}

func TestInterruptedTrainingEndsTheSame(t *testing.T) {
	b := openBackend(t, compute.Go)
	cfg, all := tiny(t)
	want := sampled(t, train(t, cfg, all.set, TrainOptions{Backend: b}), nil, 1, 1)
	dir := t.TempDir()
	for stop := range 10 {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		events := 0
		g, err := Train(ctx, cfg, all.set, TrainOptions{Backend: b, StateDir: dir, SaveEvery: 7, Progress: func(e progress.Event) {
			if events++; events == 13+stop {
				cancel()
			}
		}})
		if errors.Is(err, context.Canceled) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		defer g.Close()
		if d := cmp.Diff(want, sampled(t, g, nil, 1, 1)); d != "" {
			t.Errorf("interrupted training ends elsewhere: %s", d)
		}
		cfg.Seed++
		if _, err := Train(context.Background(), cfg, all.set, TrainOptions{Backend: b, StateDir: dir}); err == nil {
			t.Error("the state of another seed was continued")
		}
		return
	}
	t.Error("the training never came to its end")
}

// Sets that load their tensors, a small chunk cap and the layer scope: the way of large models.
func TestLayerScopeAndLoading(t *testing.T) {
	b := openBackend(t, compute.Go)
	cfg, all := tiny(t)
	cfg.Scope, cfg.MaxTokens, cfg.Center, cfg.VAE.Linear = ScopeLayer, 3, CenterTensor, "shared"
	lazy := all.set
	lazy.Weights, lazy.Load = nil, func(set int, name string) ([]float32, error) { return all.set.Weights[set][name], nil }
	g := train(t, cfg, lazy, TrainOptions{Backend: b})
	whole := sampled(t, g, all.set.Conditions[1], 2, 5)
	some, err := g.SampleWith(context.Background(), all.set.Conditions[1], 2, 5, SampleOptions{Only: func(s tokens.Spec) bool { return s.Layer == 1 }})
	if err != nil {
		t.Fatal(err)
	}
	for i := range some {
		if len(some[i]) != 2 {
			t.Fatalf("%d tensors were sampled, layer 1 has 2", len(some[i]))
		}
		for name, v := range some[i] {
			for k, x := range v {
				if math.Abs(float64(x-whole[i][name][k])) > 1e-5 {
					t.Fatalf("%s sampled alone differs from %s sampled with all: %v and %v", name, name, x, whole[i][name][k])
				}
			}
		}
	}
}

func TestPaperPreset(t *testing.T) {
	b := openBackend(t, compute.Go)
	_, all := tiny(t)
	cfg, err := Default(Paper)
	if err != nil {
		t.Fatal(err)
	}
	cfg.ChunkLen, cfg.SampleSteps = 256, 4
	v, d := &cfg.VAE, &cfg.Diffusion
	v.Hidden, v.Batch, v.Steps, v.Latent, v.Embed = 4, 2, 2, 1, 4
	d.Width, d.Blocks, d.Batch, d.Steps = 4, 1, 2, 2
	g := train(t, cfg, all.set, TrainOptions{Backend: b})
	s := sampled(t, g, all.set.Conditions[0], 1, 1)
	for _, spec := range all.set.Specs {
		if len(s[0][spec.Name]) != spec.Elements() {
			t.Errorf("%s has %d values", spec.Name, len(s[0][spec.Name]))
		}
	}
}

func TestUnconditional(t *testing.T) {
	b := openBackend(t, compute.Go)
	cfg, all := tiny(t)
	all.set.Conditions = nil
	cfg.VAE.Steps, cfg.Diffusion.Steps = 2, 2
	g := train(t, cfg, all.set, TrainOptions{Backend: b})
	sampled(t, g, nil, 1, 1)
	if _, err := g.Sample(context.Background(), make([]float32, 8), 1, 1); err == nil {
		t.Error("an unconditional generator accepted a condition")
	}
}

func TestRefusals(t *testing.T) {
	b := openBackend(t, compute.Go)
	cfg, all := tiny(t)
	cfg.VAE.Steps, cfg.Diffusion.Steps = 1, 1
	for name, change := range map[string]func(c *Config, s *Set){
		"unknown scope":     func(c *Config, s *Set) { c.Scope = "galaxy" },
		"no sets":           func(c *Config, s *Set) { s.Names = nil },
		"missing tensor":    func(c *Config, s *Set) { s.Weights[1] = map[string][]float32{} },
		"NaN":               func(c *Config, s *Set) { s.Weights[1]["q_proj0"][3] = float32(math.NaN()) },
		"ragged conditions": func(c *Config, s *Set) { s.Conditions[2] = s.Conditions[2][:3] },
		"wrong size":        func(c *Config, s *Set) { s.Specs[0].Shape = []int{3, 3} },
		"unet on vectors":   func(c *Config, s *Set) { c.Diffusion.Net = "unet" },
	} {
		_, fresh := tiny(t)
		c := cfg
		change(&c, &fresh.set)
		if g, err := Train(context.Background(), c, fresh.set, TrainOptions{Backend: b}); err == nil {
			g.Close()
			t.Errorf("%s was accepted", name)
		}
	}
	g, err := TrainVAE(context.Background(), cfg, all.set, TrainOptions{Backend: b})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if _, err := g.Sample(context.Background(), nil, 1, 1); err == nil {
		t.Error("a generator without diffusion sampled")
	}
	dir := t.TempDir()
	if err := g.Save(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(filepath.Join(dir, "nowhere"), b); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing folder gives %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, configName), []byte(`{"d2nwg_generator": 1, "config": {"preset": 3}}`), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, b); !errors.Is(err, safetensors.ErrFormat) {
		t.Errorf("a broken configuration gives %v", err)
	}
}
