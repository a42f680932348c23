package nn

import (
	"math"

	"github.com/gomlx/gomlx/core/graph"

	"d2nwg/internal/compute/optim"
)

// Conv3 is a 3×3 convolution with padding 1: x (n, h, w, in) gives (n, h, w, out). It is one matrix product over the nine shifted
// copies of x, because the gradient of a strided or plain convolution needs kernels that ONNX Runtime lacks or runs slowly.
func Conv3(s *optim.Scope, name string, x *graph.Node, out int, gain float64) *graph.Node {
	n, h, w, in := dims4(x)
	zeroRow := graph.Zeros(x.Graph(), shapeLike(x, n, 1, w, in))
	x = graph.Concatenate([]*graph.Node{zeroRow, x, zeroRow}, 1)
	zeroCol := graph.Zeros(x.Graph(), shapeLike(x, n, h+2, 1, in))
	x = graph.Concatenate([]*graph.Node{zeroCol, x, zeroCol}, 2)
	var shifted []*graph.Node
	for i := range 3 {
		for j := range 3 {
			shifted = append(shifted, graph.Slice(x, graph.AxisRange(), graph.AxisRange(i, i+h), graph.AxisRange(j, j+w), graph.AxisRange()))
		}
	}
	cols := graph.Reshape(graph.Concatenate(shifted, 3), n*h*w, 9*in) // (n·h·w, 9·in)
	return graph.Reshape(Dense(s, name, cols, out, gain), n, h, w, out)
}

// Conv1 is a 1×1 convolution.
func Conv1(s *optim.Scope, name string, x *graph.Node, out int, gain float64) *graph.Node {
	n, h, w, in := dims4(x)
	return graph.Reshape(Dense(s, name, graph.Reshape(x, n*h*w, in), out, gain), n, h, w, out)
}

// GroupNorm normalizes groups of channels over the whole picture, with a learned scale and shift a channel: x (n, h, w, c).
func GroupNorm(s *optim.Scope, name string, x *graph.Node, groups int) *graph.Node {
	n, h, w, c := dims4(x)
	for c%groups != 0 {
		groups--
	}
	y := graph.Reshape(x, n, h*w, groups, c/groups)
	y = graph.Reshape(graph.TransposeAllAxes(y, 0, 2, 1, 3), n*groups, h*w*c/groups)
	y = graph.Reshape(LayerNorm(y), n, groups, h*w, c/groups)
	y = graph.Reshape(graph.TransposeAllAxes(y, 0, 2, 1, 3), n*h*w, c)
	s = s.In(name)
	y = graph.Add(graph.Mul(y, s.Param("scale", optim.Ones, 1, c)), s.Param("shift", optim.Zeros, 1, c))
	return graph.Reshape(y, n, h, w, c)
}

// Down halves the picture by folding 2×2 pixels into channels, then mixes them: (n, h, w, c) gives (n, h/2, w/2, out).
func Down(s *optim.Scope, name string, x *graph.Node, out int) *graph.Node {
	n, h, w, c := dims4(x)
	x = graph.TransposeAllAxes(graph.Reshape(x, n, h/2, 2, w/2, 2*c), 0, 1, 3, 2, 4)
	return Conv1(s, name, graph.Reshape(x, n, h/2, w/2, 4*c), out, 1)
}

// Up doubles the picture by unfolding channels into 2×2 pixels: (n, h, w, c) gives (n, 2h, 2w, out).
func Up(s *optim.Scope, name string, x *graph.Node, out int) *graph.Node {
	n, h, w, _ := dims4(x)
	x = graph.Reshape(Conv1(s, name, x, 4*out, 1), n, h, w, 2, 2*out)
	return graph.Reshape(graph.TransposeAllAxes(x, 0, 1, 3, 2, 4), n, 2*h, 2*w, out)
}

// ResBlock is GroupNorm–SiLU–Conv3 twice with a skip path; embed (n, e), when given, shifts the channels between the two.
func ResBlock(s *optim.Scope, name string, x, embed *graph.Node, out int) *graph.Node {
	s = s.In(name)
	n, _, _, c := dims4(x)
	h := Conv3(s, "conv1", SiLU(GroupNorm(s, "norm1", x, 8)), out, 1)
	if embed != nil {
		h = graph.Add(h, graph.Reshape(Dense(s, "embed", SiLU(embed), out, 1), n, 1, 1, out))
	}
	h = Conv3(s, "conv2", SiLU(GroupNorm(s, "norm2", h, 8)), out, 1e-2)
	if c != out {
		x = Conv1(s, "skip", x, out, 1)
	}
	return graph.Add(x, h)
}

// Attention is multi-head attention with x (n, t, d), giving (n, t, d). bias (n, 1, 1, t), when given, is added to the scores: a large
// negative number hides a token.
func Attention(s *optim.Scope, name string, x, bias *graph.Node, heads int, gain float64) *graph.Node {
	return CrossAttention(s, name, x, x, bias, heads, gain)
}

// CrossAttention is Attention of x (n, q, d) to y (n, t, d), giving (n, q, d).
func CrossAttention(s *optim.Scope, name string, x, y, bias *graph.Node, heads int, gain float64) *graph.Node {
	s = s.In(name)
	n, queries, t, d := x.Shape().Dim(0), x.Shape().Dim(1), y.Shape().Dim(1), x.Shape().Dim(2)
	head := func(name string, x *graph.Node) *graph.Node { // (n·heads, length, d/heads)
		length := x.Shape().Dim(1)
		h := graph.Reshape(Dense(s, name, graph.Reshape(x, n*length, d), d, 1), n, length, heads, d/heads)
		return graph.Reshape(graph.TransposeAllAxes(h, 0, 2, 1, 3), n*heads, length, d/heads)
	}
	q, k, v := graph.MulScalar(head("q", x), 1/math.Sqrt(float64(d/heads))), head("k", y), head("v", y)
	scores := graph.DotGeneral(q, []int{2}, []int{0}, k, []int{2}, []int{0}) // (n·heads, queries, t)
	if bias != nil {
		scores = graph.Reshape(graph.Add(graph.Reshape(scores, n, heads, queries, t), bias), n*heads, queries, t)
	}
	o := graph.DotGeneral(graph.Softmax(scores, -1), []int{2}, []int{0}, v, []int{1}, []int{0}) // (n·heads, queries, d/heads)
	o = graph.TransposeAllAxes(graph.Reshape(o, n, heads, queries, d/heads), 0, 2, 1, 3)
	return graph.Reshape(Dense(s, "out", graph.Reshape(o, n*queries, d), d, gain), n, queries, d)
}

func dims4(x *graph.Node) (n, h, w, c int) {
	d := x.Shape().Dimensions
	return d[0], d[1], d[2], d[3]
}
