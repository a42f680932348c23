package adapters

import (
	"context"
	"fmt"
	"math/rand/v2"

	"d2nwg/generator/diffusion"
)

// maxParaphrases bounds the paraphrases of a task that the diffusion learns from.
const maxParaphrases = 12

// subsets is how many sets of a task's examples the diffusion learns from.
const subsets = 4

// latents are what the diffusion learns of one task.
type latents struct {
	conditions [][]float32 // features of its descriptions, then of sets of its examples
	from       [][]float32 // the latent of each condition
	trained    [][]float32 // the latents of its trained adapters
}

// learnLatents encodes the training set and trains the diffusion over its latents.
func (g *Generator) learnLatents(ctx context.Context, set Set, opt TrainOptions) error {
	all := make([]latents, len(set.Tasks))
	for i, t := range set.Tasks {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := g.encodeTask(&all[i], t, rand.New(rand.NewPCG(g.cfg.Seed^0x1a7e, uint64(i)))); err != nil {
			return err
		}
		known := Known{Name: t.Name, Descriptions: t.Descriptions, Adapters: len(t.Weights)}
		known.Features = all[i].conditions[:min(len(t.Descriptions), maxParaphrases)]
		g.known = append(g.known, known)
	}
	if err := g.buildDiffusion(nil); err != nil {
		return err
	}
	data := examples{all, g.cfg}
	var err error
	g.summary.DiffusionLoss, err = g.diffusion.Train(ctx, data, diffusion.TrainOptions{Seed: g.cfg.Seed, Progress: opt.Progress, State: opt.State("diffusion")})
	return err
}

func (g *Generator) encodeTask(l *latents, t Task, r *rand.Rand) error {
	for _, d := range t.Descriptions[:min(len(t.Descriptions), maxParaphrases)] {
		f, err := g.TextFeatures(d)
		if err != nil {
			return fmt.Errorf("task %s: %w", t.Name, err)
		}
		l.conditions = append(l.conditions, f)
	}
	n := len(t.States) / g.states
	for range subsets {
		var some []float32
		for _, k := range r.Perm(n)[:min(n, 1+r.IntN(g.cfg.Set.Examples))] {
			some = append(some, t.States[k*g.states:(k+1)*g.states]...)
		}
		f, err := g.SetFeatures(some)
		if err != nil {
			return fmt.Errorf("task %s: %w", t.Name, err)
		}
		l.conditions = append(l.conditions, f)
	}
	for _, c := range l.conditions {
		z, err := g.Latent(c)
		if err != nil {
			return err
		}
		l.from = append(l.from, z)
	}
	for _, w := range t.Weights {
		z, err := g.Encode(w)
		if err != nil {
			return fmt.Errorf("task %s: %w", t.Name, err)
		}
		l.trained = append(l.trained, z)
	}
	return nil
}

// buildDiffusion makes the denoiser; params are those of a trained one, or nil.
func (g *Generator) buildDiffusion(params map[string][]float32) (err error) {
	shape := diffusion.Shape{Tokens: 1, Latent: g.cfg.Latent, Arch: 1, Cond: g.cfg.Feature}
	g.diffusion, err = diffusion.New(g.cfg.Diffusion, shape, g.backend, params)
	return err
}

// examples feeds the diffusion: a condition of a task, and a latent of the same task – of a trained adapter, or, where the functional loss
// has taught the encoders what conditions stand for, of a condition.
type examples struct {
	tasks []latents
	cfg   Config
}

// Fill draws the examples of a step.
func (e examples) Fill(step int, out []diffusion.Example) error {
	r := rand.New(rand.NewPCG(e.cfg.Seed^0xf111, uint64(step)))
	for i := range out {
		t := e.tasks[r.IntN(len(e.tasks))]
		for e.cfg.Functional == 0 && len(t.trained) == 0 {
			t = e.tasks[r.IntN(len(e.tasks))]
		}
		k := r.IntN(len(t.conditions))
		x := t.from[k]
		if n := len(t.trained); n > 0 && (e.cfg.Functional == 0 || r.Float64() < 0.5) {
			x = t.trained[r.IntN(n)]
		}
		copy(out[i].X0, x)
		copy(out[i].Cond, t.conditions[k])
		clear(out[i].Arch)
		out[i].Mask[0] = 1
		out[i].Null = r.Float64() < e.cfg.Diffusion.CondDropout
	}
	return nil
}
