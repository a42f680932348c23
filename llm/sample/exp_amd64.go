//go:build goexperiment.simd && amd64

package sample

import "simd/archsimd"

// expVector sets dst to e to the power x − top, for as many elements from the start as fill whole vectors, and returns
// their number; 0 on a processor without AVX2 and FMA. It takes the steps of math.Exp on such processors, four elements
// at a time, and gives its bits.
func expVector(dst []float64, x []float32, top float32) int {
	if !archsimd.X86.AVX2() || !archsimd.X86.FMA() {
		return 0
	}
	all := archsimd.BroadcastFloat64x4
	log2e, bias, sixteenth := all(1.4426950408889634073599246810018920), archsimd.BroadcastInt64x4(1023), all(0.0625)
	upper, lower := all(-0.69314718055966295651160180568695068359375), all(-0.28235290563031577122588448175013436025525412068e-12)
	c8, c7, c6 := all(2.4801587301587301587e-5), all(1.9841269841269841270e-4), all(1.3888888888888888889e-3)
	c5, c4, c3 := all(8.3333333333333333333e-3), all(4.1666666666666666667e-2), all(1.6666666666666666667e-1)
	half, one, two := all(0.5), all(1), all(2)
	lowest, ceiling := all(-700), all(float64(top)) // below, exponents may not fit
	n := len(x) &^ 3
	for i := 0; i < n; i += 4 {
		r := archsimd.LoadFloat32x4Slice(x[i:]).ConvertToFloat64().Sub(ceiling)
		if r.Less(lowest).ToBits() != 0 {
			expScalar(dst[i:i+4], x[i:], top)
			continue
		}
		k := r.Mul(log2e).RoundToEven()
		r = upper.MulAdd(k, r)
		r = lower.MulAdd(k, r)
		r = r.Mul(sixteenth)
		p := c8.MulAdd(r, c7).MulAdd(r, c6).MulAdd(r, c5).MulAdd(r, c4).MulAdd(r, c3).MulAdd(r, half).MulAdd(r, one)
		r = r.Mul(p)
		for range 3 {
			r = r.Mul(r.Add(two))
		}
		r = r.MulAdd(r.Add(two), one)
		scale := k.ConvertToInt32().ExtendToInt64().Add(bias).ShiftAllLeft(52).AsFloat64x4()
		r.Mul(scale).StoreSlice(dst[i:])
	}
	archsimd.ClearAVXUpperBits()
	return n
}
