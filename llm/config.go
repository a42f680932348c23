// Package llm reads and writes LLaMA checkpoints: config.json, the name map of
// the architecture, the (sharded) safetensors files, and Variant, the one form
// in which a changed checkpoint is scored, written and shipped.
package llm

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"

	"d2nwg/safetensors"
)

// ConfigName is the file of a checkpoint directory that holds its Config.
const ConfigName = "config.json"

// Limits that no LLaMA comes near. They keep products of dimensions inside
// int64 and refuse a hostile config before anything is sized by it.
const (
	maxConfigBytes = 1 << 20
	maxDim         = 1 << 28
	maxLayers      = 1 << 16
	maxElements    = 1 << 40
)

// None stands for an absent beginning-of-sequence token in Config.BOS.
const None = -1

// Config is the architecture of a LLaMA checkpoint (generations 1 to 3.2).
type Config struct {
	VocabSize        int // rows of the embedding and of the head
	HiddenSize       int // width of the residual stream
	IntermediateSize int // width of the MLP
	Layers           int // decoder layers
	Heads            int // query heads
	KVHeads          int // key and value heads; divides Heads
	HeadDim          int // width of one head; even; Heads·HeadDim may differ from HiddenSize
	MaxPositions     int // longest sequence the model was made for

	RMSNormEps  float64
	RopeTheta   float64
	RopeScaling *RopeScaling // nil: plain rotary embedding

	TieWordEmbeddings bool // the head is the embedding matrix
	BOS               int  // beginning of sequence; None when the model has none
	EOS               []int
	// DType is what config.json says the weights were saved in; each tensor's
	// own dtype decides. Empty when the file doesn't say.
	DType safetensors.DType

	AttentionBias bool // q, k, v and o projections have biases
	MLPBias       bool // gate, up and down projections have biases
}

// Llama32_1B returns the architecture of LLaMA-3.2-1B.
func Llama32_1B() Config {
	return Config{
		VocabSize: 128256, HiddenSize: 2048, IntermediateSize: 8192, Layers: 16,
		Heads: 32, KVHeads: 8, HeadDim: 64, MaxPositions: 131072,
		RMSNormEps: 1e-5, RopeTheta: 500000,
		RopeScaling: &RopeScaling{
			Type: RopeLlama3, Factor: 32, LowFreqFactor: 1, HighFreqFactor: 4,
			OriginalMaxPositions: 8192,
		},
		TieWordEmbeddings: true, BOS: 128000, EOS: []int{128001}, DType: "BF16",
	}
}

// ReadConfig reads and validates dir/config.json.
// A missing file satisfies errors.Is(err, fs.ErrNotExist); a bad one wraps
// safetensors.ErrFormat.
func ReadConfig(dir string) (Config, error) {
	path := filepath.Join(dir, ConfigName)
	f, err := os.Open(path)
	if err != nil {
		return Config{}, fmt.Errorf("no checkpoint in %s: %w", dir, err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxConfigBytes+1))
	if err != nil {
		return Config{}, fmt.Errorf("read %s: %w", path, err)
	}
	cfg, err := ParseConfig(data)
	if err != nil {
		return Config{}, fmt.Errorf("%s: %w", path, err)
	}
	return cfg, nil
}

// ParseConfig reads a config.json in the spelling of Transformers 4
// (rope_scaling, torch_dtype) or 5 (rope_parameters, dtype). A model type, rope
// type or activation it doesn't know is an error that names it, and so is every
// impossible dimension; all of them wrap safetensors.ErrFormat.
func ParseConfig(data []byte) (Config, error) {
	if len(data) > maxConfigBytes {
		return Config{}, badf("config is larger than %d bytes", maxConfigBytes)
	}
	var o object
	if err := json.Unmarshal(bytes.TrimPrefix(data, []byte("\ufeff")), &o.fields); err != nil {
		return Config{}, badf("config is not a JSON object: %v", err)
	}
	if o.fields == nil {
		return Config{}, badf("config is not a JSON object")
	}
	refuseUnknown(&o)
	cfg := Config{
		VocabSize:         o.required("vocab_size"),
		HiddenSize:        o.required("hidden_size"),
		IntermediateSize:  o.required("intermediate_size"),
		Layers:            o.required("num_hidden_layers"),
		Heads:             o.required("num_attention_heads"),
		MaxPositions:      o.integer("max_position_embeddings", 2048),
		RMSNormEps:        o.number("rms_norm_eps", 1e-6),
		TieWordEmbeddings: o.boolean("tie_word_embeddings", false),
		AttentionBias:     o.boolean("attention_bias", false),
		MLPBias:           o.boolean("mlp_bias", false),
		BOS:               o.token("bos_token_id", 1),
		EOS:               o.tokens("eos_token_id", 2),
		DType:             o.dtype(),
	}
	cfg.KVHeads = o.integer("num_key_value_heads", cfg.Heads)
	cfg.HeadDim = o.headDim(cfg)
	cfg.RopeTheta, cfg.RopeScaling = o.rope()
	if o.err != nil {
		return Config{}, o.err
	}
	if err := cfg.Validate(); err != nil {
		return Config{}, err
	}
	return cfg, nil
}

// refuseUnknown refuses what would change the computation unseen.
func refuseUnknown(o *object) {
	if t := o.text("model_type", ""); t != "llama" {
		o.fail("model_type is %q, only \"llama\" is supported", clip(t))
	}
	switch act := o.text("hidden_act", "silu"); act {
	case "silu", "swish": // two names of one function
	default:
		o.fail("hidden_act is %q, only \"silu\" is supported", clip(act))
	}
	if p := o.number("partial_rotary_factor", 1); p != 1 {
		o.fail("partial_rotary_factor is %v, only 1 is supported", p)
	}
	if o.has("quantization_config") {
		o.fail("quantization_config is set: quantized checkpoints are not supported, use the original weights")
	}
}

// Validate checks that every dimension is possible and that the parameter count
// stays far from overflow. Its errors wrap safetensors.ErrFormat.
func (c Config) Validate() error {
	dims := []struct {
		key   string
		value int
		limit int
	}{
		{"vocab_size", c.VocabSize, maxDim},
		{"hidden_size", c.HiddenSize, maxDim},
		{"intermediate_size", c.IntermediateSize, maxDim},
		{"num_hidden_layers", c.Layers, maxLayers},
		{"num_attention_heads", c.Heads, maxDim},
		{"num_key_value_heads", c.KVHeads, maxDim},
		{"head_dim", c.HeadDim, maxDim},
		{"max_position_embeddings", c.MaxPositions, maxDim},
	}
	for _, d := range dims {
		if d.value < 1 || d.value > d.limit {
			return badf("%s is %d, want 1 to %d", d.key, d.value, d.limit)
		}
	}
	if c.Heads%c.KVHeads != 0 {
		return badf("num_attention_heads %d is not a multiple of num_key_value_heads %d", c.Heads, c.KVHeads)
	}
	if c.HeadDim%2 != 0 {
		return badf("head_dim %d is odd: rotary embedding turns pairs", c.HeadDim)
	}
	if !positive(c.RMSNormEps) {
		return badf("rms_norm_eps is %v, want a positive number", c.RMSNormEps)
	}
	if !positive(c.RopeTheta) {
		return badf("rope_theta is %v, want a positive number", c.RopeTheta)
	}
	if err := c.RopeScaling.validate(); err != nil {
		return err
	}
	// Every product of two dimensions is below 2^57, so int64 can't overflow.
	for _, m := range modules {
		shape := m.Shape(c)
		n := int64(1)
		for _, d := range shape {
			if d > maxDim {
				return badf("%s would be %v, too large to be a LLaMA", m.Name, shape)
			}
			n *= int64(d)
		}
		if n > maxElements {
			return badf("%s would have %d elements, too large to be a LLaMA", m.Name, n)
		}
	}
	return nil
}

func positive(x float64) bool { return x > 0 && !math.IsInf(x, 0) }

// badf returns an error that wraps safetensors.ErrFormat.
func badf(format string, args ...any) error {
	return fmt.Errorf("%w: %s", safetensors.ErrFormat, fmt.Sprintf(format, args...))
}
