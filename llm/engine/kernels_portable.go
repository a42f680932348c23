package engine

import "math"

// portable returns kernels in plain Go for any CPU. Products are rounded explicitly, so that no compiler fuses them
// into some additions and not into others.
func portable() *kernels {
	return &kernels{
		name: "portable", tile: tilePortable, rmsNorm: rmsNormPortable, swiglu: swigluPortable, keys: keysPortable,
		softmax: softmaxPortable, values: valuesPortable, max: maxPortable, sumExp: sumExpPortable,
	}
}

func tilePortable(c []float32, ldc int, a []float32, lda int, panel []float32, rows, k int, add bool) {
	for r := range rows {
		x := a[r*lda : r*lda+k]
		y := c[r*ldc : r*ldc+panelWidth]
		for j := 0; j < panelWidth; j += 8 {
			var s0, s1, s2, s3, s4, s5, s6, s7 float32
			b := panel[j:]
			for _, v := range x {
				s0 += float32(v * b[0])
				s1 += float32(v * b[1])
				s2 += float32(v * b[2])
				s3 += float32(v * b[3])
				s4 += float32(v * b[4])
				s5 += float32(v * b[5])
				s6 += float32(v * b[6])
				s7 += float32(v * b[7])
				b = b[min(panelWidth, len(b)):]
			}
			s := [8]float32{s0, s1, s2, s3, s4, s5, s6, s7}
			for i, v := range s {
				if add {
					v += y[j+i]
				}
				y[j+i] = v
			}
		}
	}
}

func rmsNormPortable(dst, x, w []float32, eps float32) {
	sum := 0.0
	for _, v := range x {
		sum += float64(v) * float64(v)
	}
	scale := float32(1 / math.Sqrt(sum/float64(len(x))+float64(eps)))
	for i, v := range x {
		dst[i] = float32(v*scale) * w[i]
	}
}

func swigluPortable(gate, up []float32) {
	for i, g := range gate {
		gate[i] = g / (1 + exp(-g)) * up[i]
	}
}

func keysPortable(s, q, kt []float32, stride, n int) {
	s = s[:n]
	clear(s)
	for d, x := range q {
		row := kt[d*stride : d*stride+n]
		for j, y := range row {
			s[j] += float32(x * y)
		}
	}
}

func softmaxPortable(s []float32, n int) float32 {
	s = s[:n]
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
		for d, y := range valueRow(v, n, w, stride, j)[:len(out)] {
			out[d] += float32(x * y)
		}
	}
	for d := range out {
		out[d] *= scale
	}
}

// valueRow returns the values of key j on, of which the first n are in v, the others in w.
func valueRow(v []float32, n int, w []float32, stride, j int) []float32 {
	if j < n {
		return v[j*stride:]
	}
	return w[(j-n)*stride:]
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
