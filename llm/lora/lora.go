// Package lora reads and writes LoRA adapters as PEFT keeps them, a folder of adapter_config.json and
// adapter_model.safetensors, and computes with them: canonical factors, inner products, extraction from a tuned
// checkpoint.
//
//	v, info, err := lora.Open(base, dir)                     // PEFT folder → llm.Variant
//	err = lora.Write(dir, v, lora.WriteOptions{Base: "hf://org/base"})   // llm.Variant → PEFT folder
//	v, reports, err := lora.Extract(ctx, base, tuned, lora.ExtractOptions{Rank: 8})
//	c, err := lora.CanonicalVariant(v)                        // the same ΔW, factors unique
//	cos, err := lora.Cosine(v, w)
//
// An llm.Variant stays the one form of a candidate: it is scored without merging, and llm.Variant.Write merges it into a
// checkpoint.
//
// # Scale
//
// PEFT computes W + s·B·A with s = lora_alpha/r, or lora_alpha/√r with use_rslora. Here s is folded into B (into
// lora_embedding_B of an embedding), each product rounded once to float32: exactly, when s is a power of two. Write
// stores lora_alpha = r, so that s is 1 and the same bits are read back.
//
// # What becomes of PEFT's other parts
//
// A DoRA module becomes a replaced tensor m·(W+ΔW)/‖W+ΔW‖, norms by rows (by columns of an embedding), computed in
// float64 and rounded as the base stores it. Modules of modules_to_save, biases and stored embeddings become replaced
// tensors. Whatever would change the meaning and isn't understood is an error that names it.
package lora

import (
	"fmt"
	"math"
	"strings"

	"d2nwg/llm"
	"d2nwg/safetensors"
)

// Files of a PEFT adapter.
const (
	configName  = llm.AdapterConfigName
	weightsName = "adapter_model.safetensors"
	pickleName  = "adapter_model.bin"
)

// keyPrefix stands before every key: PeftModel holds LoraModel as base_model, which holds the model.
const keyPrefix = "base_model.model."

// Modules of LlamaForCausalLM outside the layers, by their paths.
const (
	embedModule = "model.embed_tokens"
	headModule  = "lm_head"
)

const weightSuffix = ".weight"

// pair is the low-rank update of one module.
type pair struct {
	module string      // path in LlamaForCausalLM: "model.layers.0.self_attn.q_proj"
	delta  llm.LowRank // of the tensor module.weight, scale folded in
}

// embedding tells whether the module looks rows up, so that PEFT keeps its factors transposed.
func (p pair) embedding() bool { return p.module == embedModule }

// whole is a tensor kept as it is.
type whole struct {
	tensor string // name in the base: "model.norm.weight"
	shape  []int
	values []float32
}

// moduleOf splits a tensor's name into its module's path and the parameter: "weight" or "bias".
func moduleOf(tensor string) (module, parameter string) {
	i := strings.LastIndexByte(tensor, '.')
	if i < 0 {
		return "", tensor
	}
	return tensor[:i], tensor[i+1:]
}

// notFinite returns an error when a value is NaN or infinite.
func notFinite(values []float32) error {
	for i, x := range values {
		if math.IsNaN(float64(x)) || math.IsInf(float64(x), 0) {
			return fmt.Errorf("it has the value %v at element %d", x, i)
		}
	}
	return nil
}

// transposed returns the (rows, cols) matrix m as (cols, rows).
func transposed(m []float32, rows, cols int) []float32 {
	out := make([]float32, len(m))
	for i := range rows {
		for j, x := range m[i*cols : (i+1)*cols] {
			out[j*rows+i] = x
		}
	}
	return out
}

// badf returns an error that wraps safetensors.ErrFormat.
func badf(format string, args ...any) error {
	return fmt.Errorf("%w: %s", safetensors.ErrFormat, fmt.Sprintf(format, args...))
}

// clip shortens a name out of a file for an error.
func clip(s string) string {
	const shown = 120
	if len(s) > shown {
		return s[:shown] + "…"
	}
	return s
}
