package lora

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"d2nwg/llm"
	"d2nwg/safetensors"
)

// tensor is one stored tensor of a hand-made adapter.
type tensor struct {
	shape  []int
	values []float32
	dtype  safetensors.DType // F32 where empty
}

// folder writes an adapter folder by hand: the config as text and tensors under the given keys.
func folder(t testing.TB, config string, tensors map[string]tensor) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, configName), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	var sources []safetensors.Source
	for name, x := range tensors {
		if x.dtype == "" {
			x.dtype = safetensors.F32
		}
		if x.dtype == "I32" {
			sources = append(sources, safetensors.Raw(name, x.dtype, x.shape, make([]byte, 4*len(x.values))))
			continue
		}
		sources = append(sources, safetensors.Floats(name, x.dtype, x.shape, x.values))
	}
	if err := safetensors.Write(filepath.Join(dir, weightsName), nil, sources); err != nil {
		t.Fatal(err)
	}
	return dir
}

// Names of the tiny model's modules.
const (
	q0    = "model.layers.0.self_attn.q_proj" // (32, 24)
	q1    = "model.layers.1.self_attn.q_proj"
	k1    = "model.layers.1.self_attn.k_proj" // (16, 24)
	down1 = "model.layers.1.mlp.down_proj"    // (24, 40)
)

// linear makes the keys of a module's factors.
func linear(module string, out, in, rank int, seed uint64) map[string]tensor {
	return map[string]tensor{
		keyPrefix + module + ".lora_A.weight": {shape: []int{rank, in}, values: normals(rank*in, 0.3, seed)},
		keyPrefix + module + ".lora_B.weight": {shape: []int{out, rank}, values: normals(out*rank, 0.3, seed+1)},
	}
}

func join(parts ...map[string]tensor) map[string]tensor {
	out := map[string]tensor{}
	for _, p := range parts {
		for k, v := range p {
			out[k] = v
		}
	}
	return out
}

// effective is s·B·A in float64, from stored factors.
func effective(scale float64, b, a tensor) []float64 {
	out, rank, in := b.shape[0], b.shape[1], a.shape[1]
	w := make([]float64, out*in)
	for i := range out {
		for j := range in {
			for k := range rank {
				w[i*in+j] += scale * float64(b.values[i*rank+k]) * float64(a.values[k*in+j])
			}
		}
	}
	return w
}

// checkWeights requires the variant's tensor to be the base's plus delta.
func checkWeights(t *testing.T, v *llm.Variant, name string, delta []float64) {
	t.Helper()
	base, err := v.Base.Float32(name)
	if err != nil {
		t.Fatal(err)
	}
	got, err := v.Weights(name)
	if err != nil {
		t.Fatal(err)
	}
	for i := range got {
		if want := float64(base[i]) + delta[i]; math.Abs(float64(got[i])-want) > 1e-6*(1+math.Abs(want)) {
			t.Fatalf("%s: element %d is %v, want %v", name, i, got[i], want)
		}
	}
}

// TestScales holds the effective weights against W + s·B·A with PEFT's rules for s, rank and alpha of each module.
func TestScales(t *testing.T) {
	t.Parallel()
	base := newBase(t, tiny(), safetensors.F32, 7)
	cases := []struct {
		options string
		q1, k1  float64 // scales
		rankK   int
	}{
		{`"lora_alpha":16`, 4, 4, 4},
		{`"lora_alpha":6`, 1.5, 1.5, 4},
		{`"lora_alpha":6,"use_rslora":true`, 3, 3, 4},
		{`"lora_alpha":8,"rank_pattern":{"k_proj":2}`, 2, 4, 2},
		{`"lora_alpha":8,"rank_pattern":{"k_proj":9,"layers.1.self_attn.k_proj":2},"alpha_pattern":{"v_proj":3,"k_proj":5}`, 2, 5.0 / 9, 9},
		{`"lora_alpha":8,"rank_pattern":{"layers.1.self_attn.k_proj":2,"k_proj":9},"alpha_pattern":{"k_proj":5}`, 2, 2.5, 2},
		{`"lora_alpha":8,"alpha_pattern":{"^model\\.layers\\.1\\.self_attn\\.[qk]_proj":2}`, 0.5, 0.5, 4},
		{`"lora_alpha":8,"alpha_pattern":{"layers.1.self_attn":2,"_proj":1,"q_pro":1}`, 2, 2, 4},
		{`"lora_alpha":8,"alpha_pattern":{"(?<!q_)k_proj":2,"(?!k_)._proj":1}`, 0.25, 0.5, 4},
		{`"lora_alpha":8,"use_rslora":true,"rank_pattern":{".*k_proj":9},"alpha_pattern":{"model.layers.1.self_attn.k_proj":6}`, 4, 2, 9},
	}
	for _, c := range cases {
		tensors := join(linear(q1, 32, 24, 4, 1), linear(k1, 16, 24, c.rankK, 3))
		dir := folder(t, `{"peft_type":"LORA","r":4,"target_modules":["q_proj","k_proj"],`+c.options+`}`, tensors)
		v, a, err := Open(base, dir)
		if err != nil {
			t.Errorf("%s: %v", c.options, err)
			continue
		}
		for module, scale := range map[string]float64{q1: c.q1, k1: c.k1} {
			key := keyPrefix + module
			checkWeights(t, v, module+".weight", effective(scale, tensors[key+".lora_B.weight"], tensors[key+".lora_A.weight"]))
		}
		if missing, err := a.Missing(base); err != nil || !slices.Equal(missing, []string{"model.layers.0.self_attn.q_proj", "model.layers.0.self_attn.k_proj"}) {
			t.Errorf("missing %v, %v", missing, err)
		}
	}
}

// TestTargets: which modules a config targets, case by case after PEFT's check_target_module_exists.
func TestTargets(t *testing.T) {
	t.Parallel()
	cases := []struct {
		options string
		yes, no []string
	}{
		{`"target_modules":["q_proj"]`, []string{q0, q1}, []string{k1, down1}},
		{`"target_modules":["proj"]`, nil, []string{q0, k1}},
		{`"target_modules":["self_attn.q_proj","model.layers.1.mlp.down_proj","lm_head"]`, []string{q0, down1, headModule}, []string{"model.layers.0.mlp.down_proj"}},
		{`"target_modules":null`, []string{q0, "model.layers.0.self_attn.v_proj"}, []string{k1, down1}},
		{`"lora_alpha":1`, []string{q0}, []string{k1}},
		{`"target_modules":"all-linear"`, []string{q0, k1, down1}, []string{headModule, embedModule}},
		{`"target_modules":"All-Linear","exclude_modules":["k_proj"]`, []string{q0, down1}, []string{k1}},
		{`"target_modules":".*[qk]_proj"`, []string{q0, k1}, []string{down1}},
		{`"target_modules":"[qk]_proj"`, nil, []string{q0, k1}},
		{`"target_modules":"(?!.*layers\\.0).*_proj"`, []string{q1, k1}, []string{q0}},
		{`"target_modules":"q_proj|model\\.layers\\.\\d+\\.self_attn\\.k_proj"`, []string{k1}, []string{q0}},
		{`"target_modules":["q_proj"],"layers_to_transform":[1]`, []string{q1}, []string{q0}},
		{`"target_modules":["q_proj"],"layers_to_transform":0`, []string{q0}, []string{q1}},
		{`"target_modules":["q_proj"],"layers_to_transform":[]`, []string{q0, q1}, nil},
		{`"target_modules":["q_proj"],"layers_to_transform":[1],"layers_pattern":"layers"`, []string{q1}, []string{q0}},
		{`"target_modules":["q_proj"],"layers_to_transform":[1],"layers_pattern":["h","blocks"]`, nil, []string{q0, q1}},
		{`"target_modules":["q_proj","model.layers.0.self_attn.q_proj"],"layers_to_transform":[1]`, []string{q0, q1}, nil},
		{`"target_modules":["q_proj","k_proj"],"exclude_modules":".*layers.1.*"`, []string{q0}, []string{q1, k1}},
		{`"target_modules":["q_proj","lm_head"],"modules_to_save":["lm_head"]`, []string{q0}, []string{headModule}},
		{`"target_modules":["q_proj","down_proj"],"modules_to_save":["mlp"]`, []string{q0}, []string{down1}},
		{`"target_modules":["embed_tokens"]`, []string{embedModule}, []string{q0}},
	}
	for _, c := range cases {
		config, err := parseConfig([]byte(`{"peft_type":"LORA",` + c.options + `}`))
		if err != nil {
			t.Errorf("%s: %v", c.options, err)
			continue
		}
		for _, modules := range []struct {
			names []string
			want  bool
		}{{c.yes, true}, {c.no, false}} {
			for _, m := range modules.names {
				if got, err := config.targets.match(m); err != nil || got != modules.want {
					t.Errorf("%s: %s is %v, want %v; %v", c.options, m, got, modules.want, err)
				}
			}
		}
	}
}

// TestOddKeys: one adapter under every spelling of its keys.
func TestOddKeys(t *testing.T) {
	t.Parallel()
	base := newBase(t, tiny(), safetensors.F32, 7)
	plain := join(linear(q1, 32, 24, 4, 1), linear(down1, 24, 40, 4, 3), map[string]tensor{
		"base_model.model.model.norm.weight":                 {shape: []int{24}, values: normals(24, 1, 5)},
		"base_model.model.lm_head.weight":                    {shape: []int{37, 24}, values: normals(37*24, 1, 6)},
		"base_model.model.model.embed_tokens.weight":         {shape: []int{37, 24}, values: normals(37*24, 1, 7)},
		"base_model.model.model.layers.0.mlp.up_proj.weight": {shape: []int{40, 24}, values: normals(40*24, 1, 8)},
	})
	const config = `{"peft_type":"LORA","r":4,"lora_alpha":4,"target_modules":["q_proj","down_proj"],"modules_to_save":["model.norm","lm_head","embed_tokens","0.mlp.up_proj"]}`
	want, _, err := Open(base, folder(t, config, plain))
	if err != nil {
		t.Fatal(err)
	}
	if len(want.LowRank) != 2 || len(want.Replace) != 4 {
		t.Fatalf("%d low-rank, %d replaced", len(want.LowRank), len(want.Replace))
	}
	for name, respell := range map[string]func(string) string{
		"the adapter's name": func(k string) string {
			return strings.NewReplacer("lora_A", "lora_A.default", "lora_B", "lora_B.default").Replace(k)
		},
		"no prefix":            func(k string) string { return strings.TrimPrefix(k, keyPrefix) },
		"a model without head": func(k string) string { return strings.Replace(k, "model.model.model.", "model.model.", 1) },
		"a wrapper": func(k string) string {
			return strings.Replace(k, "norm.weight", "norm.modules_to_save.default.weight", 1)
		},
		"an older wrapper": func(k string) string {
			return strings.Replace(k, "lm_head.weight", "lm_head.modules_to_save.weight", 1)
		},
		"a base layer": func(k string) string {
			return strings.Replace(k, "embed_tokens.weight", "embed_tokens.base_layer.weight", 1)
		},
	} {
		spelt := map[string]tensor{}
		for k, v := range plain {
			spelt[respell(k)] = v
		}
		got, _, err := Open(base, folder(t, config, spelt))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		sameVariant(t, name, got, want)
	}
}

// sameVariant requires the same values, bit for bit.
func sameVariant(t *testing.T, what string, got, want *llm.Variant) {
	t.Helper()
	if !slices.Equal(got.Names(), want.Names()) {
		t.Errorf("%s: names %v, want %v", what, got.Names(), want.Names())
		return
	}
	for _, name := range want.Names() {
		g, _ := got.Factors(name)
		w, _ := want.Factors(name)
		if g.Rank != w.Rank || !slices.Equal(g.A, w.A) || !slices.Equal(g.B, w.B) || !slices.Equal(got.Replace[name], want.Replace[name]) {
			t.Errorf("%s: tensor %s differs", what, name)
		}
	}
}

// TestWrittenIsRead: what Write stores is read with the same bits, in every form of a variant.
func TestWrittenIsRead(t *testing.T) {
	t.Parallel()
	biased := tiny()
	biased.AttentionBias, biased.MLPBias = true, true
	tied := tiny()
	tied.TieWordEmbeddings = true
	for i, cfg := range []llm.Config{tiny(), biased, tied} {
		base := newBase(t, cfg, safetensors.BF16, 7)
		v := everyLinear(base, 3, 1)
		v.LowRank[down1+".weight"] = lowRank(24, 40, 5, 77)
		v.LowRank[q0+".weight"] = lowRank(32, 24, 5, 78)
		v.LowRank[q1+".weight"] = lowRank(32, 24, 5, 79)
		v.LowRank[llm.EmbedName] = lowRank(37, 24, 2, 80)
		delete(v.LowRank, k1+".weight")
		v.Replace["model.norm.weight"] = normals(24, 1, 81)
		v.Replace["model.layers.1.input_layernorm.weight"] = normals(24, 1, 82)
		want := v
		if cfg.AttentionBias { // a replaced bias brings its weight along
			bias := "model.layers.1.self_attn.k_proj.bias"
			v.Replace[bias] = normals(16, 1, 83)
		}
		if cfg.TieWordEmbeddings {
			delete(v.LowRank, llm.EmbedName)
			v.Replace[llm.EmbedName] = normals(37*24, 1, 84)
		}
		for _, alpha := range []float64{0, 8} {
			dir := filepath.Join(t.TempDir(), fmt.Sprint("adapter", i, alpha))
			if err := Write(dir, v, WriteOptions{Alpha: alpha}); err != nil {
				t.Fatal(err)
			}
			got, a, err := Open(base, dir)
			if err != nil {
				t.Fatal(err)
			}
			if missing, err := a.Missing(base); err != nil || len(missing) > 0 {
				t.Errorf("missing %v, %v", missing, err)
			}
			if alpha == 0 {
				sameVariant(t, fmt.Sprint(cfg.AttentionBias, cfg.TieWordEmbeddings), got, want)
				continue
			}
			for name, w := range want.LowRank {
				g := got.LowRank[name]
				for j := range w.B {
					if math.Abs(float64(g.B[j]-w.B[j])) > 1e-6 || g.A[0] != w.A[0] && name != llm.EmbedName {
						t.Fatalf("%s differs with an alpha", name)
					}
				}
			}
		}
	}
}

// TestMissingFiles: what lacks is named, a pickle refused.
func TestMissingFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, err := Read(dir); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), configName) {
		t.Errorf("error %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, configName), []byte(`{"peft_type":"LORA"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(dir); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), weightsName) {
		t.Errorf("error %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, pickleName), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(dir); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), pickleName) || !strings.Contains(err.Error(), "save_pretrained") {
		t.Errorf("error %v", err)
	}
}
