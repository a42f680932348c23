package pipeline

import (
	"context"
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"

	"d2nwg/generator"
	"d2nwg/internal/journal"
	"d2nwg/internal/stats"
	"d2nwg/llm"
)

// Train learns the generator: VAE, gate, diffusion.
func (r *Run) Train(ctx context.Context, relatives []Relative) (*generator.Generator, *learned, Gate, error) {
	l, err := r.learn(ctx, relatives)
	if err != nil {
		return nil, nil, Gate{}, err
	}
	backend, err := r.training(ctx)
	if err != nil {
		return nil, nil, Gate{}, err
	}
	cfg := r.Recipe.Generator
	cfg.Seed = r.seed("generator", int(cfg.Seed))
	opt := generator.TrainOptions{Backend: backend, Progress: r.opt.Progress, StateDir: r.path(stateDir)}
	dir := r.path(GeneratorDir)
	if _, err := os.Stat(filepath.Join(dir, "config.json")); err == nil { // trained before
		g, err := generator.Open(dir, backend)
		if err != nil {
			return nil, nil, Gate{}, err
		}
		gate, err := r.gate(ctx, l, g)
		return g, l, gate, err
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, Gate{}, err
	}
	var g *generator.Generator
	if err := r.stage("vae", func() (err error) {
		g, err = generator.TrainVAE(ctx, cfg, l.set, opt)
		return err
	}); err != nil {
		return nil, nil, Gate{}, err
	}
	gate, err := r.gate(ctx, l, g)
	if err != nil {
		return nil, nil, Gate{}, err
	}
	if !gate.Passed {
		what := "the relatives"
		if gate.Tried == 0 {
			what = "the base"
		}
		r.opt.Note("reconstruction gate: decoding alone lowers %s from %.4f to %.4f (base %.4f); samples are hardly better than that",
			what, gate.Relatives, gate.Decoded, gate.Base)
	}
	if err := r.stage("diffusion", func() error { return g.TrainDiffusion(ctx, l.set, opt) }); err != nil {
		return nil, nil, Gate{}, err
	}
	return g, l, gate, g.Save(dir)
}

// Gate is what decoding alone does to scores on select, before any diffusion is trained.
type Gate struct {
	Base        float64 `json:"base"`         // the base's score
	DecodedBase float64 `json:"decoded_base"` // of the base encoded and decoded
	Relatives   float64 `json:"relatives"`    // mean score of the relatives tried; without any, the base's
	Decoded     float64 `json:"decoded"`      // mean score of the same, encoded and decoded
	Tried       int     `json:"tried"`        // relatives
	Passed      bool    `json:"passed"`
}

// gateRelatives is how many relatives, nearest to the target first, the gate decodes.
const gateRelatives = 8

// gate scores decode-only checkpoints. It passes while decoding loses at most the recipe's share of what the
// relatives gain over the base.
func (r *Run) gate(ctx context.Context, l *learned, g *generator.Generator) (Gate, error) {
	var out Gate
	err := r.stage("gate", func() (err error) {
		out, err = journal.Do(r.journal, "gate", "gate", func() (Gate, error) { return r.decodeOnly(ctx, l, g) })
		return err
	})
	return out, err
}

func (r *Run) decodeOnly(ctx context.Context, l *learned, g *generator.Generator) (Gate, error) {
	scorer, err := r.scorer()
	if err != nil {
		return Gate{}, err
	}
	mean := func(v *llm.Variant) (float64, error) {
		s, err := scorer.Score(ctx, v, stats.Select)
		return s.Mean(), err
	}
	decoded := func(weights map[string][]float32) (float64, error) {
		again, err := g.Reconstruct(weights)
		if err != nil {
			return 0, err
		}
		v, err := l.candidate(again)
		if err != nil {
			return 0, err
		}
		return mean(v)
	}
	var out Gate
	if out.Base, err = mean(&llm.Variant{Base: r.base}); err != nil {
		return out, err
	}
	own, err := l.ownWeights()
	if err != nil {
		return out, err
	}
	if out.DecodedBase, err = decoded(own); err != nil {
		return out, err
	}
	for _, i := range l.nearest(gateRelatives) {
		plain, err := mean(l.members[i].Variant)
		if err != nil {
			return out, err
		}
		again, err := decoded(l.set.Weights[i])
		if err != nil {
			return out, err
		}
		out.Tried++
		out.Relatives += plain
		out.Decoded += again
	}
	allowed := r.Recipe.Explore.Gate * math.Abs(out.Base)
	if out.Tried == 0 { // the base itself is what is learned
		out.Relatives, out.Decoded = out.Base, out.DecodedBase
	} else {
		out.Relatives /= float64(out.Tried)
		out.Decoded /= float64(out.Tried)
		allowed = r.Recipe.Explore.Gate * math.Abs(out.Relatives-out.Base)
	}
	out.Passed = out.Relatives-out.Decoded <= allowed
	return out, nil
}
