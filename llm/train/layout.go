package train

import (
	"fmt"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/gomlx/core/graph"

	"d2nwg/llm"
)

// node is a value of a graph under construction.
type node = graph.Node

// layout places the trained tensors behind one another in a flat vector, so that AdamW is a handful of operations over one array instead
// of a dozen for every tensor.
type layout struct {
	entries []entry
	size    int // of the vector, padded with zeros to a multiple of padTo
}

// entry is one trained tensor in the vector.
type entry struct {
	name   string
	shape  []int
	offset int
	size   int
	decays bool
}

// padTo is what the vector's length is a multiple of: sums over it go in stages, which keeps float32 exact enough on backends that add
// naively.
const padTo = 1024

func (l *layout) add(name string, shape []int, decays bool) {
	size := 1
	for _, d := range shape {
		size *= d
	}
	offset := 0
	if n := len(l.entries); n > 0 {
		offset = l.entries[n-1].offset + l.entries[n-1].size
	}
	l.entries = append(l.entries, entry{name, shape, offset, size, decays})
	l.size = (offset + size + padTo - 1) / padTo * padTo
}

// fullLayout holds every tensor of a model. Weight decay is for matrices: norms, biases and embeddings are left alone.
func fullLayout(cfg llm.Config) *layout {
	l := &layout{}
	for _, s := range cfg.TensorShapes() {
		l.add(s.Name, s.Shape, len(s.Shape) == 2 && s.Module != llm.EmbedTokens)
	}
	return l
}

// flatten copies weights into a new vector. Missing tensors and wrong sizes are errors that name the tensor.
func (l *layout) flatten(w Weights) ([]float32, error) {
	flat := make([]float32, l.size)
	for _, e := range l.entries {
		values, ok := w[e.name]
		if !ok {
			return nil, fmt.Errorf("train: tensor %s is missing from the initial weights", e.name)
		}
		if len(values) != e.size {
			return nil, fmt.Errorf("train: tensor %s has %d values, the config wants shape %v", e.name, len(values), e.shape)
		}
		copy(flat[e.offset:], values)
	}
	return flat, nil
}

// unflatten cuts a vector into fresh tensors.
func (l *layout) unflatten(flat []float32) Weights {
	w := Weights{}
	for _, e := range l.entries {
		w[e.name] = append([]float32(nil), flat[e.offset:e.offset+e.size]...)
	}
	return w
}

// decay is the constant that weight decay multiplies the parameters by: a scalar where all of them decay alike, else a vector (1, size) with
// 0 for the tensors that are left alone.
func (l *layout) decay(g *graph.Graph, rate float64) *node {
	mask, everywhere := make([]float32, l.size), true
	for _, e := range l.entries {
		if !e.decays {
			everywhere = false
			continue
		}
		for i := range e.size {
			mask[e.offset+i] = float32(rate)
		}
	}
	if everywhere {
		return graph.Scalar(g, dtypes.Float32, rate)
	}
	return graph.Const(g, [][]float32{mask})
}

// slice returns a tensor of state (groups, size): its own shape, or (groups, shape...) where grouped.
func (l *layout) slice(state *node, e entry, grouped bool) *node {
	part := graph.Slice(state, graph.AxisRange(), graph.AxisRange(e.offset, e.offset+e.size)) // (groups, n)
	if !grouped {
		return graph.Reshape(part, e.shape...)
	}
	return graph.Reshape(part, append([]int{state.Shape().Dimensions[0]}, e.shape...)...)
}

// gather lays gradients out like the vector: (groups, size).
func (l *layout) gather(groups int, grads map[string]*node) *node {
	var parts []*node
	at := 0
	for _, e := range l.entries {
		parts = append(parts, graph.Reshape(grads[e.name], groups, e.size))
		at += e.size
	}
	if at < l.size {
		pad := make([][]float32, groups)
		for i := range pad {
			pad[i] = make([]float32, l.size-at)
		}
		parts = append(parts, graph.Const(parts[0].Graph(), pad))
	}
	return graph.Concatenate(parts, 1)
}
