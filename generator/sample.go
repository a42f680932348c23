package generator

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"

	"d2nwg/generator/diffusion"
	"d2nwg/generator/tokens"
)

// SampleOptions says how samples are drawn. The zero value of a field means the generator's own configuration.
type SampleOptions struct {
	Steps       int
	Guidance    *float64
	Temperature *float64
	Only        func(tokens.Spec) bool // tensors to sample, nil = all; tokens sampled jointly with theirs are sampled too
}

// Sample draws n weight sets for a condition; cond nil is the null condition. Samples depend on the condition, the seed and the backend,
// and on nothing else: sample i of n is sample i of any larger n.
func (g *Generator) Sample(ctx context.Context, cond []float32, n int, seed uint64) ([]map[string][]float32, error) {
	return g.SampleWith(ctx, cond, n, seed, SampleOptions{})
}

// SampleWith is Sample with options.
func (g *Generator) SampleWith(ctx context.Context, cond []float32, n int, seed uint64, opt SampleOptions) ([]map[string][]float32, error) {
	mean, c, err := g.conditionalMean(cond)
	if err != nil {
		return nil, err
	}
	keep := g.keep(opt.Only)
	reqs, where := g.requests(c, mean, n, seed, keep)
	settings := diffusion.SampleOptions{Steps: g.cfg.SampleSteps, Guidance: g.cfg.Guidance, Temperature: g.cfg.Temperature}
	if opt.Steps > 0 {
		settings.Steps = opt.Steps
	}
	if opt.Guidance != nil {
		settings.Guidance = *opt.Guidance
	}
	if opt.Temperature != nil {
		settings.Temperature = *opt.Temperature
	}
	x, err := g.diffusion.Sample(ctx, reqs, settings)
	if err != nil {
		return nil, err
	}
	latent := g.space.latent
	z := make([][]float32, n)
	for i := range z {
		z[i] = make([]float32, len(mean))
	}
	for i, w := range where {
		for place, token := range w.tokens {
			copy(z[w.sample][token*latent:(token+1)*latent], x[i][place*latent:])
		}
	}
	for i := range z {
		g.space.latents(z[i], mean)
	}
	return g.decodeAll(z, keep)
}

// ConditionalMean decodes the conditional mean itself: the zoo's latent mean, or the ridge regression's prediction. It is what samples
// scatter around, and a baseline of its own.
func (g *Generator) ConditionalMean(cond []float32) (map[string][]float32, error) {
	mean, _, err := g.conditionalMean(cond)
	if err != nil {
		return nil, err
	}
	out, err := g.decodeAll([][]float32{mean}, nil)
	if err != nil {
		return nil, err
	}
	return out[0], nil
}

// conditionalMean gives the latents' mean for a condition and the standardized condition.
func (g *Generator) conditionalMean(cond []float32) (mean, standard []float32, err error) {
	if g.diffusion == nil {
		return nil, nil, errors.New("generator: the diffusion is not trained yet; run TrainDiffusion first")
	}
	if cond != nil && len(cond) != g.cond {
		return nil, nil, fmt.Errorf("generator: the condition has %d numbers, the generator was trained with %d", len(cond), g.cond)
	}
	standard = g.space.standard(cond)
	return g.space.mean.predict(standard), standard, nil
}

// keep tells which tensors, by number, only wants.
func (g *Generator) keep(only func(tokens.Spec) bool) func(int) bool {
	if only == nil {
		return nil
	}
	return func(i int) bool { return only(g.m.Tensors[i].Spec) }
}

// part is one joint draw: some tokens of one sample.
type part struct {
	sample int
	tokens []int
}

// requests lists the joint draws that n samples need.
func (g *Generator) requests(cond, mean []float32, n int, seed uint64, keep func(int) bool) ([]diffusion.Request, []part) {
	at := newSource(Set{}, g.m, nil).at
	var shift []float32
	if cond != nil {
		shift = g.space.deviation(mean, g.space.mean.mean)
	}
	var reqs []diffusion.Request
	var where []part
	for sample := range n {
		r := rand.New(rand.NewPCG(seed, uint64(sample)))
		for _, group := range g.layout.groups {
			for _, list := range g.layout.parts(group) {
				own := r.Uint64() // drawn for every part, so that a part's noise does not depend on which others are wanted
				wanted := keep == nil
				for _, token := range list {
					wanted = wanted || keep(at[token])
				}
				if wanted {
					reqs = append(reqs, g.request(list, cond, shift, own))
					where = append(where, part{sample, list})
				}
			}
		}
	}
	return reqs, where
}

// request places the tokens of one joint draw.
func (g *Generator) request(list []int, cond, shift []float32, seed uint64) diffusion.Request {
	l, latent := g.layout, g.space.latent
	q := diffusion.Request{Arch: make([]float32, l.places*l.width), Mask: make([]float32, l.places), Cond: cond, Seed: seed}
	if shift != nil {
		q.Shift = make([]float32, l.places*latent)
	}
	for place, token := range list {
		q.Mask[place] = 1
		copy(q.Arch[place*l.width:], l.arch[token*l.width:(token+1)*l.width])
		if shift != nil {
			copy(q.Shift[place*latent:(place+1)*latent], shift[token*latent:])
		}
	}
	return q
}
