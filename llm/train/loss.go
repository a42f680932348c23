package train

import (
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/gomlx/core/graph"
)

// crossEntropy is the weighted mean of −ln softmax(logits)[target] inside each group, and its gradient. The groups' losses are summed, so
// no group sees another.
//
//	logits (M, vocab), targets (M), weights (M) → loss (groups), dlogits (M, vocab)
func crossEntropy(logits, targets, weights *node, groups int) (loss, dlogits *node) {
	m, vocab := logits.Shape().Dimensions[0], logits.Shape().Dimensions[1]
	p := softmax(logits)
	hot := oneHot(targets, vocab)
	perGroup := graph.Reshape(weights, groups, m/groups)
	total := graph.ReduceAndKeep(perGroup, graph.ReduceSum, 1) // (groups, 1)
	share := graph.Div(perGroup, graph.MaxScalar(total, 1e-20))
	// The probability is held above the smallest float32, so that its logarithm stays finite; the gradient doesn't pass through here.
	right := graph.MaxScalar(graph.ReduceSum(graph.Mul(p, hot), 1), 1e-37) // (M)
	nll := graph.Mul(graph.Reshape(graph.Neg(graph.Log(right)), groups, m/groups), share)
	dlogits = graph.Mul(graph.Sub(p, hot), graph.Reshape(share, m, 1))
	return graph.ReduceSum(nll, 1), dlogits
}

// hyper are the numbers of a step that change from step to step; they come from the host as one vector: the corrections 1/(1−βᵗ) of both
// moments, then each group's learning rate.
type hyper struct {
	rate               *node // (groups, 1)
	correct1, correct2 *node // (1, 1)
}

func hyperSize(groups int) int { return 2 + groups }

func newHyper(v *node, groups int) hyper {
	at := func(i, n int) *node { return graph.Reshape(graph.Slice(v, graph.AxisRange(i, i+n)), n, 1) }
	return hyper{correct1: at(0, 1), correct2: at(1, 1), rate: at(2, groups)}
}

// adamW updates (groups, size) parameters and moments by AdamW with decoupled weight decay, after scaling each group's gradient to a
// global norm of at most clip. norm (groups) is the norm before.
//
//	m ← β₁m + (1−β₁)g;  v ← β₂v + (1−β₂)g²;  p ← p − rate·(m/(1−β₁ᵗ) / (√(v/(1−β₂ᵗ)) + ε) + decay·p)
func adamW(opt Options, lay *layout, h hyper, params, m, v, grad *node) (newParams, newM, newV, norm *node) {
	const epsilon = 1e-8
	g := params.Graph()
	groups := params.Shape().Dimensions[0]
	squares := graph.Reshape(graph.Mul(grad, grad), groups, lay.size/padTo, padTo)
	norm = graph.Sqrt(graph.ReduceSum(graph.ReduceSum(squares, 2), 1)) // (groups)
	if opt.Clip > 0 {
		scale := graph.MinScalar(graph.Div(graph.Scalar(g, dtypes.Float32, opt.Clip), graph.AddScalar(norm, 1e-6)), 1)
		grad = graph.Mul(grad, graph.Reshape(scale, groups, 1))
	}
	newM = graph.Add(graph.MulScalar(m, opt.Beta1), graph.MulScalar(grad, 1-opt.Beta1))
	newV = graph.Add(graph.MulScalar(v, opt.Beta2), graph.MulScalar(graph.Mul(grad, grad), 1-opt.Beta2))
	step := graph.Div(graph.Mul(newM, h.correct1), graph.AddScalar(graph.Sqrt(graph.Mul(newV, h.correct2)), epsilon))
	if opt.WeightDecay > 0 {
		step = graph.Add(step, graph.Mul(params, lay.decay(g, opt.WeightDecay)))
	}
	newParams = graph.Sub(params, graph.Mul(step, h.rate))
	return newParams, newM, newV, norm
}
