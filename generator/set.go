package generator

import (
	"errors"
	"fmt"
	"math"

	"d2nwg/generator/tokens"
)

// Set is the training set: S weight sets that share the tensors of Specs.
//
// Weights are given either in memory or by Load, which is asked for one tensor at a time, possibly again and again; a Set of large
// tensors decodes them from mapped files.
type Set struct {
	Specs        []tokens.Spec
	Names        []string               // one a set
	Descriptions []string               // one a set; kept for reports, may be nil
	Weights      []map[string][]float32 // tensor name → values, one map a set; nil when Load is given
	Load         func(set int, tensor string) ([]float32, error)
	Conditions   [][]float32 // text condition vectors of one length, one a set; nil = unconditional
}

// Len is the number of weight sets.
func (s Set) Len() int { return len(s.Names) }

// tensor returns the values of one tensor. They must not be changed.
func (s Set) tensor(set int, name string) ([]float32, error) {
	if s.Load != nil {
		return s.Load(set, name)
	}
	v, ok := s.Weights[set][name]
	if !ok {
		return nil, fmt.Errorf("generator: weight set %s lacks the tensor %s", s.Names[set], name)
	}
	return v, nil
}

// Check refuses a set whose parts don't fit together.
func (s Set) Check() error {
	if len(s.Names) == 0 {
		return errors.New("generator: the training set holds no weight sets")
	}
	if (s.Weights == nil) == (s.Load == nil) {
		return errors.New("generator: the training set needs either weights or a function that loads them")
	}
	if s.Weights != nil && len(s.Weights) != len(s.Names) {
		return fmt.Errorf("generator: %d weight sets for %d names", len(s.Weights), len(s.Names))
	}
	if s.Descriptions != nil && len(s.Descriptions) != len(s.Names) {
		return fmt.Errorf("generator: %d descriptions for %d names", len(s.Descriptions), len(s.Names))
	}
	if s.Conditions == nil {
		return nil
	}
	if len(s.Conditions) != len(s.Names) {
		return fmt.Errorf("generator: %d conditions for %d names", len(s.Conditions), len(s.Names))
	}
	for i, c := range s.Conditions {
		if len(c) == 0 || len(c) != len(s.Conditions[0]) {
			return fmt.Errorf("generator: the condition of %s has %d numbers, that of %s has %d", s.Names[i], len(c), s.Names[0], len(s.Conditions[0]))
		}
		for _, x := range c {
			if math.IsNaN(float64(x)) || math.IsInf(float64(x), 0) {
				return fmt.Errorf("generator: the condition of %s holds a number that is not finite", s.Names[i])
			}
		}
	}
	return nil
}
