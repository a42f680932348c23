package pipeline

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"d2nwg/generator"
	"d2nwg/generator/condition"
	"d2nwg/generator/explore"
	"d2nwg/generator/spectrum"
	"d2nwg/generator/tokens"
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
	path := r.path(spectrumFile)
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
	var vectors []explore.Vector
	for _, m := range relatives {
		vec, err := l.space.Vector(m.Variant)
		if err != nil {
			return nil, fmt.Errorf("relative %s: %w", m.Name, err)
		}
		vectors = append(vectors, vec)
		l.set.Names = append(l.set.Names, m.Name)
		l.set.Descriptions = append(l.set.Descriptions, m.Description)
	}
	if l.set.Specs = specs(r.base, vectors); len(l.set.Specs) == 0 {
		return nil, errors.New("no relative differs from the base in any tensor; name other relatives")
	}
	for _, vec := range vectors {
		l.set.Weights = append(l.set.Weights, fill(vec, l.set.Specs))
	}
	return l, l.describe(r)
}

// specs names the tensors that any vector changes, in the order of the name map. A vector holds B (out, r) where updates
// are low-rank with a shared A, and all of the difference (out, in) otherwise.
func specs(base *llm.Checkpoint, vectors []explore.Vector) []tokens.Spec {
	var out []tokens.Spec
	for _, s := range base.Config.TensorShapes() {
		first := slices.IndexFunc(vectors, func(v explore.Vector) bool { return v[s.Name] != nil })
		if first < 0 {
			continue
		}
		shape := s.Shape
		if n := len(vectors[first][s.Name]); n != s.Elements() {
			shape = []int{s.Shape[0], n / s.Shape[0]}
		}
		out = append(out, tokens.Spec{Name: s.Name, Module: s.Module, Layer: s.Layer, Shape: shape})
	}
	return out
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
	if r.target.description == "" {
		return nil
	}
	if !slices.ContainsFunc(l.set.Descriptions, func(d string) bool { return d != "" }) {
		r.opt.Note("no relative has a description: samples don't depend on the description that is asked for")
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
