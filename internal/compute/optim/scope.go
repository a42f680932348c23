// Package optim trains GoMLX models: parameters by name, AdamW with clipping and averaged weights inside the compiled step, and all state
// on the backend between steps.
//
// A model is a function of a Scope and input nodes. The Scope hands out trainable parameters by name, so one function serves training
// (Trainer) and inference (Func).
package optim

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/graph"
)

// Init gives the first values of a parameter. r is seeded by the model's seed and the parameter's name.
type Init func(r *rand.Rand, values []float32)

// Zeros starts at 0.
func Zeros(_ *rand.Rand, values []float32) {}

// Ones starts at 1.
func Ones(_ *rand.Rand, values []float32) {
	for i := range values {
		values[i] = 1
	}
}

// Normal starts with normal values of deviation std.
func Normal(std float64) Init {
	return func(r *rand.Rand, values []float32) {
		for i := range values {
			values[i] = float32(std * r.NormFloat64())
		}
	}
}

// Scope gives a model function its parameters.
type Scope struct {
	prefix string
	m      *model
}

// model collects the parameters of one graph in the order of their creation.
type model struct {
	g      *graph.Graph
	seed   uint64
	values map[string][]float32 // values to start from; parameters that they lack start with their Init
	whole  bool                 // values have to have every parameter
	names  []string
	nodes  map[string]*graph.Node
	init   map[string][]float32
}

// In returns the scope of a part of the model: its parameters are called name.….
func (s *Scope) In(name string) *Scope { return &Scope{prefix: s.prefix + name + ".", m: s.m} }

// Param returns the parameter called name, of shape dims, creating it with init. It panics when values were given to the model that lack
// the name or have another size; build graphs inside compute.Safe.
func (s *Scope) Param(name string, init Init, dims ...int) *graph.Node {
	name = s.prefix + name
	m := s.m
	if n, ok := m.nodes[name]; ok {
		return n
	}
	shape := shapes.Make(dtypes.Float32, dims...)
	values, given := m.values[name]
	if !given && !m.whole {
		h := fnv.New64a()
		h.Write([]byte(name))
		values = make([]float32, shape.Size())
		init(rand.New(rand.NewPCG(m.seed, h.Sum64())), values)
	} else if len(values) != shape.Size() {
		panic(fmt.Errorf("parameter %s has %d values, the model needs %v", name, len(values), dims))
	}
	n := graph.Parameter(m.g, "param:"+name, shape)
	m.names = append(m.names, name)
	m.nodes[name], m.init[name] = n, values
	return n
}

// build adds one float32 input per shape to g and calls f on them.
func build(g *graph.Graph, seed uint64, values map[string][]float32, whole bool, inputs [][]int, f Loss) (*model, []*graph.Node) {
	m := &model{g: g, seed: seed, values: values, whole: whole, nodes: map[string]*graph.Node{}, init: map[string][]float32{}}
	in := make([]*graph.Node, len(inputs))
	for i, dims := range inputs {
		in[i] = graph.Parameter(m.g, fmt.Sprintf("input:%d", i), shapes.Make(dtypes.Float32, dims...))
	}
	return m, f(&Scope{m: m}, in)
}
