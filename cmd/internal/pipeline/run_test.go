package pipeline

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"d2nwg/cmd/internal/recipe"
	"d2nwg/llm"
	"d2nwg/llm/lora"
	"d2nwg/llm/tokenizer"
	"d2nwg/safetensors"
)

// smallRun writes a small base and questions into a folder and makes a recipe of them.
func smallRun(t *testing.T) (dir string, r recipe.Improve) {
	t.Helper()
	dir = t.TempDir()
	r.SetDefaults()
	r.Base = filepath.Join(dir, "base")
	r.Score.Tasks = filepath.Join(dir, "questions.jsonl")
	writeBase(t, r.Base, 1)
	writeQuestions(t, r.Score.Tasks, 200)
	return dir, r
}

func writeBase(t *testing.T, dir string, seed uint64) {
	t.Helper()
	cfg := llm.Config{VocabSize: 355, HiddenSize: 8, IntermediateSize: 8, Layers: 2, Heads: 2, KVHeads: 1, HeadDim: 4,
		MaxPositions: 64, RMSNormEps: 1e-5, RopeTheta: 1e4, TieWordEmbeddings: true, BOS: 1, EOS: []int{2}, DType: safetensors.BF16}
	if err := llm.RandomCheckpoint(dir, cfg, safetensors.BF16, 0, seed); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "tokenizer.json"), tokenizer.NewASCII(), 0o644); err != nil {
		t.Fatal(err)
	}
}

func writeQuestions(t *testing.T, path string, n int) {
	t.Helper()
	var lines strings.Builder
	for i := range n {
		lines.WriteString(`{"prompt":"` + strings.Repeat("a", i+1) + `","answer":"b"}` + "\n")
	}
	if err := os.WriteFile(path, []byte(lines.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

func openClose(t *testing.T, dir string, r recipe.Improve, opt Options) error {
	t.Helper()
	run, err := Open(dir, r, opt)
	if err != nil {
		return err
	}
	return run.Close()
}

// What is kept of the base's activations decides nothing, so a run that ran out of room goes on with another budget.
func TestKeepMayChange(t *testing.T) {
	dir, r := smallRun(t)
	out := filepath.Join(dir, "run")
	for _, keep := range []recipe.Keep{r.Score.Keep, {}, {Memory: 1, Disk: 7}} {
		r.Score.Keep = keep
		run, err := Open(out, r, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if run.Recipe.Score.Keep != keep {
			t.Errorf("the run keeps %v, want %v", run.Recipe.Score.Keep, keep)
		}
		if err := run.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// What a run began with must be what it goes on with: another base or other data in the same files are refused.
func TestChangedInputsAreRefused(t *testing.T) {
	dir, r := smallRun(t)
	out := filepath.Join(dir, "run")
	for range 2 {
		if err := openClose(t, out, r, Options{}); err != nil {
			t.Fatal(err)
		}
	}
	writeQuestions(t, r.Score.Tasks, 220)
	if err := openClose(t, out, r, Options{}); err == nil || !strings.Contains(err.Error(), "data to") {
		t.Errorf("other questions: %v", err)
	}
	writeQuestions(t, r.Score.Tasks, 200)
	if err := os.RemoveAll(r.Base); err != nil {
		t.Fatal(err)
	}
	writeBase(t, r.Base, 2)
	if err := openClose(t, out, r, Options{}); err == nil || !strings.Contains(err.Error(), "the base changed") {
		t.Errorf("another base: %v", err)
	}
	if err := openClose(t, out, r, Options{Force: true}); err != nil {
		t.Errorf("another base, with force: %v", err)
	}
}

// Force removes a run and nothing else, even where the run's folder is that of its inputs.
func TestForceKeepsOtherFiles(t *testing.T) {
	dir, r := smallRun(t)
	own := filepath.Join(dir, RecipeFile)
	if err := openClose(t, dir, r, Options{}); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, CandidateDir), 0o755); err != nil {
		t.Fatal(err)
	}
	r.Seed = 2
	if err := openClose(t, dir, r, Options{}); err == nil {
		t.Error("a run of another recipe was continued")
	}
	if err := openClose(t, dir, r, Options{Force: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, CandidateDir)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the old candidate is still there: %v", err)
	}
	for _, path := range []string{own, r.Base, r.Score.Tasks} {
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
	}
}

// A mistyped path leaves no run behind that would refuse the corrected recipe.
func TestFailedStartLeavesNothing(t *testing.T) {
	dir, r := smallRun(t)
	out := filepath.Join(dir, "run")
	wrong := r
	wrong.Base += "-nowhere"
	if err := openClose(t, out, wrong, Options{}); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("a missing base: %v", err)
	}
	if _, err := os.Stat(out); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the run's folder is there: %v", err)
	}
	if err := openClose(t, out, r, Options{}); err != nil {
		t.Error(err)
	}
}

// Relatives may change different tensors; hidden folders, which a killed writer leaves, are none.
func TestRelativesOfDifferentTensors(t *testing.T) {
	dir, r := smallRun(t)
	from := filepath.Join(dir, "zoo")
	r.Relatives.From = []string{from}
	run, err := Open(filepath.Join(dir, "run"), r, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer run.Close()
	for i, name := range []string{"model.layers.0.mlp.up_proj.weight", "model.layers.1.mlp.down_proj.weight"} {
		values, err := run.base.Float32(name)
		if err != nil {
			t.Fatal(err)
		}
		values[i] += 1
		v := &llm.Variant{Base: run.base, Replace: map[string][]float32{name: values}}
		for _, path := range []string{string(rune('a' + i)), "." + string(rune('a'+i)) + ".old"} {
			if err := v.Save(filepath.Join(from, path), ""); err != nil {
				t.Fatal(err)
			}
		}
	}
	relatives, err := run.Relatives(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	l, err := run.learn(t.Context(), relatives)
	if err != nil {
		t.Fatal(err)
	}
	if len(l.set.Names) != 2 || len(l.set.Specs) != 2 {
		t.Fatalf("%v, %v", l.set.Names, l.set.Specs)
	}
	for i, w := range l.set.Weights {
		for k, s := range l.set.Specs {
			if got := w[s.Name][i] != 0; got != (i == k) || len(w[s.Name]) != s.Elements() {
				t.Errorf("relative %d, tensor %s: %v", i, s.Name, w[s.Name][:2])
			}
		}
	}
}

// A relative may be a PEFT adapter; what it does may stand beside it.
func TestRelativesFromAdapters(t *testing.T) {
	dir, r := smallRun(t)
	from := filepath.Join(dir, "zoo")
	r.Relatives.From = []string{from}
	run, err := Open(filepath.Join(dir, "run"), r, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer run.Close()
	const name = "model.layers.0.self_attn.q_proj.weight"
	q, _ := run.base.Tensor(name)
	lr := llm.LowRank{Rank: 1, A: make([]float32, q.Shape[1]), B: make([]float32, q.Shape[0])}
	lr.A[0], lr.B[0] = 0.5, 0.25
	v := &llm.Variant{Base: run.base, LowRank: map[string]llm.LowRank{name: lr}}
	if err := lora.Write(filepath.Join(from, "a"), v, lora.WriteOptions{Extra: map[string][]byte{descriptionFile: []byte("It counts.\n")}}); err != nil {
		t.Fatal(err)
	}
	relatives, err := run.Relatives(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(relatives) != 1 || relatives[0].Description != "It counts." || relatives[0].Variant.LowRank[name].B[0] != 0.25 {
		t.Errorf("relatives %+v", relatives)
	}
}
