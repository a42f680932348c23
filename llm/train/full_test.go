package train

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"d2nwg/internal/compute"
	"d2nwg/internal/progress"
	"d2nwg/llm"
	"d2nwg/llm/pack"
)

// tiny is a model that every backend trains in milliseconds.
func tiny() llm.Config {
	return llm.Config{
		VocabSize: 23, HiddenSize: 16, IntermediateSize: 24, Layers: 2, Heads: 4, KVHeads: 2, HeadDim: 4, MaxPositions: 64,
		RMSNormEps: 1e-5, RopeTheta: 10000, TieWordEmbeddings: true, BOS: 1, EOS: []int{2}, DType: "F32",
	}
}

// openBackend opens a backend or skips the test where it can't be used.
func openBackend(t *testing.T, name string) *compute.Backend {
	t.Helper()
	for _, st := range compute.Candidates() {
		if st.Name == name && !st.Usable {
			t.Skipf("backend %s: %s", name, st.Why)
		}
	}
	b, err := compute.Open(context.Background(), name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// copyTask asks to repeat one of a few letters: easy to learn.
func copyTask(cfg llm.Config, rows, length int) Data {
	return DataFunc(func(step int) (*pack.Batch, error) {
		rng := rand.New(rand.NewPCG(7, uint64(step)))
		b := pack.NewBatch(rows, length)
		for row := range rows {
			var examples []pack.Example
			for range length / 3 {
				x := 5 + rng.IntN(8)
				examples = append(examples, pack.Example{Prompt: []int{x, 3}, Answer: []int{x}})
			}
			b.Add(row, []int{1}, examples)
		}
		return b, nil
	})
}

func TestFullLearns(t *testing.T) {
	for _, name := range []string{compute.Go, compute.ONNX} {
		t.Run(name, func(t *testing.T) {
			backend := openBackend(t, name)
			cfg := tiny()
			start := InitWeights(cfg, 1)
			before := slices.Clone(start["model.norm.weight"])
			w, log, err := Full(context.Background(), start, cfg, copyTask(cfg, 4, 24), Options{
				Steps: 80, Warmup: 5, LearningRate: 1e-2, WeightDecay: 0.01, Clip: 1, Backend: backend,
			})
			if err != nil {
				t.Fatal(err)
			}
			first, last := log.Loss[0][0], log.Loss[79][0]
			if first < 2.8 || last > 0.2 {
				t.Errorf("loss went from %.3f to %.3f, want from about ln 23 = 3.1 to below 0.2", first, last)
			}
			if !slices.Equal(before, start["model.norm.weight"]) {
				t.Error("Full changed the initial weights")
			}
			if len(w) != len(cfg.TensorShapes()) || len(w["model.layers.1.mlp.down_proj.weight"]) != 16*24 {
				t.Errorf("Full returned %d tensors, want %d of the config's shapes", len(w), len(cfg.TensorShapes()))
			}
		})
	}
}

// TestResumeIsExact interrupts a run twice, once right after a save and once between saves with the newest state lost, as kill -9 leaves it.
func TestResumeIsExact(t *testing.T) {
	backend := openBackend(t, compute.Go)
	cfg := tiny()
	opt := Options{Steps: 20, Warmup: 3, LearningRate: 5e-3, WeightDecay: 0.1, Clip: 0.5, Backend: backend, SaveEvery: 4}
	data := copyTask(cfg, 2, 24)
	want, wantLog, err := Full(context.Background(), InitWeights(cfg, 3), cfg, data, opt)
	if err != nil {
		t.Fatal(err)
	}

	opt.StateDir = t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	var saved []byte
	opt.Progress = func(e progress.Event) {
		switch e.Done {
		case 5: // what was saved after step 4
			saved = readFile(t, filepath.Join(opt.StateDir, stateName))
		case 7:
			cancel()
		}
	}
	if _, _, err := Full(ctx, InitWeights(cfg, 3), cfg, data, opt); !errors.Is(err, context.Canceled) {
		t.Fatalf("interrupted run returned %v", err)
	}
	if err := os.WriteFile(filepath.Join(opt.StateDir, stateName), saved, 0o644); err != nil {
		t.Fatal(err)
	}
	opt.Progress = nil
	got, log, err := Full(context.Background(), InitWeights(cfg, 3), cfg, data, opt)
	if err != nil {
		t.Fatal(err)
	}
	if log.Resumed != 4 {
		t.Errorf("resumed from step %d, want 4", log.Resumed)
	}
	sameWeights(t, got, want)
	for i := range wantLog.Loss {
		if log.Loss[i][0] != wantLog.Loss[i][0] {
			t.Fatalf("loss of step %d is %v, want %v", i, log.Loss[i][0], wantLog.Loss[i][0])
		}
	}

	again, log, err := Full(context.Background(), InitWeights(cfg, 3), cfg, DataFunc(func(int) (*pack.Batch, error) {
		return nil, errors.New("a finished run must not ask for data")
	}), opt)
	if err != nil || log.Resumed != 20 {
		t.Fatalf("finished run: resumed from %d, error %v", log.Resumed, err)
	}
	sameWeights(t, again, want)

	if _, _, err := Full(context.Background(), InitWeights(cfg, 4), cfg, data, opt); err == nil {
		t.Error("a state of other initial weights was accepted")
	}
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func sameWeights(t *testing.T, got, want Weights) {
	t.Helper()
	for name := range want {
		if !slices.Equal(got[name], want[name]) {
			t.Fatalf("tensor %s differs", name)
		}
	}
}

func TestSnapshots(t *testing.T) {
	backend := openBackend(t, compute.Go)
	cfg := tiny()
	snaps := map[int]Weights{}
	w, _, err := Full(context.Background(), InitWeights(cfg, 1), cfg, copyTask(cfg, 2, 12), Options{
		Steps: 3, Backend: backend, SnapshotAt: []int{1, 3}, Snapshot: func(s Snapshot) error { snaps[s.Step] = s.Weights; return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(snaps) != 2 || snaps[1] == nil {
		t.Fatalf("snapshots of %d steps, want 1 and 3", len(snaps))
	}
	sameWeights(t, snaps[3], w)
	if slices.Equal(snaps[1]["model.norm.weight"], w["model.norm.weight"]) {
		t.Error("the snapshot after step 1 equals the end")
	}
}

func TestRefusals(t *testing.T) {
	backend := openBackend(t, compute.Go)
	cfg := tiny()
	good := copyTask(cfg, 2, 12)
	for name, run := range map[string]func() error{
		"no backend": func() error {
			_, _, err := Full(context.Background(), InitWeights(cfg, 1), cfg, good, Options{Steps: 1})
			return err
		},
		"no steps": func() error {
			_, _, err := Full(context.Background(), InitWeights(cfg, 1), cfg, good, Options{Backend: backend})
			return err
		},
		"missing tensor": func() error {
			w := InitWeights(cfg, 1)
			delete(w, "model.norm.weight")
			_, _, err := Full(context.Background(), w, cfg, good, Options{Steps: 1, Backend: backend})
			return err
		},
		"shape changes": func() error {
			_, _, err := Full(context.Background(), InitWeights(cfg, 1), cfg, DataFunc(func(step int) (*pack.Batch, error) {
				return copyTask(cfg, 2, 12+3*step).Batch(step)
			}), Options{Steps: 3, Backend: backend})
			return err
		},
		"token outside the vocabulary": func() error {
			_, _, err := Full(context.Background(), InitWeights(cfg, 1), cfg, DataFunc(func(step int) (*pack.Batch, error) {
				b, err := good.Batch(step)
				b.IDs[0] = 23
				return b, err
			}), Options{Steps: 1, Backend: backend})
			return err
		},
		"not finite": func() error {
			w := InitWeights(cfg, 1)
			w["model.norm.weight"][0] = float32(math.Inf(1))
			_, _, err := Full(context.Background(), w, cfg, good, Options{Steps: 1, Backend: backend})
			return err
		},
	} {
		if run() == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestRate(t *testing.T) {
	o := Options{Steps: 11, Warmup: 2, LearningRate: 1, MinLearningRate: 0.2}
	for step, want := range map[int]float64{0: 0.5, 1: 1, 2: 1, 6: 0.6, 10: 0.2} {
		if got := o.rate(step); math.Abs(got-want) > 1e-12 {
			t.Errorf("rate of step %d is %v, want %v", step, got, want)
		}
	}
}
