package vae

import (
	"fmt"
	"math"

	"github.com/gomlx/gomlx/core/graph"

	"d2nwg/generator/internal/nn"
	"d2nwg/internal/compute/optim"
)

// latentSide is the side of the conv autoencoder's latent picture.
const latentSide = 16

// loss is the training graph: inputs x (rows, chunk), arch (rows, arch), valid (rows, 1) and noise (rows, latent); outputs the loss, the
// mean squared error of the values before the padding, and the mean KL divergence of a token.
func (m *Model) loss(s *optim.Scope, in []*graph.Node) []*graph.Node {
	x, arch, valid, noise := in[0], in[1], in[2], in[3]
	mean, logvar := m.encode(s, x, arch, true)
	z := graph.Add(mean, graph.Mul(noise, graph.Exp(graph.MulScalar(logvar, 0.5))))
	diff := graph.Sub(m.decode(s, []*graph.Node{z, arch})[0], x)
	mask := graph.ConvertDType(graph.LessThan(graph.IotaLike(x, 1), graph.BroadcastToDims(valid, x.Shape().Dimensions...)), x.DType())
	sq := graph.Mul(graph.Mul(diff, diff), mask)
	count := nn.Sum(valid)
	mse := graph.Div(nn.Sum(sq), count)
	kl := graph.AddScalar(graph.Sub(graph.Add(graph.Mul(mean, mean), graph.Exp(logvar)), logvar), -1)
	klMean := graph.MulScalar(nn.Sum(kl), 0.5/float64(m.rows))
	if m.cfg.Kind == MLP {
		return []*graph.Node{graph.Add(mse, graph.MulScalar(klMean, m.cfg.Beta)), mse, klMean}
	}
	// The paper's objective: sum-L1 under a learned global deviation, β·KL, and the MSE.
	lv := s.Param("global_logvar", optim.Zeros, 1, 1)
	l1 := graph.DivScalar(nn.Sum(graph.Mul(graph.Abs(diff), mask)), float64(m.rows))
	perValue := graph.DivScalar(count, float64(m.rows))
	nll := graph.Add(graph.Div(l1, graph.Exp(graph.Reshape(lv))), graph.Mul(graph.Reshape(lv), perValue))
	// Divided by the values of a token so that one learning rate serves every chunk length; Adam does not mind the factor.
	total := graph.Div(graph.Add(nll, graph.MulScalar(klMean, m.cfg.Beta)), perValue)
	return []*graph.Node{graph.Add(total, mse), mse, klMean}
}

func (m *Model) encodeMean(s *optim.Scope, in []*graph.Node) []*graph.Node {
	mean, _ := m.encode(s, in[0], in[1], false)
	return []*graph.Node{mean}
}

// encode gives the mean and, if variance is wanted, the log variance, (rows, latent) each, of the posterior of x. The graph of inference
// holds no node without a use: the go backend fails on them.
func (m *Model) encode(s *optim.Scope, x, arch *graph.Node, variance bool) (mean, logvar *graph.Node) {
	s = s.In("enc")
	if m.cfg.Kind == Conv {
		return m.convEncode(s, x, arch, variance)
	}
	embed := m.embed(s, arch)
	h := m.trunk(s, nn.Dense(s, "in", x, m.cfg.Hidden, 1), embed)
	mean = graph.Add(m.linear(s, x, m.cfg.Latent), nn.Dense(s, "mean", h, m.cfg.Latent, 0.01))
	if variance {
		logvar = graph.ClipScalar(graph.AddScalar(nn.Dense(s, "logvar", h, m.cfg.Latent, 0.01), -5), -20, 10)
	}
	return mean, logvar
}

// decode gives the values (rows, chunk) of in = z (rows, latent), arch (rows, arch).
func (m *Model) decode(s *optim.Scope, in []*graph.Node) []*graph.Node {
	s = s.In("dec")
	z, arch := in[0], in[1]
	if m.cfg.Kind == Conv {
		return []*graph.Node{m.convDecode(s, z, arch)}
	}
	embed := m.embed(s, arch)
	h := m.trunk(s, nn.Dense(s, "in", z, m.cfg.Hidden, 1), embed)
	y := nn.Dense(s, "out", h, m.shape.ChunkLen, 0.01)
	return []*graph.Node{graph.Add(m.linear(s, z, m.shape.ChunkLen), y)}
}

// embed sums the learned embeddings of the architecture features: (rows, arch) → (rows, embed).
func (m *Model) embed(s *optim.Scope, arch *graph.Node) *graph.Node {
	return nn.SiLU(nn.Dense(s, "arch", arch, m.cfg.Embed, 1))
}

// trunk is the residual MLP; every block's normalization is scaled and shifted by the architecture embedding.
func (m *Model) trunk(s *optim.Scope, h, embed *graph.Node) *graph.Node {
	for i := range m.cfg.Blocks {
		b := s.In(fmt.Sprintf("block%d", i))
		film := nn.Split(nn.Dense(b, "film", embed, 2*m.cfg.Hidden, 0.1), 2)
		u := nn.SiLU(nn.Modulate(nn.LayerNorm(h), film[0], film[1]))
		u = nn.SiLU(nn.Dense(b, "up", u, m.cfg.Hidden, 1))
		h = graph.Add(h, nn.Dense(b, "down", u, m.cfg.Hidden, 0.1))
	}
	return nn.LayerNorm(h)
}

// linear is the linear path x → (rows, out), with one matrix for all tokens or one for each. It makes the latents those of principal
// component analysis from the start (see Principal), to which the MLP adds what is not linear.
func (m *Model) linear(s *optim.Scope, x *graph.Node, out int) *graph.Node {
	in := x.Shape().Dim(1)
	if !m.Ordered() {
		return nn.Linear(s, "linear", x, out, 1/math.Sqrt(float64(max(in, out))))
	}
	t := m.shape.Tokens
	w := s.In("linear").Param("w", optim.Normal(1/math.Sqrt(float64(max(in, out)))), t, out, in)
	x = graph.Reshape(x, t, m.rows/t, in)
	y := graph.DotGeneral(x, []int{2}, []int{0}, w, []int{2}, []int{0}) // (tokens, sets, out)
	return graph.Reshape(y, m.rows, out)
}

// side is the side of the picture a token is folded to.
func (m *Model) side() int { return int(math.Sqrt(float64(m.shape.ChunkLen))) }

// convEncode folds x to a picture and halves it until its side is 16.
func (m *Model) convEncode(s *optim.Scope, x, arch *graph.Node, variance bool) (mean, logvar *graph.Node) {
	embed := m.embed(s, arch)
	side := m.side()
	c := m.cfg.Hidden
	h := nn.Conv3(s, "in", graph.Reshape(x, m.rows, side, side, 1), c, 1)
	for level := 0; ; level++ {
		l := s.In(fmt.Sprintf("level%d", level))
		for i := range m.cfg.Blocks {
			h = nn.ResBlock(l, fmt.Sprintf("block%d", i), h, embed, c)
		}
		if h.Shape().Dim(1) == latentSide {
			break
		}
		c = min(2*c, 4*m.cfg.Hidden)
		h = nn.Down(l, "down", h, c)
	}
	h = nn.SiLU(nn.GroupNorm(s, "norm", h, 8))
	flat := func(name string) *graph.Node {
		return graph.Reshape(nn.Conv3(s, name, h, m.cfg.Latent, 1), m.rows, m.LatentLen())
	}
	if variance {
		logvar = graph.ClipScalar(flat("logvar"), -30, 20)
	}
	return flat("mean"), logvar
}

// convDecode is the mirror of convEncode.
func (m *Model) convDecode(s *optim.Scope, z, arch *graph.Node) *graph.Node {
	embed := m.embed(s, arch)
	levels := 0
	for side := m.side(); side > latentSide; side /= 2 {
		levels++
	}
	width := func(level int) int { return min(m.cfg.Hidden<<level, 4*m.cfg.Hidden) }
	h := nn.Conv3(s, "in", graph.Reshape(z, m.rows, latentSide, latentSide, m.cfg.Latent), width(levels), 1)
	for level := levels; ; level-- {
		l := s.In(fmt.Sprintf("level%d", level))
		for i := range m.cfg.Blocks {
			h = nn.ResBlock(l, fmt.Sprintf("block%d", i), h, embed, width(level))
		}
		if level == 0 {
			break
		}
		h = nn.Up(l, "up", h, width(level-1))
	}
	h = nn.Conv3(s, "out", nn.SiLU(nn.GroupNorm(s, "norm", h, 8)), 1, 1)
	return graph.Reshape(h, m.rows, m.shape.ChunkLen)
}
