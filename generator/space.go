package generator

import (
	"math"
	"math/rand/v2"

	"d2nwg/generator/diffusion"
)

// minSpread is the least condition or latent deviation, relative to the largest one, that a dimension is divided by. Dimensions that hardly
// vary would otherwise become noise of full size.
const minSpread = 1e-3

// space is where the diffusion works: latents as deviations from their conditional mean, standardized per latent dimension.
type space struct {
	tokens, latent  int
	condMean, scale []float32 // (cond), of the standardization of conditions
	spread          []float32 // (latent), deviation of the latents from their conditional mean
	mean            *ridge
}

// fitSpace fits the conditional mean and the scales to latents z (sets, tokens·latent) and conditions, which may be nil.
func fitSpace(kind string, conditions [][]float32, z []float32, sets, tokens, latent int) (*space, error) {
	s := &space{tokens: tokens, latent: latent}
	var x []float32
	cond := 0
	if conditions != nil {
		cond = len(conditions[0])
		for _, c := range conditions {
			x = append(x, c...)
		}
		s.condMean, s.scale = columnMeans(x, sets), spreads(x, cond, columnMeans(x, sets))
		for i := range sets {
			copy(x[i*cond:], s.standard(conditions[i]))
		}
	}
	var err error
	switch {
	case kind == MeanRidge && cond > 0:
		s.mean, err = fitRidge(x, cond, z, sets)
	case kind == MeanNone: // one offset for each latent dimension, the same for every token
		perDim := columnMeans(z, sets*tokens)
		s.mean = &ridge{Lambda: math.Inf(1), mean: make([]float32, tokens*latent)}
		for i := range s.mean.mean {
			s.mean.mean[i] = perDim[i%latent]
		}
	default:
		s.mean = &ridge{Lambda: math.Inf(1), mean: columnMeans(z, sets)}
	}
	if err != nil {
		return nil, err
	}
	rest := make([]float32, 0, len(z))
	for i := range sets {
		var c []float32
		if cond > 0 {
			c = x[i*cond : (i+1)*cond]
		}
		mean := s.mean.predict(c)
		for j, v := range z[i*len(mean) : (i+1)*len(mean)] {
			rest = append(rest, v-mean[j])
		}
	}
	s.spread = spreads(rest, latent, make([]float32, latent))
	return s, nil
}

// spreads gives the root mean square of every column's deviation from center, but not less than minSpread of the largest; 1 when all are 0.
func spreads(x []float32, columns int, center []float32) []float32 {
	sums := make([]float64, columns)
	for i, v := range x {
		d := float64(v) - float64(center[i%columns])
		sums[i%columns] += d * d
	}
	out, largest := make([]float32, columns), float32(0)
	for i, v := range sums {
		out[i] = float32(math.Sqrt(v / float64(len(x)/columns)))
		largest = max(largest, out[i])
	}
	for i := range out {
		out[i] = max(out[i], minSpread*largest)
		if largest == 0 {
			out[i] = 1
		}
	}
	return out
}

// standard standardizes a condition; nil stays nil.
func (s *space) standard(cond []float32) []float32 {
	if cond == nil {
		return nil
	}
	out := make([]float32, len(cond))
	for i, v := range cond {
		out[i] = (v - s.condMean[i]) / s.scale[i]
	}
	return out
}

// deviation is (z − mean)/spread.
func (s *space) deviation(z, mean []float32) []float32 {
	out := make([]float32, len(z))
	for i, v := range z {
		out[i] = (v - mean[i]) / s.spread[i%s.latent]
	}
	return out
}

// latents is the inverse of deviation, in place.
func (s *space) latents(x, mean []float32) {
	for i, v := range x {
		x[i] = v*s.spread[i%s.latent] + mean[i]
	}
}

// examples is the diffusion's training data.
type examples struct {
	space  *space
	conds  [][]float32 // standardized; nil = unconditional
	byCond [][]float32 // deviations from the conditional mean, one a set
	byZoo  [][]float32 // deviations from the zoo mean
	layout *layout
	seed   uint64
	cfg    diffusion.Config
}

// newExamples prepares latents z (sets, tokens·latent) for training.
func newExamples(s *space, conditions [][]float32, z []float32, sets int, l *layout, seed uint64, cfg diffusion.Config) *examples {
	e := &examples{space: s, layout: l, seed: seed, cfg: cfg}
	size := s.tokens * s.latent
	for i := range sets {
		own := z[i*size : (i+1)*size]
		e.byZoo = append(e.byZoo, s.deviation(own, s.mean.mean))
		if conditions == nil {
			continue
		}
		c := s.standard(conditions[i])
		e.conds = append(e.conds, c)
		e.byCond = append(e.byCond, s.deviation(own, s.mean.predict(c)))
	}
	return e
}

// Fill draws the examples of a step: a weight set or a mix of two with the same mix of their conditions, a group of tokens, and for some
// the null condition. Mixing commutes with the conditional mean, which is linear.
func (e *examples) Fill(step int, out []diffusion.Example) error {
	r := rand.New(rand.NewPCG(e.seed^0xe8a3, uint64(step)))
	for i := range out {
		ex := &out[i]
		first, second, share := drawPair(r, len(e.byZoo), e.cfg.Mixup)
		ex.Null = e.conds == nil || r.Float64() < e.cfg.CondDropout
		x := e.byZoo
		if !ex.Null {
			x = e.byCond
		}
		e.layout.draw(r, ex, x[first], x[second], share, e.space.latent)
		clear(ex.Cond)
		if !ex.Null {
			for k := range ex.Cond {
				ex.Cond[k] = share*e.conds[first][k] + (1-share)*e.conds[second][k]
			}
		}
	}
	return nil
}

// layout places the tokens of groups into the denoiser's fixed number of places.
type layout struct {
	groups [][]int // tokens that are sampled jointly
	places int
	arch   []float32 // (tokens, width)
	width  int
}

// newLayout caps the places at most tokens.
func newLayout(groups [][]int, most int, arch []float32, width int) *layout {
	l := &layout{groups: groups, arch: arch, width: width}
	for _, g := range groups {
		l.places = max(l.places, len(g))
	}
	l.places = min(l.places, most)
	return l
}

// draw fills an example with a random group; of a group with more tokens than places, with a random choice of them.
func (l *layout) draw(r *rand.Rand, ex *diffusion.Example, first, second []float32, share float32, latent int) {
	g := l.groups[l.pick(r)]
	clear(ex.X0)
	clear(ex.Mask)
	place := 0
	for i, token := range g {
		// Selection sampling keeps the order and takes exactly as many as there are places.
		if len(g) > l.places && r.IntN(len(g)-i) >= l.places-place {
			continue
		}
		ex.Mask[place] = 1
		copy(ex.Arch[place*l.width:], l.arch[token*l.width:(token+1)*l.width])
		a, b, x := first[token*latent:], second[token*latent:], ex.X0[place*latent:(place+1)*latent]
		for k := range x {
			x[k] = share*a[k] + (1-share)*b[k]
		}
		place++
	}
}

// pick draws a group, each as often as it has tokens.
func (l *layout) pick(r *rand.Rand) int {
	if len(l.groups) == 1 {
		return 0
	}
	total := 0
	for _, g := range l.groups {
		total += len(g)
	}
	n := r.IntN(total)
	for i, g := range l.groups {
		if n -= len(g); n < 0 {
			return i
		}
	}
	return 0
}

// parts splits a group into lists of at most l.places tokens. Tokens of a part lie evenly in the group, like those of a training example.
func (l *layout) parts(group []int) [][]int {
	n := (len(group) + l.places - 1) / l.places
	out := make([][]int, n)
	for i, token := range group {
		out[i%n] = append(out[i%n], token)
	}
	return out
}
