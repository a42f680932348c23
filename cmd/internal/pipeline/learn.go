package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"

	"d2nwg/generator"
	"d2nwg/generator/condition"
	"d2nwg/generator/explore"
	"d2nwg/generator/spectrum"
	"d2nwg/generator/tokens"
	"d2nwg/internal/journal"
	"d2nwg/internal/stats"
	"d2nwg/llm"
)

// ranked is a matrix in Spectrum's order.
type ranked struct {
	Tensor   string `json:"tensor"`
	Rank     int    `json:"rank"` // inside its module
	Selected bool   `json:"selected"`
}

// spectrum ranks the base's matrices, once, the embeddings left out; the most informative of every module come first.
func (r *Run) spectrum(ctx context.Context) ([]ranked, error) {
	if r.layers != nil {
		return r.layers, nil
	}
	path := r.path("spectrum.json")
	err := r.stage("spectrum", func() error {
		if ok, err := loadJSON(path, &r.layers); ok || err != nil {
			return err
		}
		layers, err := spectrum.Rank(ctx, r.base, r.Recipe.Spectrum.Percent, r.opt.Progress, "embed_tokens", "lm_head")
		if err != nil {
			return err
		}
		slices.SortStableFunc(layers, func(a, b spectrum.Layer) int { return a.Rank - b.Rank })
		if err := saveJSON(path, layers); err != nil {
			return err
		}
		_, err = loadJSON(path, &r.layers)
		return err
	})
	return r.layers, err
}

// learned is what the generator learns: one weight set a relative, or the base's own selected layers.
type learned struct {
	set     generator.Set
	space   *explore.Space // turns weight sets into candidates; nil when the base itself is learned
	base    *llm.Checkpoint
	text    condition.Text
	wanted  []float32 // the target's condition, nil without a description
	members []Relative
}

// learn lays out the training set.
func (r *Run) learn(ctx context.Context, relatives []Relative) (*learned, error) {
	l := &learned{base: r.base, members: relatives}
	if len(relatives) == 0 {
		return l, l.fromBase(ctx, r)
	}
	variants := make([]*llm.Variant, len(relatives))
	for i, m := range relatives {
		variants[i] = m.Variant
	}
	var err error
	if l.space, err = explore.NewSpace(r.base, variants); err != nil {
		return nil, err
	}
	for i, m := range relatives {
		vec, err := l.space.Vector(m.Variant)
		if err != nil {
			return nil, fmt.Errorf("relative %s: %w", m.Name, err)
		}
		if i == 0 {
			if l.set.Specs, err = specs(r.base, l.space, vec); err != nil {
				return nil, err
			}
		}
		l.set.Names = append(l.set.Names, m.Name)
		l.set.Descriptions = append(l.set.Descriptions, m.Description)
		l.set.Weights = append(l.set.Weights, fill(vec, l.set.Specs))
	}
	return l, l.describe(r)
}

// specs names the tensors of the space in the order of the name map. A vector holds B (out, r) where updates are
// low-rank with a shared A, and all of the difference (out, in) otherwise.
func specs(base *llm.Checkpoint, space *explore.Space, vec explore.Vector) ([]tokens.Spec, error) {
	var out []tokens.Spec
	names := space.Names()
	for _, s := range base.Config.TensorShapes() {
		if !slices.Contains(names, s.Name) {
			continue
		}
		values, ok := vec[s.Name]
		if !ok {
			return nil, fmt.Errorf("the first relative doesn't change tensor %s, which others do", s.Name)
		}
		shape := s.Shape
		if len(values) != s.Elements() {
			shape = []int{s.Shape[0], len(values) / s.Shape[0]}
		}
		out = append(out, tokens.Spec{Name: s.Name, Module: s.Module, Layer: s.Layer, Shape: shape})
	}
	return out, nil
}

// fill gives a vector zeros for the tensors a relative leaves alone.
func fill(vec explore.Vector, specs []tokens.Spec) map[string][]float32 {
	for _, s := range specs {
		if vec[s.Name] == nil {
			vec[s.Name] = make([]float32, s.Elements())
		}
	}
	return vec
}

// fromBase makes the base's own selected layers the only weight set, read from the mapped file when they are needed.
func (l *learned) fromBase(ctx context.Context, r *Run) error {
	layers, err := r.spectrum(ctx)
	if err != nil {
		return err
	}
	selected := map[string]bool{}
	for _, x := range layers {
		selected[x.Tensor] = x.Selected
	}
	for _, s := range r.base.Config.TensorShapes() {
		if selected[s.Name] {
			l.set.Specs = append(l.set.Specs, tokens.Spec{Name: s.Name, Module: s.Module, Layer: s.Layer, Shape: s.Shape})
		}
	}
	l.set.Names = []string{"base"}
	l.set.Load = func(_ int, name string) ([]float32, error) { return r.base.Float32(name) }
	return nil
}

// describe embeds the descriptions, when there are any to tell relatives apart.
func (l *learned) describe(r *Run) error {
	if r.target.description == "" || !slices.ContainsFunc(l.set.Descriptions, func(d string) bool { return d != "" }) {
		return nil
	}
	model, err := r.engine()
	if err != nil {
		return err
	}
	if l.text, err = condition.NewLLaMA(model, r.tok); err != nil {
		return err
	}
	for i, d := range l.set.Descriptions {
		if d == "" {
			return fmt.Errorf("relative %s has no description; give it a %s or leave all of them out", l.set.Names[i], descriptionFile)
		}
		c, err := l.text.Embed(d)
		if err != nil {
			return err
		}
		l.set.Conditions = append(l.set.Conditions, c)
	}
	l.wanted, err = l.text.Embed(r.target.description)
	return err
}

// candidate turns a generated weight set into a candidate.
func (l *learned) candidate(weights map[string][]float32) (*llm.Variant, error) {
	if l.space != nil {
		return l.space.Variant(weights)
	}
	v := &llm.Variant{Base: l.base, Replace: weights}
	return v, v.Check()
}

// similarities are the cosines between the standardized conditions of the relatives and a wanted one.
func (l *learned) similarities(wanted []float32) []float64 {
	out := make([]float64, len(l.members))
	if wanted == nil {
		return out
	}
	mean, std := make([]float64, len(wanted)), make([]float64, len(wanted))
	n := float64(len(l.set.Conditions))
	for _, c := range l.set.Conditions {
		for i, x := range c {
			mean[i] += float64(x) / n
		}
	}
	for _, c := range l.set.Conditions {
		for i, x := range c {
			std[i] += (float64(x) - mean[i]) * (float64(x) - mean[i]) / n
		}
	}
	for k, c := range l.set.Conditions {
		var ab, aa, bb float64
		for i := range wanted {
			s := math.Sqrt(std[i]) + 1e-12
			a, b := (float64(c[i])-mean[i])/s, (float64(wanted[i])-mean[i])/s
			ab, aa, bb = ab+a*b, aa+a*a, bb+b*b
		}
		out[k] = ab / math.Sqrt(aa*bb+1e-24)
	}
	return out
}

// Gate is what decoding alone does to scores on select, before any diffusion is trained.
type Gate struct {
	Base        float64 `json:"base"`         // the base's score
	DecodedBase float64 `json:"decoded_base"` // of the base encoded and decoded
	Relatives   float64 `json:"relatives"`    // mean score of the relatives tried
	Decoded     float64 `json:"decoded"`      // mean score of the same, encoded and decoded
	Tried       int     `json:"tried"`
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
	if out.Tried == 0 { // the base itself is what is learned
		out.Relatives, out.Decoded, out.Tried = out.Base, out.DecodedBase, 1
	}
	out.Relatives /= float64(out.Tried)
	out.Decoded /= float64(out.Tried)
	allowed := r.Recipe.Explore.Gate * math.Abs(out.Relatives-out.Base)
	if len(l.members) == 0 {
		allowed = r.Recipe.Explore.Gate * math.Abs(out.Base)
	}
	out.Passed = out.Relatives-out.Decoded <= allowed
	return out, nil
}

// ownWeights is the base as a weight set: no difference at all, or its own layers where those are learned.
func (l *learned) ownWeights() (map[string][]float32, error) {
	out := map[string][]float32{}
	for _, s := range l.set.Specs {
		if l.space != nil {
			out[s.Name] = make([]float32, s.Elements())
			continue
		}
		values, err := l.base.Float32(s.Name)
		if err != nil {
			return nil, err
		}
		out[s.Name] = values
	}
	return out, nil
}

// nearest lists up to n relatives, those of the most similar description first.
func (l *learned) nearest(n int) []int {
	similar := l.similarities(l.wanted)
	order := make([]int, len(l.members))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		switch {
		case similar[a] > similar[b]:
			return -1
		case similar[a] < similar[b]:
			return 1
		}
		return 0
	})
	return order[:min(n, len(order))]
}

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
		r.opt.Note("reconstruction gate: decoding alone lowers the relatives from %.4f to %.4f (base %.4f); samples can't be better than that",
			gate.Relatives, gate.Decoded, gate.Base)
	}
	if err := r.stage("diffusion", func() error { return g.TrainDiffusion(ctx, l.set, opt) }); err != nil {
		return nil, nil, Gate{}, err
	}
	return g, l, gate, g.Save(dir)
}

// loadJSON reads a file that saveJSON wrote; ok is false when there is none.
func loadJSON(path string, v any) (ok bool, err error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return false, fmt.Errorf("%s: %w; remove it to make it anew", path, err)
	}
	return true, nil
}
