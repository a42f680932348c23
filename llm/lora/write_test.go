package lora

import (
	"encoding/json"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"d2nwg/llm"
	"d2nwg/safetensors"
)

func tiny() llm.Config {
	return llm.Config{VocabSize: 37, HiddenSize: 24, IntermediateSize: 40, Layers: 2, Heads: 4, KVHeads: 2, HeadDim: 8, MaxPositions: 64,
		RMSNormEps: 1e-5, RopeTheta: 10000, BOS: 1, EOS: []int{2}}
}

// newBase writes a random checkpoint and opens it.
func newBase(t testing.TB, cfg llm.Config, dt safetensors.DType, seed uint64) *llm.Checkpoint {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "base")
	if err := llm.RandomCheckpoint(dir, cfg, dt, 0, seed); err != nil {
		t.Fatal(err)
	}
	return openBase(t, dir)
}

func openBase(t testing.TB, dir string) *llm.Checkpoint {
	t.Helper()
	c, err := llm.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// normals draws n normal numbers.
func normals(n int, std float64, seed uint64) []float32 {
	r := rand.New(rand.NewPCG(seed, 1))
	out := make([]float32, n)
	for i := range out {
		out[i] = float32(std * r.NormFloat64())
	}
	return out
}

// lowRank draws factors.
func lowRank(out, in, rank int, seed uint64) llm.LowRank {
	return llm.LowRank{Rank: rank, A: normals(rank*in, 0.3, seed), B: normals(out*rank, 0.3, seed+1000)}
}

// everyLinear is a variant that updates every linear module of the layers.
func everyLinear(base *llm.Checkpoint, rank int, seed uint64) *llm.Variant {
	v := &llm.Variant{Base: base, Replace: map[string][]float32{}, LowRank: map[string]llm.LowRank{}}
	for _, s := range base.Config.TensorShapes() {
		if s.Layer >= 0 && len(s.Shape) == 2 {
			seed++
			v.LowRank[s.Name] = lowRank(s.Shape[0], s.Shape[1], rank, seed)
		}
	}
	return v
}

func readJSON(t testing.TB, path string) map[string]any {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var out map[string]any
	if err := json.Unmarshal(data, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestWriteHasPEFTsForm holds the files against what PEFT's save_pretrained makes of the same adapter.
func TestWriteHasPEFTsForm(t *testing.T) {
	t.Parallel()
	base := newBase(t, tiny(), safetensors.F32, 7)
	v := everyLinear(base, 4, 1)
	down := "model.layers.1.mlp.down_proj.weight"
	v.LowRank[down] = lowRank(24, 40, 2, 99)
	delete(v.LowRank, "model.layers.0.self_attn.k_proj.weight")
	v.Replace["model.norm.weight"] = normals(24, 1, 5)
	dir := filepath.Join(t.TempDir(), "adapter")
	if err := Write(dir, v, WriteOptions{Base: "org/base", Extra: map[string][]byte{"README.md": []byte("hello")}}); err != nil {
		t.Fatal(err)
	}
	const config = `{
  "alpha_pattern": {
    "model.layers.1.mlp.down_proj": 2
  },
  "auto_mapping": null,
  "base_model_name_or_path": "org/base",
  "bias": "none",
  "fan_in_fan_out": false,
  "inference_mode": true,
  "init_lora_weights": true,
  "layers_pattern": null,
  "layers_to_transform": null,
  "lora_alpha": 4,
  "lora_dropout": 0,
  "modules_to_save": [
    "model.norm"
  ],
  "peft_type": "LORA",
  "r": 4,
  "rank_pattern": {
    "model.layers.1.mlp.down_proj": 2
  },
  "revision": null,
  "target_modules": [
    "down_proj",
    "gate_proj",
    "model.layers.1.self_attn.k_proj",
    "o_proj",
    "q_proj",
    "up_proj",
    "v_proj"
  ],
  "task_type": "CAUSAL_LM",
  "use_dora": false,
  "use_rslora": false
}`
	if got, err := os.ReadFile(filepath.Join(dir, configName)); err != nil || string(got) != config {
		t.Errorf("%s is\n%s\nwant\n%s\n%v", configName, got, config, err)
	}
	f, err := safetensors.Open(filepath.Join(dir, weightsName))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if got := f.Metadata(); !maps.Equal(got, map[string]string{"format": "pt"}) {
		t.Errorf("metadata %v", got)
	}
	var names []string
	for _, info := range f.Tensors() {
		names = append(names, info.Name)
	}
	if !slices.IsSorted(names) || len(names) != 2*13+1 {
		t.Errorf("%d names, sorted %v", len(names), slices.IsSorted(names))
	}
	for name, shape := range map[string][]int{
		"base_model.model.model.layers.0.self_attn.v_proj.lora_A.weight": {4, 24},
		"base_model.model.model.layers.0.self_attn.v_proj.lora_B.weight": {16, 4},
		"base_model.model.model.layers.1.mlp.down_proj.lora_A.weight":    {2, 40},
		"base_model.model.model.norm.weight":                             {24},
	} {
		if info, ok := f.Info(name); !ok || !slices.Equal(info.Shape, shape) || info.DType != safetensors.F32 {
			t.Errorf("%s: %v %v", name, ok, info)
		}
	}
	for folder, want := range map[string]int{dir: 3, filepath.Dir(dir): 1} {
		if entries, err := os.ReadDir(folder); err != nil || len(entries) != want {
			t.Errorf("%s holds %v, %v", folder, entries, err)
		}
	}
	if got, err := os.ReadFile(filepath.Join(dir, "README.md")); err != nil || string(got) != "hello" {
		t.Errorf("README.md is %q, %v", got, err)
	}
}

func TestWriteRefuses(t *testing.T) {
	t.Parallel()
	biased := tiny()
	biased.AttentionBias = true
	tied := tiny()
	tied.TieWordEmbeddings = true
	base := newBase(t, biased, safetensors.F32, 7)
	q, bias := "model.layers.0.self_attn.q_proj.weight", "model.layers.0.self_attn.q_proj.bias"
	poisoned := lowRank(32, 24, 2, 1)
	poisoned.B[3] = float32(math.Inf(1))
	large := lowRank(32, 24, 2, 1)
	large.A[5] = 1e6
	variant := func(replace map[string][]float32, lr map[string]llm.LowRank) *llm.Variant {
		return &llm.Variant{Base: base, Replace: replace, LowRank: lr}
	}
	cases := map[string]struct {
		v    *llm.Variant
		opt  WriteOptions
		want string
	}{
		"no low-rank update": {variant(map[string][]float32{"model.norm.weight": normals(24, 1, 1)}, nil), WriteOptions{}, "no low-rank update"},
		"a bias beside an update": {variant(map[string][]float32{bias: normals(32, 1, 1)}, map[string]llm.LowRank{q: lowRank(32, 24, 2, 1)}),
			WriteOptions{}, bias},
		"an infinite value":     {variant(nil, map[string]llm.LowRank{q: poisoned}), WriteOptions{}, "q_proj.lora_B.weight"},
		"a value beyond F16":    {variant(nil, map[string]llm.LowRank{q: large}), WriteOptions{DType: safetensors.F16}, "q_proj.lora_A.weight"},
		"an integer dtype":      {variant(nil, map[string]llm.LowRank{q: large}), WriteOptions{DType: "I32"}, "I32"},
		"a negative alpha":      {variant(nil, map[string]llm.LowRank{q: large}), WriteOptions{Alpha: -1}, "alpha"},
		"a name of its own":     {variant(nil, map[string]llm.LowRank{q: large}), WriteOptions{Extra: map[string][]byte{configName: nil}}, configName},
		"a path":                {variant(nil, map[string]llm.LowRank{q: large}), WriteOptions{Extra: map[string][]byte{"../x": nil}}, "../x"},
		"no tensor of the base": {variant(nil, map[string]llm.LowRank{"model.x.weight": large}), WriteOptions{}, "model.x.weight"},
		"the head of a tied one": {&llm.Variant{Base: newBase(t, tied, safetensors.F32, 7), LowRank: map[string]llm.LowRank{llm.LMHeadName: lowRank(37, 24, 2, 1)}},
			WriteOptions{}, llm.LMHeadName},
	}
	for name, c := range cases {
		dir := filepath.Join(t.TempDir(), "adapter")
		err := Write(dir, c.v, c.opt)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", name, err, c.want)
		}
		if left, _ := filepath.Glob(filepath.Join(filepath.Dir(dir), "*")); len(left) > 0 {
			t.Errorf("%s: left behind %v", name, left)
		}
	}
}

func TestWriteReplacesOnlyWithForce(t *testing.T) {
	t.Parallel()
	base := newBase(t, tiny(), safetensors.F32, 7)
	dir := filepath.Join(t.TempDir(), "adapter")
	for _, force := range []bool{false, true} {
		if err := Write(dir, everyLinear(base, 2, 1), WriteOptions{Force: force}); err != nil {
			t.Fatal(err)
		}
		if err := Write(dir, everyLinear(base, 2, 1), WriteOptions{}); err == nil || !strings.Contains(err.Error(), "--force") {
			t.Errorf("error %v", err)
		}
	}
}
