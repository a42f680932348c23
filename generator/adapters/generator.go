package adapters

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/gomlx/gomlx/core/graph"

	"d2nwg/generator/diffusion"
	"d2nwg/internal/compute"
	"d2nwg/internal/compute/optim"
	"d2nwg/llm"
)

// Generator is a trained generator of adapters. It is not safe for concurrent use.
type Generator struct {
	net
	seed      uint64 // of the shared factors A
	states    int    // numbers of an example
	scale     map[string]float32
	standard  standard // of examples' states
	params    map[string][]float32
	diffusion *diffusion.Model
	known     []Known
	usually   *float64 // see usual; nil = not measured yet
	members   []Member
	summary   Summary
	backend   *compute.Backend
	funcs     map[string]*optim.Func
}

// Known is what a generator keeps of a task it was trained on, to tell how far a condition is from everything trained.
type Known struct {
	Name         string      `json:"name"`
	Descriptions []string    `json:"descriptions"`
	Adapters     int         `json:"adapters"` // trained ones it learned from
	Features     [][]float32 `json:"-"`        // of the descriptions, (feature) each
}

// Summary tells how well the parts fit the training set: means over the last tenth of the steps.
type Summary struct {
	Functional     float64 `json:"functional"`     // nats a token of the tasks' answers with decoded adapters
	Reconstruction float64 `json:"reconstruction"` // squared error of encoded and decoded adapters; 1 = their mean square
	Align          float64 `json:"align"`          // squared distance between latents of one task
	Contrast       float64 `json:"contrast"`
	DiffusionLoss  float64 `json:"diffusion_loss"`
	Tasks          int     `json:"tasks"`
	Adapters       int     `json:"adapters"`
}

// Train fits a generator to a set: encoders and decoder first, then the diffusion over latents.
func Train(ctx context.Context, cfg Config, set Set, opt TrainOptions) (*Generator, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	if opt.State == nil {
		opt.State = func(string) *optim.Checkpoints { return nil }
	}
	s, err := newStep(cfg, set, opt.Backend)
	if err != nil {
		return nil, err
	}
	params, last, err := s.train(ctx, opt)
	if err != nil {
		return nil, err
	}
	g := &Generator{net: s.net, seed: set.Seed, states: set.States, scale: s.scale, standard: s.standard, params: params, backend: opt.Backend, funcs: map[string]*optim.Func{}}
	g.summary = Summary{
		Functional: last["functional"], Reconstruction: last["reconstruction"], Align: last["align"], Contrast: last["contrast"],
		Tasks: len(set.Tasks), Adapters: len(s.having),
	}
	for _, t := range set.Tasks {
		for _, w := range t.Weights {
			g.members = append(g.members, Member{t.Name, w})
		}
	}
	if err := g.learnLatents(ctx, set, opt); err != nil {
		return nil, errors.Join(err, g.Close())
	}
	return g, nil
}

// Summary tells how well the parts fit the training set.
func (g *Generator) Summary() Summary { return g.summary }

// Config returns the configuration the generator was trained with.
func (g *Generator) Config() Config { return g.cfg }

// Rank and Seed say which shared factors A the adapters have, States how many numbers an example's states have.
func (g *Generator) Rank() int    { return g.rank }
func (g *Generator) Seed() uint64 { return g.seed }
func (g *Generator) States() int  { return g.states }

// Known lists the tasks the generator was trained on. It must not be changed.
func (g *Generator) Known() []Known { return g.known }

// Close frees what the generator holds on the backend.
func (g *Generator) Close() error {
	for _, f := range g.funcs {
		f.Close()
	}
	g.funcs = nil
	if g.diffusion != nil {
		g.diffusion.Close()
	}
	return nil
}

// call runs a part of the graph for one adapter, compiled at first use.
func (g *Generator) call(name string, shapes [][]int, part optim.Loss, in ...[]float32) ([][]float32, error) {
	if g.funcs[name] == nil {
		f, err := optim.NewFunc(g.backend, shapes, g.params, part)
		if err != nil {
			return nil, fmt.Errorf("adapters: %w", err)
		}
		g.funcs[name] = f
	}
	return g.funcs[name].Call(in...)
}

// TextFeatures encodes a description (feature).
func (g *Generator) TextFeatures(description string) ([]float32, error) {
	c := g.cfg.Text
	x, mask := make([]float32, c.Words*c.Buckets), make([]float32, c.Words)
	if c.bag(words(description), x, mask); mask[0] == 0 {
		return nil, fmt.Errorf("adapters: the description %q has no words", description)
	}
	out, err := g.call("text", [][]int{{c.Words, c.Buckets}, {1, c.Words}}, func(s *optim.Scope, in []*graph.Node) []*graph.Node {
		return []*graph.Node{g.text(s, in[0], in[1])}
	}, x, mask)
	if err != nil {
		return nil, err
	}
	return out[0], nil
}

// SetFeatures encodes examples by the base's states of them (examples, states): (feature). Of more examples than the encoder reads at once,
// the mean over chunks is taken.
func (g *Generator) SetFeatures(states []float32) ([]float32, error) {
	n, k := len(states)/max(1, g.states), g.cfg.Set.Examples
	if n == 0 || len(states)%g.states != 0 {
		return nil, fmt.Errorf("adapters: %d numbers are no examples' states of %d", len(states), g.states)
	}
	sum := make([]float32, g.cfg.Feature)
	chunks := (n + k - 1) / k
	for i := range chunks {
		from, to := i*n/chunks, (i+1)*n/chunks
		x, mask := make([]float32, k*g.states), make([]float32, k)
		for j := range to - from {
			g.standard.apply(x[j*g.states:], states[(from+j)*g.states:(from+j+1)*g.states])
			mask[j] = 1
		}
		out, err := g.call("set", [][]int{{1, k, g.states}, {1, k}}, func(s *optim.Scope, in []*graph.Node) []*graph.Node {
			return []*graph.Node{g.examples(s, in[0], in[1])}
		}, x, mask)
		if err != nil {
			return nil, err
		}
		for j, v := range out[0] {
			sum[j] += v / float32(chunks)
		}
	}
	return sum, nil
}

// Latent is the latent that features stand for, without the diffusion: the mean that samples scatter around.
func (g *Generator) Latent(features []float32) ([]float32, error) {
	out, err := g.call("latent", [][]int{{1, g.cfg.Feature}}, func(s *optim.Scope, in []*graph.Node) []*graph.Node {
		return []*graph.Node{g.latent(s, in[0])}
	}, features)
	if err != nil {
		return nil, err
	}
	return out[0], nil
}

// Encode is the latent of a trained adapter: its B factors by tensor.
func (g *Generator) Encode(weights map[string][]float32) ([]float32, error) {
	var shapes [][]int
	var in [][]float32
	for _, f := range g.factors {
		if len(weights[f.Name]) != f.Elements() {
			return nil, fmt.Errorf("adapters: B of %s has %d values, shape %v needs %d", f.Name, len(weights[f.Name]), f.Shape, f.Elements())
		}
		x := make([]float32, f.Elements())
		for i, v := range weights[f.Name] {
			x[i] = v / g.scale[f.Name]
		}
		shapes, in = append(shapes, []int{1, f.Shape[0], f.Shape[1]}), append(in, x)
	}
	out, err := g.call("weights", shapes, func(s *optim.Scope, in []*graph.Node) []*graph.Node {
		b := map[string]*graph.Node{}
		for i, f := range g.factors {
			b[f.Name] = in[i]
		}
		return []*graph.Node{g.weights(s, b)}
	}, in...)
	if err != nil {
		return nil, err
	}
	return out[0], nil
}

// Decode turns a latent into B factors by tensor.
func (g *Generator) Decode(z []float32) (map[string][]float32, error) {
	out, err := g.call("decode", [][]int{{1, g.cfg.Latent}}, func(s *optim.Scope, in []*graph.Node) []*graph.Node {
		b := g.decode(s, in[0])
		var all []*graph.Node
		for _, f := range g.factors {
			all = append(all, b[f.Name])
		}
		return all
	}, z)
	if err != nil {
		return nil, err
	}
	weights := map[string][]float32{}
	for i, f := range g.factors {
		for k := range out[i] {
			out[i][k] *= g.scale[f.Name]
		}
		weights[f.Name] = out[i]
	}
	return weights, nil
}

// Variant makes a candidate of B factors.
func (g *Generator) Variant(base *llm.Checkpoint, weights map[string][]float32) *llm.Variant {
	v := &llm.Variant{Base: base, LowRank: map[string]llm.LowRank{}}
	for name, b := range weights {
		seed := g.seed
		v.LowRank[name] = llm.LowRank{Rank: g.rank, Seed: &seed, A: llm.SharedA(base.Config, name, g.rank, seed), B: b}
	}
	return v
}

// SampleOptions say how samples are drawn; nil means the generator's own configuration.
type SampleOptions struct {
	Guidance    *float64
	Temperature *float64
	Steps       int
}

// Sample draws n adapters for features, nil for the null condition: B factors by tensor. Sample i depends on the features, the seed and the
// backend alone.
func (g *Generator) Sample(ctx context.Context, features []float32, n int, seed uint64, opt SampleOptions) ([]map[string][]float32, error) {
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
	var reqs []diffusion.Request
	for i := range n {
		own := rand.New(rand.NewPCG(seed, uint64(i))).Uint64()
		reqs = append(reqs, diffusion.Request{Arch: []float32{0}, Mask: []float32{1}, Cond: features, Seed: own})
	}
	latents, err := g.diffusion.Sample(ctx, reqs, settings)
	if err != nil {
		return nil, err
	}
	var out []map[string][]float32
	for _, z := range latents {
		weights, err := g.Decode(toUnit(z))
		if err != nil {
			return nil, err
		}
		out = append(out, weights)
	}
	return out, nil
}

// toUnit scales a latent to a mean square of 1, as the encoders give it.
func toUnit(z []float32) []float32 {
	sum := 0.0
	for _, x := range z {
		sum += float64(x) * float64(x)
	}
	f := float32(1 / math.Sqrt(sum/float64(len(z))+1e-6))
	out := make([]float32, len(z))
	for i, x := range z {
		out[i] = x * f
	}
	return out
}
