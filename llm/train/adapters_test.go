package train

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/graph"
	"github.com/google/go-cmp/cmp"

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

// kinds are the two ways to adapt: on one frozen A, and with an A of each adapter's own.
var kinds = map[string]LowRankOptions{"shared A": {Rank: 3}, "own A": {Rank: 3, TrainA: true, Scale: 2}}

func TestAdaptersLearnAndStayIndependent(t *testing.T) {
	cfg := tiny()
	base := writeBase(t, cfg, roughWeights(cfg, 2))
	data := []Data{answerTask(cfg, 5), copyTask(cfg, 2, 12), answerTask(cfg, 9)}
	for _, name := range []string{compute.Go, compute.ONNX} {
		for kind, lr := range kinds {
			t.Run(name+", "+kind, func(t *testing.T) {
				opt := Options{Steps: 40, LearningRate: 2e-2, WeightDecay: 0.01, Clip: 0.3, Seed: 11, Backend: openBackend(t, name)}
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
}

func closeFactors(t *testing.T, a, b *llm.Variant) {
	t.Helper()
	if !slices.Equal(a.Names(), b.Names()) || len(a.Names()) != 14 {
		t.Fatalf("adapters of %v and %v, want all 14 matrices", a.Names(), b.Names())
	}
	for _, name := range a.Names() {
		closeValues(t, "A of "+name, a.LowRank[name].A, b.LowRank[name].A)
		closeValues(t, "B of "+name, a.LowRank[name].B, b.LowRank[name].B)
	}
}

func closeValues(t *testing.T, what string, a, b []float32) {
	t.Helper()
	largest, worst := 0.0, 0.0
	for i, v := range a {
		largest, worst = max(largest, math.Abs(float64(b[i]))), max(worst, math.Abs(float64(v-b[i])))
	}
	if worst > 5e-3*largest {
		t.Errorf("%s differs by %g of at most %g", what, worst, largest)
	}
}

// TestFactorGradientsEqualSpago wants the gradients of A and B to be Bᵀ·dW and dW·Aᵀ of spago's dW, times what the scale makes of them.
func TestFactorGradientsEqualSpago(t *testing.T) {
	cfg := gradientModel(false, true)
	base := writeBase(t, cfg, roughWeights(cfg, 5))
	lr := LowRankOptions{Rank: 2, TrainA: true, Scale: 1.5}
	rng := rand.New(rand.NewPCG(4, 4))
	matrices, err := Adapted(cfg, lr)
	if err != nil {
		t.Fatal(err)
	}
	var variants []*llm.Variant
	for range 2 {
		v := &llm.Variant{Base: base, LowRank: map[string]llm.LowRank{}}
		for _, s := range matrices {
			l := llm.LowRank{Rank: 2, A: make([]float32, 2*s.Shape[1]), B: make([]float32, 2*s.Shape[0])}
			for _, values := range [][]float32{l.A, l.B} {
				for i := range values {
					values[i] = float32(0.3 * rng.NormFloat64())
				}
			}
			v.LowRank[s.Name] = l
		}
		variants, lr.Init = append(variants, v), append(lr.Init, v.LowRank)
	}
	batches := []*pack.Batch{packedBatch(), pack.NewBatch(2, 12)}
	pack.Text(batches[1], 1, []int{4, 4, 2, 9, 1, 0, 7})
	for _, name := range []string{compute.Go, compute.ONNX} {
		t.Run(name, func(t *testing.T) {
			loss, grads := factorGradientsOf(t, openBackend(t, name), base, newFactors(base, matrices, lr, 0), batches)
			for g, v := range variants {
				wantLoss, want, _ := spagoGradients(t, v, batches[g])
				if d := math.Abs(wantLoss - float64(loss[g])); d > 1e-5 {
					t.Errorf("group %d: loss %v differs from spago's by %v", g, loss[g], d)
				}
				for _, s := range matrices {
					// The trained B is the variant's divided by the scale: the gradient by it is the scale's multiple.
					for i := range want[s.Name].b {
						want[s.Name].b[i] *= lr.Scale
					}
					compareGradient(t, "A of "+s.Name, grads[g][factorA(s.Name)], want[s.Name].a)
					compareGradient(t, "B of "+s.Name, grads[g][s.Name], want[s.Name].b)
				}
			}
		})
	}
}

// factorGradientsOf runs the graph that training runs, up to the optimizer.
func factorGradientsOf(t *testing.T, backend *compute.Backend, base *llm.Checkpoint, f *factors, batches []*pack.Batch) ([]float32, []Weights) {
	t.Helper()
	start, err := f.start(len(batches))
	if err != nil {
		t.Fatal(err)
	}
	r := &run{opt: Options{Backend: backend}, cfg: base.Config, data: make([]Data, len(batches)), layout: f.layout, bind: f.bind}
	if err := r.freeze(f); err != nil {
		t.Fatal(err)
	}
	p, err := backend.Compile("gradients", func(g *graph.Graph) []*node {
		params := graph.Parameter(g, "params", shapes.Make(dtypes.Float32, len(batches), f.layout.size))
		frozen := r.declareFrozen(g)
		loss, grad := r.lossAndGradient(frozen, params, newInputs(g, base.Config, len(batches)*batches[0].Rows, batches[0].Len))
		return []*node{loss, grad}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	arrays, err := newFeeder(base.Config).arrays(batches, 0)
	if err != nil {
		t.Fatal(err)
	}
	in := []array{floats(slices.Concat(start...), len(batches), f.layout.size)}
	for _, name := range r.frozenNames {
		in = append(in, r.frozen[name])
	}
	buffers, err := upload(backend.GoMLX(), append(in, arrays...))
	if err != nil {
		t.Fatal(err)
	}
	defer release(buffers)
	out, err := p.Run(buffers)
	if err != nil {
		t.Fatal(err)
	}
	defer release(out)
	var grads []Weights
	for _, row := range r.cut(values(t, out[1])) {
		grads = append(grads, f.layout.unflatten(row))
	}
	return values(t, out[0]), grads
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
	lr.Init = []map[string]llm.LowRank{v.LowRank}
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
	const query = "model.layers.0.self_attn.q_proj.weight"
	for name, lr := range map[string]LowRankOptions{
		"rank 0":         {},
		"rank too large": {Rank: 9},
		"unknown module": {Rank: 2, Modules: []string{"norm"}},
		"unknown layer":  {Rank: 2, Layers: []int{2}},
		"unknown tensor": {Rank: 2, Init: []map[string]llm.LowRank{{"model.norm.weight": {Rank: 2, B: make([]float32, 32)}}}},
		"other rank":     {Rank: 2, Init: []map[string]llm.LowRank{{query: {Rank: 3, B: make([]float32, 48)}}}},
		"short B":        {Rank: 2, Init: []map[string]llm.LowRank{{query: {Rank: 2, B: make([]float32, 31)}}}},
		"short A":        {Rank: 2, TrainA: true, Init: []map[string]llm.LowRank{{query: {Rank: 2, A: make([]float32, 31)}}}},
		"another A":      {Rank: 2, Init: []map[string]llm.LowRank{{query: {Rank: 2, A: make([]float32, 32)}}}},
		"too many":       {Rank: 2, Init: make([]map[string]llm.LowRank, 2)},
		"scale":          {Rank: 2, Scale: -1},
	} {
		if _, _, err := Adapters(context.Background(), base, data, lr, opt); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, _, err := Adapters(context.Background(), base, nil, LowRankOptions{Rank: 2}, opt); err == nil {
		t.Error("no data: no error")
	}
}

// TestAdaptersResume cuts a run with validation and wants the bytes of one that nobody touched.
func TestAdaptersResume(t *testing.T) {
	cfg := tiny()
	base := answering(t, cfg, 9)
	data := []Data{answerTask(cfg, 5), answerTask(cfg, 6)}
	for kind, lr := range kinds {
		t.Run(kind, func(t *testing.T) {
			opt := Options{
				Steps: 9, LearningRate: 2e-2, MinLearningRate: 1e-2, Backend: openBackend(t, compute.Go), SaveEvery: 1,
				// The second adapter's held-out answers are others, so that it stops.
				Validate: &Validation{Every: 2, Patience: 1, Batches: 2, Data: []Data{answerTask(cfg, 5), answerTask(cfg, 9)}},
			}
			want, wantLog, err := Adapters(context.Background(), base, data, lr, opt)
			if err != nil {
				t.Fatal(err)
			}
			if wantLog.Best[0] != 9 || wantLog.Best[1] != 0 {
				t.Fatalf("best after %v steps, want 9 and 0", wantLog.Best)
			}
			opt.StateDir = t.TempDir()
			resumed := 0
			for cut := range 9 {
				ctx, cancel := context.WithCancel(context.Background())
				opt.Progress = func(e progress.Event) {
					if e.Done == int64(cut+1) {
						cancel()
					}
				}
				got, log, err := Adapters(ctx, base, data, lr, opt)
				cancel()
				if log.Resumed != resumed {
					t.Fatalf("resumed from step %d, want %d", log.Resumed, resumed)
				}
				resumed++
				if cut < 8 {
					if !errors.Is(err, context.Canceled) {
						t.Fatalf("interrupted run returned %v", err)
					}
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				sameAdapters(t, got, want)
				log.Resumed = 0
				if d := cmp.Diff(wantLog, log); d != "" {
					t.Errorf("the log differs after resuming: %s", d)
				}
			}
			again, log, err := Adapters(context.Background(), base, data, lr, opt)
			if err != nil || log.Resumed != 9 {
				t.Fatalf("finished run: resumed from step %d, error %v", log.Resumed, err)
			}
			sameAdapters(t, again, want)
			for what, change := range map[string]func(*Options){
				"seed":     func(o *Options) { o.Seed++ },
				"patience": func(o *Options) { o.Validate = &Validation{Every: 2, Patience: 2, Batches: 2, Data: data} },
			} {
				other := opt
				change(&other)
				if _, _, err := Adapters(context.Background(), base, data, lr, other); err == nil {
					t.Errorf("a state of another %s was accepted", what)
				}
			}
		})
	}
}

func sameAdapters(t *testing.T, got, want []*llm.Variant) {
	t.Helper()
	for g := range want {
		for _, name := range want[g].Names() {
			a, b := got[g].LowRank[name], want[g].LowRank[name]
			if !slices.Equal(a.A, b.A) || !slices.Equal(a.B, b.B) {
				t.Fatalf("adapter %d: the factors of %s differ", g, name)
			}
		}
	}
}
