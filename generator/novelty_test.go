package generator

import (
	"math"
	"math/rand/v2"
	"testing"

	"d2nwg/generator/tokens"
)

func randomSet(sets int, seed uint64) Set {
	r := rand.New(rand.NewPCG(seed, 0))
	s := Set{Specs: []tokens.Spec{{Name: "a", Module: "q", Shape: []int{5, 7}}, {Name: "b", Module: "k", Shape: []int{11}}}}
	for i := range sets {
		w := map[string][]float32{}
		for _, spec := range s.Specs {
			for range spec.Elements() {
				w[spec.Name] = append(w[spec.Name], float32(r.NormFloat64()))
			}
		}
		s.Names, s.Weights = append(s.Names, string(rune('A'+i))), append(s.Weights, w)
	}
	return s
}

func TestNoveltyFindsCopies(t *testing.T) {
	zoo, fresh := randomSet(4, 1), randomSet(1, 2).Weights[0]
	near := map[string][]float32{}
	for name, v := range zoo.Weights[2] {
		for _, x := range v {
			near[name] = append(near[name], x+0.01)
		}
	}
	n, err := Compare(zoo, []map[string][]float32{near, fresh})
	if err != nil {
		t.Fatal(err)
	}
	if s := n.Samples[0]; !s.Copy || s.Nearest != "C" || math.Abs(s.L2-0.01*math.Sqrt(46)) > 1e-4 || s.Cosine < 0.99 {
		t.Errorf("a near copy of C is reported as %+v", s)
	}
	if s := n.Samples[1]; s.Copy || n.Copies != 1 {
		t.Errorf("an independent sample is reported as %+v, %d copies", s, n.Copies)
	}
	// The distances again, the plain way.
	plain := func(a, b map[string][]float32) (d float64) {
		for name := range a {
			for i := range a[name] {
				x := float64(a[name][i] - b[name][i])
				d += x * x
			}
		}
		return math.Sqrt(d)
	}
	best := math.Inf(1)
	for _, w := range zoo.Weights {
		best = min(best, plain(fresh, w))
	}
	if math.Abs(best-n.Samples[1].L2) > 1e-5*best || math.Abs(n.Diversity.Median-plain(near, fresh)) > 1e-5 {
		t.Errorf("nearest distance %v, plain %v; diversity %v, plain %v", n.Samples[1].L2, best, n.Diversity.Median, plain(near, fresh))
	}
	delete(fresh, "b")
	if _, err := Compare(zoo, []map[string][]float32{fresh}); err == nil {
		t.Error("a sample without a tensor was accepted")
	}
}
