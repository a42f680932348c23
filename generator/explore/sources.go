package explore

import (
	"cmp"
	"context"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"slices"

	"d2nwg/llm"
)

// Kinds of sources. A control (such as a shuffled description) is searched and shown like the others, but is no
// baseline that the generator has to beat, and never a candidate.
const (
	Baseline  = "baseline"
	Generator = "generator"
	Control   = "control"
)

// A Source proposes candidates. Propose is a pure function of i: a resumed run asks again for the few it needs.
type Source interface {
	Name() string
	Kind() string // Baseline, Generator or Control
	Propose(ctx context.Context, i int) (*llm.Variant, error)
}

// NewSource makes a source of a function.
func NewSource(name, kind string, propose func(ctx context.Context, i int) (*llm.Variant, error)) Source {
	return source{name, kind, propose}
}

type source struct {
	name, kind string
	propose    func(ctx context.Context, i int) (*llm.Variant, error)
}

func (s source) Name() string { return s.name }
func (s source) Kind() string { return s.kind }
func (s source) Propose(ctx context.Context, i int) (*llm.Variant, error) {
	return s.propose(ctx, i)
}

// A Relative is a checkpoint near the base, as a variant of it: what the generator learned from, and what it has to
// beat.
type Relative struct {
	Name       string
	Variant    *llm.Variant
	Similarity float64 // to the condition asked for; orders the "nearest" baseline
}

// baselines builds the always-on baselines that the plan's material allows: norm-matched noise; the mean of the
// relatives, the nearest of them, interpolation.
func baselines(p *Plan, space *Space) ([]Source, error) {
	var relatives []Vector // nearest first
	order := slices.Clone(p.Relatives)
	slices.SortStableFunc(order, func(a, b Relative) int {
		return cmp.Or(cmp.Compare(b.Similarity, a.Similarity), cmp.Compare(a.Name, b.Name))
	})
	for _, r := range order {
		vec, err := space.Vector(r.Variant)
		if err != nil {
			return nil, err
		}
		relatives = append(relatives, vec)
	}
	b := builder{space: space, seed: p.Seed, relatives: relatives}
	var sources []Source
	if reference := b.reference(p.Sources); reference != nil {
		sources = append(sources, b.source("noise", func(ctx context.Context, i int, r *rand.Rand) (Vector, error) {
			like, err := reference(ctx, i)
			return noise(like, r), err
		}))
	}
	if len(relatives) > 0 {
		sources = append(sources,
			b.source("mean", b.mean), b.source("nearest", b.nearest), b.source("interpolation", b.interpolation))
	}
	return sources, nil
}

// builder makes proposals out of the relatives' vectors.
type builder struct {
	space     *Space
	seed      uint64
	relatives []Vector
}

// source wraps f as a baseline; every proposal has its own random stream.
func (b builder) source(name string, f func(ctx context.Context, i int, r *rand.Rand) (Vector, error)) Source {
	return NewSource(name, Baseline, func(ctx context.Context, i int) (*llm.Variant, error) {
		r := rand.New(rand.NewPCG(b.seed^nameSeed(name), uint64(i)))
		vec, err := f(ctx, i, r)
		if err != nil {
			return nil, err
		}
		return b.space.Variant(vec)
	})
}

func nameSeed(name string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(name))
	return h.Sum64()
}

// reference is whose norms the noise gets: the generator's proposal of the same number, or a relative's.
func (b builder) reference(sources []Source) func(ctx context.Context, i int) (Vector, error) {
	for _, s := range sources {
		if s.Kind() == Generator {
			return func(ctx context.Context, i int) (Vector, error) {
				v, err := s.Propose(ctx, i)
				if err != nil {
					return nil, err
				}
				return b.space.Vector(v)
			}
		}
	}
	if len(b.relatives) == 0 {
		return nil
	}
	return func(_ context.Context, i int) (Vector, error) { return b.relatives[i%len(b.relatives)], nil }
}

// noise is Gaussian with the norm of each tensor of like.
func noise(like Vector, r *rand.Rand) Vector {
	vec := Vector{}
	names := make([]string, 0, len(like))
	for name := range like {
		names = append(names, name)
	}
	slices.Sort(names) // the random stream must not depend on the map's order
	for _, name := range names {
		values := make([]float32, len(like[name]))
		for i := range values {
			values[i] = float32(r.NormFloat64())
		}
		scale := norm(like[name]) / norm(values)
		for i := range values {
			values[i] *= float32(scale)
		}
		vec[name] = values
	}
	return vec
}

func norm(values []float32) float64 {
	var square float64
	for _, x := range values {
		square += float64(x) * float64(x)
	}
	return math.Sqrt(square)
}

// mean is the mean of all relatives first, then of random halves (two or more) of them.
func (b builder) mean(_ context.Context, i int, r *rand.Rand) (Vector, error) {
	chosen := r.Perm(len(b.relatives))
	if i > 0 && len(chosen) > 2 {
		chosen = chosen[:max(2, len(chosen)/2)]
	}
	slices.Sort(chosen)
	vec := Vector{}
	for _, k := range chosen {
		vec.add(1/float64(len(chosen)), b.relatives[k])
	}
	return vec, nil
}

// nearest is relative after relative, nearest first; once all were had, again at a random strength.
func (b builder) nearest(_ context.Context, i int, r *rand.Rand) (Vector, error) {
	strength := 1.0
	if i >= len(b.relatives) {
		strength = 0.5 + r.Float64()
	}
	vec := Vector{}
	vec.add(strength, b.relatives[i%len(b.relatives)])
	return vec, nil
}

// interpolation is a random point between two relatives or, every second time, between the base and one.
func (b builder) interpolation(_ context.Context, i int, r *rand.Rand) (Vector, error) {
	pair := r.Perm(len(b.relatives))
	t := r.Float64()
	vec := Vector{}
	vec.add(t, b.relatives[pair[0]])
	if i%2 == 0 && len(pair) > 1 {
		vec.add(1-t, b.relatives[pair[1]])
	}
	return vec, nil
}
