package lora

import (
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"d2nwg/llm"
	"d2nwg/safetensors"
)

// TestDescribe: ranks, alphas and scales are the config's, norms those of the whole matrices, with a base and without.
func TestDescribe(t *testing.T) {
	t.Parallel()
	base := newBase(t, tiny(), safetensors.F32, 7)
	tensors := join(linear(q1, 32, 24, 4, 1), linear(down1, 24, 40, 2, 3),
		map[string]tensor{keyPrefix + "model.norm.weight": {shape: []int{24}, values: normals(24, 1, 5)}})
	dir := folder(t, `{"peft_type":"LORA","r":4,"lora_alpha":8,"rank_pattern":{"down_proj":2},"target_modules":["q_proj","down_proj"],"modules_to_save":["model.norm"]}`, tensors)
	a, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	norm := func(values []float64) float64 { return math.Sqrt(dot(values, values)) }
	own := func(name string) []float64 {
		values, err := base.Float32(name)
		if err != nil {
			t.Fatal(err)
		}
		return wide(values)
	}
	moved := wide(tensors[keyPrefix+"model.norm.weight"].values)
	for i, x := range own("model.norm.weight") {
		moved[i] -= x
	}
	factors := func(module string, scale float64) float64 {
		return norm(effective(scale, tensors[keyPrefix+module+".lora_B.weight"], tensors[keyPrefix+module+".lora_A.weight"]))
	}
	want := []Module{
		{Tensor: q1 + ".weight", Kind: KindLowRank, Shape: []int{32, 24}, Rank: 4, Alpha: 8, Scale: 2},
		{Tensor: down1 + ".weight", Kind: KindLowRank, Shape: []int{24, 40}, Rank: 2, Alpha: 8, Scale: 4},
		{Tensor: "model.norm.weight", Kind: KindWhole, Shape: []int{24}},
	}
	norms := []float64{factors(q1, 2), factors(down1, 4), norm(moved)}
	for _, b := range []*llm.Checkpoint{nil, base} {
		got, err := a.Describe(b)
		if err != nil || len(got) != len(want) {
			t.Fatalf("%d modules, %v", len(got), err)
		}
		for i, m := range got {
			w := want[i]
			if m.Tensor != w.Tensor || m.Kind != w.Kind || !slices.Equal(m.Shape, w.Shape) || m.Rank != w.Rank || m.Alpha != w.Alpha || m.Scale != w.Scale {
				t.Errorf("%+v, want %+v", m, w)
			}
			if known := b != nil || m.Kind == KindLowRank; (m.Norm != nil) != known || known && math.Abs(*m.Norm-norms[i]) > 1e-6*norms[i] {
				t.Errorf("%s: norm %v, want %g", m.Tensor, m.Norm, norms[i])
			}
			if (m.Relative != nil) != (b != nil) || b != nil && math.Abs(*m.Relative-norms[i]/norm(own(m.Tensor))) > 1e-6**m.Relative {
				t.Errorf("%s: relative %v", m.Tensor, m.Relative)
			}
		}
	}
}

// TestAdapterIsMadePlain: an adapter of scales, patterns and an adapter's name in its keys becomes canonical without
// its base, and puts the same weights on it.
func TestAdapterIsMadePlain(t *testing.T) {
	t.Parallel()
	base := newBase(t, tiny(), safetensors.F32, 7)
	tensors := map[string]tensor{}
	for k, v := range join(linear(q0, 32, 24, 4, 1), linear(q1, 32, 24, 4, 2), linear(down1, 24, 40, 2, 3)) {
		tensors[strings.Replace(k, ".weight", ".name.weight", 1)] = v
	}
	tensors[keyPrefix+"model.norm.weight"] = tensor{shape: []int{24}, values: normals(24, 1, 5)}
	dir := folder(t, `{"peft_type":"LORA","r":4,"lora_alpha":3,"use_rslora":true,"rank_pattern":{".*[n]_proj":2},"target_modules":".*(q|down)_proj"}`, tensors)
	v, a, err := Open(base, dir)
	if err != nil {
		t.Fatal(err)
	}
	form, err := a.Canonical()
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "out")
	if err := form.Write(out, WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	config := readJSON(t, filepath.Join(out, configName))
	if config["use_rslora"] != false || config["lora_alpha"] != 4.0 || len(config["target_modules"].([]any)) != 2 {
		t.Errorf("config %v", config)
	}
	got, _, err := Open(base, out)
	if err != nil {
		t.Fatal(err)
	}
	onBase, err := CanonicalVariant(v)
	if err != nil {
		t.Fatal(err)
	}
	sameVariant(t, "with the base", got, onBase)
	for name := range v.LowRank {
		x, _ := v.Factors(name)
		y, _ := got.Factors(name)
		if d := apart(dense(y), dense(x)); d > 4e-7 {
			t.Errorf("%s: ΔW moved by %g", name, d)
		}
	}
}

// TestPlainNeedsABase: what isn't plain without one is refused by name, and becomes plain on it.
func TestPlainNeedsABase(t *testing.T) {
	t.Parallel()
	base := newBase(t, tiny(), safetensors.F32, 7)
	magnitude := map[string]tensor{keyPrefix + q1 + ".lora_magnitude_vector": {shape: []int{32}, values: normals(32, 1, 1)},
		keyPrefix + k1 + ".lora_magnitude_vector": {shape: []int{16}, values: normals(16, 1, 1)}}
	own := map[string]tensor{keyPrefix + q1 + ".base_layer.weight": {shape: []int{32, 24}, values: normals(32*24, 1, 1)}}
	factors := join(linear(q1, 32, 24, 4, 1), linear(k1, 16, 24, 4, 3))
	for name, c := range map[string]struct {
		options string
		tensors map[string]tensor
		want    string
		rest    int // low-rank updates left on the base
	}{
		"DoRA":         {`,"use_dora":true`, join(factors, magnitude), "use_dora", 0},
		"a base layer": {``, join(factors, own), "base", 1},
		"whole only":   {``, map[string]tensor{keyPrefix + "model.norm.weight": {shape: []int{24}, values: normals(24, 1, 1)}}, "no low-rank update", 0},
	} {
		dir := folder(t, `{"peft_type":"LORA","r":4,"lora_alpha":4,"target_modules":["q_proj","k_proj"]`+c.options+`}`, c.tensors)
		v, a, err := Open(base, dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := a.Write(filepath.Join(t.TempDir(), "x"), WriteOptions{}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v", name, err)
		}
		err = Write(filepath.Join(t.TempDir(), "x"), v, WriteOptions{})
		if (err == nil) != (c.rest > 0) || len(v.LowRank) != c.rest {
			t.Errorf("%s: %d low-rank updates on the base, %v", name, len(v.LowRank), err)
		}
	}
}

// TestLoad reads both forms, and says of other folders what they lack.
func TestLoad(t *testing.T) {
	t.Parallel()
	base := newBase(t, tiny(), safetensors.F32, 7)
	v := everyLinear(base, 2, 1)
	saved, adapter, empty := filepath.Join(t.TempDir(), "saved"), filepath.Join(t.TempDir(), "adapter"), t.TempDir()
	if err := v.Save(saved, "what it does"); err != nil {
		t.Fatal(err)
	}
	if err := Write(adapter, v, WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]string{saved: "what it does", adapter: ""} {
		got, description, err := Load(base, dir)
		if err != nil || description != want || !IsVariant(dir) {
			t.Fatalf("%s: %q, %v", dir, description, err)
		}
		sameVariant(t, dir, got, v)
	}
	if _, _, err := Load(base, empty); err == nil || !strings.Contains(err.Error(), "neither") || IsVariant(empty) {
		t.Errorf("error %v", err)
	}
}
