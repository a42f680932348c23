package kernel

import "math"

// vectors are the kernels between the matrices. Every result depends on its own inputs alone and is summed in one fixed
// order.
type vectors struct {
	rmsNorm func(dst, x, w []float32, eps float32)
	swiglu  func(gate, up []float32)
	keys    func(s, q, kt []float32, stride int)
	softmax func(s []float32) float32
	values  func(out, p, v []float32, n int, w []float32, stride int, scale float32)
	max     func(x []float32) float32
	sumExp  func(x []float32, shift float32) float64
}

// RMSNorm sets dst = x / √(mean(x²) + eps) · w; all of one length. dst may be x.
func (s *Set) RMSNorm(dst, x, w []float32, eps float32) {
	if len(x) > 0 {
		s.vectors.rmsNorm(dst[:len(x)], x, w[:len(x)], eps)
	}
}

// SwiGLU sets gate = gate · sigmoid(gate) · up.
func (s *Set) SwiGLU(gate, up []float32) {
	if len(gate) > 0 {
		s.vectors.swiglu(gate, up[:len(gate)])
	}
}

// Keys sets s[j] = Σ_d q[d]·kt[d·stride+j] for all of s. It touches nothing beyond.
func (s *Set) Keys(scores, q, kt []float32, stride int) {
	if len(scores) == 0 {
		return
	}
	if len(q) == 0 {
		clear(scores)
		return
	}
	s.vectors.keys(scores, q, kt[:(len(q)-1)*stride+len(scores)], stride)
}

// Softmax sets s[j] = exp(s[j] − max s) and returns 1 / Σ s[j].
func (s *Set) Softmax(scores []float32) float32 {
	if len(scores) == 0 {
		return float32(math.Inf(1))
	}
	return s.vectors.softmax(scores)
}

// Values sets out[d] = scale · Σ_j p[j]·v[j·stride+d], where the rows of the first n keys are in v and those of the
// others in w. The sum doesn't depend on where n cuts.
func (s *Set) Values(out, p, v []float32, n int, w []float32, stride int, scale float32) {
	if len(out) == 0 {
		return
	}
	s.vectors.values(out, p, rows(v, n, stride, len(out)), n, rows(w, len(p)-n, stride, len(out)), stride, scale)
}

// rows cuts a slice to n rows of some width.
func rows(x []float32, n, stride, width int) []float32 {
	if n == 0 {
		return nil
	}
	return x[:(n-1)*stride+width]
}

// Max returns the largest value of x, -Inf for none.
func (s *Set) Max(x []float32) float32 { return s.vectors.max(x) }

// SumExp returns Σ exp(x − shift).
func (s *Set) SumExp(x []float32, shift float32) float64 { return s.vectors.sumExp(x, shift) }

func vectorsPortable() vectors {
	return vectors{
		rmsNorm: rmsNormPortable, swiglu: swigluPortable, keys: keysPortable, softmax: softmaxPortable,
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

func normScale(squares float64, n int, eps float32) float32 {
	return float32(1 / math.Sqrt(squares/float64(n)+float64(eps)))
}

func swigluPortable(gate, up []float32) {
	for i, g := range gate {
		gate[i] = g / (1 + exp(-g)) * up[i]
	}
}

func keysPortable(s, q, kt []float32, stride int) {
	clear(s)
	for d, x := range q {
		for j, y := range kt[d*stride:][:len(s)] {
			s[j] += float32(x * y)
		}
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

func valuesPortable(out, p, v []float32, n int, w []float32, stride int, scale float32) {
	clear(out)
	for j, x := range p {
		row := v
		at := j * stride
		if j >= n {
			row, at = w, (j-n)*stride
		}
		for d, y := range row[at:][:len(out)] {
			out[d] += float32(x * y)
		}
	}
	for d := range out {
		out[d] *= scale
	}
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
