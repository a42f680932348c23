package adapters

import (
	"fmt"
	"math"

	"github.com/gomlx/gomlx/core/graph"

	"d2nwg/generator/internal/nn"
	"d2nwg/internal/compute/optim"
	"d2nwg/llm"
)

// net builds the parts of the generator's graph. Groups are adapters.
type net struct {
	cfg     Config
	factors []llm.NamedShape // adapted tensors with the shapes (out, r) of their B
	rank    int
}

// farAway is a score so low that attention never looks there.
const farAway = 1e9

// text encodes descriptions: bags (groups·words, buckets) and mask (groups, words) → features (groups, feature).
func (n *net) text(s *optim.Scope, bags, mask *graph.Node) *graph.Node {
	c := n.cfg.Text
	s = s.In("text")
	g, d := mask.Shape().Dim(0), c.Width
	x := graph.Reshape(nn.Linear(s, "words", bags, d, 1), g, c.Words, d)
	x = graph.Add(x, graph.Reshape(s.Param("places", optim.Normal(0.3), c.Words, d), 1, c.Words, d))
	bias := graph.Reshape(graph.MulScalar(graph.AddScalar(mask, -1), farAway), g, 1, 1, c.Words)
	for i := range c.Blocks {
		b := s.In(fmt.Sprintf("block%d", i))
		x = graph.Add(x, nn.Attention(b, "attn", nn.LayerNorm(x), bias, c.Heads, 0.3))
		x = graph.Add(x, feedForward(b, x))
	}
	weights := graph.Reshape(mask, g, c.Words, 1)
	count := graph.MaxScalar(graph.ReduceSum(mask, -1), 1)
	x = graph.Div(graph.ReduceSum(graph.Mul(nn.LayerNorm(x), weights), 1), graph.Reshape(count, g, 1)) // (groups, width)
	return nn.LayerNorm(nn.Dense(s, "out", nn.SiLU(nn.Dense(s, "mlp", nn.LayerNorm(x), 2*d, 1)), n.cfg.Feature, 1))
}

// feedForward is a transformer's second half over x (n, t, d).
func feedForward(s *optim.Scope, x *graph.Node) *graph.Node {
	dims := x.Shape().Dimensions
	d := dims[2]
	u := graph.Reshape(nn.LayerNorm(x), dims[0]*dims[1], d)
	u = nn.Dense(s, "down", nn.SiLU(nn.Dense(s, "up", u, 4*d, 1)), d, 0.3)
	return graph.Reshape(u, dims...)
}

// set encodes examples: states (groups, examples, states) and mask (groups, examples) → features (groups, feature). It is a Set
// Transformer: one induced attention block, then pooling by a learned seed (Lee et al. 2019, ISAB and PMA).
func (n *net) examples(s *optim.Scope, states, mask *graph.Node) *graph.Node {
	c := n.cfg.Set
	s = s.In("set")
	g, k, d := mask.Shape().Dim(0), mask.Shape().Dim(1), c.Width
	x := nn.Dense(s, "in", graph.Reshape(states, g*k, states.Shape().Dim(2)), d, 1)
	x = graph.Reshape(x, g, k, d)
	bias := graph.Reshape(graph.MulScalar(graph.AddScalar(mask, -1), farAway), g, 1, 1, k)
	points := graph.BroadcastToDims(graph.Reshape(s.Param("points", optim.Normal(1), c.Inducing, d), 1, c.Inducing, d), g, c.Inducing, d)
	h := attend(s.In("gather"), points, x, bias, c.Heads)
	x = attend(s.In("spread"), x, h, nil, c.Heads)
	seed := graph.BroadcastToDims(graph.Reshape(s.Param("seed", optim.Normal(1), 1, d), 1, 1, d), g, 1, d)
	y := graph.Reshape(attend(s.In("pool"), seed, x, bias, c.Heads), g, d)
	return nn.LayerNorm(nn.Dense(s, "out", nn.SiLU(nn.Dense(s, "mlp", nn.LayerNorm(y), 2*d, 1)), n.cfg.Feature, 1))
}

// attend is a multihead attention block: queries x (n, q, d) look at y (n, k, d), with a feed-forward layer behind. bias (n, 1, 1, k) or nil.
func attend(s *optim.Scope, x, y, bias *graph.Node, heads int) *graph.Node {
	x = graph.Add(x, nn.CrossAttention(s, "attn", nn.LayerNorm(x), nn.LayerNorm(y), bias, heads, 0.3))
	return graph.Add(x, feedForward(s, x))
}

// latent turns features (groups, feature) into latents (groups, latent) of mean square 1.
func (n *net) latent(s *optim.Scope, features *graph.Node) *graph.Node {
	s = s.In("latent")
	h := nn.SiLU(nn.Dense(s, "h1", features, n.cfg.Width, 1))
	h = graph.Add(h, nn.SiLU(nn.Dense(s, "h2", nn.LayerNorm(h), n.cfg.Width, 1)))
	return unit(nn.Dense(s, "out", h, n.cfg.Latent, 1))
}

// unit scales rows to a mean square of 1.
func unit(x *graph.Node) *graph.Node {
	square := graph.ReduceAndKeep(graph.Mul(x, x), graph.ReduceMean, -1)
	return graph.Div(x, graph.Sqrt(graph.AddScalar(square, 1e-6)))
}

// decode turns latents (groups, latent) into the B factors (groups, out, r) in units of scale. The architecture is a condition by its rows:
// every rank slot of every module in every layer has an output row of its own. Rows shared by the matrices of a module, told apart by
// embeddings, learned half as fast.
func (n *net) decode(s *optim.Scope, z *graph.Node) map[string]*graph.Node {
	s = s.In("decoder")
	h := nn.SiLU(nn.Dense(s, "h1", z, n.cfg.Width, 1))
	h = graph.Add(h, nn.SiLU(nn.Dense(s, "h2", nn.LayerNorm(h), n.cfg.Width, 1)))
	out := map[string]*graph.Node{}
	for _, f := range n.factors {
		y := nn.Dense(s, f.Name, h, f.Elements(), firstSize)
		out[f.Name] = graph.Reshape(y, z.Shape().Dim(0), f.Shape[0], f.Shape[1])
	}
	return out
}

// firstSize is the deviation of the first decoded values, in units of scale.
const firstSize = 0.05

// weights encodes adapters: their B factors (groups, out, r) → latents (groups, latent).
func (n *net) weights(s *optim.Scope, b map[string]*graph.Node) *graph.Node {
	s = s.In("weights")
	var parts []*graph.Node
	const each = 16 // numbers a token is summed up in
	g := 0
	for _, f := range n.factors {
		x := b[f.Name] // (groups, out, r)
		g = x.Shape().Dim(0)
		x = graph.Reshape(graph.TransposeAllAxes(x, 0, 2, 1), g*n.rank, f.Shape[0])
		parts = append(parts, graph.Reshape(nn.Linear(s.In(f.Module), fmt.Sprint(f.Layer), x, each, 1/math.Sqrt(float64(f.Shape[0]))), g, n.rank*each))
	}
	h := nn.SiLU(nn.Dense(s, "h1", graph.Concatenate(parts, 1), n.cfg.Width, 1))
	h = graph.Add(h, nn.SiLU(nn.Dense(s, "h2", nn.LayerNorm(h), n.cfg.Width, 1)))
	return unit(nn.Dense(s, "out", h, n.cfg.Latent, 1))
}
