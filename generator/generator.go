// Package generator is the line from weight sets to new weight sets: Encode → Sample → Decode.
//
// TrainVAE learns latents of weight tokens. After the caller's reconstruction gate, TrainDiffusion learns the latents' distribution given
// a condition. Sample draws new weight sets; Save and Open keep all of it as safetensors and config.json.
package generator

import (
	"context"
	"fmt"
	"math"

	"d2nwg/generator/diffusion"
	"d2nwg/generator/tokens"
	"d2nwg/generator/vae"
	"d2nwg/internal/compute"
	"d2nwg/internal/progress"
)

// TrainOptions says where and how training runs.
type TrainOptions struct {
	Backend   *compute.Backend
	Progress  progress.Func // stages "vae" and "diffusion", values "loss" and others
	StateDir  string        // training state is saved here and continued from here; "" = not resumable
	SaveEvery int           // steps between saved states; 0 = 500
}

// Summary tells how well the parts fit the training set.
type Summary struct {
	VAEError      float64 `json:"vae_error"`      // mean squared error of reconstruction in normalized units; 1 = decoding the mean
	RidgeLambda   float64 `json:"ridge_lambda"`   // 0 = no regression is used
	RidgeR2       float64 `json:"ridge_r2"`       // share of the latents' variance that it explains for conditions left out
	DiffusionLoss float64 `json:"diffusion_loss"` // weighted loss
}

// Generator is a trained generator. It is not safe for concurrent use.
type Generator struct {
	cfg       Config
	m         *tokens.Map
	center    map[string][]float32 // tensor → zoo mean of every value, nil for CenterTensor
	arch      []float32            // (tokens, width)
	width     int
	vae       *vae.Model
	space     *space
	diffusion *diffusion.Model // nil before TrainDiffusion
	layout    *layout
	cond      int // numbers of a condition, 0 = unconditional
	summary   Summary
	backend   *compute.Backend
}

// Config returns the configuration the generator was trained with.
func (g *Generator) Config() Config { return g.cfg }

// Map returns the token map. It must not be changed.
func (g *Generator) Map() *tokens.Map { return g.m }

// Summary tells how well the parts fit the training set.
func (g *Generator) Summary() Summary { return g.summary }

// TrainVAE fits the token statistics and the autoencoder on set. The generator that it returns reconstructs; TrainDiffusion makes it sample.
func TrainVAE(ctx context.Context, cfg Config, set Set, opt TrainOptions) (*Generator, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	if err := set.Check(); err != nil {
		return nil, err
	}
	g := &Generator{cfg: cfg, backend: opt.Backend}
	if err := g.fitTokens(set); err != nil {
		return nil, err
	}
	if err := g.buildVAE(nil); err != nil {
		return nil, err
	}
	src := newSource(set, g.m, g.center)
	start, err := g.vae.Principal(func(token, limit int) ([]float32, error) { return g.rows(src, token, limit) })
	if err != nil {
		return nil, err
	}
	state, err := opt.checkpoints("vae", cfg, set)
	if err != nil {
		return nil, err
	}
	data := &batches{source: src, model: g.vae, arch: g.arch, width: g.width, seed: cfg.Seed, mixup: cfg.VAE.Mixup}
	g.summary.VAEError, err = g.vae.Train(ctx, data, vae.TrainOptions{Seed: cfg.Seed, Progress: opt.Progress, State: state, Start: start})
	if err != nil {
		return nil, err
	}
	return g, nil
}

// maxCentered is the largest number of values whose zoo means "center: auto" keeps one by one.
const maxCentered = 64 << 20

// fitTokens lays out the tokens and fits their statistics.
func (g *Generator) fitTokens(set Set) error {
	m, err := tokens.NewMap(set.Specs, g.cfg.ChunkLen)
	if err != nil {
		return err
	}
	g.m = m
	if set.Conditions != nil {
		g.cond = len(set.Conditions[0])
	}
	total := 0
	for _, t := range m.Tensors {
		total += t.Elements()
	}
	load := set.tensor
	if g.cfg.Center == CenterElement || (g.cfg.Center == Auto && set.Len() >= 4 && total <= maxCentered) {
		if g.center, err = zooMean(set); err != nil {
			return err
		}
		load = func(i int, name string) ([]float32, error) {
			v, err := set.tensor(i, name)
			if err != nil || len(v) != len(g.center[name]) {
				return v, err
			}
			return subtract(v, g.center[name]), nil
		}
	}
	if err := m.Fit(set.Len(), load); err != nil {
		return err
	}
	g.arch, g.width = architecture(m)
	return nil
}

// zooMean is the mean of every value over the weight sets.
func zooMean(set Set) (map[string][]float32, error) {
	out := map[string][]float32{}
	for _, spec := range set.Specs {
		sums := make([]float64, spec.Elements())
		for i := range set.Len() {
			v, err := set.tensor(i, spec.Name)
			if err != nil {
				return nil, err
			}
			if len(v) != len(sums) {
				return nil, fmt.Errorf("generator: tensor %s of weight set %s has %d values, its shape %v needs %d", spec.Name, set.Names[i], len(v), spec.Shape, len(sums))
			}
			for k, x := range v {
				sums[k] += float64(x)
			}
		}
		for k := range sums {
			sums[k] /= float64(set.Len())
		}
		out[spec.Name] = toFloat32(sums)
	}
	return out, nil
}

func subtract(a, b []float32) []float32 {
	out := make([]float32, len(a))
	for i, v := range a {
		out[i] = v - b[i]
	}
	return out
}

// buildVAE makes the autoencoder for the token map; params are those of a trained one, or nil.
func (g *Generator) buildVAE(params map[string][]float32) (err error) {
	shape := vae.Shape{ChunkLen: g.cfg.ChunkLen, Arch: g.width, Tokens: g.m.Tokens()}
	g.vae, err = vae.New(g.cfg.VAE, shape, g.backend, params)
	return err
}

// rows gives up to limit normalized tokens (n, chunk): of one token index in all sets, or of any for token −1.
func (g *Generator) rows(src *source, token, limit int) ([]float32, error) {
	sets, total := src.set.Len(), g.m.Tokens()
	n := min(limit, sets)
	if token < 0 {
		n = min(limit, sets*total)
	}
	out := make([]float32, n*g.m.ChunkLen)
	for i := range n {
		set, k := i*sets/n, token
		if token < 0 {
			at := int(int64(i) * int64(sets*total) / int64(n)) // evenly over all tokens of all sets
			set, k = at/total, at%total
		}
		if _, err := src.token(set, k, out[i*g.m.ChunkLen:(i+1)*g.m.ChunkLen]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// TrainDiffusion fits the conditional distribution of set's latents.
func (g *Generator) TrainDiffusion(ctx context.Context, set Set, opt TrainOptions) error {
	if err := set.Check(); err != nil {
		return err
	}
	g.backend = opt.Backend
	z, err := g.encodeAll(ctx, newSource(set, g.m, g.center), opt.Progress)
	if err != nil {
		return err
	}
	g.space, err = fitSpace(g.cfg.ConditionMean, set.Conditions, z, set.Len(), g.m.Tokens(), g.vae.LatentLen())
	if err != nil {
		return err
	}
	g.summary.RidgeLambda, g.summary.RidgeR2 = 0, g.space.mean.R2
	if !math.IsInf(g.space.mean.Lambda, 1) {
		g.summary.RidgeLambda = g.space.mean.Lambda
	}
	if err := g.buildDiffusion(nil); err != nil {
		return err
	}
	state, err := opt.checkpoints("diffusion", g.cfg, set)
	if err != nil {
		return err
	}
	data := newExamples(g.space, set.Conditions, z, set.Len(), g.layout, g.cfg.Seed, g.cfg.Diffusion)
	g.summary.DiffusionLoss, err = g.diffusion.Train(ctx, data, diffusion.TrainOptions{Seed: g.cfg.Seed, Progress: opt.Progress, State: state})
	return err
}

// buildDiffusion makes the denoiser for the token map; params are those of a trained one, or nil.
func (g *Generator) buildDiffusion(params map[string][]float32) (err error) {
	scope := g.cfg.Scope
	if scope == Auto {
		scope = ScopeLayer
		if g.m.Tokens() <= g.cfg.MaxTokens {
			scope = ScopeModel
		}
	}
	g.layout = newLayout(groups(g.m, scope), g.cfg.MaxTokens, g.arch, g.width)
	shape := diffusion.Shape{Tokens: g.layout.places, Latent: g.vae.LatentLen(), Arch: g.width, Cond: g.cond}
	g.diffusion, err = diffusion.New(g.cfg.Diffusion, shape, g.backend, params)
	return err
}

// Train runs TrainVAE and TrainDiffusion.
func Train(ctx context.Context, cfg Config, set Set, opt TrainOptions) (*Generator, error) {
	g, err := TrainVAE(ctx, cfg, set, opt)
	if err != nil {
		return nil, err
	}
	if err := g.TrainDiffusion(ctx, set, opt); err != nil {
		return nil, err
	}
	return g, nil
}

// Close frees what the generator holds on the backend.
func (g *Generator) Close() {
	g.vae.Close()
	if g.diffusion != nil {
		g.diffusion.Close()
	}
}
