package explore

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"d2nwg/llm"
)

// errNotFinite marks weights that hold NaN or Inf: a proposal that loses, not an error that ends a run.
var errNotFinite = errors.New("not finite")

// A Vector is a candidate's difference from the base, tensor by tensor; a tensor that is missing equals the base's.
type Vector map[string][]float32

// A Space is where candidates of one base are added and scaled: the tensors that differ at all and, for each, what a
// vector holds. Where every known candidate updates a tensor by B·A with one shared A, that is B (out, r), so sums
// stay low-rank and small; otherwise it is the whole difference from the base.
type Space struct {
	base *llm.Checkpoint
	axes map[string]axis
}

// axis is one tensor of a space: low-rank with this A (or A's seed), or dense when rank is 0.
type axis struct {
	rank int
	a    []float32
	seed *uint64
}

// NewSpace makes the space spanned by variants of the base.
func NewSpace(base *llm.Checkpoint, variants []*llm.Variant) (*Space, error) {
	s := &Space{base: base, axes: map[string]axis{}}
	for _, v := range variants {
		if v.Base != base {
			return nil, errors.New("explore: a relative or proposal belongs to another base checkpoint")
		}
		if err := v.Check(); err != nil {
			return nil, err
		}
		for _, name := range v.Names() {
			known, seen := s.axes[name]
			lr, low := v.LowRank[name]
			switch {
			case !low:
				s.axes[name] = axis{}
			case !seen:
				s.axes[name] = axis{rank: lr.Rank, a: lr.A, seed: lr.Seed}
			case !known.shares(lr):
				s.axes[name] = axis{}
			}
		}
	}
	return s, nil
}

// shares reports whether an update has this axis' A.
func (x axis) shares(lr llm.LowRank) bool {
	if x.rank != lr.Rank {
		return false
	}
	if x.seed != nil && lr.Seed != nil {
		return *x.seed == *lr.Seed
	}
	return x.a != nil && slices.Equal(x.a, lr.A)
}

// Names returns the tensors of the space, sorted.
func (s *Space) Names() []string {
	names := make([]string, 0, len(s.axes))
	for name := range s.axes {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Vector is the variant as a vector of the space, whose values may be the variant's own. The error wraps errNotFinite when a value is NaN or Inf.
func (s *Space) Vector(v *llm.Variant) (Vector, error) {
	vec := Vector{}
	for _, name := range v.Names() {
		x, ok := s.axes[name]
		if !ok {
			return nil, fmt.Errorf("explore: a proposal changes tensor %q, which neither the relatives nor the first proposals change", name)
		}
		values, err := s.coordinates(v, name, x)
		if err != nil {
			return nil, err
		}
		for _, f := range values {
			if math.IsNaN(float64(f)) || math.IsInf(float64(f), 0) {
				return nil, fmt.Errorf("tensor %q: %w", name, errNotFinite)
			}
		}
		vec[name] = values
	}
	return vec, nil
}

func (s *Space) coordinates(v *llm.Variant, name string, x axis) ([]float32, error) {
	if x.rank > 0 {
		lr, ok := v.LowRank[name]
		if !ok || !x.shares(lr) {
			return nil, fmt.Errorf("explore: a proposal changes tensor %q otherwise than by the shared low-rank factor the relatives and first proposals have", name)
		}
		return lr.B, nil
	}
	values, err := v.Weights(name)
	if err != nil {
		return nil, err
	}
	base, err := s.base.Float32(name)
	if err != nil {
		return nil, err
	}
	for i := range values {
		values[i] -= base[i]
	}
	return values, nil
}

// Variant turns a vector back into a candidate. Tensors whose difference is zero throughout are left to the base.
func (s *Space) Variant(vec Vector) (*llm.Variant, error) {
	v := &llm.Variant{Base: s.base, Replace: map[string][]float32{}, LowRank: map[string]llm.LowRank{}}
	for name, delta := range vec {
		if !slices.ContainsFunc(delta, func(f float32) bool { return f != 0 }) {
			continue
		}
		x := s.axes[name]
		if x.rank > 0 {
			v.LowRank[name] = llm.LowRank{Rank: x.rank, A: x.a, B: delta, Seed: x.seed}
			continue
		}
		values, err := s.base.Float32(name)
		if err != nil {
			return nil, err
		}
		for i := range values {
			values[i] += delta[i]
		}
		v.Replace[name] = values
	}
	return v, v.Check()
}

// add adds c times from to into.
func (into Vector) add(c float64, from Vector) {
	for name, values := range from {
		sum := into[name]
		if sum == nil {
			sum = make([]float32, len(values))
			into[name] = sum
		}
		for i, x := range values {
			sum[i] += float32(c) * x
		}
	}
}

// size is the number of values.
func (vec Vector) size() int {
	n := 0
	for _, values := range vec {
		n += len(values)
	}
	return n
}
