package train

import (
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/graph"

	"d2nwg/internal/compute"
	"d2nwg/llm"
)

// back carries the gradient of a block's output to the gradient of its input, and records the gradients of the weights on its way.
type back func(dy *node) (dx *node)

// net builds the graph of one model over one batch. M = rows·length positions stand behind one another; with adapters, group g's rows are
// the g-th of groups equal parts.
type net struct {
	cfg                  llm.Config
	g                    *graph.Graph
	groups, rows, length int

	tensors    map[string]*node   // the weights by name
	lowRank    map[string]lowRank // adapters on top of them
	trainable  bool               // whether the tensors get gradients (the adapters always do)
	grads      map[string]*node
	oneHotOnly bool // the backend can't scatter

	names map[tensorKey]string
	rope  rotation
	mask  *node // (rows, 1, length, length): 0 where a query sees a key, a large negative number elsewhere
}

type tensorKey struct {
	module string
	layer  int
}

// lowRank are the adapters of one tensor: y += scale·(x·Aᵀ)·Bᵀ, B one for each group, A one for each group and trained, or shared and
// frozen.
type lowRank struct {
	a     *node   // (r, in), or (groups, r, in)
	b     *node   // (groups, out, r)
	scale float64 // 0 = 1
}

// factorA is the name under which the graph and the layout know the A of a tensor; its B has the tensor's own.
func factorA(tensor string) string { return "A:" + tensor }

// factorB is the name of the gradient of a tensor's B: the tensor's own, unless that has a gradient of its own.
func (n *net) factorB(tensor string) string {
	if n.trainable {
		return "B:" + tensor
	}
	return tensor
}

func newNet(cfg llm.Config, b *compute.Backend, groups int, in inputs) *net {
	n := &net{
		cfg: cfg, g: in.ids.Graph(), groups: groups, rows: in.rows, length: in.length,
		tensors: map[string]*node{}, lowRank: map[string]lowRank{}, grads: map[string]*node{}, names: map[tensorKey]string{},
		oneHotOnly: b.Name == compute.ONNX,
	}
	for _, s := range cfg.TensorShapes() {
		n.names[tensorKey{s.Module, s.Layer}] = s.Name
	}
	n.rope = newRotation(cfg, in)
	n.mask = visible(in.segments)
	return n
}

// positions is the number of rows of every activation matrix.
func (n *net) positions() int { return n.rows * n.length }

func (n *net) name(module string, layer int) string { return n.names[tensorKey{module, layer}] }

// gradient records the gradient of a trained tensor; a tensor used twice, such as a tied embedding, gets the sum.
func (n *net) gradient(name string, d *node) {
	if before, ok := n.grads[name]; ok {
		d = graph.Add(before, d)
	}
	n.grads[name] = d
}

// loss runs the model on a batch and returns the losses (groups), and what adds the gradients of their sum to n.grads.
func (n *net) loss(in inputs) (loss *node, backward func()) {
	logits, back := n.forward(in.ids)
	loss, dlogits := crossEntropy(logits, in.targets, in.weights, n.groups)
	return loss, func() { back(dlogits) }
}

// forward runs the model and returns its logits (M, vocab), and the backward pass from their gradient.
func (n *net) forward(ids *node) (*node, func(dlogits *node)) {
	h, embedBack := n.embed(ids) // (M, hidden)
	var backs []back
	for layer := range n.cfg.Layers {
		var attentionBack, mlpBack back
		h, attentionBack = n.residual(h, "input_layernorm", layer, n.attention)
		h, mlpBack = n.residual(h, "post_attention_layernorm", layer, n.mlp)
		backs = append(backs, attentionBack, mlpBack)
	}
	h, normBack := n.rmsNorm(n.name("norm", -1), h)
	head := n.name(llm.LMHead, -1)
	if n.cfg.TieWordEmbeddings {
		head = n.name(llm.EmbedTokens, -1)
	}
	logits, headBack := n.linear(head, "", h) // (M, vocab)
	return logits, func(dlogits *node) {
		d := normBack(headBack(dlogits))
		for i := len(backs) - 1; i >= 0; i-- {
			d = backs[i](d)
		}
		embedBack(d)
	}
}

// residual is h + block(norm(h)).
func (n *net) residual(h *node, norm string, layer int, block func(int, *node) (*node, back)) (*node, back) {
	x, normBack := n.rmsNorm(n.name(norm, layer), h)
	y, blockBack := block(layer, x)
	return graph.Add(h, y), func(d *node) *node { return graph.Add(d, normBack(blockBack(d))) }
}

// oneHotVocab is the largest vocabulary whose trained embedding is looked up by a product with one-hot rows on every backend.
const oneHotVocab = 4096

// embed looks tokens up: ids (M) → (M, hidden). A trained table is looked up by a product with one-hot rows, whose gradient is a product
// too. Large tables are gathered and their gradient scattered, except on onnx, which sums scattered rows of a repeated token wrongly.
func (n *net) embed(ids *node) (*node, func(dy *node)) {
	name := n.name(llm.EmbedTokens, -1)
	table := n.tensors[name] // (vocab, hidden)
	if n.trainable && (n.cfg.VocabSize <= oneHotVocab || n.oneHotOnly) {
		hot := oneHot(ids, n.cfg.VocabSize) // (M, vocab)
		return product(hot, 1, table, 0), func(dy *node) { n.gradient(name, product(hot, 0, dy, 0)) }
	}
	index := graph.Reshape(ids, n.positions(), 1)
	return graph.Gather(table, index), func(dy *node) {
		if n.trainable {
			n.gradient(name, graph.Scatter(index, dy, table.Shape(), false, false))
		}
	}
}

// oneHot is (M, depth): 1 in column ids[i] of row i.
func oneHot(ids *node, depth int) *node {
	m := ids.Shape().Dimensions[0]
	column := graph.Iota(ids.Graph(), shapes.Make(dtypes.Int32, 1, depth), 1)
	return graph.ConvertDType(graph.Equal(graph.Reshape(ids, m, 1), column), dtypes.Float32)
}

// product contracts one axis of each of two matrices.
func product(x *node, xAxis int, y *node, yAxis int) *node {
	return graph.DotGeneral(x, []int{xAxis}, nil, y, []int{yAxis}, nil)
}

// linear is y = x·Wᵀ + bias + (x·Aᵀ)·Bᵀ: x (M, in), W (out, in), y (M, out).
func (n *net) linear(name, bias string, x *node) (*node, back) {
	w := n.tensors[name]
	y := product(x, 1, w, 1)
	if bias != "" {
		y = graph.Add(y, graph.Reshape(n.tensors[bias], 1, w.Shape().Dimensions[0]))
	}
	adapter, adapted := n.lowRank[name]
	var adapterBack back
	if adapted {
		var extra *node
		extra, adapterBack = n.adapt(name, adapter, x)
		y = graph.Add(y, extra)
	}
	return y, func(dy *node) *node {
		dx := product(dy, 1, w, 0)
		if n.trainable {
			n.gradient(name, product(dy, 0, x, 0))
			if bias != "" {
				n.gradient(bias, n.sumPositions(dy))
			}
		}
		if adapted {
			dx = graph.Add(dx, adapterBack(dy))
		}
		return dx
	}
}

// sumPositions sums (M, k) over the positions, row by row first, to (k).
func (n *net) sumPositions(x *node) *node {
	k := x.Shape().Dimensions[1]
	return graph.ReduceSum(graph.ReduceSum(graph.Reshape(x, n.rows, n.length, k), 1), 0)
}

// rmsNorm is x/√(mean(x²)+ε)·w: x (M, hidden), w (hidden).
func (n *net) rmsNorm(name string, x *node) (*node, back) {
	width := n.cfg.HiddenSize
	w := graph.Reshape(n.tensors[name], 1, width)
	mean := func(v *node) *node {
		return graph.MulScalar(graph.ReduceAndKeep(v, graph.ReduceSum, -1), 1/float64(width))
	}
	inverse := graph.Div(graph.ScalarOne(n.g, dtypes.Float32), graph.Sqrt(graph.AddScalar(mean(graph.Mul(x, x)), n.cfg.RMSNormEps))) // (M, 1)
	unit := graph.Mul(x, inverse)
	return graph.Mul(unit, w), func(dy *node) *node {
		if n.trainable {
			n.gradient(name, n.sumPositions(graph.Mul(dy, unit)))
		}
		d := graph.Mul(dy, w)
		return graph.Mul(graph.Sub(d, graph.Mul(unit, mean(graph.Mul(d, unit)))), inverse)
	}
}

// mlp is SwiGLU: down(silu(gate(x))·up(x)).
func (n *net) mlp(layer int, x *node) (*node, back) {
	gate, gateBack := n.module("gate_proj", layer, x) // (M, ffn)
	up, upBack := n.module("up_proj", layer, x)       // (M, ffn)
	sigmoid := graph.Logistic(gate)
	silu := graph.Mul(gate, sigmoid)
	y, downBack := n.module("down_proj", layer, graph.Mul(silu, up))
	return y, func(dy *node) *node {
		d := downBack(dy)
		dUp := graph.Mul(d, silu)
		// silu' = σ + silu·(1−σ)
		slope := graph.Add(sigmoid, graph.Sub(silu, graph.Mul(silu, sigmoid)))
		dGate := graph.Mul(graph.Mul(d, up), slope)
		return graph.Add(gateBack(dGate), upBack(dUp))
	}
}

// module is the linear layer of a module, with its bias where the config has one.
func (n *net) module(module string, layer int, x *node) (*node, back) {
	return n.linear(n.name(module, layer), n.name(module+".bias", layer), x)
}
