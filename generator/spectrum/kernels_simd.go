//go:build goexperiment.simd && amd64

package spectrum

import "simd/archsimd"

// bestKernels returns the fastest kernels of this machine.
func bestKernels() kernels {
	switch {
	case archsimd.X86.AVX512():
		return kernels{tile: tile512, rows4: rows4of512}
	case archsimd.X86.AVX2() && archsimd.X86.FMA():
		return kernels{tile: tile256, rows4: rows4of256}
	default:
		return portable
	}
}

// sum8 adds the lanes of x.
func sum8(x archsimd.Float64x8) float64 { return sum4(x.GetLo().Add(x.GetHi())) }

func sum4(x archsimd.Float64x4) float64 {
	var s [2]float64
	x.GetLo().Add(x.GetHi()).Store(&s)
	return s[0] + s[1]
}

// tile512 holds all 16 sums in registers: 8 loads feed 16 multiply-adds.
func tile512(c *[16]float64, a []float64, lda int, b []float64, ldb, k int) {
	a0, a1, a2, a3 := a[:k], a[lda:][:k], a[2*lda:][:k], a[3*lda:][:k]
	b0, b1, b2, b3 := b[:k], b[ldb:][:k], b[2*ldb:][:k], b[3*ldb:][:k]
	var s00, s01, s02, s03, s10, s11, s12, s13 archsimd.Float64x8
	var s20, s21, s22, s23, s30, s31, s32, s33 archsimd.Float64x8
	for len(a0) >= 8 && len(a1) >= 8 && len(a2) >= 8 && len(a3) >= 8 &&
		len(b0) >= 8 && len(b1) >= 8 && len(b2) >= 8 && len(b3) >= 8 {
		y0 := archsimd.LoadFloat64x8Slice(b0)
		y1 := archsimd.LoadFloat64x8Slice(b1)
		y2 := archsimd.LoadFloat64x8Slice(b2)
		y3 := archsimd.LoadFloat64x8Slice(b3)
		x := archsimd.LoadFloat64x8Slice(a0)
		s00, s01, s02, s03 = x.MulAdd(y0, s00), x.MulAdd(y1, s01), x.MulAdd(y2, s02), x.MulAdd(y3, s03)
		x = archsimd.LoadFloat64x8Slice(a1)
		s10, s11, s12, s13 = x.MulAdd(y0, s10), x.MulAdd(y1, s11), x.MulAdd(y2, s12), x.MulAdd(y3, s13)
		x = archsimd.LoadFloat64x8Slice(a2)
		s20, s21, s22, s23 = x.MulAdd(y0, s20), x.MulAdd(y1, s21), x.MulAdd(y2, s22), x.MulAdd(y3, s23)
		x = archsimd.LoadFloat64x8Slice(a3)
		s30, s31, s32, s33 = x.MulAdd(y0, s30), x.MulAdd(y1, s31), x.MulAdd(y2, s32), x.MulAdd(y3, s33)
		a0, a1, a2, a3 = a0[8:], a1[8:], a2[8:], a3[8:]
		b0, b1, b2, b3 = b0[8:], b1[8:], b2[8:], b3[8:]
	}
	c[0], c[1], c[2], c[3] = sum8(s00), sum8(s01), sum8(s02), sum8(s03)
	c[4], c[5], c[6], c[7] = sum8(s10), sum8(s11), sum8(s12), sum8(s13)
	c[8], c[9], c[10], c[11] = sum8(s20), sum8(s21), sum8(s22), sum8(s23)
	c[12], c[13], c[14], c[15] = sum8(s30), sum8(s31), sum8(s32), sum8(s33)
}

func rows4of512(out *[4]float64, a []float64, lda int, v []float64) {
	k := len(v)
	r0, r1, r2, r3 := a[:k], a[lda:][:k], a[2*lda:][:k], a[3*lda:][:k]
	var s0, s1, s2, s3 archsimd.Float64x8
	for len(v) >= 8 && len(r0) >= 8 && len(r1) >= 8 && len(r2) >= 8 && len(r3) >= 8 {
		x := archsimd.LoadFloat64x8Slice(v)
		s0 = x.MulAdd(archsimd.LoadFloat64x8Slice(r0), s0)
		s1 = x.MulAdd(archsimd.LoadFloat64x8Slice(r1), s1)
		s2 = x.MulAdd(archsimd.LoadFloat64x8Slice(r2), s2)
		s3 = x.MulAdd(archsimd.LoadFloat64x8Slice(r3), s3)
		v, r0, r1, r2, r3 = v[8:], r0[8:], r1[8:], r2[8:], r3[8:]
	}
	out[0], out[1], out[2], out[3] = sum8(s0), sum8(s1), sum8(s2), sum8(s3)
}

// tile256 goes two rows at a time: 8 sums are what 16 registers allow.
func tile256(c *[16]float64, a []float64, lda int, b []float64, ldb, k int) {
	for i := 0; i < 4; i += 2 {
		a0, a1 := a[i*lda:][:k], a[(i+1)*lda:][:k]
		b0, b1, b2, b3 := b[:k], b[ldb:][:k], b[2*ldb:][:k], b[3*ldb:][:k]
		var s00, s01, s02, s03, s10, s11, s12, s13 archsimd.Float64x4
		for len(a0) >= 4 && len(a1) >= 4 && len(b0) >= 4 && len(b1) >= 4 && len(b2) >= 4 && len(b3) >= 4 {
			x0, x1 := archsimd.LoadFloat64x4Slice(a0), archsimd.LoadFloat64x4Slice(a1)
			y := archsimd.LoadFloat64x4Slice(b0)
			s00, s10 = x0.MulAdd(y, s00), x1.MulAdd(y, s10)
			y = archsimd.LoadFloat64x4Slice(b1)
			s01, s11 = x0.MulAdd(y, s01), x1.MulAdd(y, s11)
			y = archsimd.LoadFloat64x4Slice(b2)
			s02, s12 = x0.MulAdd(y, s02), x1.MulAdd(y, s12)
			y = archsimd.LoadFloat64x4Slice(b3)
			s03, s13 = x0.MulAdd(y, s03), x1.MulAdd(y, s13)
			a0, a1 = a0[4:], a1[4:]
			b0, b1, b2, b3 = b0[4:], b1[4:], b2[4:], b3[4:]
		}
		c[4*i], c[4*i+1], c[4*i+2], c[4*i+3] = sum4(s00), sum4(s01), sum4(s02), sum4(s03)
		c[4*i+4], c[4*i+5], c[4*i+6], c[4*i+7] = sum4(s10), sum4(s11), sum4(s12), sum4(s13)
	}
}

func rows4of256(out *[4]float64, a []float64, lda int, v []float64) {
	k := len(v)
	r0, r1, r2, r3 := a[:k], a[lda:][:k], a[2*lda:][:k], a[3*lda:][:k]
	var s0, s1, s2, s3 archsimd.Float64x4
	for len(v) >= 4 && len(r0) >= 4 && len(r1) >= 4 && len(r2) >= 4 && len(r3) >= 4 {
		x := archsimd.LoadFloat64x4Slice(v)
		s0 = x.MulAdd(archsimd.LoadFloat64x4Slice(r0), s0)
		s1 = x.MulAdd(archsimd.LoadFloat64x4Slice(r1), s1)
		s2 = x.MulAdd(archsimd.LoadFloat64x4Slice(r2), s2)
		s3 = x.MulAdd(archsimd.LoadFloat64x4Slice(r3), s3)
		v, r0, r1, r2, r3 = v[4:], r0[4:], r1[4:], r2[4:], r3[4:]
	}
	out[0], out[1], out[2], out[3] = sum4(s0), sum4(s1), sum4(s2), sum4(s3)
}
