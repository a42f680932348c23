package train

import (
	"math"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/graph"

	"d2nwg/llm"
)

// attention is causal grouped-query attention over the positions that see each other.
// The queries of the heads that share a key head stand behind one another: B = rows·kvHeads products of (heads/kvHeads·length) queries.
func (n *net) attention(layer int, x *node) (*node, back) {
	q, qBack := n.module("q_proj", layer, x) // (M, heads·headDim)
	k, kBack := n.module("k_proj", layer, x) // (M, kvHeads·headDim)
	v, vBack := n.module("v_proj", layer, x)
	q, qTurn := n.rope.turn(q, n.rope.query)
	k, kTurn := n.rope.turn(k, n.rope.key)
	y, coreBack := n.attend(n.split(q), n.split(k), n.split(v))
	out, outBack := n.module("o_proj", layer, n.merge(y))
	return out, func(d *node) *node {
		dq, dk, dv := coreBack(n.split(outBack(d)))
		dx := qBack(qTurn(n.merge(dq)))
		dx = graph.Add(dx, kBack(kTurn(n.merge(dk))))
		return graph.Add(dx, vBack(n.merge(dv)))
	}
}

// attend is softmax(q·kᵀ + mask)·v: q (B, queries, headDim), k and v (B, length, headDim).
func (n *net) attend(q, k, v *node) (*node, func(dy *node) (dq, dk, dv *node)) {
	b, queries := q.Shape().Dimensions[0], q.Shape().Dimensions[1]
	scores := graph.DotGeneral(q, []int{2}, []int{0}, k, []int{2}, []int{0}) // (B, queries, length)
	perHead := graph.Reshape(scores, n.rows, n.cfg.Heads, n.length, n.length)
	p := graph.Reshape(softmax(graph.Add(perHead, n.mask)), b, queries, n.length)
	y := graph.DotGeneral(p, []int{2}, []int{0}, v, []int{1}, []int{0}) // (B, queries, headDim)
	return y, func(dy *node) (dq, dk, dv *node) {
		// dScores = p∘(dp − Σ dp∘p) with dp = dy·vᵀ; the sum over keys equals Σ dy∘y over headDim, and one more column of the product
		// subtracts it.
		sum := graph.ReduceAndKeep(graph.Mul(dy, y), graph.ReduceSum, -1) // (B, queries, 1)
		ones := graph.Ones(n.g, shapes.Make(dtypes.Float32, b, n.length, 1))
		dyMore := graph.Concatenate([]*node{dy, graph.Neg(sum)}, 2)
		vMore := graph.Concatenate([]*node{v, ones}, 2)
		ds := graph.Mul(p, graph.DotGeneral(dyMore, []int{2}, []int{0}, vMore, []int{2}, []int{0})) // (B, queries, length)
		dq = graph.DotGeneral(ds, []int{2}, []int{0}, k, []int{1}, []int{0})                        // (B, queries, headDim)
		return dq, transposedProduct(ds, q), transposedProduct(p, dy)
	}
}

// transposedProduct is xᵀ·y for every batch index: x (B, i, j), y (B, i, k) → (B, j, k). x is the large one here: it is read as it lies, and
// the small factor and the small result are transposed instead, which is 4 times faster on the go backend.
func transposedProduct(x, y *node) *node {
	return graph.TransposeAllAxes(smallProduct(x, y), 0, 2, 1)
}

// smallProduct is yᵀ·x for every batch index: x (B, i, j), y (B, i, k) → (B, k, j). x is the large one.
func smallProduct(x, y *node) *node {
	return graph.DotGeneral(graph.TransposeAllAxes(y, 0, 2, 1), []int{2}, []int{0}, x, []int{1}, []int{0})
}

// split lays heads out for attend: (M, heads·headDim) → (rows·kvHeads, heads/kvHeads·length, headDim).
func (n *net) split(x *node) *node {
	each := x.Shape().Dimensions[1] / (n.cfg.KVHeads * n.cfg.HeadDim)
	x = graph.Reshape(x, n.rows, n.length, n.cfg.KVHeads, each, n.cfg.HeadDim)
	x = graph.TransposeAllAxes(x, 0, 2, 3, 1, 4)
	return graph.Reshape(x, n.rows*n.cfg.KVHeads, each*n.length, n.cfg.HeadDim)
}

// merge undoes split.
func (n *net) merge(x *node) *node {
	each := x.Shape().Dimensions[1] / n.length
	x = graph.Reshape(x, n.rows, n.cfg.KVHeads, each, n.length, n.cfg.HeadDim)
	x = graph.TransposeAllAxes(x, 0, 3, 1, 2, 4)
	return graph.Reshape(x, n.positions(), n.cfg.KVHeads*each*n.cfg.HeadDim)
}

// softmax over the last axis: the backend's own where it has one.
func softmax(x *node) *node {
	if x.Graph().Backend().Capabilities().Operations[compute.OpTypeFusedSoftmax] {
		return graph.BackendFusedSoftmax(x, x.Rank()-1)
	}
	e := graph.Exp(graph.Sub(x, graph.ReduceAndKeep(x, graph.ReduceMax, -1)))
	return graph.Div(e, graph.ReduceAndKeep(e, graph.ReduceSum, -1))
}

// unseen is added to the score of a key that a query doesn't see. It is finite so that padding, which sees nothing, stays finite too.
const unseen = -1e9

// visible makes the additive mask (rows, 1, length, length) of segments (rows, length): query i sees key j where j ≤ i and j stands in
// the row's prefix (segment 0) or in i's own segment; padding (segment −1) is never seen.
func visible(segments *node) *node {
	g, rows, length := segments.Graph(), segments.Shape().Dimensions[0], segments.Shape().Dimensions[1]
	query := graph.Reshape(segments, rows, length, 1)
	key := graph.Reshape(segments, rows, 1, length)
	zero := graph.ScalarZero(g, dtypes.Int32)
	own := graph.And(graph.Equal(query, key), graph.GreaterThan(key, zero))
	causal := make([][][]bool, 1)
	causal[0] = make([][]bool, length)
	for i := range causal[0] {
		causal[0][i] = make([]bool, length)
		for j := 0; j <= i; j++ {
			causal[0][i][j] = true
		}
	}
	seen := graph.And(graph.Or(own, graph.Equal(key, zero)), graph.Const(g, causal)) // (rows, length, length)
	add := graph.MulScalar(graph.ConvertDType(graph.LogicalNot(seen), dtypes.Float32), unseen)
	return graph.Reshape(add, rows, 1, length, length)
}

// rotation is the rotary embedding. Heads lie behind one another in a row, and so do these tables, made once for all layers.
type rotation struct {
	half       *node // (headDim, headDim): x·half swaps the halves of a head, the second negated
	query, key angles
	headDim    int
}

// angles are cos and sin for every column: (M, heads·headDim).
type angles struct{ cos, sin *node }

func newRotation(cfg llm.Config, in inputs) rotation {
	g, d := in.cos.Graph(), cfg.HeadDim
	half := make([][]float32, d)
	for i := range half {
		half[i] = make([]float32, d)
		if i >= d/2 {
			half[i][i-d/2] = -1
		} else {
			half[i][i+d/2] = 1
		}
	}
	m := in.rows * in.length
	table := func(x *node, heads int) *node {
		x = graph.Reshape(graph.Concatenate([]*node{x, x}, 1), m, 1, d)
		return graph.Reshape(graph.BroadcastToDims(x, m, heads, d), m, heads*d)
	}
	// The scores' factor 1/√headDim rides on the queries' tables.
	scale := 1 / math.Sqrt(float64(d))
	return rotation{
		half:    graph.Const(g, half),
		headDim: d,
		query:   angles{table(graph.MulScalar(in.cos, scale), cfg.Heads), table(graph.MulScalar(in.sin, scale), cfg.Heads)},
		key:     angles{table(in.cos, cfg.KVHeads), table(in.sin, cfg.KVHeads)},
	}
}

// turn rotates x (M, heads·headDim): x·cos + rotateHalf(x)·sin. The matrix of rotateHalf is skew, so going back negates it.
func (r rotation) turn(x *node, a angles) (*node, back) {
	y := graph.Add(graph.Mul(x, a.cos), graph.Mul(r.rotateHalf(x), a.sin))
	return y, func(dy *node) *node {
		return graph.Sub(graph.Mul(dy, a.cos), r.rotateHalf(graph.Mul(dy, a.sin)))
	}
}

func (r rotation) rotateHalf(x *node) *node {
	m, width := x.Shape().Dimensions[0], x.Shape().Dimensions[1]
	heads := graph.Reshape(x, m*width/r.headDim, r.headDim)
	return graph.Reshape(product(heads, 1, r.half, 0), m, width)
}
