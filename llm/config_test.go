package llm

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"d2nwg/safetensors"
)

// configs of the generations as their publishers wrote them.
const (
	llama1 = `{"architectures":["LLaMAForCausalLM"],"bos_token_id":0,"eos_token_id":1,"hidden_act":"silu",
		"hidden_size":4096,"intermediate_size":11008,"initializer_range":0.02,"max_sequence_length":2048,"model_type":"llama",
		"num_attention_heads":32,"num_hidden_layers":32,"pad_token_id":-1,"rms_norm_eps":1e-06,"torch_dtype":"float16",
		"transformers_version":"4.27.0.dev0","use_cache":true,"vocab_size":32000}`
	llama2 = `{"architectures":["LlamaForCausalLM"],"bos_token_id":1,"eos_token_id":2,"hidden_act":"silu","hidden_size":8192,
		"intermediate_size":28672,"max_position_embeddings":4096,"model_type":"llama","num_attention_heads":64,
		"num_hidden_layers":80,"num_key_value_heads":8,"pretraining_tp":1,"rms_norm_eps":1e-05,"rope_scaling":null,
		"tie_word_embeddings":false,"torch_dtype":"float16","vocab_size":32000}`
	llama32 = `{"architectures":["LlamaForCausalLM"],"attention_bias":false,"attention_dropout":0.0,"bos_token_id":128000,
		"eos_token_id":[128001,128008,128009],"head_dim":64,"hidden_act":"silu","hidden_size":2048,"intermediate_size":8192,
		"max_position_embeddings":131072,"mlp_bias":false,"model_type":"llama","num_attention_heads":32,"num_hidden_layers":16,
		"num_key_value_heads":8,"pretraining_tp":1,"rms_norm_eps":1e-05,"rope_scaling":{"factor":32.0,"high_freq_factor":4.0,
		"low_freq_factor":1.0,"original_max_position_embeddings":8192,"rope_type":"llama3"},"rope_theta":500000.0,
		"tie_word_embeddings":true,"torch_dtype":"bfloat16","vocab_size":128256}`
	llama32v5 = `{"architectures":["LlamaForCausalLM"],"attention_bias":false,"bos_token_id":128000,"dtype":"bfloat16",
		"eos_token_id":[128001,128008,128009],"head_dim":64,"hidden_act":"silu","hidden_size":2048,"intermediate_size":8192,
		"max_position_embeddings":131072,"mlp_bias":false,"model_type":"llama","num_attention_heads":32,"num_hidden_layers":16,
		"num_key_value_heads":8,"pad_token_id":null,"rms_norm_eps":1e-05,"rope_parameters":{"factor":32.0,"high_freq_factor":4.0,
		"low_freq_factor":1.0,"original_max_position_embeddings":8192,"rope_theta":500000.0,"rope_type":"llama3"},
		"tie_word_embeddings":true,"transformers_version":"5.0.0","vocab_size":128256}`
)

func TestParseConfigGenerations(t *testing.T) {
	instruct := Llama32_1B()
	instruct.EOS = []int{128001, 128008, 128009}
	cases := map[string]struct {
		text       string
		want       Config
		parameters int64 // as published
	}{
		"1 7B": {llama1, Config{VocabSize: 32000, HiddenSize: 4096, IntermediateSize: 11008, Layers: 32, Heads: 32, KVHeads: 32,
			HeadDim: 128, MaxPositions: 2048, RMSNormEps: 1e-6, RopeTheta: 10000, BOS: 0, EOS: []int{1}, DType: "F16"}, 6738415616},
		"2 70B": {llama2, Config{VocabSize: 32000, HiddenSize: 8192, IntermediateSize: 28672, Layers: 80, Heads: 64, KVHeads: 8,
			HeadDim: 128, MaxPositions: 4096, RMSNormEps: 1e-5, RopeTheta: 10000, BOS: 1, EOS: []int{2}, DType: "F16"}, 68976648192},
		"3.2 1B":              {llama32, instruct, 1235814400},
		"3.2 1B, newer keys":  {llama32v5, instruct, 1235814400},
		"3.2 1B, byte order ": {"\ufeff" + llama32, instruct, 1235814400},
	}
	for name, c := range cases {
		got, err := ParseConfig([]byte(c.text))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if n := got.Parameters(); n != c.parameters {
			t.Errorf("%s: %d parameters, want %d", name, n, c.parameters)
		}
	}
}

// edit returns llama32 with one key set to a JSON value, or removed by "".
func edit(t testing.TB, key, value string) []byte {
	t.Helper()
	var fields map[string]json.RawMessage
	if err := json.Unmarshal([]byte(llama32), &fields); err != nil {
		t.Fatal(err)
	}
	delete(fields, key)
	if value != "" {
		fields[key] = json.RawMessage(value)
	}
	data, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestParseConfigRefuses(t *testing.T) {
	cases := []struct{ key, value, want string }{
		{"model_type", `"mistral"`, `"mistral"`},
		{"model_type", "", "model_type"},
		{"hidden_act", `"gelu"`, `"gelu"`},
		{"rope_scaling", `{"rope_type":"yarn","factor":4}`, `"yarn"`},
		{"rope_scaling", `{"type":"dynamic","factor":4}`, `"dynamic"`},
		{"rope_scaling", `{"factor":4}`, "rope_type"},
		{"rope_scaling", `{"rope_type":"llama3","factor":8,"low_freq_factor":1,"high_freq_factor":4}`, "original_max_position_embeddings"},
		{"rope_scaling", `{"rope_type":"llama3","factor":8,"low_freq_factor":4,"high_freq_factor":4,"original_max_position_embeddings":8192}`, "low_freq_factor"},
		{"rope_scaling", `{"rope_type":"linear","factor":0}`, "factor"},
		{"rope_scaling", `[1]`, "rope_scaling"},
		{"rope_parameters", `{"rope_type":"default","rope_theta":500000}`, "disagree"},
		{"rope_theta", "0", "rope_theta"},
		{"rope_theta", "-5", "rope_theta"},
		{"rope_theta", "1e999", "rope_theta"},
		{"rms_norm_eps", "0", "rms_norm_eps"},
		{"partial_rotary_factor", "0.5", "partial_rotary_factor"},
		{"quantization_config", `{"quant_method":"gptq"}`, "quantization_config"},
		{"torch_dtype", `"int4"`, `"int4"`},
		{"hidden_size", "", "hidden_size is missing"},
		{"hidden_size", "0", "hidden_size"},
		{"hidden_size", "-2048", "hidden_size"},
		{"hidden_size", "2048.5", "hidden_size"},
		{"hidden_size", "1e30", "hidden_size"},
		{"hidden_size", "9223372036854775807", "hidden_size"},
		{"hidden_size", "99999999999999999999", "hidden_size"},
		{"hidden_size", `"2048"`, "hidden_size"},
		{"hidden_size", "true", "hidden_size"},
		{"vocab_size", "4294967296", "vocab_size"},
		{"vocab_size", "-1", "vocab_size"},
		{"intermediate_size", "null", "intermediate_size"},
		{"num_hidden_layers", "1000000000", "num_hidden_layers"},
		{"num_hidden_layers", "0", "num_hidden_layers"},
		{"num_attention_heads", "0", "num_attention_heads"},
		{"num_attention_heads", "33", "num_attention_heads"},
		{"num_key_value_heads", "5", "num_key_value_heads"},
		{"num_key_value_heads", "0", "num_key_value_heads"},
		{"num_key_value_heads", "-8", "num_key_value_heads"},
		{"head_dim", "0", "head_dim"},
		{"head_dim", "63", "head_dim"},
		{"head_dim", "268435456", "too large"},
		{"max_position_embeddings", "0", "max_position_embeddings"},
		{"tie_word_embeddings", "1", "tie_word_embeddings"},
		{"eos_token_id", `["a"]`, "eos_token_id"},
		{"eos_token_id", "[" + strings.Repeat("1,", 5000) + "1]", "eos_token_id"},
		{"bos_token_id", "1.5", "bos_token_id"},
	}
	for _, c := range cases {
		_, err := ParseConfig(edit(t, c.key, c.value))
		switch {
		case err == nil:
			t.Errorf("%s = %s is accepted", c.key, clip(c.value))
		case !errors.Is(err, safetensors.ErrFormat):
			t.Errorf("%s = %s: %v doesn't wrap ErrFormat", c.key, clip(c.value), err)
		case !strings.Contains(err.Error(), c.want), strings.Contains(err.Error(), "\n"), len(err.Error()) > 300:
			t.Errorf("%s = %s: error %q, want one short line with %q", c.key, clip(c.value), err, c.want)
		}
	}
	for _, text := range []string{"", "null", "[]", "3", "{", `{"a":}`, strings.Repeat("[", 1<<16), strings.Repeat(" ", 2<<20)} {
		if _, err := ParseConfig([]byte(text)); !errors.Is(err, safetensors.ErrFormat) {
			t.Errorf("%q: %v", clip(text), err)
		}
	}
}

func TestParseConfigDefaults(t *testing.T) {
	cases := []struct {
		key, value string
		got        func(Config) any
		want       any
	}{
		{"head_dim", "", func(c Config) any { return c.HeadDim }, 64},
		{"head_dim", "96", func(c Config) any { return c.HeadDim }, 96},
		{"num_key_value_heads", "null", func(c Config) any { return c.KVHeads }, 32},
		{"hidden_size", "2048.0", func(c Config) any { return c.HiddenSize }, 2048},
		{"tie_word_embeddings", "", func(c Config) any { return c.TieWordEmbeddings }, false},
		{"eos_token_id", "7", func(c Config) any { return c.EOS }, []int{7}},
		{"eos_token_id", "null", func(c Config) any { return c.EOS }, []int(nil)},
		{"bos_token_id", "null", func(c Config) any { return c.BOS }, None},
		{"bos_token_id", "-1", func(c Config) any { return c.BOS }, None},
		{"bos_token_id", "", func(c Config) any { return c.BOS }, 1},
		{"rope_theta", "", func(c Config) any { return c.RopeTheta }, 10000.0},
		{"torch_dtype", "", func(c Config) any { return c.DType }, safetensors.DType("")},
		{"torch_dtype", `"torch.float32"`, func(c Config) any { return c.DType }, safetensors.F32},
		{"rope_scaling", `{"type":"linear","factor":2}`, func(c Config) any { return *c.RopeScaling }, RopeScaling{Type: RopeLinear, Factor: 2}},
		{"rope_scaling", `{"rope_type":"default"}`, func(c Config) any { return c.RopeScaling == nil }, true},
	}
	for _, c := range cases {
		cfg, err := ParseConfig(edit(t, c.key, c.value))
		if err != nil {
			t.Errorf("%s = %s: %v", c.key, c.value, err)
			continue
		}
		if got := c.got(cfg); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s = %s gives %v, want %v", c.key, c.value, got, c.want)
		}
	}
}

// anyConfig draws a possible config.
func anyConfig(t *rapid.T) Config {
	kv := rapid.IntRange(1, 4).Draw(t, "kv")
	c := Config{
		VocabSize: rapid.IntRange(1, 300).Draw(t, "vocab"), HiddenSize: rapid.IntRange(1, 40).Draw(t, "hidden"),
		IntermediateSize: rapid.IntRange(1, 40).Draw(t, "ffn"), Layers: rapid.IntRange(1, 4).Draw(t, "layers"),
		Heads: kv * rapid.IntRange(1, 3).Draw(t, "groups"), KVHeads: kv, HeadDim: 2 * rapid.IntRange(1, 6).Draw(t, "half"),
		MaxPositions: rapid.IntRange(1, 1<<20).Draw(t, "positions"),
		RMSNormEps:   rapid.Float64Range(1e-9, 1).Draw(t, "eps"), RopeTheta: rapid.Float64Range(1, 1e7).Draw(t, "theta"),
		TieWordEmbeddings: rapid.Bool().Draw(t, "tied"), BOS: rapid.IntRange(-1, 50).Draw(t, "bos"),
		EOS:           rapid.SliceOfN(rapid.IntRange(0, 50), 0, 3).Draw(t, "eos"),
		DType:         rapid.SampledFrom([]safetensors.DType{"", "F32", "F16", "BF16", "F64"}).Draw(t, "dtype"),
		AttentionBias: rapid.Bool().Draw(t, "attention bias"), MLPBias: rapid.Bool().Draw(t, "mlp bias"),
	}
	if len(c.EOS) == 0 {
		c.EOS = nil
	}
	switch rapid.IntRange(0, 2).Draw(t, "scaling") {
	case 1:
		c.RopeScaling = &RopeScaling{Type: RopeLinear, Factor: rapid.Float64Range(1, 64).Draw(t, "factor")}
	case 2:
		low := rapid.Float64Range(0.1, 4).Draw(t, "low")
		c.RopeScaling = &RopeScaling{Type: RopeLlama3, Factor: rapid.Float64Range(1, 64).Draw(t, "factor"), LowFreqFactor: low,
			HighFreqFactor: low + rapid.Float64Range(0.1, 4).Draw(t, "high"), OriginalMaxPositions: rapid.IntRange(1, 1<<16).Draw(t, "original")}
	}
	return c
}

func TestConfigJSONRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := anyConfig(t)
		data, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		var got Config
		if err := json.Unmarshal(data, &got); err != nil {
			t.Fatalf("%s: %v", data, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
	})
}

// llama3Reference follows Transformers' _compute_llama3_parameters step by step.
func llama3Reference(theta float64, dim int, s RopeScaling) []float64 {
	inv := make([]float64, dim/2)
	lowWavelength := float64(s.OriginalMaxPositions) / s.LowFreqFactor
	highWavelength := float64(s.OriginalMaxPositions) / s.HighFreqFactor
	for i := range inv {
		f := 1 / math.Pow(theta, float64(2*i)/float64(dim))
		wavelength := 2 * math.Pi / f
		scaled := f
		if wavelength > lowWavelength {
			scaled = f / s.Factor
		}
		smooth := (float64(s.OriginalMaxPositions)/wavelength - s.LowFreqFactor) / (s.HighFreqFactor - s.LowFreqFactor)
		medium := !(wavelength < highWavelength) && !(wavelength > lowWavelength)
		if medium {
			scaled = (1-smooth)*scaled/s.Factor + smooth*scaled
		}
		inv[i] = scaled
	}
	return inv
}

func TestInverseFrequencies(t *testing.T) {
	cfg := Llama32_1B()
	got := cfg.InverseFrequencies()
	want := llama3Reference(cfg.RopeTheta, cfg.HeadDim, *cfg.RopeScaling)
	kept, divided, between := 0, 0, 0
	for i := range want {
		if math.Abs(got[i]-want[i]) > 1e-14*want[i] {
			t.Fatalf("frequency %d is %g, want %g", i, got[i], want[i])
		}
		plain := math.Pow(cfg.RopeTheta, -float64(2*i)/float64(cfg.HeadDim))
		switch {
		case got[i] == plain:
			kept++
		case math.Abs(got[i]*32/plain-1) < 1e-12:
			divided++
		default:
			between++
		}
	}
	if kept == 0 || divided == 0 || between == 0 {
		t.Fatalf("%d kept, %d divided, %d between: every branch should be met", kept, divided, between)
	}
	cfg.RopeScaling = nil
	plain := cfg.InverseFrequencies()
	cfg.RopeScaling = &RopeScaling{Type: RopeLinear, Factor: 4}
	for i, f := range cfg.InverseFrequencies() {
		if f != plain[i]/4 {
			t.Fatalf("linear: frequency %d is %g, want %g", i, f, plain[i]/4)
		}
	}
	if plain[0] != 1 {
		t.Fatalf("first frequency is %g, want 1", plain[0])
	}
}

func TestNameMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := anyConfig(t)
		seen := map[string]bool{}
		var parameters int64
		for _, s := range c.TensorShapes() {
			module, layer, ok := ParseName(s.Name)
			if !ok || module != s.Module || layer != s.Layer {
				t.Fatalf("%s parses to %q %d %v, want %q %d", s.Name, module, layer, ok, s.Module, s.Layer)
			}
			if !slices.Equal(c.shapeOf(s.Name), s.Shape) {
				t.Fatalf("%s has shape %v and %v", s.Name, c.shapeOf(s.Name), s.Shape)
			}
			if seen[s.Name] {
				t.Fatalf("%s comes twice", s.Name)
			}
			seen[s.Name] = true
			parameters += int64(s.Elements())
		}
		if parameters != c.Parameters() {
			t.Fatalf("%d parameters, want %d", c.Parameters(), parameters)
		}
		for name, want := range map[string]bool{
			"lm_head.weight":                               !c.TieWordEmbeddings,
			"model.layers.0.self_attn.o_proj.bias":         c.AttentionBias,
			"model.layers.0.mlp.down_proj.bias":            c.MLPBias,
			fmt.Sprintf("model.layers.%d.mlp.x", c.Layers): false,
		} {
			if seen[name] != want {
				t.Fatalf("%s: %v, want %v", name, seen[name], want)
			}
		}
	})
	for _, name := range []string{"", "model", "model.layers.", "model.layers.0", "model.layers.01.mlp.up_proj.weight", "model.layers.+1.mlp.up_proj.weight",
		"model.layers.-1.mlp.up_proj.weight", "model.layers.%d.mlp.up_proj.weight", "model.layers.99999999999999999999.mlp.up_proj.weight",
		"model.layers.0.mlp.up_proj.weights", "lm_head.bias", "model.layers.0.self_attn.rotary_emb.inv_freq"} {
		if module, _, ok := ParseName(name); ok {
			t.Errorf("%q parses to %q", name, module)
		}
	}
}

// TestBillionLayers: refusing costs no memory by the numbers that a config claims.
func TestBillionLayers(t *testing.T) {
	c := &Checkpoint{Config: Llama32_1B(), byName: map[string]int{}}
	c.Config.Layers = 1 << 40
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	err := c.check()
	runtime.ReadMemStats(&after)
	if !errors.Is(err, safetensors.ErrFormat) || !strings.Contains(err.Error(), EmbedName) {
		t.Fatal(err)
	}
	if used := after.TotalAlloc - before.TotalAlloc; used > 64<<10 {
		t.Fatalf("the check allocated %d bytes", used)
	}
}

func FuzzParseConfig(f *testing.F) {
	for _, text := range []string{llama1, llama2, llama32, llama32v5, "{}", `{"model_type":"llama"}`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := ParseConfig(data)
		if err != nil {
			if !errors.Is(err, safetensors.ErrFormat) {
				t.Fatalf("%v doesn't wrap ErrFormat", err)
			}
			return
		}
		again, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := ParseConfig(again)
		if err != nil {
			t.Fatalf("%s: %v", again, err)
		}
		if !reflect.DeepEqual(c, parsed) {
			t.Fatalf("%+v comes back as %+v", c, parsed)
		}
	})
}
