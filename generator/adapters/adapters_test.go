package adapters

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"d2nwg/internal/compute"
	"d2nwg/internal/compute/optim"
	"d2nwg/internal/progress"
	"d2nwg/llm"
	"d2nwg/llm/pack"
	"d2nwg/safetensors"
)

// world is a tiny base and tasks over it: task k answers every token with the token k steps further.
type world struct {
	cfg     Config
	set     Set
	backend *compute.Backend
}

const vocab = 16

func newWorld(t *testing.T, tasks int) world {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "base")
	model := llm.Config{
		VocabSize: vocab, HiddenSize: 16, Layers: 1, Heads: 2, KVHeads: 1, HeadDim: 8, IntermediateSize: 24, MaxPositions: 16, RMSNormEps: 1e-5,
		RopeTheta: 10000, TieWordEmbeddings: true,
	}
	shapes := map[string]llm.NamedShape{}
	for _, s := range model.TensorShapes() {
		shapes[s.Name] = s
	}
	// Larger weights than a random checkpoint's: through a head of deviation 0.02 no adapter could say anything.
	weights := func(name string) ([]float32, error) {
		r := rand.New(rand.NewPCG(uint64(len(name)), uint64(name[len(name)/2])))
		out := make([]float32, shapes[name].Elements())
		for i := range out {
			out[i] = float32(0.5 * r.NormFloat64())
		}
		return out, nil
	}
	if err := llm.WriteCheckpoint(dir, model, safetensors.F32, weights, nil); err != nil {
		t.Fatal(err)
	}
	base, err := llm.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = base.Close() })
	backend, err := compute.Open(t.Context(), compute.Go)
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := Default(Modern)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Latent, cfg.Feature, cfg.Width, cfg.Seed = 8, 16, 32, 5
	cfg.Text = TextConfig{Buckets: 64, Words: 8, Width: 16, Blocks: 1, Heads: 2}
	cfg.Set = SetConfig{Examples: 4, Width: 16, Inducing: 2, Heads: 2}
	cfg.Steps, cfg.Groups, cfg.Rows, cfg.Length, cfg.LearningRate, cfg.Warmup = 60, 4, 1, 8, 1e-2, 5
	cfg.Diffusion.Width, cfg.Diffusion.Blocks, cfg.Diffusion.Steps, cfg.Diffusion.Batch, cfg.SampleSteps = 16, 1, 20, 8, 5
	w := world{cfg: cfg, backend: backend, set: Set{Base: base, Rank: 2, Seed: 7, States: 3}}
	words := []string{"one step", "two steps", "three steps", "four steps", "five steps", "six steps", "seven steps", "eight steps"}
	r := rand.New(rand.NewPCG(1, 2))
	for k := range tasks {
		states := make([]float32, 5*3)
		for i := range states {
			states[i] = float32(k) + float32(r.NormFloat64())
		}
		w.set.Tasks = append(w.set.Tasks, Task{Name: words[k][:3], Descriptions: []string{"go " + words[k] + " further", "move on by " + words[k]}, States: states})
	}
	w.set.Batch = func(task, step int) (*pack.Batch, error) {
		r := rand.New(rand.NewPCG(uint64(task), uint64(step)))
		b := pack.NewBatch(1, 8)
		var all []pack.Example
		for range 4 {
			x := r.IntN(vocab)
			all = append(all, pack.Example{Prompt: []int{x}, Answer: []int{(x + task + 1) % vocab}})
		}
		b.Add(0, nil, all)
		return b, nil
	}
	return w
}

// adapter is a random B for every factor.
func (w world) adapter(t *testing.T, seed uint64) map[string][]float32 {
	t.Helper()
	s, err := newStep(w.cfg, w.set, w.backend)
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(seed, 3))
	out := map[string][]float32{}
	for _, f := range s.factors {
		out[f.Name] = make([]float32, f.Elements())
		for i := range out[f.Name] {
			out[f.Name][i] = float32(0.3 * r.NormFloat64())
		}
	}
	return out
}

func (w world) train(t *testing.T, opt TrainOptions) *Generator {
	t.Helper()
	opt.Backend = w.backend
	g, err := Train(t.Context(), w.cfg, w.set, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = g.Close() })
	return g
}

// The loss through the frozen base falls, and decoded adapters follow their descriptions: each task's loss is lower with its own words than
// with another's.
func TestLearnsThroughTheBase(t *testing.T) {
	w := newWorld(t, 3)
	w.cfg.Steps = 250
	var first, last float64
	g := w.train(t, TrainOptions{Progress: func(e progress.Event) {
		if e.Stage != "adapters" {
			return
		}
		if first == 0 {
			first = e.Values["functional"]
		}
		last = e.Values["functional"]
	}})
	t.Logf("functional loss %.3f at first, %.3f at last", first, last)
	if !(last < 0.6*first) {
		t.Errorf("the functional loss fell from %.3f to %.3f only", first, last)
	}
	right, wrong := 0.0, 0.0
	for task := range w.set.Tasks {
		for other, words := range w.set.Tasks {
			loss := w.lossOf(t, g, words.Descriptions[0], task)
			if task == other {
				right += loss / 3
			} else {
				wrong += loss / 6
			}
		}
	}
	t.Logf("loss with a task's own words %.3f, with others' %.3f", right, wrong)
	if !(right < wrong-0.5) {
		t.Errorf("the description is ignored: %.3f with its own, %.3f with others", right, wrong)
	}
}

// lossOf measures a decoded adapter on a task by the graph of the functional loss itself, with that adapter in every group.
func (w world) lossOf(t *testing.T, g *Generator, description string, task int) float64 {
	t.Helper()
	features, err := g.TextFeatures(description)
	if err != nil {
		t.Fatal(err)
	}
	z, err := g.Latent(features)
	if err != nil {
		t.Fatal(err)
	}
	b, err := g.Decode(z)
	if err != nil {
		t.Fatal(err)
	}
	return answerLoss(t, g.Variant(w.set.Base, b), func(x int) int { return (x + task + 1) % vocab })
}

// TestDeterminismAndResume: the same seed gives the same generator, and so does a training that is cut in the midst; a saved one samples what
// the trained one did.
func TestDeterminismAndResume(t *testing.T) {
	w := newWorld(t, 4)
	w.set.Tasks[1].Weights = []map[string][]float32{w.adapter(t, 1), w.adapter(t, 2)}
	a := w.train(t, TrainOptions{})
	dir := t.TempDir()
	state := func(stage string) *optim.Checkpoints {
		return &optim.Checkpoints{Path: filepath.Join(dir, stage+".safetensors"), Key: "k", Every: 7}
	}
	for _, cut := range []struct {
		stage string
		at    int64
	}{{"adapters", 20}, {"diffusion", 9}} {
		ctx, cancel := context.WithCancel(t.Context())
		_, err := Train(ctx, w.cfg, w.set, TrainOptions{Backend: w.backend, State: state, Progress: func(e progress.Event) {
			if e.Stage == cut.stage && e.Done == cut.at {
				cancel()
			}
		}})
		cancel()
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("cut at %s %d: %v", cut.stage, cut.at, err)
		}
	}
	b := w.train(t, TrainOptions{State: state})
	if !reflect.DeepEqual(a.params, b.params) || !reflect.DeepEqual(a.diffusion.Params(), b.diffusion.Params()) {
		t.Error("a training that was cut twice gives other parameters")
	}
	out := filepath.Join(dir, "saved")
	if err := a.Save(out, "hash"); err != nil {
		t.Fatal(err)
	}
	c, base, err := Open(out, w.backend)
	if err != nil || base != "hash" {
		t.Fatalf("%q %v", base, err)
	}
	defer c.Close()
	if !reflect.DeepEqual(samples(t, a), samples(t, c)) {
		t.Error("the saved generator samples other adapters")
	}
	if len(c.Members()) != 2 || !reflect.DeepEqual(c.Members(), a.Members()) || !reflect.DeepEqual(c.Known(), a.Known()) {
		t.Error("the saved generator knows other tasks or adapters")
	}
}

func samples(t *testing.T, g *Generator) []map[string][]float32 {
	t.Helper()
	f, err := g.TextFeatures("go two steps further")
	if err != nil {
		t.Fatal(err)
	}
	all, err := g.Sample(t.Context(), f, 3, 11, SampleOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if reflect.DeepEqual(all[0], all[1]) {
		t.Error("two samples are the same")
	}
	first, err := g.Sample(t.Context(), f, 1, 11, SampleOptions{})
	if err != nil || !reflect.DeepEqual(first[0], all[0]) {
		t.Errorf("the first of three samples is not the first of one (%v)", err)
	}
	return all
}

// A saved generator that was changed is refused, never read past its end.
func TestHostileFiles(t *testing.T) {
	w := newWorld(t, 2)
	w.cfg.Steps, w.cfg.Diffusion.Steps = 1, 1
	w.set.Tasks[0].Weights = []map[string][]float32{w.adapter(t, 1)}
	g := w.train(t, TrainOptions{})
	dir := t.TempDir()
	if err := g.Save(dir, "hash"); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, FileName)
	meta, arrays, err := optim.ReadArrays(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(map[string]string, map[string][]float32){
		"no description":  func(m map[string]string, _ map[string][]float32) { delete(m, metaKey) },
		"another format":  func(m map[string]string, _ map[string][]float32) { m[metaKey] = `{"format": 9}` },
		"no factors":      func(m map[string]string, _ map[string][]float32) { m[metaKey] = `{"format": 1}` },
		"no features":     func(_ map[string]string, a map[string][]float32) { delete(a, knownArray(0)) },
		"a short member":  func(_ map[string]string, a map[string][]float32) { shorten(a, memberArray(0)) },
		"a missing array": func(_ map[string]string, a map[string][]float32) { delete(a, "net/latent.out.w") },
		"a short array":   func(_ map[string]string, a map[string][]float32) { shorten(a, "net/text.words.w") },
	} {
		m, a := map[string]string{}, map[string][]float32{}
		for k, v := range meta {
			m[k] = v
		}
		for k, v := range arrays {
			a[k] = v
		}
		change(m, a)
		if err := optim.WriteArrays(path, m, a); err != nil {
			t.Fatal(err)
		}
		g, _, err := Open(dir, w.backend)
		if err == nil { // parameters are checked when the graph is built
			var f []float32
			if f, err = g.TextFeatures("go one step further"); err == nil {
				_, err = g.Latent(f)
			}
			_ = g.Close()
		}
		if err == nil {
			t.Errorf("%s: no error", name)
		} else {
			t.Logf("%s: %v", name, err)
		}
	}
	if err := os.WriteFile(path, []byte("no tensors"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Open(dir, w.backend); !errors.Is(err, safetensors.ErrFormat) {
		t.Errorf("garbage: %v", err)
	}
}

func shorten(a map[string][]float32, prefix string) {
	for k, v := range a {
		if len(k) >= len(prefix) && k[:len(prefix)] == prefix {
			a[k] = v[:len(v)-1]
		}
	}
}

func TestRefusals(t *testing.T) {
	w := newWorld(t, 3)
	for name, change := range map[string]func(*world){
		"one task":         func(w *world) { w.set.Tasks = w.set.Tasks[:1] },
		"no description":   func(w *world) { w.set.Tasks[1].Descriptions = nil },
		"no states":        func(w *world) { w.set.Tasks[1].States = nil },
		"odd states":       func(w *world) { w.set.Tasks[1].States = make([]float32, 4) },
		"a short adapter":  func(w *world) { w.set.Tasks[1].Weights = []map[string][]float32{{}} },
		"a rank too large": func(w *world) { w.set.Rank = 100 },
		"nothing to learn": func(w *world) { w.cfg.Functional, w.cfg.Reconstruction = 0, 0 },
		"no adapters":      func(w *world) { w.cfg.Functional = 0 },
		"too many shares":  func(w *world) { w.cfg.SetShare, w.cfg.WeightShare = 0.7, 0.7 },
		"no words left":    func(w *world) { w.cfg.Text.Dropout = 1 },
		"NaN": func(w *world) {
			a := w.adapter(t, 1)
			for _, v := range a {
				v[0] = float32(math.NaN())
			}
			w.set.Tasks[1].Weights = []map[string][]float32{a}
		},
	} {
		changed := w
		changed.set.Tasks = slices.Clone(w.set.Tasks)
		change(&changed)
		if _, err := Train(t.Context(), changed.cfg, changed.set, TrainOptions{Backend: w.backend}); err == nil {
			t.Errorf("%s: no error", name)
		} else {
			t.Logf("%s: %v", name, err)
		}
	}
}
