package llm

import (
	"fmt"
	"iter"
	"strconv"
	"strings"
)

// Module is one line of the architecture's name map: a kind of tensor.
type Module struct {
	Name     string // its type, as Spectrum groups by and recipes name it: "q_proj"
	Template string // tensor name; %d stands for the layer when there is one
	Dims     []Dim  // shape: (out, in) of a matrix, (n) of a norm or bias
	When     When   // the configs that have it
}

// Dim is a symbolic dimension.
type Dim int

// The dimensions of a LLaMA's tensors.
const (
	Vocab  Dim = iota // VocabSize
	Hidden            // HiddenSize
	FFN               // IntermediateSize
	Query             // Heads·HeadDim
	KeyVal            // KVHeads·HeadDim
)

// When tells which configs have a module.
type When int

// Always, or only under one switch of the config.
const (
	Always When = iota
	WithAttentionBias
	WithMLPBias
	Untied
)

// Names of modules met outside this package.
const (
	EmbedTokens = "embed_tokens"
	LMHead      = "lm_head"
	LMHeadName  = "lm_head.weight"
	EmbedName   = "model.embed_tokens.weight"
)

const layerPrefix = "model.layers."

// modules is the name map of LlamaForCausalLM in canonical order: what stands
// before the layers, one layer, what stands after them.
var modules = []Module{
	{EmbedTokens, EmbedName, []Dim{Vocab, Hidden}, Always},

	{"input_layernorm", "model.layers.%d.input_layernorm.weight", []Dim{Hidden}, Always},
	{"q_proj", "model.layers.%d.self_attn.q_proj.weight", []Dim{Query, Hidden}, Always},
	{"q_proj.bias", "model.layers.%d.self_attn.q_proj.bias", []Dim{Query}, WithAttentionBias},
	{"k_proj", "model.layers.%d.self_attn.k_proj.weight", []Dim{KeyVal, Hidden}, Always},
	{"k_proj.bias", "model.layers.%d.self_attn.k_proj.bias", []Dim{KeyVal}, WithAttentionBias},
	{"v_proj", "model.layers.%d.self_attn.v_proj.weight", []Dim{KeyVal, Hidden}, Always},
	{"v_proj.bias", "model.layers.%d.self_attn.v_proj.bias", []Dim{KeyVal}, WithAttentionBias},
	{"o_proj", "model.layers.%d.self_attn.o_proj.weight", []Dim{Hidden, Query}, Always},
	{"o_proj.bias", "model.layers.%d.self_attn.o_proj.bias", []Dim{Hidden}, WithAttentionBias},
	{"post_attention_layernorm", "model.layers.%d.post_attention_layernorm.weight", []Dim{Hidden}, Always},
	{"gate_proj", "model.layers.%d.mlp.gate_proj.weight", []Dim{FFN, Hidden}, Always},
	{"gate_proj.bias", "model.layers.%d.mlp.gate_proj.bias", []Dim{FFN}, WithMLPBias},
	{"up_proj", "model.layers.%d.mlp.up_proj.weight", []Dim{FFN, Hidden}, Always},
	{"up_proj.bias", "model.layers.%d.mlp.up_proj.bias", []Dim{FFN}, WithMLPBias},
	{"down_proj", "model.layers.%d.mlp.down_proj.weight", []Dim{Hidden, FFN}, Always},
	{"down_proj.bias", "model.layers.%d.mlp.down_proj.bias", []Dim{Hidden}, WithMLPBias},

	{"norm", "model.norm.weight", []Dim{Hidden}, Always},
	{LMHead, LMHeadName, []Dim{Vocab, Hidden}, Untied},
}

// ignored are suffixes of tensors that older converters wrote and no
// computation reads: the frequencies follow from the config.
var ignored = []string{".rotary_emb.inv_freq"}

// Modules returns the name map of LLaMA in canonical order.
func Modules() []Module { return append([]Module(nil), modules...) }

// Layered tells whether every layer has one such tensor.
func (m Module) Layered() bool { return strings.HasPrefix(m.Template, layerPrefix) }

// Tensor returns the tensor's name in a layer; layer is ignored where the
// module stands outside the layers.
func (m Module) Tensor(layer int) string {
	if !m.Layered() {
		return m.Template
	}
	return fmt.Sprintf(m.Template, layer)
}

// Shape returns the tensor's shape under a config.
func (m Module) Shape(c Config) []int {
	shape := make([]int, len(m.Dims))
	for i, d := range m.Dims {
		shape[i] = c.dim(d)
	}
	return shape
}

func (c Config) dim(d Dim) int {
	switch d {
	case Vocab:
		return c.VocabSize
	case FFN:
		return c.IntermediateSize
	case Query:
		return c.Heads * c.HeadDim
	case KeyVal:
		return c.KVHeads * c.HeadDim
	default:
		return c.HiddenSize
	}
}

func (c Config) has(m Module) bool {
	switch m.When {
	case WithAttentionBias:
		return c.AttentionBias
	case WithMLPBias:
		return c.MLPBias
	case Untied:
		return !c.TieWordEmbeddings
	default:
		return true
	}
}

// NamedShape is one tensor that a config calls for.
type NamedShape struct {
	Name   string
	Module string
	Layer  int // −1 outside the layers
	Shape  []int
}

// Elements is the product of the shape.
func (s NamedShape) Elements() int { return elements(s.Shape) }

func elements(shape []int) int {
	n := 1
	for _, d := range shape {
		n *= d
	}
	return n
}

// TensorShapes returns every tensor of the model in canonical order: embedding,
// layer 0, layer 1, …, final norm, head when untied.
func (c Config) TensorShapes() []NamedShape {
	var out []NamedShape
	for s := range c.tensors() {
		out = append(out, s)
	}
	return out
}

// tensors yields TensorShapes one at a time, so that a reader can stop at the
// first few that a file lacks, whatever number of layers its config claims.
func (c Config) tensors() iter.Seq[NamedShape] {
	return func(yield func(NamedShape) bool) {
		first, last := layerSpan()
		emit := func(ms []Module, layer int) bool {
			for _, m := range ms {
				if c.has(m) && !yield(NamedShape{m.Tensor(layer), m.Name, layer, m.Shape(c)}) {
					return false
				}
			}
			return true
		}
		if !emit(modules[:first], -1) {
			return
		}
		for layer := range c.Layers {
			if !emit(modules[first:last], layer) {
				return
			}
		}
		emit(modules[last:], -1)
	}
}

// layerSpan returns the range of modules that stand inside a layer.
func layerSpan() (first, last int) {
	for !modules[first].Layered() {
		first++
	}
	for last = first; modules[last].Layered(); last++ {
	}
	return first, last
}

// Parameters is the number of weights that the config calls for.
func (c Config) Parameters() int64 {
	var n int64
	for _, m := range modules {
		if !c.has(m) {
			continue
		}
		size := int64(elements(m.Shape(c)))
		if m.Layered() {
			size *= int64(c.Layers)
		}
		n += size
	}
	return n
}

// ParseName splits a tensor name into its module and layer, −1 for the tensors
// outside the layers (embed_tokens, norm, lm_head). ok is false for a name that
// no LLaMA has.
func ParseName(tensor string) (module string, layer int, ok bool) {
	layer = -1
	template := tensor
	if rest, found := strings.CutPrefix(tensor, layerPrefix); found {
		number, tail, _ := strings.Cut(rest, ".")
		n, err := strconv.Atoi(number)
		if err != nil || n < 0 || strconv.Itoa(n) != number {
			return "", -1, false
		}
		layer, template = n, layerPrefix+"%d."+tail
	}
	module, ok = byTemplate[template]
	if !ok {
		return "", -1, false
	}
	return module, layer, true
}

var byTemplate = func() map[string]string {
	m := make(map[string]string, len(modules))
	for _, mod := range modules {
		m[mod.Template] = mod.Name
	}
	return m
}()

func isIgnored(name string) bool {
	for _, suffix := range ignored {
		if strings.HasSuffix(name, suffix) {
			return true
		}
	}
	return false
}
