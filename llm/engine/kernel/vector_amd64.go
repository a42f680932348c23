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
	fetch         func(p unsafe.Pointer, n int)
	rotate        func(p, q, cos, sin unsafe.Pointer, n int, scale float32)
	keys          [Queries]keysKernel
	values        [Queries]valuesKernel
	keysHalf      [Queries]keysKernel // of float16
	valuesHalf    [Queries]valuesKernel
}

type (
	keysKernel   func(s unsafe.Pointer, sStep int, q unsafe.Pointer, qStep, dim int, kt unsafe.Pointer, block, n int)
	valuesKernel func(out unsafe.Pointer, oStep, dim int, p unsafe.Pointer, pStep int, v unsafe.Pointer, n, stride int,
		scale unsafe.Pointer, causal, add int)
)

var (
	assembly256 = assembly{
		sumSquares: sumSquares256, scaleMultiply: scaleMultiply256, swiglu: swiglu256, maximum: maximum256,
		expStore: expStore256, expSum: expSum256, fetch: fetch256, rotate: rotate256,
		keys:   [Queries]keysKernel{keys1x256, keys2x256, keys3x256, keys4x256},
		values: [Queries]valuesKernel{values1x256, values2x256, values3x256, values4x256},
	}
	assembly512 = assembly{
		sumSquares512, scaleMultiply512, swiglu512, maximum512, expStore512, expSum512, fetch512, rotate512,
		[Queries]keysKernel{keys1x512, keys2x512, keys3x512, keys4x512},
		[Queries]valuesKernel{values1x512, values2x512, values3x512, values4x512},
		[Queries]keysKernel{keys1x512Half, keys2x512Half, keys3x512Half, keys4x512Half},
		[Queries]valuesKernel{values1x512Half, values2x512Half, values3x512Half, values4x512Half},
	}
)

// expStretch is how many exponentials are added in float32 before float64 takes over.
const expStretch = 1024

func start(x []float32) unsafe.Pointer { return unsafe.Pointer(unsafe.SliceData(x)) }

func (x Numbers) start() unsafe.Pointer {
	if x.F16 != nil {
		return unsafe.Pointer(unsafe.SliceData(x.F16))
	}
	return start(x.F32)
}

func (a *assembly) vectors() vectors {
	return vectors{
		rmsNorm: func(dst, x, w []float32, eps float32) {
			scale := normScale(float64(a.sumSquares(start(x), len(x))), len(x), eps)
			a.scaleMultiply(start(dst), start(x), start(w), len(x), scale)
		},
		squares: func(x []float32) float32 { return a.sumSquares(start(x), len(x)) },
		rotate: func(x, cos, sin []float32, scale float32) {
			a.rotate(start(x), start(x[len(cos):]), start(cos), start(sin), len(cos), scale)
		},
		swiglu: func(gate, up []float32) { a.swiglu(start(gate), start(up), len(gate)) },
		keys: func(scores, q Rows, kt Numbers) {
			kernels, size := &a.keys, 4
			if kt.F16 != nil {
				kernels, size = &a.keysHalf, 2
			}
			kernels[q.N-1](start(scores.Data), 4*scores.Step, start(q.Data), 4*q.Step, q.Len, kt.start(), size*q.Len*KeyBlock, scores.Len)
		},
		softmax: func(s []float32) float32 {
			return 1 / a.expStore(start(s), len(s), a.maximum(start(s), len(s)))
		},
		values: func(out, p Rows, v Numbers, stride int, scale *[Queries]float32, causal, add bool) {
			kernels, size := &a.values, 4
			if v.F16 != nil {
				kernels, size = &a.valuesHalf, 2
			}
			kernels[out.N-1](start(out.Data), 4*out.Step, out.Len, start(p.Data), 4*p.Step, v.start(), p.Len, size*stride,
				unsafe.Pointer(scale), number(causal), number(add))
		},
		fetch:  func(x Numbers) { a.fetch(x.start(), 4*len(x.F32)+2*len(x.F16)) },
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

func number(b bool) int {
	if b {
		return 1
	}
	return 0
}
