// Package engine computes LLaMA models for scoring and generation, from safetensors to log-probabilities, with the
// weights where they lie in the mapped file.
//
// A token's result is a pure function of the tokens before it and of the weights: it is the same bits whatever else is
// computed in the same call, with any number of workers, and with or without a key-value cache. Between CPUs that run
// different kernels results differ by rounding.
package engine

import (
	"errors"
	"fmt"
	"strings"
	"sync"

	"d2nwg/llm"
	"d2nwg/llm/engine/kernel"
	"d2nwg/safetensors"
)

// ErrNotFinite means that a computation gave NaN or infinite logits: the weights are broken, or too large.
var ErrNotFinite = errors.New("the model's logits aren't finite")

// ErrTooLong means that a sequence is longer than the model's max_position_embeddings.
var ErrTooLong = errors.New("the sequence is too long for the model")

// Arithmetic says what the weights are multiplied with.
type Arithmetic int

const (
	// F32 multiplies float32 inputs with weights widened to float32.
	F32 Arithmetic = iota
	// BF16 rounds the inputs of matrices that are stored as bfloat16 to bfloat16, too; sums stay float32. Several times
	// as fast on CPUs with an instruction for it.
	BF16
)

// ParseArithmetic returns the arithmetic of a name, "f32" or "bf16".
func ParseArithmetic(name string) (Arithmetic, error) {
	switch name {
	case "f32":
		return F32, nil
	case "bf16":
		return BF16, nil
	}
	return 0, fmt.Errorf("there is no arithmetic %q; use f32 or bf16", name)
}

// Options of a Model.
type Options struct {
	Arithmetic Arithmetic
	Keep       *Budget // for variants; nil = DefaultMemory, no disk
}

// Model is a LLaMA ready to compute. It is safe for concurrent use. Its checkpoint has to stay open.
type Model struct {
	config  llm.Config
	options Options
	base    *llm.Checkpoint
	root    *Model // the model of the base's own weights; nil when this is it
	first   int    // the first layer that differs from root's; behind the last one where only norm or head do
	k       *kernel.Set
	rope    *rope

	embed, head linear    // (vocab, hidden); the same one where the embedding is tied
	norm        []float32 // (hidden)
	layers      []layer

	scratch *sync.Pool
	kept    *kept // residual streams that plans keep of this model
}

// layer holds the weights of one decoder layer.
type layer struct {
	attentionNorm, mlpNorm []float32 // (hidden)
	q, k, v, o             linear    // (heads·head_dim, hidden), (kv_heads·head_dim, hidden) twice, (hidden, heads·head_dim)
	gate, up, down         linear    // (intermediate, hidden) twice, (hidden, intermediate)
}

// New makes the model of a checkpoint.
func New(c *llm.Checkpoint, options Options) (*Model, error) {
	m := newModel(c.Config, kernel.Best(), options)
	m.base = c
	load := loader{tensor: c.Tensor, bytes: c.Bytes}
	err := m.guarded(func() error {
		for _, t := range c.Config.TensorShapes() {
			if err := m.set(t, &load); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	m.tie()
	return m, nil
}

func newModel(config llm.Config, k *kernel.Set, options Options) *Model {
	return &Model{
		config: config, options: options, k: k, rope: newRope(config), layers: make([]layer, config.Layers),
		scratch: &sync.Pool{New: func() any { return new(scratch) }}, kept: new(kept),
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
	w := newModel(root.config, root.k, root.options)
	w.base, w.root, w.rope, w.scratch = root.base, root, root.rope, root.scratch
	w.embed, w.head, w.norm = root.embed, root.head, root.norm
	copy(w.layers, root.layers)
	changed := map[string]bool{}
	for _, name := range v.Names() {
		changed[name] = true
	}
	w.first = len(w.layers)
	load := loader{tensor: v.Base.Tensor, weights: v.Weights}
	if err := w.guarded(func() error { return w.replace(changed, &load) }); err != nil {
		return nil, err
	}
	w.tie()
	return w, nil
}

// replace sets the changed tensors and notes the first layer with one.
func (w *Model) replace(changed map[string]bool, load *loader) error {
	for _, t := range w.config.TensorShapes() {
		if !changed[t.Name] {
			continue
		}
		if err := w.set(t, load); err != nil {
			return err
		}
		if t.Module == llm.EmbedTokens {
			w.first = 0
		} else if t.Layer >= 0 {
			w.first = min(w.first, t.Layer)
		}
	}
	return nil
}

// Config returns the architecture of the model.
func (m *Model) Config() llm.Config { return m.config }

// Kernel names the kernels in use: "avx512bf16", "avx512", "avx2" or "portable".
func (m *Model) Kernel() string { return m.k.Name() }

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
		var err error
		l.Weights, err = load.matrix(t)
		return err
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

// loader reads tensors, from stored bytes or from a variant's weights.
type loader struct {
	tensor  func(name string) (llm.Tensor, bool)
	bytes   func(name string) ([]byte, error)
	weights func(name string) ([]float32, error) // nil: from bytes
}

// values returns a whole tensor as float32.
func (l *loader) values(t llm.NamedShape) ([]float32, error) {
	if l.weights != nil {
		return l.weights(t.Name)
	}
	dtype, raw, err := l.stored(t)
	if err != nil {
		return nil, err
	}
	values := make([]float32, t.Elements())
	if err := safetensors.Decode(values, dtype, raw); err != nil {
		return nil, fmt.Errorf("tensor %q: %w", t.Name, err)
	}
	return values, nil
}

// matrix returns a tensor (out, in): the mapped bytes, or a variant's values in the dtype of the base, through which
// they are rounded already.
func (l *loader) matrix(t llm.NamedShape) (kernel.Weights, error) {
	if l.weights == nil {
		dtype, raw, err := l.stored(t)
		if err != nil {
			return kernel.Weights{}, err
		}
		return weights(t, dtype, raw)
	}
	values, err := l.weights(t.Name)
	if err != nil {
		return kernel.Weights{}, err
	}
	of, _ := l.tensor(t.Name)
	dtype := of.DType
	if _, ok := weightTypes[dtype]; !ok {
		dtype = safetensors.F32
	}
	bits, _ := dtype.Bits()
	raw := make([]byte, len(values)*bits/8)
	if err := safetensors.Encode(raw, dtype, values); err != nil {
		return kernel.Weights{}, fmt.Errorf("tensor %q: %w", t.Name, err)
	}
	return weights(t, dtype, raw)
}

func (l *loader) stored(t llm.NamedShape) (safetensors.DType, []byte, error) {
	of, ok := l.tensor(t.Name)
	if !ok {
		return "", nil, fmt.Errorf("the checkpoint lacks tensor %q: %w", t.Name, safetensors.ErrFormat)
	}
	raw, err := l.bytes(t.Name)
	return of.DType, raw, err
}
