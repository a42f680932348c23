package engine

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"d2nwg/llm"
)

var update = flag.Bool("update", false, "write testdata/reference.json anew from the float64 reference")

// tolerance is what the issue allows, as a part of the logits' deviation.
const tolerance = 2e-4

// worst returns the largest |a−b|, as a part of b's deviation.
func worst(a []float32, b []float64) float64 {
	most := 0.0
	for i := range a {
		most = max(most, math.Abs(float64(a[i])-b[i]))
		if math.IsNaN(float64(a[i])) {
			return math.Inf(1)
		}
	}
	return most / deviation(b)
}

func TestAgainstReference(t *testing.T) {
	for name, c := range shapes() {
		checkpoint, ref := randomModel(t, c, 7)
		model := mustModel(t, checkpoint)
		ids := randomIDs(rand.New(rand.NewPCG(1, 1)), 50, c.VocabSize)
		want, hidden, norms := ref.logits(ids)
		for _, k := range available() {
			m := model.withKernels(k)
			got, err := m.Logits(ids)
			if err != nil {
				t.Fatal(err)
			}
			states, err := m.Hidden(ids)
			if err != nil {
				t.Fatal(err)
			}
			far, farHidden := 0.0, 0.0
			for i := range ids {
				far = max(far, worst(got[i*c.VocabSize:(i+1)*c.VocabSize], want[i]))
				farHidden = max(farHidden, worst(states[i*c.HiddenSize:(i+1)*c.HiddenSize], hidden[i]))
			}
			if len(got) != len(ids)*c.VocabSize || far > tolerance/4 || farHidden > tolerance/4 {
				t.Errorf("%s, %s: logits differ by %.2g deviations, hidden states by %.2g", name, k.name, far, farHidden)
			}
			t.Logf("%s, %s: logits within %.1e deviations", name, k.name, far)
		}
		checkNorms(t, name, model, ids, norms)
	}
}

// checkNorms compares the norm of the residual stream at the last position, layer by layer.
func checkNorms(t *testing.T, name string, m *Model, ids []int, want []float64) {
	t.Helper()
	var got []float64
	err := m.sequence(ids, nil, func(_ int, x []float32) {
		var last []float64
		for _, v := range x[len(x)-m.config.HiddenSize:] {
			last = append(last, float64(v))
		}
		got = append(got, length(last))
	}, func([]float32, *scratch) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != len(want) {
		t.Fatalf("%s: %d norms, want %d", name, len(got), len(want))
	}
	for i := range want {
		if math.Abs(got[i]-want[i]) > 1e-4*math.Abs(want[i])+1e-6 {
			t.Errorf("%s: after layer %d the residual stream's norm is %v, want %v", name, i, got[i], want[i])
		}
	}
}

// frozen is testdata/reference.json: what the reference gave once, so that a slip in both reference and engine shows.
type frozen struct {
	Shape         string    `json:"shape"`
	IDs           []int     `json:"ids"`
	LogitsLast    []float64 `json:"logits_last"`
	TokenLogProbs []float64 `json:"token_logprobs"`
	Argmax        []int     `json:"argmax"`
	HiddenNorms   []float64 `json:"hidden_norms"`
}

func TestFrozenReference(t *testing.T) {
	path := filepath.Join("testdata", "reference.json")
	if *update {
		writeFrozen(t, path)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var cases []frozen
	if err := json.Unmarshal(data, &cases); err != nil {
		t.Fatal(err)
	}
	for _, want := range cases {
		checkpoint, _ := randomModel(t, shapes()[want.Shape], 3)
		checkReading(t, want.Shape, mustModel(t, checkpoint), want)
	}
}

func writeFrozen(t *testing.T, path string) {
	t.Helper()
	var cases []frozen
	for _, name := range slices.Sorted(maps.Keys(shapes())) {
		c := shapes()[name]
		_, ref := randomModel(t, c, 3)
		f := frozen{Shape: name, IDs: randomIDs(rand.New(rand.NewPCG(4, 4)), 12, c.VocabSize)}
		logits, _, norms := ref.logits(f.IDs)
		f.HiddenNorms = norms
		for i, row := range logits {
			top, sum := 0, 0.0
			for j, v := range row {
				if v > row[top] {
					top = j
				}
				sum += math.Exp(v)
			}
			f.Argmax = append(f.Argmax, top)
			if i+1 < len(f.IDs) {
				f.TokenLogProbs = append(f.TokenLogProbs, row[f.IDs[i+1]]-math.Log(sum))
			}
		}
		f.LogitsLast = logits[len(logits)-1]
		cases = append(cases, f)
	}
	data, err := json.MarshalIndent(cases, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append(data, '\n'), 0o600); err != nil {
		t.Fatal(err)
	}
}

// checkReading compares Read, LogitsLast, Logits and Score with a golden case and returns the logits' largest error.
func checkReading(t *testing.T, name string, m *Model, want frozen) float64 {
	t.Helper()
	got, err := m.Read(want.IDs)
	if err != nil {
		t.Fatal(err)
	}
	far := worst(got.LogitsLast, want.LogitsLast)
	if len(got.LogitsLast) != len(want.LogitsLast) || far > tolerance {
		t.Errorf("%s, %d tokens: logits differ by %.2g deviations", name, len(want.IDs), far)
	}
	if !cmp.Equal(got.Argmax, want.Argmax) {
		t.Errorf("%s: argmax %v, want %v", name, got.Argmax, want.Argmax)
	}
	if len(got.TokenLogProbs) != len(want.TokenLogProbs) {
		t.Fatalf("%s: %d log-probabilities, want %d", name, len(got.TokenLogProbs), len(want.TokenLogProbs))
	}
	for i, v := range want.TokenLogProbs {
		if math.Abs(got.TokenLogProbs[i]-v) > tolerance*deviation(want.LogitsLast) {
			t.Errorf("%s: log-probability %d is %v, want %v", name, i, got.TokenLogProbs[i], v)
		}
	}
	checkSame(t, name, m, want.IDs, got)
	checkNorms(t, name, m, want.IDs, want.HiddenNorms)
	return far
}

// checkSame requires the same bits from every way to ask for the same numbers.
func checkSame(t *testing.T, name string, m *Model, ids []int, got Reading) {
	t.Helper()
	all, err := m.Logits(ids)
	if err != nil {
		t.Fatal(err)
	}
	if !cmp.Equal(all[len(all)-len(got.LogitsLast):], got.LogitsLast) {
		t.Errorf("%s: Logits and Read differ", name)
	}
	last, err := m.LogitsLast(ids)
	if err != nil {
		t.Fatal(err)
	}
	if !cmp.Equal(last, got.LogitsLast) {
		t.Errorf("%s: LogitsLast and Read differ", name)
	}
	if len(ids) < 2 {
		return
	}
	scored, err := m.Score(context.Background(), []Request{{IDs: ids, From: 1}}, 1)
	if err != nil {
		t.Fatal(err)
	}
	if !cmp.Equal(scored[0].LogProbs, got.TokenLogProbs) {
		t.Errorf("%s: Score and Read differ", name)
	}
}

// TestGoldenLLaMA checks every model of the shared data against the golden file of its name.
func TestGoldenLLaMA(t *testing.T) {
	root := os.Getenv("D2NWG_SHARED")
	if root == "" {
		root = filepath.Join("..", "..", "..", "shared")
	}
	files, err := filepath.Glob(filepath.Join(root, "golden", "llama", "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Skipf("no shared test data in %s; set D2NWG_SHARED to run this test", root)
	}
	held := 0
	for _, path := range files {
		name := strings.TrimSuffix(filepath.Base(path), ".json")
		t.Run(name, func(t *testing.T) {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			var golden struct {
				Cases []frozen `json:"cases"`
			}
			if err := json.Unmarshal(data, &golden); err != nil {
				t.Fatal(err)
			}
			checkpoint, err := llm.Open(filepath.Join(root, "models", name))
			if err != nil {
				t.Fatal(err)
			}
			defer checkpoint.Close()
			model := mustModel(t, checkpoint)
			far := 0.0
			for _, k := range available() {
				for _, c := range golden.Cases {
					far = max(far, checkReading(t, name+", "+k.name, model.withKernels(k), c))
				}
			}
			t.Logf("%d cases with %d kernels, logits within %.1e deviations", len(golden.Cases), len(available()), far)
			if !t.Failed() {
				held += len(golden.Cases)
			}
		})
	}
	t.Logf("%d cases of %d models held", held, len(files))
}

func TestRefusals(t *testing.T) {
	checkpoint, _ := randomModel(t, shapes()["grouped"], 1)
	m := mustModel(t, checkpoint)
	long := make([]int, m.Config().MaxPositions+1)
	for name, f := range map[string]func() error{
		"no tokens":    func() error { _, err := m.Logits(nil); return err },
		"no last":      func() error { _, err := m.LogitsLast(nil); return err },
		"no reading":   func() error { _, err := m.Read(nil); return err },
		"negative id":  func() error { _, err := m.Hidden([]int{1, -1}); return err },
		"large id":     func() error { _, err := m.Read([]int{97}); return err },
		"large target": func() error { _, err := m.Score(context.Background(), []Request{{[]int{1, 97}, 1}}, 1); return err },
		"from 0":       func() error { _, err := m.Score(context.Background(), []Request{{[]int{1, 2}, 0}}, 1); return err },
		"from beyond":  func() error { _, err := m.Score(context.Background(), []Request{{[]int{1, 2}, 3}}, 1); return err },
		"no prompt":    func() error { _, err := m.Greedy(context.Background(), nil, 1, nil); return err },
	} {
		if f() == nil {
			t.Errorf("%s isn't refused", name)
		}
	}
	if _, err := m.Logits(long); !errors.Is(err, ErrTooLong) {
		t.Errorf("a long sequence gives %v", err)
	}
	if _, err := m.Score(context.Background(), []Request{{append(long, 1), 1}}, 1); !errors.Is(err, ErrTooLong) {
		t.Errorf("a long request gives %v", err)
	}
	if _, err := m.Score(context.Background(), []Request{{long, 1}}, 1); err != nil {
		t.Errorf("the last token needs no position, but: %v", err)
	}
}
