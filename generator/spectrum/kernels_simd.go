//go:build goexperiment.simd && amd64

package spectrum

import "simd/archsimd"

// available returns the kernels that this machine can run, the fastest first.
func available() []kernels {
	var ks []kernels
	if archsimd.X86.AVX512() {
		ks = append(ks, kernels{"avx512", tile512, rows4of512, symv4of512})
	}
	if archsimd.X86.AVX2() && archsimd.X86.FMA() {
		ks = append(ks, kernels{"avx2", tile256, rows4of256, symv4of256})
	}
	return append(ks, portable())
}

// sum8 adds the lanes of x.
func sum8(x archsimd.Float64x8) float64 { return sum4(x.GetLo().Add(x.GetHi())) }

func sum4(x archsimd.Float64x4) float64 {
	var s [2]float64
	x.GetLo().Add(x.GetHi()).Store(&s)
	return s[0] + s[1]
}

// tile512 goes two rows at a time: the compiler keeps 15 vectors in registers,
// and more sums than 8 would go through memory.
func tile512(c *[16]float64, a, b []float64) {
	for i := 0; i < 4; i += 2 {
		var s00, s01, s02, s03, s10, s11, s12, s13 archsimd.Float64x8
		for p, q := a[i*lane:], b; len(p) >= 2*lane && len(q) >= quad; q = q[quad:] {
			x0 := archsimd.LoadFloat64x8((*[8]float64)(p))
			x1 := archsimd.LoadFloat64x8((*[8]float64)(p[8:]))
			y := archsimd.LoadFloat64x8((*[8]float64)(q))
			s00, s10 = x0.MulAdd(y, s00), x1.MulAdd(y, s10)
			y = archsimd.LoadFloat64x8((*[8]float64)(q[8:]))
			s01, s11 = x0.MulAdd(y, s01), x1.MulAdd(y, s11)
			y = archsimd.LoadFloat64x8((*[8]float64)(q[16:]))
			s02, s12 = x0.MulAdd(y, s02), x1.MulAdd(y, s12)
			y = archsimd.LoadFloat64x8((*[8]float64)(q[24:]))
			s03, s13 = x0.MulAdd(y, s03), x1.MulAdd(y, s13)
			p = p[min(quad, len(p)):]
		}
		c[4*i], c[4*i+1], c[4*i+2], c[4*i+3] = sum8(s00), sum8(s01), sum8(s02), sum8(s03)
		c[4*i+4], c[4*i+5], c[4*i+6], c[4*i+7] = sum8(s10), sum8(s11), sum8(s12), sum8(s13)
	}
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

func symv4of512(out *[4]float64, a []float64, lda int, v, p []float64, s *[4]float64) {
	k := len(v)
	r0, r1, r2, r3 := a[:k], a[lda:][:k], a[2*lda:][:k], a[3*lda:][:k]
	t0, t1 := archsimd.BroadcastFloat64x8(s[0]), archsimd.BroadcastFloat64x8(s[1])
	t2, t3 := archsimd.BroadcastFloat64x8(s[2]), archsimd.BroadcastFloat64x8(s[3])
	var s0, s1, s2, s3 archsimd.Float64x8
	for len(v) >= 8 && len(p) >= 8 && len(r0) >= 8 && len(r1) >= 8 && len(r2) >= 8 && len(r3) >= 8 {
		x, y := archsimd.LoadFloat64x8Slice(v), archsimd.LoadFloat64x8Slice(p)
		row := archsimd.LoadFloat64x8Slice(r0)
		s0, y = x.MulAdd(row, s0), row.MulAdd(t0, y)
		row = archsimd.LoadFloat64x8Slice(r1)
		s1, y = x.MulAdd(row, s1), row.MulAdd(t1, y)
		row = archsimd.LoadFloat64x8Slice(r2)
		s2, y = x.MulAdd(row, s2), row.MulAdd(t2, y)
		row = archsimd.LoadFloat64x8Slice(r3)
		s3, y = x.MulAdd(row, s3), row.MulAdd(t3, y)
		y.StoreSlice(p)
		v, p, r0, r1, r2, r3 = v[8:], p[8:], r0[8:], r1[8:], r2[8:], r3[8:]
	}
	out[0], out[1], out[2], out[3] = sum8(s0), sum8(s1), sum8(s2), sum8(s3)
}

// tile256 goes two rows at a time: 8 sums are what 16 registers allow.
func tile256(c *[16]float64, a, b []float64) {
	for i := 0; i < 4; i += 2 {
		var s00, s01, s02, s03, s10, s11, s12, s13 archsimd.Float64x4
		for at := 0; at+quad <= len(a) && at+quad <= len(b); at += quad {
			p, q := (*[2 * lane]float64)(a[at+i*lane:]), (*[quad]float64)(b[at:])
			for t := 0; t < lane; t += 4 {
				x0, x1 := archsimd.LoadFloat64x4Slice(p[t:]), archsimd.LoadFloat64x4Slice(p[lane+t:])
				y := archsimd.LoadFloat64x4Slice(q[t:])
				s00, s10 = x0.MulAdd(y, s00), x1.MulAdd(y, s10)
				y = archsimd.LoadFloat64x4Slice(q[lane+t:])
				s01, s11 = x0.MulAdd(y, s01), x1.MulAdd(y, s11)
				y = archsimd.LoadFloat64x4Slice(q[2*lane+t:])
				s02, s12 = x0.MulAdd(y, s02), x1.MulAdd(y, s12)
				y = archsimd.LoadFloat64x4Slice(q[3*lane+t:])
				s03, s13 = x0.MulAdd(y, s03), x1.MulAdd(y, s13)
			}
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

func symv4of256(out *[4]float64, a []float64, lda int, v, p []float64, s *[4]float64) {
	k := len(v)
	r0, r1, r2, r3 := a[:k], a[lda:][:k], a[2*lda:][:k], a[3*lda:][:k]
	t0, t1 := archsimd.BroadcastFloat64x4(s[0]), archsimd.BroadcastFloat64x4(s[1])
	t2, t3 := archsimd.BroadcastFloat64x4(s[2]), archsimd.BroadcastFloat64x4(s[3])
	var s0, s1, s2, s3 archsimd.Float64x4
	for len(v) >= 4 && len(p) >= 4 && len(r0) >= 4 && len(r1) >= 4 && len(r2) >= 4 && len(r3) >= 4 {
		x, y := archsimd.LoadFloat64x4Slice(v), archsimd.LoadFloat64x4Slice(p)
		row := archsimd.LoadFloat64x4Slice(r0)
		s0, y = x.MulAdd(row, s0), row.MulAdd(t0, y)
		row = archsimd.LoadFloat64x4Slice(r1)
		s1, y = x.MulAdd(row, s1), row.MulAdd(t1, y)
		row = archsimd.LoadFloat64x4Slice(r2)
		s2, y = x.MulAdd(row, s2), row.MulAdd(t2, y)
		row = archsimd.LoadFloat64x4Slice(r3)
		s3, y = x.MulAdd(row, s3), row.MulAdd(t3, y)
		y.StoreSlice(p)
		v, p, r0, r1, r2, r3 = v[4:], p[4:], r0[4:], r1[4:], r2[4:], r3[4:]
	}
	out[0], out[1], out[2], out[3] = sum4(s0), sum4(s1), sum4(s2), sum4(s3)
}
