//go:build goexperiment.simd && amd64

package engine

import (
	"math"
	"simd/archsimd"
	"unsafe"
)

type f32x16 = archsimd.Float32x16

// avx512 returns kernels on vectors of 16. kernels_avx2.go has the same on vectors of 8: archsimd's types can't be
// type parameters.
func avx512() *kernels {
	return &kernels{
		name: "avx512", tile: tile512, rmsNorm: rmsNorm512, swiglu: swiglu512, keys: keys512, softmax: softmax512,
		values: values512, max: max512, sumExp: sumExp512,
	}
}

// tile512 goes through the rows four at a time, then one at a time; either way an element is one chain of fused
// multiply-adds in order of k.
func tile512(c []float32, ldc int, a []float32, lda int, panel []float32, rows, k int, add bool) {
	if k == 0 || rows == 0 {
		return
	}
	// The only bounds check of the loops below, which use pointers: it makes them 1.3 times as fast. Their pointers never
	// leave the slices: that to the panel ends where the spare room after it begins, that to the first of four rows in
	// the second.
	_, _, _ = c[(rows-1)*ldc+panelWidth-1], a[(rows-1)*lda+k-1], panel[:k*panelWidth+1]
	r := 0
	for ; r+4 <= rows; r += 4 {
		tile512x4(c[r*ldc:], ldc, a[r*lda:], lda, panel, k, add)
	}
	for ; r < rows; r++ {
		tile512x1(c[r*ldc:], a[r*lda:], panel, k, add)
	}
	archsimd.ClearAVXUpperBits()
}

func tile512x4(c []float32, ldc int, a []float32, lda int, panel []float32, k int, add bool) {
	pa, pb := unsafe.Pointer(&a[0]), unsafe.Pointer(&panel[0])
	step := uintptr(lda) * 4
	var c00, c01, c10, c11, c20, c21, c30, c31 f32x16
	for range k {
		b0 := archsimd.LoadFloat32x16((*[16]float32)(pb))
		b1 := archsimd.LoadFloat32x16((*[16]float32)(unsafe.Add(pb, 64)))
		x := archsimd.BroadcastFloat32x16(*(*float32)(pa))
		c00 = x.MulAdd(b0, c00)
		c01 = x.MulAdd(b1, c01)
		x = archsimd.BroadcastFloat32x16(*(*float32)(unsafe.Add(pa, step)))
		c10 = x.MulAdd(b0, c10)
		c11 = x.MulAdd(b1, c11)
		x = archsimd.BroadcastFloat32x16(*(*float32)(unsafe.Add(pa, 2*step)))
		c20 = x.MulAdd(b0, c20)
		c21 = x.MulAdd(b1, c21)
		x = archsimd.BroadcastFloat32x16(*(*float32)(unsafe.Add(pa, 3*step)))
		c30 = x.MulAdd(b0, c30)
		c31 = x.MulAdd(b1, c31)
		pb = unsafe.Add(pb, 4*panelWidth)
		pa = unsafe.Add(pa, 4)
	}
	store512(c, c00, c01, add)
	store512(c[ldc:], c10, c11, add)
	store512(c[2*ldc:], c20, c21, add)
	store512(c[3*ldc:], c30, c31, add)
}

func tile512x1(c, a, panel []float32, k int, add bool) {
	pb := unsafe.Pointer(&panel[0])
	var c0, c1 f32x16
	for _, v := range a[:k] {
		x := archsimd.BroadcastFloat32x16(v)
		c0 = x.MulAdd(archsimd.LoadFloat32x16((*[16]float32)(pb)), c0)
		c1 = x.MulAdd(archsimd.LoadFloat32x16((*[16]float32)(unsafe.Add(pb, 64))), c1)
		pb = unsafe.Add(pb, 4*panelWidth)
	}
	store512(c, c0, c1, add)
}

func store512(c []float32, c0, c1 f32x16, add bool) {
	if add {
		c0 = c0.Add(archsimd.LoadFloat32x16Slice(c))
		c1 = c1.Add(archsimd.LoadFloat32x16Slice(c[16:]))
	}
	c0.StoreSlice(c)
	c1.StoreSlice(c[16:])
}

func rmsNorm512(dst, x, w []float32, eps float32) {
	n := len(x)
	dst, w = dst[:n], w[:n]
	var sum f32x16
	i := 0
	for ; i+16 <= n; i += 16 {
		v := archsimd.LoadFloat32x16Slice(x[i:])
		sum = v.MulAdd(v, sum)
	}
	if i < n {
		v := load512(x[i:])
		sum = v.MulAdd(v, sum)
	}
	scale := archsimd.BroadcastFloat32x16(float32(1 / math.Sqrt(float64(sum512(sum))/float64(n)+float64(eps))))
	for i = 0; i+16 <= n; i += 16 {
		archsimd.LoadFloat32x16Slice(x[i:]).Mul(scale).Mul(archsimd.LoadFloat32x16Slice(w[i:])).StoreSlice(dst[i:])
	}
	if i < n {
		save512(dst[i:], load512(x[i:]).Mul(scale).Mul(load512(w[i:])))
	}
	archsimd.ClearAVXUpperBits()
}

func swiglu512(gate, up []float32) {
	n := len(gate)
	up = up[:n]
	i := 0
	for ; i+16 <= n; i += 16 {
		silu512(archsimd.LoadFloat32x16Slice(gate[i:])).Mul(archsimd.LoadFloat32x16Slice(up[i:])).StoreSlice(gate[i:])
	}
	if i < n {
		save512(gate[i:], silu512(load512(gate[i:])).Mul(load512(up[i:])))
	}
	archsimd.ClearAVXUpperBits()
}

func silu512(g f32x16) f32x16 {
	var zero f32x16
	return g.Div(exp512(zero.Sub(g)).Add(archsimd.BroadcastFloat32x16(1)))
}

func exp512(x f32x16) f32x16 {
	x = archsimd.BroadcastFloat32x16(expHigh).Min(archsimd.BroadcastFloat32x16(expLow).Max(x)) // NaN stays NaN in this order
	n := x.Mul(archsimd.BroadcastFloat32x16(log2e)).RoundToEvenScaled(0)
	r := n.MulAdd(archsimd.BroadcastFloat32x16(-ln2High), x)
	r = n.MulAdd(archsimd.BroadcastFloat32x16(-ln2Low), r)
	p := r.MulAdd(archsimd.BroadcastFloat32x16(expPoly0), archsimd.BroadcastFloat32x16(expPoly1))
	p = p.MulAdd(r, archsimd.BroadcastFloat32x16(expPoly2))
	p = p.MulAdd(r, archsimd.BroadcastFloat32x16(expPoly3))
	p = p.MulAdd(r, archsimd.BroadcastFloat32x16(expPoly4))
	p = p.MulAdd(r, archsimd.BroadcastFloat32x16(expPoly5))
	p = p.MulAdd(r.Mul(r), r).Add(archsimd.BroadcastFloat32x16(1))
	return p.Scale(n)
}

func keys512(s, q, kt []float32, stride, n int) {
	j := 0
	for ; j+64 <= n; j += 64 {
		var s0, s1, s2, s3 f32x16
		for d, x := range q {
			row := kt[d*stride+j : d*stride+j+64]
			v := archsimd.BroadcastFloat32x16(x)
			s0 = v.MulAdd(archsimd.LoadFloat32x16Slice(row), s0)
			s1 = v.MulAdd(archsimd.LoadFloat32x16Slice(row[16:]), s1)
			s2 = v.MulAdd(archsimd.LoadFloat32x16Slice(row[32:]), s2)
			s3 = v.MulAdd(archsimd.LoadFloat32x16Slice(row[48:]), s3)
		}
		s0.StoreSlice(s[j:])
		s1.StoreSlice(s[j+16:])
		s2.StoreSlice(s[j+32:])
		s3.StoreSlice(s[j+48:])
	}
	for ; j < n; j += 16 {
		var s0 f32x16
		for d, x := range q {
			s0 = archsimd.BroadcastFloat32x16(x).MulAdd(archsimd.LoadFloat32x16Slice(kt[d*stride+j:]), s0)
		}
		s0.StoreSlice(s[j:])
	}
	archsimd.ClearAVXUpperBits()
}

func softmax512(s []float32, n int) float32 {
	padded := roundUp(n, 16)
	s = s[:padded]
	for j := n; j < padded; j++ {
		s[j] = float32(math.Inf(-1))
	}
	top := archsimd.BroadcastFloat32x16(max512(s))
	var sum f32x16
	for j := 0; j < padded; j += 16 {
		e := exp512(archsimd.LoadFloat32x16Slice(s[j:]).Sub(top))
		e.StoreSlice(s[j:])
		sum = sum.Add(e)
	}
	total := sum512(sum)
	archsimd.ClearAVXUpperBits()
	return 1 / total
}

// values512 keeps four sums, of every fourth key each, since one chain of fused multiply-adds would wait for itself.
func values512(out, p, v []float32, n int, w []float32, stride int, scale float32) {
	d := 0
	for ; d+16 <= len(out); d += 16 {
		var s0, s1, s2, s3 f32x16
		for j := 0; j < len(p); {
			rows := valueRow(v, n, w, stride, j)[d:]
			if j%4 == 0 && (j+4 <= n || j >= n && j+4 <= len(p)) {
				x := p[j : j+4]
				s0 = archsimd.BroadcastFloat32x16(x[0]).MulAdd(archsimd.LoadFloat32x16Slice(rows), s0)
				s1 = archsimd.BroadcastFloat32x16(x[1]).MulAdd(archsimd.LoadFloat32x16Slice(rows[stride:]), s1)
				s2 = archsimd.BroadcastFloat32x16(x[2]).MulAdd(archsimd.LoadFloat32x16Slice(rows[2*stride:]), s2)
				s3 = archsimd.BroadcastFloat32x16(x[3]).MulAdd(archsimd.LoadFloat32x16Slice(rows[3*stride:]), s3)
				j += 4
				continue
			}
			x, y := archsimd.BroadcastFloat32x16(p[j]), archsimd.LoadFloat32x16Slice(rows)
			switch j % 4 {
			case 0:
				s0 = x.MulAdd(y, s0)
			case 1:
				s1 = x.MulAdd(y, s1)
			case 2:
				s2 = x.MulAdd(y, s2)
			default:
				s3 = x.MulAdd(y, s3)
			}
			j++
		}
		s0.Add(s1).Add(s2.Add(s3)).Mul(archsimd.BroadcastFloat32x16(scale)).StoreSlice(out[d:])
	}
	archsimd.ClearAVXUpperBits()
	if d < len(out) {
		values256(out[d:], p, v[min(d, len(v)):], n, w[d:], stride, scale)
	}
}

func max512(x []float32) float32 {
	low := archsimd.BroadcastFloat32x16(float32(math.Inf(-1)))
	top := low
	i := 0
	for ; i+16 <= len(x); i += 16 {
		top = top.Max(archsimd.LoadFloat32x16Slice(x[i:]))
	}
	m := max8(top.GetLo().Max(top.GetHi()))
	archsimd.ClearAVXUpperBits()
	for _, v := range x[i:] {
		m = max(m, v)
	}
	return m
}

// sumExp512 sums in float64 what lanes of float32 collect over short stretches.
func sumExp512(x []float32, shift float32) float64 {
	const stretch = 1024
	top := archsimd.BroadcastFloat32x16(shift)
	total := 0.0
	for len(x) >= 16 {
		part := x[:min(stretch, len(x)/16*16)]
		x = x[len(part):]
		var sum f32x16
		for ; len(part) >= 16; part = part[16:] {
			sum = sum.Add(exp512(archsimd.LoadFloat32x16Slice(part).Sub(top)))
		}
		total += float64(sum512(sum))
	}
	archsimd.ClearAVXUpperBits()
	return total + sumExpPortable(x, shift)
}

func sum512(x f32x16) float32 { return sum8(x.GetLo().Add(x.GetHi())) }

// load512 loads fewer than 16 values and zeros. (archsimd's loads of parts fail Go's pointer checks.)
func load512(s []float32) f32x16 {
	var x [16]float32
	copy(x[:], s)
	return archsimd.LoadFloat32x16(&x)
}

// save512 stores the first len(s) values.
func save512(s []float32, v f32x16) {
	var x [16]float32
	v.Store(&x)
	copy(s, x[:])
}
