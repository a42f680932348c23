package engine

import (
	"math"
	"sync"

	"d2nwg/llm"
)

// rope holds the cosines and sines of the rotary embedding, as many positions as were ever asked for.
type rope struct {
	inv      []float64 // (head_dim/2) angle per position
	mu       sync.Mutex
	cos, sin []float32 // (positions, head_dim/2)
}

func newRope(c llm.Config) *rope { return &rope{inv: c.InverseFrequencies()} }

// tables returns cosines and sines for positions 0…n−1, (≥ n, head_dim/2) each.
func (r *rope) tables(n int) (cos, sin []float32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	half := len(r.inv)
	if have := len(r.cos) / half; have < n {
		n = roundUp(n, 64)
		// Fresh copies, since callers may still read the old ones.
		cos, sin = make([]float32, n*half), make([]float32, n*half)
		copy(cos, r.cos)
		copy(sin, r.sin)
		for t := have; t < n; t++ {
			for i, inv := range r.inv {
				s, c := math.Sincos(float64(t) * inv)
				cos[t*half+i], sin[t*half+i] = float32(c), float32(s)
			}
		}
		r.cos, r.sin = cos, sin
	}
	return r.cos, r.sin
}
