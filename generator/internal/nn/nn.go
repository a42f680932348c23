// Package nn holds the layers that the autoencoders and the denoisers share.
//
// Shapes keep matrix products two-dimensional, normalization avoids Rsqrt and convolutions are matrix products over shifted copies,
// because ONNX Runtime is fast or correct only so.
package nn

import (
	"math"

	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/graph"

	"d2nwg/internal/compute/optim"
)

// Dense is x·wᵀ + b with x (rows, in), giving (rows, out). The first weights have deviation gain/√in; gain 0 starts at zero.
func Dense(s *optim.Scope, name string, x *graph.Node, out int, gain float64) *graph.Node {
	in := x.Shape().Dim(-1)
	y := Linear(s, name, x, out, gain/math.Sqrt(float64(in)))
	b := s.In(name).Param("b", optim.Zeros, 1, out)
	return graph.Add(y, b)
}

// Linear is x·wᵀ with x (rows, in) and w (out, in), giving (rows, out); std is the deviation of the first weights. In this layout the
// gradient of w needs no transposition.
func Linear(s *optim.Scope, name string, x *graph.Node, out int, std float64) *graph.Node {
	w := s.In(name).Param("w", optim.Normal(std), out, x.Shape().Dim(-1))
	return graph.DotGeneral(x, []int{1}, nil, w, []int{1}, nil)
}

// SiLU is x·sigmoid(x).
func SiLU(x *graph.Node) *graph.Node { return graph.Mul(x, graph.Logistic(x)) }

// LayerNorm normalizes the last axis to mean 0 and deviation 1, without parameters.
func LayerNorm(x *graph.Node) *graph.Node {
	x = graph.Sub(x, keep(graph.ReduceMean(x, -1)))
	v := keep(graph.ReduceMean(graph.Mul(x, x), -1))
	return graph.Div(x, graph.Sqrt(graph.AddScalar(v, 1e-5)))
}

// keep gives a reduced last axis back with length 1.
func keep(x *graph.Node) *graph.Node {
	return graph.Reshape(x, append(append([]int(nil), x.Shape().Dimensions...), 1)...)
}

// Modulate is x·(1 + scale) + shift.
func Modulate(x, shift, scale *graph.Node) *graph.Node {
	return graph.Add(graph.Mul(x, graph.OnePlus(scale)), shift)
}

// Split cuts the last axis of x (rows, n·width) into n parts (rows, width).
func Split(x *graph.Node, n int) []*graph.Node {
	width := x.Shape().Dim(-1) / n
	parts := make([]*graph.Node, n)
	for i := range parts {
		parts[i] = graph.Slice(x, graph.AxisRange(), graph.AxisRange(i*width, (i+1)*width))
	}
	return parts
}

// Sum adds all values, one axis at a time: the go backend's plain f32 sum of a million terms is 1 % off.
func Sum(x *graph.Node) *graph.Node {
	for x.Rank() > 0 {
		x = graph.ReduceSum(x, -1)
	}
	return x
}

// Mean is the mean of all values.
func Mean(x *graph.Node) *graph.Node { return graph.DivScalar(Sum(x), float64(x.Shape().Size())) }

// Frequencies writes sinusoidal features of a position into out: cosines, then sines, of frequencies from 1 down to 1/10,000.
func Frequencies(position float64, out []float32) {
	half := len(out) / 2
	for i := range half {
		f := math.Exp(-math.Log(10000) * float64(i) / float64(half))
		out[i], out[half+i] = float32(math.Cos(position*f)), float32(math.Sin(position*f))
	}
}

// shapeLike is a shape of x's dtype.
func shapeLike(x *graph.Node, dims ...int) shapes.Shape { return shapes.Make(x.DType(), dims...) }
