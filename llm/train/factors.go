package train

import (
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"slices"

	"d2nwg/llm"
)

// factors are the trained factors of one run's adapters: B of every adapted tensor, and with TrainA the A before it.
type factors struct {
	base   *llm.Checkpoint
	shapes []llm.NamedShape
	lr     LowRankOptions
	seed   uint64
	layout *layout
}

func newFactors(base *llm.Checkpoint, shapes []llm.NamedShape, lr LowRankOptions, seed uint64) *factors {
	f := &factors{base, shapes, lr, seed, &layout{}}
	for _, s := range shapes {
		if lr.TrainA {
			f.layout.add(factorA(s.Name), []int{lr.Rank, s.Shape[1]}, true)
		}
		f.layout.add(s.Name, []int{s.Shape[0], lr.Rank}, true)
	}
	return f
}

// bind gives the net its adapters.
func (f *factors) bind(n *net, state *node) {
	at := map[string]*node{}
	for _, e := range f.layout.entries {
		at[e.name] = f.layout.slice(state, e, true)
	}
	for _, s := range f.shapes {
		l := lowRank{a: at[factorA(s.Name)], b: at[s.Name], scale: f.lr.Scale}
		if !f.lr.TrainA {
			l.a = n.tensors[factorA(s.Name)]
		}
		n.lowRank[s.Name] = l
	}
}

// start lays the initial factors of every adapter out.
func (f *factors) start(groups int) ([][]float32, error) {
	if len(f.lr.Init) > groups {
		return nil, fmt.Errorf("train: %d initial adapters for %d data sets", len(f.lr.Init), groups)
	}
	start := make([][]float32, groups)
	for g := range start {
		var init map[string]llm.LowRank
		if g < len(f.lr.Init) {
			init = f.lr.Init[g]
		}
		w := Weights{}
		for _, s := range f.shapes {
			l, err := f.initial(s, init[s.Name])
			if err != nil {
				return nil, fmt.Errorf("train: initial adapter %d: %w", g, err)
			}
			w[factorA(s.Name)], w[s.Name] = l.A, l.B
		}
		for name := range init {
			if _, ok := w[name]; !ok {
				return nil, fmt.Errorf("train: initial adapter %d changes tensor %s, which is not among those to be adapted", g, name)
			}
		}
		var err error
		if start[g], err = f.layout.flatten(w); err != nil {
			return nil, err
		}
	}
	return start, nil
}

// initial completes the factors that one tensor starts from; its B is free of the scale.
func (f *factors) initial(s llm.NamedShape, init llm.LowRank) (llm.LowRank, error) {
	out, in, r := s.Shape[0], s.Shape[1], f.lr.Rank
	if (init.A != nil || init.B != nil) && init.Rank != r {
		return init, fmt.Errorf("tensor %s has rank %d, want %d", s.Name, init.Rank, r)
	}
	if init.A == nil && init.Seed != nil {
		init.A = llm.SharedA(f.base.Config, s.Name, r, *init.Seed)
	}
	switch shared := llm.SharedA(f.base.Config, s.Name, r, f.seed); {
	case !f.lr.TrainA && init.A != nil && !slices.Equal(init.A, shared):
		return init, fmt.Errorf("the factor A of tensor %s is not the shared one of seed %d", s.Name, f.seed)
	case !f.lr.TrainA:
		init.A = shared
	case init.A == nil:
		init.A = uniformA(s.Name, r, in, f.seed)
	case len(init.A) != r*in:
		return init, fmt.Errorf("the factor A of tensor %s has %d values, want (%d, %d)", s.Name, len(init.A), r, in)
	}
	b := make([]float32, out*r)
	if init.B != nil && len(init.B) != len(b) {
		return init, fmt.Errorf("the factor B of tensor %s has %d values, want (%d, %d)", s.Name, len(init.B), out, r)
	}
	for i, v := range init.B {
		b[i] = v / float32(f.lr.Scale)
	}
	init.B = b
	return init, nil
}

// uniformA is PEFT's initial A (r, in): Kaiming's uniform distribution with a = √5, which is uniform up to 1/√in. The random stream is that
// of the seed and the tensor.
func uniformA(tensor string, r, in int, seed uint64) []float32 {
	h := fnv.New64a()
	h.Write([]byte(factorA(tensor)))
	rng := rand.New(rand.NewPCG(seed, h.Sum64()))
	a := make([]float32, r*in)
	bound := 1 / math.Sqrt(float64(in))
	for i := range a {
		a[i] = float32(bound * (2*rng.Float64() - 1))
	}
	return a
}

// variants makes candidates of the adapters' parameters.
func (f *factors) variants(params [][]float32) []*llm.Variant {
	var all []*llm.Variant
	for _, p := range params {
		w := f.layout.unflatten(p)
		v := &llm.Variant{Base: f.base, LowRank: map[string]llm.LowRank{}}
		for _, s := range f.shapes {
			l := llm.LowRank{Rank: f.lr.Rank, A: w[factorA(s.Name)], B: w[s.Name]}
			if !f.lr.TrainA {
				l.A, l.Seed = llm.SharedA(f.base.Config, s.Name, f.lr.Rank, f.seed), &f.seed
			}
			for i := range l.B {
				l.B[i] *= float32(f.lr.Scale)
			}
			v.LowRank[s.Name] = l
		}
		all = append(all, v)
	}
	return all
}
