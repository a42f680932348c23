package lora

import (
	"errors"
	"strings"

	"d2nwg/llm"
)

// part is what one stored tensor is of its module.
type part int

const (
	partWhole part = iota // a tensor of the base, kept as it is
	partA
	partB
	partBias // of lora_B
	partEmbeddingA
	partEmbeddingB
	partMagnitude
)

var parts = map[string]part{"lora_A": partA, "lora_B": partB, "lora_embedding_A": partEmbeddingA, "lora_embedding_B": partEmbeddingB,
	"lora_magnitude_vector": partMagnitude}

// key is a parsed key of adapter_model.safetensors.
type key struct {
	module    string // path in LlamaForCausalLM
	parameter string // of a whole tensor: "weight" or "bias"
	part      part
	adapter   string // the adapter's name where the key has one: files of PEFT itself have none
}

var errNoModule = errors.New("no part of a LLaMA or of its LoRA has this name")

// parseKey reads a key in the forms that PEFT and those who save its state themselves have written: with the adapter's
// name or without, magnitudes with or without .weight, whole modules with or without their wrapper, and with the
// prefix of a model with a head, of one without, or none.
func parseKey(name string) (key, error) {
	segments := strings.Split(strings.TrimPrefix(name, keyPrefix), ".")
	at, kind := -1, partWhole
	for i, s := range segments {
		if p, ok := parts[s]; ok {
			at, kind = i, p
		}
	}
	if kind == partWhole {
		return parseWhole(segments)
	}
	k := key{module: inHead(strings.Join(segments[:at], ".")), part: kind}
	tail := segments[at+1:]
	end := ""
	if n := len(tail); n > 0 && kind != partEmbeddingA && kind != partEmbeddingB && (tail[n-1] == "weight" || tail[n-1] == "bias") {
		end, tail = tail[n-1], tail[:n-1]
	}
	if len(tail) == 1 {
		k.adapter, tail = tail[0], nil
	}
	switch {
	case len(tail) > 0, end == "" && (kind == partA || kind == partB), end == "bias" && kind != partB:
		return key{}, errNoModule
	case end == "bias":
		k.part = partBias
	}
	if _, _, ok := llm.ParseName(k.module + weightSuffix); !ok {
		return key{}, errNoModule
	}
	return k, nil
}

// parseWhole reads the key of a tensor that is stored as it is.
func parseWhole(segments []string) (key, error) {
	n := len(segments) - 1
	k := key{parameter: segments[n]}
	path := segments[:n]
	for i, s := range path {
		switch {
		case s == "base_layer" && i == n-1:
			path = path[:i]
		case s == "modules_to_save" && i >= n-2:
			if i == n-2 {
				k.adapter = path[n-1]
			}
			path = path[:i]
		default:
			continue
		}
		break
	}
	k.module = inHead(strings.Join(path, "."))
	if _, _, ok := llm.ParseName(k.tensor()); !ok {
		return key{}, errNoModule
	}
	return k, nil
}

// inHead gives a path of LlamaModel the place that it has in LlamaForCausalLM.
func inHead(path string) string {
	if strings.HasPrefix(path, "layers.") || path == "embed_tokens" || path == "norm" {
		return "model." + path
	}
	return path
}

// tensor is the base's tensor that the key is about.
func (k key) tensor() string {
	if k.part == partWhole {
		return k.module + "." + k.parameter
	}
	return k.module + weightSuffix
}
