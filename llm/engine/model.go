// Package engine computes LLaMA models for scoring and generation, from safetensors to log-probabilities, in Go with
// vector instructions where the CPU has them and the build GOEXPERIMENT=simd.
//
// A token's result is a pure function of the tokens before it and of the weights: it is the same bits whatever else is
// computed in the same call, with any number of workers, and with or without a key-value cache. Between CPUs that run
// different kernels results differ by rounding.
package engine

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"

	"d2nwg/llm"
	"d2nwg/safetensors"
)

// ErrNotFinite means that a computation gave NaN or infinite logits: the weights are broken, or too large.
var ErrNotFinite = errors.New("the model's logits aren't finite")

// ErrTooLong means that a sequence is longer than the model's max_position_embeddings.
var ErrTooLong = errors.New("the sequence is too long for the model")

// Model is a LLaMA ready to compute: weights decoded to float32. It is safe for concurrent use.
type Model struct {
	config llm.Config
	base   *llm.Checkpoint
	root   *Model // the model of the base's own weights; nil when this is it
	k      *kernels
	rope   *rope

	embed, head linear    // (vocab, hidden); the same one where the embedding is tied
	norm        []float32 // (hidden)
	layers      []layer

	scratch *sync.Pool
}

// layer holds the weights of one decoder layer.
type layer struct {
	attentionNorm, mlpNorm []float32 // (hidden)
	q, k, v, o             linear    // (heads·head_dim, hidden), (kv_heads·head_dim, hidden) twice, (hidden, heads·head_dim)
	gate, up, down         linear    // (intermediate, hidden) twice, (hidden, intermediate)
}

// New decodes the weights of a checkpoint, which may be closed afterwards unless variants of it are to be made.
func New(c *llm.Checkpoint) (*Model, error) {
	m := newModel(c.Config, best())
	m.base = c
	load := loader{tensor: c.Tensor, bytes: c.Bytes, threads: runtime.GOMAXPROCS(0)}
	for _, t := range c.Config.TensorShapes() {
		if err := m.set(t, &load); err != nil {
			return nil, err
		}
	}
	m.tie()
	return m, nil
}

func newModel(config llm.Config, k *kernels) *Model {
	return &Model{
		config: config, k: k, rope: newRope(config), layers: make([]layer, config.Layers),
		scratch: &sync.Pool{New: func() any { return new(scratch) }},
	}
}

// With returns the model of a variant of this model's base checkpoint. It shares every tensor that the variant leaves
// alone with the base's model, also where m itself is the model of another variant.
func (m *Model) With(v *llm.Variant) (*Model, error) {
	root := m
	if m.root != nil {
		root = m.root
	}
	if v.Base != root.base {
		return nil, errors.New("the variant belongs to another checkpoint than the model")
	}
	w := newModel(root.config, root.k)
	w.base, w.root, w.rope, w.scratch = root.base, root, root.rope, root.scratch
	w.embed, w.head, w.norm = root.embed, root.head, root.norm
	copy(w.layers, root.layers)
	changed := map[string]bool{}
	for _, name := range v.Names() {
		changed[name] = true
	}
	load := loader{weights: v.Weights, threads: runtime.GOMAXPROCS(0)}
	for _, t := range root.config.TensorShapes() {
		if !changed[t.Name] {
			continue
		}
		if err := w.set(t, &load); err != nil {
			return nil, err
		}
	}
	w.tie()
	return w, nil
}

// Config returns the architecture of the model.
func (m *Model) Config() llm.Config { return m.config }

// Kernel names the kernels in use: "avx512", "avx2" or "portable".
func (m *Model) Kernel() string { return m.k.name }

// tie makes the head the embedding where the config says so.
func (m *Model) tie() {
	if m.config.TieWordEmbeddings {
		m.head = m.embed
	}
}

// linear returns where the matrix of a module is kept, nil when the module isn't a matrix.
func (m *Model) linear(module string, i int) *linear {
	switch module {
	case llm.EmbedTokens:
		return &m.embed
	case llm.LMHead:
		return &m.head
	}
	if i < 0 {
		return nil
	}
	l := &m.layers[i]
	switch module {
	case "q_proj":
		return &l.q
	case "k_proj":
		return &l.k
	case "v_proj":
		return &l.v
	case "o_proj":
		return &l.o
	case "gate_proj":
		return &l.gate
	case "up_proj":
		return &l.up
	case "down_proj":
		return &l.down
	}
	return nil
}

// vector returns where a norm or a bias is kept, nil when the module isn't one.
func (m *Model) vector(module string, i int) *[]float32 {
	switch module {
	case "norm":
		return &m.norm
	case "input_layernorm":
		return &m.layers[i].attentionNorm
	case "post_attention_layernorm":
		return &m.layers[i].mlpNorm
	}
	if of, ok := strings.CutSuffix(module, ".bias"); ok {
		if l := m.linear(of, i); l != nil {
			return &l.bias
		}
	}
	return nil
}

// set reads one tensor into its place.
func (m *Model) set(t llm.NamedShape, load *loader) error {
	if l := m.linear(t.Module, t.Layer); l != nil {
		w, err := load.matrix(t)
		if err != nil {
			return err
		}
		l.matrix = w
		return nil
	}
	slot := m.vector(t.Module, t.Layer)
	if slot == nil {
		return fmt.Errorf("tensor %q: the engine doesn't know the module %q", t.Name, t.Module)
	}
	values, err := load.values(t)
	if err != nil {
		return err
	}
	*slot = values
	return nil
}

// loader reads tensors, either rows at a time from stored bytes or whole from weights.
type loader struct {
	tensor  func(name string) (llm.Tensor, bool)
	bytes   func(name string) ([]byte, error)
	weights func(name string) ([]float32, error)
	threads int
}

// values returns a whole tensor.
func (l *loader) values(t llm.NamedShape) ([]float32, error) {
	if l.weights != nil {
		return l.weights(t.Name)
	}
	values := make([]float32, t.Elements())
	read, err := l.rows(t, t.Elements())
	if err != nil {
		return nil, err
	}
	return values, read(values, 0, 1)
}

// matrix packs a tensor (out, in).
func (l *loader) matrix(t llm.NamedShape) (*matrix, error) {
	out, in := t.Shape[0], t.Shape[1]
	if l.weights != nil {
		all, err := l.weights(t.Name)
		if err != nil {
			return nil, err
		}
		return pack(out, in, l.threads, func(dst []float32, first, n int) error {
			copy(dst, all[first*in:(first+n)*in])
			return nil
		})
	}
	read, err := l.rows(t, in)
	if err != nil {
		return nil, err
	}
	return pack(out, in, l.threads, read)
}

// rows returns a function that decodes rows first…first+n of width values each.
func (l *loader) rows(t llm.NamedShape, width int) (func(dst []float32, first, n int) error, error) {
	stored, ok := l.tensor(t.Name)
	if !ok {
		return nil, fmt.Errorf("the checkpoint lacks tensor %q: %w", t.Name, safetensors.ErrFormat)
	}
	raw, err := l.bytes(t.Name)
	if err != nil {
		return nil, err
	}
	bits, ok := stored.DType.Bits()
	if !ok || bits%8 != 0 {
		return nil, fmt.Errorf("tensor %q has the dtype %s, which the engine can't compute with: %w", t.Name, stored.DType, safetensors.ErrFormat)
	}
	size := width * bits / 8
	return func(dst []float32, first, n int) error {
		if err := safetensors.Decode(dst, stored.DType, raw[first*size:(first+n)*size]); err != nil {
			return fmt.Errorf("tensor %q: %w", t.Name, err)
		}
		return nil
	}, nil
}
