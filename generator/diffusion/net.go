package diffusion

import (
	"fmt"

	"github.com/gomlx/gomlx/core/graph"

	"d2nwg/generator/internal/nn"
	"d2nwg/internal/compute/optim"
)

// timeFeatures is the number of sinusoidal features of the time.
const timeFeatures = 64

// latentSide is the side of the latent picture that the U-Net works on.
const latentSide = 16

// hidden is a score so low that attention never looks there.
const hidden = 1e9

// loss is the training graph: the inputs of predict, then the target (groups, tokens, latent) and the weight (groups, 1). Outputs: the
// weighted loss and the plain mean squared error over the tokens that exist.
func (m *Model) loss(s *optim.Scope, in []*graph.Node) []*graph.Node {
	n := len(in) - 2
	diff := graph.Sub(m.predict(s, in[:n])[0], in[n])
	g, t, l := m.cfg.Batch, m.shape.Tokens, m.shape.Latent
	mask := graph.Reshape(in[2], g, t, 1)
	sq := graph.DivScalar(graph.ReduceSum(graph.Mul(graph.Mul(diff, diff), mask), -1), float64(l)) // (groups, tokens)
	perGroup := graph.Div(graph.ReduceSum(sq, -1), graph.ReduceSum(in[2], -1))                     // (groups)
	weighted := graph.Mul(perGroup, graph.Reshape(in[n+1], g))
	return []*graph.Node{nn.Mean(weighted), nn.Mean(perGroup)}
}

// predict is the denoiser. Inputs: x_t (groups, tokens, latent), arch (groups, tokens, arch), mask (groups, tokens), condition
// (groups, cond), null (groups, 1) and time features (groups, timeFeatures). Output: the prediction, like x_t.
func (m *Model) predict(s *optim.Scope, in []*graph.Node) []*graph.Node {
	if m.cfg.Net == UNet {
		return []*graph.Node{m.unet(s, in)}
	}
	return []*graph.Node{m.dit(s, in)}
}

// dit is the transformer of Peebles & Xie 2023: adaLN-zero blocks over all tokens of a group.
func (m *Model) dit(s *optim.Scope, in []*graph.Node) *graph.Node {
	x, arch, mask, cond, null, time := in[0], in[1], in[2], in[3], in[4], in[5]
	g, t, l, d := x.Shape().Dim(0), m.shape.Tokens, m.shape.Latent, m.cfg.Width
	h := nn.Dense(s, "in", graph.Reshape(x, g*t, l), d, 1)
	h = graph.Add(h, nn.Dense(s, "arch", graph.Reshape(arch, g*t, m.shape.Arch), d, 1))
	h = graph.Reshape(h, g, t, d)
	c := nn.Dense(s, "time2", nn.SiLU(nn.Dense(s, "time1", time, d, 1)), d, 1)
	c = graph.Add(c, nn.Dense(s, "cond", graph.Concatenate([]*graph.Node{cond, null}, 1), d, 1))
	c = nn.SiLU(c) // (groups, width)
	bias := graph.Reshape(graph.MulScalar(graph.AddScalar(mask, -1), hidden), g, 1, 1, t)
	for i := range m.cfg.Blocks {
		b := s.In(fmt.Sprintf("block%d", i))
		mod := nn.Split(nn.Dense(b, "ada", c, 6*d, 0), 6)
		for k := range mod {
			mod[k] = graph.Reshape(mod[k], g, 1, d)
		}
		a := nn.Attention(b, "attn", nn.Modulate(nn.LayerNorm(h), mod[0], mod[1]), bias, m.cfg.Heads, 1)
		h = graph.Add(h, graph.Mul(a, mod[2]))
		u := graph.Reshape(nn.Modulate(nn.LayerNorm(h), mod[3], mod[4]), g*t, d)
		u = nn.Dense(b, "down", nn.SiLU(nn.Dense(b, "up", u, 4*d, 1)), d, 1)
		h = graph.Add(h, graph.Mul(graph.Reshape(u, g, t, d), mod[5]))
	}
	mod := nn.Split(nn.Dense(s, "ada", c, 2*d, 0), 2)
	h = nn.Modulate(nn.LayerNorm(h), graph.Reshape(mod[0], g, 1, d), graph.Reshape(mod[1], g, 1, d))
	return graph.Reshape(nn.Dense(s, "out", graph.Reshape(h, g*t, d), l, 0), g, t, l)
}

// unet is the denoiser of latent diffusion: every token is a 16×16 picture of its own, the condition is concatenated as a channel, and
// the architecture (the layer's class) is embedded beside the time.
func (m *Model) unet(s *optim.Scope, in []*graph.Node) *graph.Node {
	x, arch, cond, null, time := in[0], in[1], in[3], in[4], in[5]
	g, t, d := x.Shape().Dim(0), m.shape.Tokens, m.cfg.Width
	n, channels := g*t, m.shape.Latent/(latentSide*latentSide)
	perToken := func(v *graph.Node) *graph.Node { // (groups, k) → (tokens, k)
		k := v.Shape().Dim(1)
		return graph.Reshape(graph.BroadcastToDims(graph.Reshape(v, g, 1, k), g, t, k), n, k)
	}
	e := nn.Dense(s, "time2", nn.SiLU(nn.Dense(s, "time1", perToken(time), 4*d, 1)), 4*d, 1)
	e = graph.Add(e, nn.Dense(s, "class", graph.Reshape(arch, n, m.shape.Arch), 4*d, 1))
	plane := nn.Dense(s, "cond", perToken(graph.Concatenate([]*graph.Node{cond, null}, 1)), latentSide*latentSide, 1)
	h := graph.Concatenate([]*graph.Node{graph.Reshape(x, n, latentSide, latentSide, channels),
		graph.Reshape(plane, n, latentSide, latentSide, 1)}, 3)
	h = nn.Conv3(s, "in", h, d, 1)
	var skips []*graph.Node
	for i := range m.cfg.Blocks {
		h = nn.ResBlock(s, fmt.Sprintf("high%d", i), h, e, d)
		skips = append(skips, h)
	}
	h = nn.Down(s, "down", h, 2*d)
	for i := range m.cfg.Blocks {
		h = nn.ResBlock(s, fmt.Sprintf("low%d", i), h, e, 2*d)
	}
	half := latentSide / 2
	seq := graph.Reshape(nn.GroupNorm(s, "norm_attn", h, 8), n, half*half, 2*d)
	h = graph.Add(h, graph.Reshape(nn.Attention(s, "attn", seq, nil, 1, 1e-2), n, half, half, 2*d))
	h = nn.Up(s, "up", h, d)
	for i := range m.cfg.Blocks {
		h = graph.Concatenate([]*graph.Node{h, skips[m.cfg.Blocks-1-i]}, 3)
		h = nn.ResBlock(s, fmt.Sprintf("out%d", i), h, e, d)
	}
	h = nn.Conv3(s, "out", nn.SiLU(nn.GroupNorm(s, "norm", h, 8)), channels, 1e-2)
	return graph.Reshape(h, g, t, m.shape.Latent)
}
