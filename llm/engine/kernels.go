package engine

// kernels are the inner loops, in one variant for each kind of CPU. Every result of a kernel depends on its own inputs
// alone and is summed in one fixed order, so that a token's result never depends on what it is computed together with.
// Between two variants results differ by rounding.
type kernels struct {
	name string

	// tile computes c = a · panel, or adds it to c: c (rows, panelWidth) with row stride ldc, a (rows, k) with row
	// stride lda, panel (k, panelWidth) with room for one more value in its capacity, rows ≥ 1.
	tile func(c []float32, ldc int, a []float32, lda int, panel []float32, rows, k int, add bool)

	// rmsNorm sets dst = x / √(mean(x²) + eps) · w; all of one length.
	rmsNorm func(dst, x, w []float32, eps float32)

	// swiglu sets gate = gate · sigmoid(gate) · up.
	swiglu func(gate, up []float32)

	// keys sets s[j] = Σ_d q[d]·kt[d·stride+j] for j < n. It may write to s, and read a row of kt, up to the next
	// multiple of keyBlock.
	keys func(s, q, kt []float32, stride, n int)

	// softmax sets s[j] = exp(s[j] − max s) for j < n and returns 1 / Σ s[j]. It may write up to the next multiple of
	// keyBlock.
	softmax func(s []float32, n int) float32

	// values sets out[d] = scale · Σ_j p[j]·v[j·stride+d], where the rows of the first n keys are in v and those of the
	// others in w. The sum doesn't depend on where n cuts.
	values func(out, p, v []float32, n int, w []float32, stride int, scale float32)

	// max returns the largest value of x, -Inf for none.
	max func(x []float32) float32

	// sumExp returns Σ exp(x − shift).
	sumExp func(x []float32, shift float32) float64
}

const (
	panelWidth = 32 // output columns of a packed panel of weights
	keyBlock   = 16 // keys that an attention kernel may touch at once
)

func roundUp(n, block int) int { return (n + block - 1) / block * block }

// best returns the fastest kernels this CPU and this build have.
func best() *kernels {
	all := available()
	return all[len(all)-1]
}

// available returns the kernels that work here, the fastest last.
func available() []*kernels { return append([]*kernels{portable()}, simdKernels()...) }
