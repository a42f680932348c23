package spectrum

// lane is the granularity of the kernels: rows are padded with zeros to a
// multiple of it.
const lane = 8

// quad is one step of 4 packed rows.
const quad = 4 * lane

// kernels are the inner loops. All lengths are multiples of lane. For one
// machine their results don't depend on how work is split.
type kernels struct {
	name string
	// tile computes the 16 dot products of 4 rows with 4 rows, c[4i+j] = aᵢ·bⱼ.
	// a and b are packed: 8 elements of each of the 4 rows, the next 8, …
	tile func(c *[16]float64, a, b []float64)
	// rows4 computes the dot products of 4 rows of a with v.
	rows4 func(out *[4]float64, a []float64, lda int, v []float64)
	// symv4 is rows4 that adds the rows to p on the way, the i-th times s[i]: one
	// pass over half of a symmetric matrix serves both of its halves.
	symv4 func(out *[4]float64, a []float64, lda int, v, p []float64, s *[4]float64)
}

// portable are the kernels in plain Go.
func portable() kernels { return kernels{"go", tilePortable, rows4Portable, symv4Portable} }

// bestKernels returns the fastest kernels of this machine.
func bestKernels() kernels { return available()[0] }

func tilePortable(c *[16]float64, a, b []float64) {
	clear(c[:])
	for ; len(a) >= quad && len(b) >= quad; a, b = a[quad:], b[quad:] {
		x, y := (*[quad]float64)(a), (*[quad]float64)(b)
		for i := range 4 {
			for j := range 4 {
				var s float64
				for t := range lane {
					s += x[i*lane+t] * y[j*lane+t]
				}
				c[4*i+j] += s
			}
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

func symv4Portable(out *[4]float64, a []float64, lda int, v, p []float64, s *[4]float64) {
	r0 := a[:len(v)]
	r1 := a[lda:][:len(v)]
	r2 := a[2*lda:][:len(v)]
	r3 := a[3*lda:][:len(v)]
	p = p[:len(v)]
	var s0, s1, s2, s3 float64
	for t, x := range v {
		s0 += r0[t] * x
		s1 += r1[t] * x
		s2 += r2[t] * x
		s3 += r3[t] * x
		p[t] += r0[t]*s[0] + r1[t]*s[1] + r2[t]*s[2] + r3[t]*s[3]
	}
	out[0], out[1], out[2], out[3] = s0, s1, s2, s3
}
