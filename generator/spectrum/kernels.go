package spectrum

// lane is the granularity of the kernels: rows are padded with zeros to a
// multiple of it.
const lane = 8

// kernels are the inner loops. All lengths are multiples of lane. For one
// machine their results don't depend on how work is split.
type kernels struct {
	// tile computes the 16 dot products of 4 rows of a with 4 rows of b over k
	// elements: c[4i+j] = Σ a[i·lda+…]·b[j·ldb+…].
	tile func(c *[16]float64, a []float64, lda int, b []float64, ldb, k int)
	// rows4 computes the dot products of 4 rows of a with v.
	rows4 func(out *[4]float64, a []float64, lda int, v []float64)
}

// portable are the kernels in plain Go.
var portable = kernels{tile: tilePortable, rows4: rows4Portable}

func tilePortable(c *[16]float64, a []float64, lda int, b []float64, ldb, k int) {
	for i := 0; i < 4; i += 2 {
		x0 := a[i*lda : i*lda+k]
		x1 := a[(i+1)*lda:][:len(x0)]
		for j := 0; j < 4; j += 2 {
			y0 := b[j*ldb:][:len(x0)]
			y1 := b[(j+1)*ldb:][:len(x0)]
			var s00, s01, s10, s11 float64
			for t := range x0 {
				s00 += x0[t] * y0[t]
				s01 += x0[t] * y1[t]
				s10 += x1[t] * y0[t]
				s11 += x1[t] * y1[t]
			}
			c[4*i+j], c[4*i+j+1] = s00, s01
			c[4*i+4+j], c[4*i+4+j+1] = s10, s11
		}
	}
}

func rows4Portable(out *[4]float64, a []float64, lda int, v []float64) {
	r0 := a[:len(v)]
	r1 := a[lda:][:len(v)]
	r2 := a[2*lda:][:len(v)]
	r3 := a[3*lda:][:len(v)]
	var s0, s1, s2, s3 float64
	for t, x := range v {
		s0 += r0[t] * x
		s1 += r1[t] * x
		s2 += r2[t] * x
		s3 += r3[t] * x
	}
	out[0], out[1], out[2], out[3] = s0, s1, s2, s3
}
