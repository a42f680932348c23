// Package generator is the line from weight sets to new weight sets: Encode → Sample → Decode.
//
// TrainVAE learns latents of weight tokens. After the caller's reconstruction gate, TrainDiffusion learns the latents' distribution given
// a condition. Sample draws new weight sets; Save and Open keep all of it as safetensors and config.json.
package generator

import (
	"context"
	"errors"

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

// Generator is a trained generator. It is not safe for concurrent use.
type Generator struct {
	cfg Config
}

var errSkeleton = errors.New("generator: this stage is being written")

// Config returns the configuration the generator was trained with.
func (g *Generator) Config() Config { return g.cfg }

// TrainVAE fits the token statistics and the autoencoder on set. The generator that it returns reconstructs; TrainDiffusion makes it sample.
func TrainVAE(ctx context.Context, cfg Config, set Set, opt TrainOptions) (*Generator, error) {
	return nil, errSkeleton
}

// TrainDiffusion fits the conditional distribution of set's latents.
func (g *Generator) TrainDiffusion(ctx context.Context, set Set, opt TrainOptions) error {
	return errSkeleton
}

// Train runs TrainVAE and TrainDiffusion.
func Train(ctx context.Context, cfg Config, set Set, opt TrainOptions) (*Generator, error) {
	g, err := TrainVAE(ctx, cfg, set, opt)
	if err != nil {
		return nil, err
	}
	return g, g.TrainDiffusion(ctx, set, opt)
}

// Reconstruct returns the decoded posterior mean of a weight set, tensor by tensor.
func (g *Generator) Reconstruct(weights map[string][]float32) (map[string][]float32, error) {
	return nil, errSkeleton
}

// Sample draws n weight sets for a condition; cond nil is the null condition. Samples depend on seed and on nothing else: sample i of n
// is sample i of any larger n.
func (g *Generator) Sample(ctx context.Context, cond []float32, n int, seed uint64) ([]map[string][]float32, error) {
	return nil, errSkeleton
}

// Save writes the generator to dir: config.json, and generator.safetensors with every number.
func (g *Generator) Save(dir string) error { return errSkeleton }

// Open loads a generator that Save wrote. It samples the same weights as the saved one.
func Open(dir string, backend *compute.Backend) (*Generator, error) { return nil, errSkeleton }
