package llm

import (
	"hash/fnv"
	"math"
	"math/rand/v2"
)

// SharedA returns the frozen factor A (r, in) that all low-rank relatives of a
// base share, from a seed alone, so that no relative needs to carry it. tensor
// is the name of the matrix it belongs to; values have mean 0 and variance
// 1/in. nil when the config has no such matrix or rank is below 1.
//
// The values are the same on every machine and with every release: only
// integers are summed, and one product is rounded.
func SharedA(cfg Config, tensor string, rank int, seed uint64) []float32 {
	shape := cfg.shapeOf(tensor)
	if len(shape) != 2 || rank < 1 || rank > max(shape[0], shape[1]) {
		return nil
	}
	in := shape[1]
	a := make([]float32, rank*in) // (r, in)
	newNormals(tensor, seed).fill(a, 0, 1/math.Sqrt(float64(in)))
	return a
}

// shapeOf returns the shape that the config gives a tensor, nil when it has no
// such tensor.
func (c Config) shapeOf(tensor string) []int {
	name, layer, ok := ParseName(tensor)
	if !ok || layer >= c.Layers {
		return nil
	}
	for _, m := range modules {
		if m.Name == name && c.has(m) {
			return m.Shape(c)
		}
	}
	return nil
}

// normals is a stream of nearly normal numbers, one per tensor and seed.
type normals struct{ pcg *rand.PCG }

func newNormals(tensor string, seed uint64) normals {
	h := fnv.New64a()
	h.Write([]byte(tensor))
	return normals{rand.NewPCG(seed, h.Sum64())}
}

// fill sets dst to mean + std·z, where z is the centred sum of eight uniform
// 16-bit numbers (Irwin–Hall): unit variance, excess kurtosis −0.15, |z| < 4.9.
func (n normals) fill(dst []float32, mean, std float64) {
	const (
		terms  = 8
		centre = terms * 65535.0 / 2
	)
	// The variance of one uniform integer in [0, 2^16) is (2^32−1)/12.
	scale := std / math.Sqrt(terms*(1<<32-1)/12.0)
	for i := range dst {
		x, y := n.pcg.Uint64(), n.pcg.Uint64()
		// Four 16-bit sums side by side can't be had without carries, so split
		// into even and odd lanes of 32 bits first.
		const lanes = 0x0000ffff0000ffff
		s := x&lanes + x>>16&lanes + y&lanes + y>>16&lanes
		sum := s&0xffffffff + s>>32
		dst[i] = float32(mean + float64((float64(sum)-centre)*scale))
	}
}
