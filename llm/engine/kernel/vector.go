package kernel

import "math"

// vectors are the kernels between the matrices. Every result depends on its own inputs alone and is summed in one fixed
// order.
type vectors struct {
	rmsNorm func(dst, x, w []float32, eps float32)
	squares func(x []float32) float32
	rotate  func(x, cos, sin []float32, scale float32)
	swiglu  func(gate, up []float32)
	keys    func(scores, q Rows, kt Numbers)
	softmax func(s []float32) float32
	values  func(out, p Rows, v Numbers, stride int, scale *[Queries]float32, causal, add bool)
	fetch   func(x Numbers) // nil: none
	max     func(x []float32) float32
	sumExp  func(x []float32, shift float32) float64
}

// RMSNorm sets dst = x / √(mean(x²) + eps) · w; all of one length. dst may be x.
func (s *Set) RMSNorm(dst, x, w []float32, eps float32) {
	if len(x) > 0 {
		s.vectors.rmsNorm(dst[:len(x)], x, w[:len(x)], eps)
	}
}

// SumSquares returns Σ x², which is NaN where one of them is, and else at least zero.
func (s *Set) SumSquares(x []float32) float32 { return s.vectors.squares(x) }

// Rotate turns the pairs (x[i], x[i+half]) of one head, the layout of Hugging Face's checkpoints, and scales the result.
// All three products are rounded, so that all sets agree. cos and sin have half numbers.
func (s *Set) Rotate(x, cos, sin []float32, scale float32) {
	if half := len(cos); half > 0 {
		s.vectors.rotate(x[:2*half], cos, sin[:half], scale)
	}
}

// SwiGLU sets gate = gate · sigmoid(gate) · up.
func (s *Set) SwiGLU(gate, up []float32) {
	if len(gate) > 0 {
		s.vectors.swiglu(gate, up[:len(gate)])
	}
}

// Softmax sets s[j] = exp(s[j] − max s) and returns 1 / Σ s[j].
func (s *Set) Softmax(scores []float32) float32 {
	if len(scores) == 0 {
		return float32(math.Inf(1))
	}
	return s.vectors.softmax(scores)
}

// Max returns the largest value of x, -Inf for none.
func (s *Set) Max(x []float32) float32 { return s.vectors.max(x) }

// SumExp returns Σ exp(x − shift).
func (s *Set) SumExp(x []float32, shift float32) float64 { return s.vectors.sumExp(x, shift) }

func vectorsPortable() vectors {
	return vectors{
		rmsNorm: rmsNormPortable, squares: squaresPortable, rotate: rotatePortable, swiglu: swigluPortable, keys: keysPortable, softmax: softmaxPortable,
		values: valuesPortable, max: maxPortable, sumExp: sumExpPortable,
	}
}

func rmsNormPortable(dst, x, w []float32, eps float32) {
	sum := 0.0
	for _, v := range x {
		sum += float64(v) * float64(v)
	}
	scale := normScale(sum, len(x), eps)
	for i, v := range x {
		dst[i] = float32(v*scale) * w[i]
	}
}

func squaresPortable(x []float32) float32 {
	sum := float32(0)
	for _, v := range x {
		sum += float32(v * v)
	}
	return sum
}

func rotatePortable(x, cos, sin []float32, scale float32) {
	half := len(cos)
	a, b := x[:half], x[half:]
	for i, c := range cos {
		s := sin[i]
		u, v := a[i], b[i]
		a[i] = (float32(u*c) - float32(v*s)) * scale
		b[i] = (float32(v*c) + float32(u*s)) * scale
	}
}

func normScale(squares float64, n int, eps float32) float32 {
	return float32(1 / math.Sqrt(squares/float64(n)+float64(eps)))
}

func swigluPortable(gate, up []float32) {
	for i, g := range gate {
		gate[i] = g / (1 + exp(-g)) * up[i]
	}
}

func softmaxPortable(s []float32) float32 {
	top := maxPortable(s)
	sum := float32(0)
	for j, v := range s {
		s[j] = exp(v - top)
		sum += s[j]
	}
	return 1 / sum
}

func maxPortable(x []float32) float32 {
	top := float32(math.Inf(-1))
	for _, v := range x {
		if v > top {
			top = v
		}
	}
	return top
}

func sumExpPortable(x []float32, shift float32) float64 {
	sum := 0.0
	for _, v := range x {
		sum += math.Exp(float64(v - shift))
	}
	return sum
}

func exp(x float32) float32 { return float32(math.Exp(float64(x))) }
