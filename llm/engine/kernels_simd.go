//go:build goexperiment.simd && amd64

package engine

import "simd/archsimd"

// simdKernels returns the vector kernels that this CPU can run, the fastest last.
func simdKernels() []*kernels {
	var all []*kernels
	if archsimd.X86.AVX2() && archsimd.X86.FMA() {
		all = append(all, avx2())
	}
	if archsimd.X86.AVX512() && archsimd.X86.FMA() {
		all = append(all, avx512())
	}
	return all
}

// The constants of exp(x) = 2ⁿ·exp(r), n = round(x/ln 2), r = x − n·ln 2, with Cephes' polynomial for exp(r): relative
// error below 2e-7. The argument is clamped so that 2ⁿ stays a normal number.
const (
	expLow   = -87
	expHigh  = 88
	log2e    = 1.44269504088896341
	ln2High  = 0.693359375
	ln2Low   = -2.12194440e-4
	expPoly0 = 1.9875691500e-4
	expPoly1 = 1.3981999507e-3
	expPoly2 = 8.3334519073e-3
	expPoly3 = 4.1665795894e-2
	expPoly4 = 1.6666665459e-1
	expPoly5 = 5.0000001201e-1
)
