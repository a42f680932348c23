package generator

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"d2nwg/generator/tokens"
	"d2nwg/internal/compute"
	"d2nwg/internal/progress"
)

// loraSpecs are the B factors of rank-4 deltas on every linear map of a LLaMA with hidden size 128 and 384 in the MLP.
func loraSpecs(layers int) []tokens.Spec {
	var specs []tokens.Spec
	for l := range layers {
		for _, m := range []struct {
			name string
			out  int
		}{{"q_proj", 128}, {"k_proj", 128}, {"v_proj", 128}, {"o_proj", 128}, {"gate_proj", 384}, {"up_proj", 384}, {"down_proj", 128}} {
			specs = append(specs, tokens.Spec{Name: fmt.Sprintf("model.layers.%d.%s", l, m.name), Module: m.name, Layer: l, Shape: []int{m.out, 4}})
		}
	}
	return specs
}

// composed makes weight sets that are sums of parts: w = common + P1[a] + P2[b] + P3[c] + noise, with the sum of the parts' own random
// vectors as the condition. truth holds the sums without noise. The first train combinations of a shuffled list come first.
type composed struct {
	set   Set // all combinations
	truth []map[string][]float32
}

func compose(specs []tokens.Spec, kinds [3]int, cond int, noise float64, seed uint64) composed {
	r := rand.New(rand.NewPCG(seed, 1))
	type piece struct {
		w map[string][]float32
		c []float32
	}
	draw := func(scale float64) piece {
		p := piece{map[string][]float32{}, make([]float32, cond)}
		for _, s := range specs {
			v := make([]float32, s.Elements())
			for i := range v {
				v[i] = float32(scale * r.NormFloat64())
			}
			p.w[s.Name] = v
		}
		for i := range p.c {
			p.c[i] = float32(r.NormFloat64())
		}
		return p
	}
	common := draw(1)
	var parts [3][]piece
	for k, n := range kinds {
		for range n {
			parts[k] = append(parts[k], draw(1/math.Sqrt(3)))
		}
	}
	out := composed{set: Set{Specs: specs}}
	for _, at := range r.Perm(kinds[0] * kinds[1] * kinds[2]) {
		own := []piece{common, parts[0][at%kinds[0]], parts[1][at/kinds[0]%kinds[1]], parts[2][at/kinds[0]/kinds[1]]}
		w, truth, c := map[string][]float32{}, map[string][]float32{}, make([]float32, cond)
		for _, s := range specs {
			v, tr := make([]float32, s.Elements()), make([]float32, s.Elements())
			for i := range v {
				for _, p := range own {
					tr[i] += p.w[s.Name][i]
				}
				v[i] = tr[i] + float32(noise*r.NormFloat64())
			}
			w[s.Name], truth[s.Name] = v, tr
		}
		for _, p := range own {
			for i := range c {
				c[i] += p.c[i]
			}
		}
		out.set.Names = append(out.set.Names, fmt.Sprintf("combination %d", at))
		out.set.Weights, out.set.Conditions = append(out.set.Weights, w), append(out.set.Conditions, c)
		out.truth = append(out.truth, truth)
	}
	return out
}

// part cuts the sets from..to out.
func (c composed) part(from, to int) composed {
	s := c.set
	return composed{Set{Specs: s.Specs, Names: s.Names[from:to], Weights: s.Weights[from:to], Conditions: s.Conditions[from:to]}, c.truth[from:to]}
}

// agreement is the correlation between got − center and want − center over all tensors, and the norm of the first relative to the second.
func agreement(got, want, center map[string][]float32) (correlation, size float64) {
	var gg, ww, gw float64
	for name, c := range center {
		for i := range c {
			g, w := float64(got[name][i]-c[i]), float64(want[name][i]-c[i])
			gg, ww, gw = gg+g*g, ww+w*w, gw+g*w
		}
	}
	return gw / math.Sqrt(gg*ww+1e-30), math.Sqrt(gg / ww)
}

// meanOf is the mean of weight sets.
func meanOf(sets []map[string][]float32) map[string][]float32 {
	out := map[string][]float32{}
	for name, v := range sets[0] {
		m := make([]float32, len(v))
		for _, s := range sets {
			for i, x := range s[name] {
				m[i] += x / float32(len(sets))
			}
		}
		out[name] = m
	}
	return out
}

// TestExperiment measures what the conditional mean and mixup do for combinations never seen. It runs when D2NWG_EXPERIMENT is set to the
// number of training steps of the diffusion, and takes minutes. D2NWG_LAYERS, D2NWG_NOISE, D2NWG_VAE_STEPS and D2NWG_ONLY (such as "zoo:0.5 none:0")
// change or cut it.
func TestExperiment(t *testing.T) {
	steps := 0
	if _, err := fmt.Sscan(os.Getenv("D2NWG_EXPERIMENT"), &steps); err != nil {
		t.Skip("set D2NWG_EXPERIMENT to a number of steps to run the synthetic experiment")
	}
	ctx := context.Background()
	b, err := compute.Open(ctx, "auto")
	if err != nil {
		t.Fatal(err)
	}
	noise := 1.0
	fmt.Sscan(os.Getenv("D2NWG_NOISE"), &noise)
	layers := 6
	fmt.Sscan(os.Getenv("D2NWG_LAYERS"), &layers)
	all := compose(loraSpecs(layers), [3]int{12, 3, 3}, 128, noise, 1)
	train, held := all.part(0, 96), all.part(96, 108)
	center := meanOf(train.set.Weights)
	cfg, err := Default(Modern)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Sscan(os.Getenv("D2NWG_VAE_STEPS"), &cfg.VAE.Steps)
	cfg.Diffusion.Steps = steps
	start := time.Now()
	opt := TrainOptions{Backend: b, Progress: func(e progress.Event) {
		if e.Done%500 == 0 && e.Stage != "encode" {
			t.Log(e.Stage, e.Done, e.Values, time.Since(start).Round(time.Second))
		}
	}}
	g, err := TrainVAE(ctx, cfg, train.set, opt)
	if err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]composed{"train": train, "held out": held} {
		rec, err := g.ReconstructAll(s.set.Weights)
		if err != nil {
			t.Fatal(err)
		}
		var own, true0 float64
		for i := range rec {
			c, _ := agreement(rec[i], s.set.Weights[i], center)
			d, _ := agreement(rec[i], s.truth[i], center)
			own, true0 = own+c/float64(len(rec)), true0+d/float64(len(rec))
		}
		t.Logf("reconstruction, %s: correlation with the weights %.3f, with the truth %.3f", name, own, true0)
	}
	for _, mean := range []string{MeanRidge, MeanZoo, MeanNone} {
		for _, mixup := range []float64{0, 0.5} {
			if only := os.Getenv("D2NWG_ONLY"); only != "" && !strings.Contains(only, fmt.Sprintf("%s:%v", mean, mixup)) {
				continue
			}
			g.cfg.ConditionMean, g.cfg.Diffusion.Mixup = mean, mixup
			start = time.Now()
			if err := g.TrainDiffusion(ctx, train.set, opt); err != nil {
				t.Fatal(err)
			}
			took := time.Since(start)
			var line string
			for _, at := range []struct{ guidance, temperature float64 }{{1, 1}, {1, 0.5}, {1.5, 1}} {
				for name, s := range map[string]composed{"held": held, "train": train.part(0, 12)} {
					var one, several, size, only float64
					for i, c := range s.set.Conditions {
						samples, err := g.SampleWith(ctx, c, 8, uint64(i), SampleOptions{Guidance: &at.guidance, Temperature: &at.temperature})
						if err != nil {
							t.Fatal(err)
						}
						m, err := g.ConditionalMean(c)
						if err != nil {
							t.Fatal(err)
						}
						x, _ := agreement(samples[0], s.truth[i], center)
						y, z := agreement(meanOf(samples), s.truth[i], center)
						w, _ := agreement(m, s.truth[i], center)
						one, several, size, only = one+x/12, several+y/12, size+z/12, only+w/12
					}
					line += fmt.Sprintf("\n   guidance %v, temperature %v, %s: one sample %.3f, mean of 8 %.3f (size %.2f), conditional mean %.3f",
						at.guidance, at.temperature, name, one, several, size, only)
				}
			}
			t.Logf("%s mixup %v: %v, %+v%s", mean, mixup, took.Round(time.Second), g.Summary(), line)
		}
	}
}
