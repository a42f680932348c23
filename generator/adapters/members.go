package adapters

import (
	"fmt"
	"math"
	"slices"

	"d2nwg/generator"
	"d2nwg/generator/tokens"
	"d2nwg/llm"
)

// Member is a trained adapter that a generator learned from. A generator keeps them: to compare what it makes with them, and to fall back to
// them.
type Member struct {
	Task    string
	Weights map[string][]float32 // B factors by tensor
}

// Members lists the trained adapters, by task. They must not be changed.
func (g *Generator) Members() []Member { return g.members }

// MemberOf is a trained adapter of a task; nil when it has none.
func (g *Generator) MemberOf(task string) map[string][]float32 {
	i := slices.IndexFunc(g.members, func(m Member) bool { return m.Task == task })
	if i < 0 {
		return nil
	}
	return g.members[i].Weights
}

// Mean is the mean of all trained adapters; nil without any.
func (g *Generator) Mean() map[string][]float32 {
	if len(g.members) == 0 {
		return nil
	}
	out := map[string][]float32{}
	for _, f := range g.factors {
		mean := make([]float32, f.Elements())
		for _, m := range g.members {
			for i, x := range m.Weights[f.Name] {
				mean[i] += x / float32(len(g.members))
			}
		}
		out[f.Name] = mean
	}
	return out
}

// Audit compares generated adapters with all trained ones, to tell generation from memorization: distances and cosines are those of ΔW = B·A.
// It needs at least two trained adapters.
func (g *Generator) Audit(base *llm.Checkpoint, samples []map[string][]float32) (*generator.Novelty, error) {
	var set generator.Set
	roots := map[string][]float64{}
	for _, f := range g.factors {
		set.Specs = append(set.Specs, tokens.Spec{Name: f.Name, Module: f.Module, Layer: f.Layer, Shape: f.Shape})
		roots[f.Name] = root(llm.SharedA(base.Config, f.Name, g.rank, g.seed), g.rank)
		if roots[f.Name] == nil {
			return nil, fmt.Errorf("adapters: the base has no matrix %s of rank %d", f.Name, g.rank)
		}
	}
	for _, m := range g.members {
		set.Names = append(set.Names, m.Task)
		set.Weights = append(set.Weights, g.product(roots, m.Weights))
	}
	var own []map[string][]float32
	for _, s := range samples {
		own = append(own, g.product(roots, s))
	}
	return generator.Compare(set, own)
}

// product turns B into B·L with L·Lᵀ = A·Aᵀ: inner products of these are those of B·A.
func (g *Generator) product(roots map[string][]float64, b map[string][]float32) map[string][]float32 {
	out := map[string][]float32{}
	r := g.rank
	for _, f := range g.factors {
		l, x, y := roots[f.Name], b[f.Name], make([]float32, f.Elements())
		for row := range f.Shape[0] {
			for j := range r {
				sum := 0.0
				for k := j; k < r; k++ {
					sum += float64(x[row*r+k]) * l[k*r+j]
				}
				y[row*r+j] = float32(sum)
			}
		}
		out[f.Name] = y
	}
	return out
}

// root is the Cholesky factor L (r, r), lower, of A·Aᵀ; nil where that is singular.
func root(a []float32, r int) []float64 {
	if len(a) == 0 {
		return nil
	}
	in := len(a) / r
	l := make([]float64, r*r)
	for i := range r {
		for j := range i + 1 {
			sum := 0.0
			for k := range in {
				sum += float64(a[i*in+k]) * float64(a[j*in+k])
			}
			for k := range j {
				sum -= l[i*r+k] * l[j*r+k]
			}
			if i == j {
				if sum <= 0 {
					return nil
				}
				l[i*r+i] = math.Sqrt(sum)
			} else {
				l[i*r+j] = sum / l[j*r+j]
			}
		}
	}
	return l
}
