package explore

import (
	"cmp"
	"context"
	"math"
	"slices"
	"testing"

	"d2nwg/llm"
)

// Adding in B factors must be adding in weights: the blend of two relatives, made low-rank, must have the weights
// that the same sum of dense differences gives.
func TestLowRankAndDenseSpacesAgree(t *testing.T) {
	base := tinyBase(t)
	pair := relatives(base, 2, 8)
	low, err := NewSpace(base, []*llm.Variant{pair[0].Variant, pair[1].Variant})
	if err != nil {
		t.Fatal(err)
	}
	replaced := &llm.Variant{Base: base, Replace: map[string][]float32{}}
	for _, name := range tinyNames {
		replaced.Replace[name], _ = pair[0].Variant.Weights(name)
	}
	dense, err := NewSpace(base, []*llm.Variant{replaced, pair[1].Variant})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(low.Names(), dense.Names()) || !slices.IsSorted(low.Names()) || len(low.Names()) != 4 {
		t.Fatalf("names %v and %v", low.Names(), dense.Names())
	}
	blend := func(s *Space) *llm.Variant {
		sum := Vector{}
		for i, c := range []float64{0.3, -1.2} {
			vec, err := s.Vector(pair[i].Variant)
			if err != nil {
				t.Fatal(err)
			}
			sum.add(c, vec)
		}
		v, err := s.Variant(sum)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	a, b := blend(low), blend(dense)
	if len(a.LowRank) != 4 || len(b.Replace) != 4 {
		t.Fatalf("forms: %d low-rank, %d dense", len(a.LowRank), len(b.Replace))
	}
	for _, name := range tinyNames {
		x, _ := a.Weights(name)
		y, _ := b.Weights(name)
		for i := range x {
			if math.Abs(float64(x[i]-y[i])) > 1e-5 {
				t.Fatalf("%s[%d]: %g low-rank, %g dense", name, i, x[i], y[i])
			}
		}
	}
}

func TestZeroVectorIsTheBase(t *testing.T) {
	base := tinyBase(t)
	r := relatives(base, 1, 1)[0].Variant
	s, _ := NewSpace(base, []*llm.Variant{r})
	v, err := s.Variant(Vector{tinyNames[0]: make([]float32, 16)})
	if err != nil || len(v.Names()) != 0 {
		t.Fatalf("a zero difference left %v (%v)", v.Names(), err)
	}
	a, _ := v.Hash()
	b, _ := (&llm.Variant{Base: base}).Hash()
	c, _ := r.Hash()
	if a != b || a == c {
		t.Error("hashes don't tell the base from a relative")
	}
}

func TestVectorRefusesWhatIsOutside(t *testing.T) {
	base := tinyBase(t)
	r := relatives(base, 1, 1)[0].Variant
	s, _ := NewSpace(base, []*llm.Variant{r})
	seed := uint64(5)
	other := lowRank(base, func() float64 { return 1 })
	for name, lr := range other.LowRank {
		lr.Seed = &seed
		other.LowRank[name] = lr
	}
	w, _ := base.Float32("model.norm.weight")
	for name, v := range map[string]*llm.Variant{
		"another A":      other,
		"another tensor": {Base: base, Replace: map[string][]float32{"model.norm.weight": w}},
	} {
		if _, err := s.Vector(v); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	mixed, err := NewSpace(base, []*llm.Variant{r, other})
	if err != nil {
		t.Fatal(err)
	}
	if vec, err := mixed.Vector(r); err != nil || len(vec[tinyNames[0]]) != 8*8 {
		t.Errorf("different A's did not make a dense space: %v", err)
	}
}

// Norm-matched noise has the norm of what it stands beside, tensor by tensor, and nothing else of it.
func TestBuiltInBaselines(t *testing.T) {
	base := tinyBase(t)
	plan := Plan{Base: base, Relatives: relatives(base, 4, 5), Seed: 2}
	var all []*llm.Variant
	for _, r := range plan.Relatives {
		all = append(all, r.Variant)
	}
	space, _ := NewSpace(base, all)
	sources, err := baselines(&plan, space)
	if err != nil {
		t.Fatal(err)
	}
	vector := func(source, i int) Vector {
		v, err := sources[source].Propose(context.Background(), i)
		if err != nil {
			t.Fatal(err)
		}
		vec, err := space.Vector(v)
		if err != nil {
			t.Fatal(err)
		}
		return vec
	}
	const noise, mean, nearest, interpolation = 0, 1, 2, 3
	order := slices.Clone(plan.Relatives)
	slices.SortFunc(order, func(a, b Relative) int { return cmp.Compare(b.Similarity, a.Similarity) })
	name := tinyNames[1]
	for i := range 4 {
		relative := order[i].Variant.LowRank[name].B
		if !slices.Equal(vector(nearest, i)[name], relative) {
			t.Errorf("nearest %d is not the relative of that rank", i)
		}
		n := vector(noise, i)[name]
		var dot float64
		for k := range n {
			dot += float64(n[k]) * float64(relative[k])
		}
		if ratio := norm(n) / norm(relative); math.Abs(ratio-1) > 1e-5 || math.Abs(dot) > 0.9*norm(n)*norm(relative) {
			t.Errorf("noise %d: norm ratio %g, cosine %g", i, ratio, dot/norm(n)/norm(relative))
		}
	}
	sum := make([]float64, len(vector(mean, 0)[name]))
	for _, r := range plan.Relatives {
		for k, x := range r.Variant.LowRank[name].B {
			sum[k] += float64(x) / 4
		}
	}
	for k, x := range vector(mean, 0)[name] {
		if math.Abs(float64(x)-sum[k]) > 1e-6 {
			t.Fatalf("mean[%d] = %g, want %g", k, x, sum[k])
		}
	}
	for source := range sources {
		seen := map[string]bool{}
		for i := range 8 {
			v, _ := sources[source].Propose(context.Background(), i)
			again, _ := sources[source].Propose(context.Background(), i)
			a, _ := v.Hash()
			if b, _ := again.Hash(); a != b {
				t.Fatalf("%s is not a pure function of i", sources[source].Name())
			}
			seen[a] = true
		}
		// With four relatives there are only seven means of two or all.
		if len(seen) < 5 || source == interpolation && len(seen) < 8 {
			t.Errorf("%s proposes only %d different candidates in 8", sources[source].Name(), len(seen))
		}
	}
}
