package engine

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"d2nwg/llm"
	"d2nwg/llm/engine/kernel"
	"d2nwg/safetensors"
)

// What bfloat16 arithmetic may cost: |Δ log-probability| against float64 on the same weights.
const (
	meanBF16 = 0.01
	maxBF16  = 0.1
)

// inBF16 writes a model's weights as bfloat16 and returns it with the reference of what was written.
func inBF16(t *testing.T, c llm.Config, weights func(llm.NamedShape) []float32) (*llm.Checkpoint, reference) {
	t.Helper()
	c.DType = safetensors.BF16
	ref := reference{c, map[string][]float32{}}
	for _, s := range c.TensorShapes() {
		raw := make([]byte, 2*s.Elements())
		if err := safetensors.Encode(raw, safetensors.BF16, weights(s)); err != nil {
			t.Fatal(err)
		}
		ref.w[s.Name] = make([]float32, s.Elements())
		if err := safetensors.Decode(ref.w[s.Name], safetensors.BF16, raw); err != nil {
			t.Fatal(err)
		}
	}
	dir := filepath.Join(t.TempDir(), "model")
	get := func(name string) ([]float32, error) { return ref.w[name], nil }
	err := llm.WriteCheckpoint(dir, c, safetensors.BF16, get, nil)
	if err != nil {
		t.Fatal(err)
	}
	checkpoint, err := llm.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { checkpoint.Close() })
	return checkpoint, ref
}

// checkBF16 compares the log-probabilities of a model in bfloat16 arithmetic with float64's.
func checkBF16(t *testing.T, name string, checkpoint *llm.Checkpoint, ref reference, all [][]int) {
	t.Helper()
	model, err := New(checkpoint, Options{Arithmetic: BF16})
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range kernel.Available() {
		m := model.withKernels(k)
		sum, most, n := 0.0, 0.0, 0
		for _, ids := range all {
			got, err := m.TokenLogProbs(ids)
			if err != nil {
				t.Fatal(err)
			}
			logits, _, _ := ref.logits(ids)
			for i, v := range got {
				total := 0.0
				for _, x := range logits[i] {
					total += math.Exp(x - logits[i][ids[i+1]])
				}
				d := math.Abs(v + math.Log(total))
				sum, most, n = sum+d, max(most, d), n+1
			}
		}
		if n == 0 {
			continue
		}
		t.Logf("%s, %s: %d tokens, mean %.4f, largest %.4f", name, k.Name(), n, sum/float64(n), most)
		if sum/float64(n) > meanBF16 || !(most <= maxBF16) {
			t.Errorf("%s, %s: log-probabilities differ by %.3g in the mean, %.3g at most", name, k.Name(), sum/float64(n), most)
		}
	}
}

func TestBF16AgainstReference(t *testing.T) {
	for name, c := range shapes() {
		random := rand.New(rand.NewPCG(8, 8))
		checkpoint, ref := inBF16(t, c, func(s llm.NamedShape) []float32 {
			if len(s.Shape) == 1 {
				return normal(random, s.Elements(), 1)
			}
			return normal(random, s.Elements(), 1/math.Sqrt(float64(s.Shape[1])))
		})
		checkBF16(t, name, checkpoint, ref, [][]int{randomIDs(random, 60, c.VocabSize), randomIDs(random, 9, c.VocabSize)})
	}
}

// TestGoldenBF16 computes the shared models, stored as bfloat16, on the token ids of their golden files.
func TestGoldenBF16(t *testing.T) {
	root := os.Getenv("D2NWG_SHARED")
	if root == "" {
		root = filepath.Join("..", "..", "..", "shared")
	}
	files, err := filepath.Glob(filepath.Join(root, "golden", "llama", "*.json"))
	if err != nil || len(files) == 0 {
		t.Skipf("no shared test data in %s; set D2NWG_SHARED to run this test", root)
	}
	for _, path := range files {
		name := strings.TrimSuffix(filepath.Base(path), ".json")
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
		var all [][]int
		for _, c := range golden.Cases {
			all = append(all, c.IDs)
		}
		original, err := llm.Open(filepath.Join(root, "models", name))
		if err != nil {
			t.Fatal(err)
		}
		checkpoint, ref := inBF16(t, original.Config, func(s llm.NamedShape) []float32 {
			values, err := original.Float32(s.Name)
			if err != nil {
				t.Fatal(err)
			}
			return values
		})
		checkBF16(t, name, checkpoint, ref, all)
		original.Close()
	}
}
