package lora

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"d2nwg/safetensors"
)

// TestHostileAdapters: whatever doesn't fit is refused with one line that names the file and the tensor or option.
func TestHostileAdapters(t *testing.T) {
	t.Parallel()
	base := newBase(t, tiny(), safetensors.F32, 7)
	a, b := keyPrefix+q1+".lora_A.weight", keyPrefix+q1+".lora_B.weight"
	good := func() map[string]tensor { return linear(q1, 32, 24, 4, 1) }
	with := func(name string, x tensor) map[string]tensor { return join(good(), map[string]tensor{name: x}) }
	without := func(name string) map[string]tensor {
		m := good()
		delete(m, name)
		return m
	}
	poison := func(name string, at int, x float32) map[string]tensor {
		m := good()
		m[name].values[at] = x
		return m
	}
	shaped := func(shape ...int) tensor {
		n := 1
		for _, d := range shape {
			n *= d
		}
		return tensor{shape: shape, values: normals(n, 1, 1)}
	}
	const config = `{"peft_type":"LORA","r":4,"lora_alpha":8,"target_modules":["q_proj"]`
	for name, c := range map[string]struct {
		options string
		tensors map[string]tensor
		want    []string
	}{
		"A alone":                     {``, without(b), []string{a, "counterpart"}},
		"B alone":                     {``, without(a), []string{b, "counterpart"}},
		"a magnitude alone":           {`,"use_dora":true`, map[string]tensor{keyPrefix + q1 + ".lora_magnitude_vector": shaped(32)}, []string{"lora_magnitude_vector", "counterpart"}},
		"a NaN":                       {``, poison(b, 5, float32(math.NaN())), []string{b, "element 5"}},
		"an infinite value":           {``, poison(a, 3, float32(math.Inf(-1))), []string{a, "element 3"}},
		"an overflow by the scale":    {`,"alpha_pattern":{"q_proj":1e30}`, poison(b, 7, 1e20), []string{b, "element 7"}},
		"another rank":                {`,"rank_pattern":{"q_proj":3}`, good(), []string{a, "[4 24]", "rank 3"}},
		"another rank of B":           {``, with(b, shaped(32, 3)), []string{b, "[32 3]", "rank 4"}},
		"A of three dimensions":       {``, with(a, shaped(4, 24, 1)), []string{a, "[4 24 1]"}},
		"A of none":                   {``, with(a, shaped()), []string{a, "[]"}},
		"an empty A":                  {``, with(a, shaped(4, 0)), []string{q1, "[32 0]"}},
		"another width":               {``, with(a, shaped(4, 25)), []string{q1, "[32 25]", "[32 24]"}},
		"another height":              {``, with(b, shaped(31, 4)), []string{q1, "[31 24]", "[32 24]"}},
		"integers":                    {``, with(a, tensor{shape: []int{4, 24}, values: make([]float32, 96), dtype: "I32"}), []string{a, "I32"}},
		"a layer too many":            {``, linear("model.layers.2.self_attn.q_proj", 32, 24, 4, 1), []string{"model.layers.2.self_attn.q_proj"}},
		"a layer of a leading zero":   {``, linear("model.layers.01.self_attn.q_proj", 32, 24, 4, 1), []string{"layers.01"}},
		"an unknown module":           {``, linear("model.layers.0.self_attn.c_attn", 32, 24, 4, 1), []string{"c_attn.lora_"}},
		"an unknown tensor":           {``, with(keyPrefix+"score.weight", shaped(2, 24)), []string{"score.weight"}},
		"an unknown part":             {``, with(keyPrefix+q1+".lora_diag", shaped(4)), []string{"lora_diag"}},
		"a bias of A":                 {``, with(keyPrefix+q1+".lora_A.bias", shaped(4)), []string{"lora_A.bias"}},
		"two adapters":                {``, join(good(), map[string]tensor{keyPrefix + k1 + ".lora_A.x.weight": shaped(4, 24), keyPrefix + k1 + ".lora_B.y.weight": shaped(16, 4)}), []string{`"x"`, `"y"`}},
		"a tensor twice":              {``, with(strings.Replace(a, "lora_A", "lora_A.default", 1), shaped(4, 24)), []string{"lora_A.default", "twice"}},
		"a whole tensor twice":        {``, join(good(), map[string]tensor{keyPrefix + "model.norm.weight": shaped(24), keyPrefix + "norm.weight": shaped(24)}), []string{"norm.weight", "twice"}},
		"no target":                   {``, linear(k1, 16, 24, 4, 1), []string{k1, "target_modules"}},
		"a module whole and updated":  {``, with(keyPrefix+q1+".weight", shaped(32, 24)), []string{q1 + ".weight", "whole"}},
		"an embedding as a matrix":    {`,"rank_pattern":{"x":1}`, linear(embedModule, 37, 24, 4, 1), []string{"lora_embedding_A"}},
		"a matrix as an embedding":    {``, map[string]tensor{keyPrefix + q1 + ".lora_embedding_A": shaped(4, 32), keyPrefix + q1 + ".lora_embedding_B": shaped(24, 4)}, []string{"lora_embedding_"}},
		"a norm as a matrix":          {``, linear("model.norm", 24, 1, 4, 1), []string{"model.norm"}},
		"magnitudes without use_dora": {``, with(keyPrefix+q1+".lora_magnitude_vector", shaped(32)), []string{"lora_magnitude_vector", "use_dora"}},
		"use_dora without magnitudes": {`,"use_dora":true`, good(), []string{q1, "use_dora"}},
		"too few magnitudes":          {`,"use_dora":true`, with(keyPrefix+q1+".lora_magnitude_vector", shaped(31)), []string{"lora_magnitude_vector", "[31]", "[32]"}},
		"lora_bias without a bias":    {`,"lora_bias":true`, good(), []string{q1, "lora_bias"}},
		"a bias without lora_bias":    {``, with(keyPrefix+q1+".lora_B.bias", shaped(32)), []string{"lora_B.bias", "lora_bias"}},
		"a bias the base lacks":       {`,"lora_bias":true`, with(keyPrefix+q1+".lora_B.bias", shaped(32)), []string{q1, "has a bias"}},
		"a resized vocabulary":        {``, with(keyPrefix+"model.embed_tokens.weight", shaped(40, 24)), []string{"embed_tokens.weight", "resized"}},
		"another norm":                {``, with(keyPrefix+"model.norm.weight", shaped(23)), []string{"model.norm.weight", "[23]", "[24]"}},
		"a saved module that lacks":   {`,"modules_to_save":["norm"]`, with(keyPrefix+"model.norm.weight", shaped(24)), []string{"modules_to_save", "input_layernorm"}},
		"random factors":              {`,"init_lora_weights":false`, good(), []string{"model.layers.0.self_attn.q_proj", "random"}},
		"a zero norm": {`,"use_dora":true`, map[string]tensor{a: shaped(4, 24), b: {shape: []int{32, 4}, values: make([]float32, 128)},
			keyPrefix + q1 + ".base_layer.weight": {shape: []int{32, 24}, values: make([]float32, 32*24)}, keyPrefix + q1 + ".lora_magnitude_vector": shaped(32)},
			[]string{q1, "norm 0"}},
		"a vanishing scale": {`,"use_dora":true,"alpha_pattern":{"q_proj":1e-300}`, with(keyPrefix+q1+".lora_magnitude_vector", shaped(32)), nil},
	} {
		dir := folder(t, config+c.options+`}`, c.tensors)
		_, _, err := Open(base, dir)
		if c.want == nil { // hostile, and yet well-defined
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		checkRefused(t, name, dir, err, c.want...)
	}
}

func checkRefused(t *testing.T, name, dir string, err error, want ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("%s: no error", name)
		return
	}
	if !errors.Is(err, safetensors.ErrFormat) || strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), dir) {
		t.Errorf("%s: error %v", name, err)
	}
	for _, w := range want {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%s: error %v lacks %q", name, err, w)
		}
	}
}

// TestConfigOptions: options that change the meaning are refused by name, the others accepted.
func TestConfigOptions(t *testing.T) {
	t.Parallel()
	for option, want := range map[string]string{
		`"peft_type":"LOHA"`:                        "LOHA",
		`"peft_type":null`:                          "peft_type",
		`"peft_type":7`:                             "peft_type",
		`"r":0`:                                     "r is 0",
		`"r":-3`:                                    "r is -3",
		`"r":"x"`:                                   "r is",
		`"r":1e300`:                                 "r is",
		`"lora_alpha":"16"`:                         "lora_alpha",
		`"rank_pattern":{"q_proj":0}`:               "rank_pattern",
		`"rank_pattern":{"q_proj":2.5}`:             "rank_pattern",
		`"rank_pattern":[1]`:                        "rank_pattern",
		`"alpha_pattern":{"q_proj":"x"}`:            "alpha_pattern",
		`"alpha_pattern":{"(":1}`:                   "alpha_pattern",
		`"target_modules":"("`:                      "target_modules",
		`"target_modules":[1]`:                      "target_modules",
		`"exclude_modules":"*"`:                     "exclude_modules",
		`"modules_to_save":["("]`:                   "modules_to_save",
		`"layers_to_transform":"x"`:                 "layers_to_transform",
		`"layers_to_transform":[0.5]`:               "layers_to_transform",
		`"layers_pattern":"("`:                      "layers_pattern",
		`"init_lora_weights":"pissa"`:               "path_initial_model_for_weight_conversion",
		`"init_lora_weights":"pissa_niter_16"`:      "pissa_niter_16",
		`"init_lora_weights":"OLoRA"`:               "olora",
		`"init_lora_weights":"corda"`:               "corda",
		`"init_lora_weights":"loftq"`:               "loftq",
		`"init_lora_weights":"lora_ga"`:             "lora_ga",
		`"init_lora_weights":"novelty"`:             "novelty",
		`"layer_replication":[[0,2],[1,2]]`:         "layer_replication",
		`"target_parameters":["x"]`:                 "target_parameters",
		`"trainable_token_indices":[1]`:             "trainable_token_indices",
		`"trainable_token_indices":{"lm_head":[1]}`: "trainable_token_indices",
		`"alora_invocation_tokens":[1]`:             "alora_invocation_tokens",
		`"use_qalora":true`:                         "use_qalora",
		`"use_bdlora":{"nblocks":2}`:                "use_bdlora",
		`"arrow_config":{"top_k":3}`:                "arrow_config",
		`"kasa_config":{"beta":1}`:                  "kasa_config",
		`"monteclora_config":{"num_samples":1}`:     "monteclora_config",
		`"megatron_config":{"x":1}`:                 "megatron_config",
		`"an_option_of_the_future":true`:            "an_option_of_the_future",
		`"use_dora":"yes"`:                          "use_dora",
	} {
		_, err := parseConfig([]byte(`{"peft_type":"LORA",` + option + `}`))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v", option, err)
		}
	}
	for _, option := range []string{
		`"task_type":"CAUSAL_LM","auto_mapping":null,"inference_mode":true,"lora_dropout":0.05,"peft_version":"0.18.0"`,
		`"fan_in_fan_out":true,"bias":"all","megatron_core":"megatron.core","qalora_group_size":16,"use_qalora":false`,
		`"init_lora_weights":"gaussian"`, `"init_lora_weights":"eva","eva_config":{"rho":2}`, `"init_lora_weights":"orthogonal"`,
		`"init_lora_weights":true,"corda_config":null,"loftq_config":{},"velora_config":{"num_groups":64}`,
		`"layer_replication":null,"trainable_token_indices":null,"target_parameters":[],"enable_lora":null,"merge_weights":false`,
		`"an_option_of_the_future":null,"another":{}`, `"lora_alpha":16.5`, `"rank_pattern":{},"alpha_pattern":null`,
		`"base_model_name_or_path":"x","revision":"main"`,
	} {
		if _, err := parseConfig([]byte(`{"peft_type":"LORA",` + option + `}`)); err != nil {
			t.Errorf("%s: %v", option, err)
		}
	}
	for _, data := range []string{``, `[]`, `null`, `{`, `{"peft_type":"LORA"} x`} {
		if _, err := parseConfig([]byte(data)); err == nil {
			t.Errorf("%q: no error", data)
		}
	}
}

// TestHostileFiles: broken files are format errors.
func TestHostileFiles(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ file, data string }{
		"a config of text":     {configName, "x"},
		"a config too large":   {configName, `{"peft_type":"LORA","x":"` + strings.Repeat("a", maxConfigBytes) + `"}`},
		"weights of text":      {weightsName, "x"},
		"weights without data": {weightsName, ""},
	} {
		dir := folder(t, `{"peft_type":"LORA"}`, linear(q1, 32, 24, 8, 1))
		if err := os.WriteFile(filepath.Join(dir, c.file), []byte(c.data), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Read(dir)
		checkRefused(t, name, dir, err, c.file)
	}
}

// TestPatternsEnd: a pattern that backtracks without end is an error in bounded time, and so are too many patterns.
func TestPatternsEnd(t *testing.T) {
	t.Parallel()
	config, err := parseConfig([]byte(`{"peft_type":"LORA","target_modules":"(?!x)((a|b|ab)+)+c\\2"}`))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := config.targets.match(strings.Repeat("ab", 30) + "cd"); err == nil || !strings.Contains(err.Error(), "too long") {
		t.Errorf("error %v", err)
	}
	names := `[` + strings.Repeat(`"x",`, maxPatterns) + `"y"]`
	for option, value := range map[string]string{"rank_pattern": `{` + strings.Repeat(`"x":1,`, maxPatterns) + `"y":1}`, "modules_to_save": names, "layers_pattern": names} {
		if _, err := parseConfig([]byte(`{"peft_type":"LORA","` + option + `":` + value + `}`)); err == nil || !strings.Contains(err.Error(), option) {
			t.Errorf("%s: error %v", option, err)
		}
	}
}

func FuzzConfig(f *testing.F) {
	f.Add([]byte(`{"peft_type":"LORA","r":4,"rank_pattern":{"q_proj":2},"target_modules":["q_proj"],"layers_to_transform":[1]}`))
	f.Add([]byte(`{"peft_type":"LORA","target_modules":"all-linear","exclude_modules":"(?!a)b","init_lora_weights":"eva"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		config, err := parseConfig(data)
		if err != nil {
			return
		}
		if rank, _, _, err := config.scaleOf(q1); err == nil && rank < 1 {
			t.Errorf("rank %d", rank)
		}
		_, _ = config.targets.match(q1)
	})
}

func FuzzKey(f *testing.F) {
	for _, k := range []string{keyPrefix + q1 + ".lora_A.weight", "lm_head.modules_to_save.default.weight", "a.lora_embedding_B", "lora_A.lora_B.bias"} {
		f.Add(k)
	}
	f.Fuzz(func(t *testing.T, name string) {
		k, err := parseKey(name)
		if err == nil && (k.module == "" || !strings.Contains(name, strings.TrimPrefix(k.module, "model."))) {
			t.Errorf("%q has the module %q", name, k.module)
		}
	})
}
