package kernel

import "unsafe"

// assembly are the vector kernels of one width, as internal/gen declares them. Numbers of elements may be zero, but not
// those of q and out.
type assembly struct {
	sumSquares    func(p unsafe.Pointer, n int) float32
	scaleMultiply func(dst, p, q unsafe.Pointer, n int, scale float32)
	swiglu        func(gate, up unsafe.Pointer, n int)
	maximum       func(p unsafe.Pointer, n int) float32
	expStore      func(p unsafe.Pointer, n int, shift float32) float32
	expSum        func(p unsafe.Pointer, n int, shift float32) float32
	keys          func(s, q unsafe.Pointer, dim int, kt unsafe.Pointer, stride, n int)
	values        func(out unsafe.Pointer, dim int, p, v unsafe.Pointer, n int, w unsafe.Pointer, m, stride int, s float32)
}

var (
	assembly256 = assembly{
		sumSquares256, scaleMultiply256, swiglu256, maximum256, expStore256, expSum256, keys256, values256,
	}
	assembly512 = assembly{
		sumSquares512, scaleMultiply512, swiglu512, maximum512, expStore512, expSum512, keys512, values512,
	}
)

// expStretch is how many exponentials are added in float32 before float64 takes over.
const expStretch = 1024

func start(x []float32) unsafe.Pointer { return unsafe.Pointer(unsafe.SliceData(x)) }

func (a *assembly) vectors() vectors {
	return vectors{
		rmsNorm: func(dst, x, w []float32, eps float32) {
			scale := normScale(float64(a.sumSquares(start(x), len(x))), len(x), eps)
			a.scaleMultiply(start(dst), start(x), start(w), len(x), scale)
		},
		swiglu: func(gate, up []float32) { a.swiglu(start(gate), start(up), len(gate)) },
		keys: func(s, q, kt []float32, stride int) {
			a.keys(start(s), start(q), len(q), start(kt), 4*stride, len(s))
		},
		softmax: func(s []float32) float32 {
			return 1 / a.expStore(start(s), len(s), a.maximum(start(s), len(s)))
		},
		values: func(out, p, v []float32, n int, w []float32, stride int, scale float32) {
			a.values(start(out), len(out), start(p), start(v), n, start(w), len(p)-n, 4*stride, scale)
		},
		max:    func(x []float32) float32 { return a.maximum(start(x), len(x)) },
		sumExp: a.sumExp,
	}
}

func (a *assembly) sumExp(x []float32, shift float32) float64 {
	sum := 0.0
	for len(x) > 0 {
		n := min(expStretch, len(x))
		sum += float64(a.expSum(start(x), n, shift))
		x = x[n:]
	}
	return sum
}
