//go:build goexperiment.simd && amd64

package engine

import (
	"math"
	"simd/archsimd"
	"unsafe"
)

type f32x8 = archsimd.Float32x8

// avx2 returns kernels on vectors of 8, see avx512.
func avx2() *kernels {
	return &kernels{
		name: "avx2", tile: tile256, rmsNorm: rmsNorm256, swiglu: swiglu256, keys: keys256, softmax: softmax256,
		values: values256, max: max256, sumExp: sumExp256,
	}
}

func tile256(c []float32, ldc int, a []float32, lda int, panel []float32, rows, k int, add bool) {
	if k == 0 || rows == 0 {
		return
	}
	// The only bounds check of the loops below, which use pointers, see tile512.
	_, _, _ = c[(rows-1)*ldc+panelWidth-1], a[(rows-1)*lda+k-1], panel[:k*panelWidth+1]
	for j := 0; j < panelWidth; j += 16 {
		r := 0
		for ; r+4 <= rows; r += 4 {
			tile256x4(c[r*ldc+j:], ldc, a[r*lda:], lda, panel[j:], k, add)
		}
		for ; r < rows; r++ {
			tile256x1(c[r*ldc+j:], a[r*lda:], panel[j:], k, add)
		}
	}
	archsimd.ClearAVXUpperBits()
}

// tile256x4 computes 4 rows of 16 columns.
func tile256x4(c []float32, ldc int, a []float32, lda int, panel []float32, k int, add bool) {
	pa, pb := unsafe.Pointer(&a[0]), unsafe.Pointer(&panel[0])
	step := uintptr(lda) * 4
	var c00, c01, c10, c11, c20, c21, c30, c31 f32x8
	for range k {
		b0 := archsimd.LoadFloat32x8((*[8]float32)(pb))
		b1 := archsimd.LoadFloat32x8((*[8]float32)(unsafe.Add(pb, 32)))
		x := archsimd.BroadcastFloat32x8(*(*float32)(pa))
		c00 = x.MulAdd(b0, c00)
		c01 = x.MulAdd(b1, c01)
		x = archsimd.BroadcastFloat32x8(*(*float32)(unsafe.Add(pa, step)))
		c10 = x.MulAdd(b0, c10)
		c11 = x.MulAdd(b1, c11)
		x = archsimd.BroadcastFloat32x8(*(*float32)(unsafe.Add(pa, 2*step)))
		c20 = x.MulAdd(b0, c20)
		c21 = x.MulAdd(b1, c21)
		x = archsimd.BroadcastFloat32x8(*(*float32)(unsafe.Add(pa, 3*step)))
		c30 = x.MulAdd(b0, c30)
		c31 = x.MulAdd(b1, c31)
		pb = unsafe.Add(pb, 4*panelWidth)
		pa = unsafe.Add(pa, 4)
	}
	store256(c, c00, c01, add)
	store256(c[ldc:], c10, c11, add)
	store256(c[2*ldc:], c20, c21, add)
	store256(c[3*ldc:], c30, c31, add)
}

func tile256x1(c, a, panel []float32, k int, add bool) {
	pb := unsafe.Pointer(&panel[0])
	var c0, c1 f32x8
	for _, v := range a[:k] {
		x := archsimd.BroadcastFloat32x8(v)
		c0 = x.MulAdd(archsimd.LoadFloat32x8((*[8]float32)(pb)), c0)
		c1 = x.MulAdd(archsimd.LoadFloat32x8((*[8]float32)(unsafe.Add(pb, 32))), c1)
		pb = unsafe.Add(pb, 4*panelWidth)
	}
	store256(c, c0, c1, add)
}

func store256(c []float32, c0, c1 f32x8, add bool) {
	if add {
		c0 = c0.Add(archsimd.LoadFloat32x8Slice(c))
		c1 = c1.Add(archsimd.LoadFloat32x8Slice(c[8:]))
	}
	c0.StoreSlice(c)
	c1.StoreSlice(c[8:])
}

func rmsNorm256(dst, x, w []float32, eps float32) {
	n := len(x)
	dst, w = dst[:n], w[:n]
	var sum f32x8
	i := 0
	for ; i+8 <= n; i += 8 {
		v := archsimd.LoadFloat32x8Slice(x[i:])
		sum = v.MulAdd(v, sum)
	}
	if i < n {
		v := load256(x[i:])
		sum = v.MulAdd(v, sum)
	}
	scale := archsimd.BroadcastFloat32x8(float32(1 / math.Sqrt(float64(sum8(sum))/float64(n)+float64(eps))))
	for i = 0; i+8 <= n; i += 8 {
		archsimd.LoadFloat32x8Slice(x[i:]).Mul(scale).Mul(archsimd.LoadFloat32x8Slice(w[i:])).StoreSlice(dst[i:])
	}
	if i < n {
		save256(dst[i:], load256(x[i:]).Mul(scale).Mul(load256(w[i:])))
	}
	archsimd.ClearAVXUpperBits()
}

func swiglu256(gate, up []float32) {
	n := len(gate)
	up = up[:n]
	i := 0
	for ; i+8 <= n; i += 8 {
		silu256(archsimd.LoadFloat32x8Slice(gate[i:])).Mul(archsimd.LoadFloat32x8Slice(up[i:])).StoreSlice(gate[i:])
	}
	if i < n {
		save256(gate[i:], silu256(load256(gate[i:])).Mul(load256(up[i:])))
	}
	archsimd.ClearAVXUpperBits()
}

func silu256(g f32x8) f32x8 {
	var zero f32x8
	return g.Div(exp256(zero.Sub(g)).Add(archsimd.BroadcastFloat32x8(1)))
}

func exp256(x f32x8) f32x8 {
	x = archsimd.BroadcastFloat32x8(expHigh).Min(archsimd.BroadcastFloat32x8(expLow).Max(x)) // NaN stays NaN in this order
	n := x.Mul(archsimd.BroadcastFloat32x8(log2e)).RoundToEven()
	r := n.MulAdd(archsimd.BroadcastFloat32x8(-ln2High), x)
	r = n.MulAdd(archsimd.BroadcastFloat32x8(-ln2Low), r)
	p := r.MulAdd(archsimd.BroadcastFloat32x8(expPoly0), archsimd.BroadcastFloat32x8(expPoly1))
	p = p.MulAdd(r, archsimd.BroadcastFloat32x8(expPoly2))
	p = p.MulAdd(r, archsimd.BroadcastFloat32x8(expPoly3))
	p = p.MulAdd(r, archsimd.BroadcastFloat32x8(expPoly4))
	p = p.MulAdd(r, archsimd.BroadcastFloat32x8(expPoly5))
	p = p.MulAdd(r.Mul(r), r).Add(archsimd.BroadcastFloat32x8(1))
	// 2ⁿ by its exponent bits; n is −126…127.
	return p.Mul(n.ConvertToInt32().Add(archsimd.BroadcastInt32x8(127)).ShiftAllLeft(23).AsFloat32x8())
}

func keys256(s, q, kt []float32, stride, n int) {
	for j := 0; j < n; j += 16 {
		var s0, s1 f32x8
		for d, x := range q {
			row := kt[d*stride+j : d*stride+j+16]
			v := archsimd.BroadcastFloat32x8(x)
			s0 = v.MulAdd(archsimd.LoadFloat32x8Slice(row), s0)
			s1 = v.MulAdd(archsimd.LoadFloat32x8Slice(row[8:]), s1)
		}
		s0.StoreSlice(s[j:])
		s1.StoreSlice(s[j+8:])
	}
	archsimd.ClearAVXUpperBits()
}

func softmax256(s []float32, n int) float32 {
	padded := roundUp(n, 8)
	s = s[:padded]
	for j := n; j < padded; j++ {
		s[j] = float32(math.Inf(-1))
	}
	top := archsimd.BroadcastFloat32x8(max256(s))
	var sum f32x8
	for j := 0; j < padded; j += 8 {
		e := exp256(archsimd.LoadFloat32x8Slice(s[j:]).Sub(top))
		e.StoreSlice(s[j:])
		sum = sum.Add(e)
	}
	total := sum8(sum)
	archsimd.ClearAVXUpperBits()
	return 1 / total
}

func values256(out, p, v []float32, n int, w []float32, stride int, scale float32) {
	d := 0
	for ; d+8 <= len(out); d += 8 {
		var s0, s1, s2, s3 f32x8
		for j := 0; j < len(p); {
			rows := valueRow(v, n, w, stride, j)[d:]
			if j%4 == 0 && (j+4 <= n || j >= n && j+4 <= len(p)) {
				x := p[j : j+4]
				s0 = archsimd.BroadcastFloat32x8(x[0]).MulAdd(archsimd.LoadFloat32x8Slice(rows), s0)
				s1 = archsimd.BroadcastFloat32x8(x[1]).MulAdd(archsimd.LoadFloat32x8Slice(rows[stride:]), s1)
				s2 = archsimd.BroadcastFloat32x8(x[2]).MulAdd(archsimd.LoadFloat32x8Slice(rows[2*stride:]), s2)
				s3 = archsimd.BroadcastFloat32x8(x[3]).MulAdd(archsimd.LoadFloat32x8Slice(rows[3*stride:]), s3)
				j += 4
				continue
			}
			x, y := archsimd.BroadcastFloat32x8(p[j]), archsimd.LoadFloat32x8Slice(rows)
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
		s0.Add(s1).Add(s2.Add(s3)).Mul(archsimd.BroadcastFloat32x8(scale)).StoreSlice(out[d:])
	}
	archsimd.ClearAVXUpperBits()
	if d < len(out) {
		valuesPortable(out[d:], p, v[min(d, len(v)):], n, w[d:], stride, scale)
	}
}

func max256(x []float32) float32 {
	top := archsimd.BroadcastFloat32x8(float32(math.Inf(-1)))
	i := 0
	for ; i+8 <= len(x); i += 8 {
		top = top.Max(archsimd.LoadFloat32x8Slice(x[i:]))
	}
	m := max8(top)
	archsimd.ClearAVXUpperBits()
	for _, v := range x[i:] {
		m = max(m, v)
	}
	return m
}

func sumExp256(x []float32, shift float32) float64 {
	const stretch = 512
	top := archsimd.BroadcastFloat32x8(shift)
	total := 0.0
	for len(x) >= 8 {
		part := x[:min(stretch, len(x)/8*8)]
		x = x[len(part):]
		var sum f32x8
		for ; len(part) >= 8; part = part[8:] {
			sum = sum.Add(exp256(archsimd.LoadFloat32x8Slice(part).Sub(top)))
		}
		total += float64(sum8(sum))
	}
	archsimd.ClearAVXUpperBits()
	return total + sumExpPortable(x, shift)
}

func sum8(x f32x8) float32 {
	y := x.GetLo().Add(x.GetHi())
	return (y.GetElem(0) + y.GetElem(1)) + (y.GetElem(2) + y.GetElem(3))
}

func max8(x f32x8) float32 {
	y := x.GetLo().Max(x.GetHi())
	return max(y.GetElem(0), y.GetElem(1), y.GetElem(2), y.GetElem(3))
}

// load256 loads fewer than 8 values and zeros. (archsimd's loads of parts fail Go's pointer checks.)
func load256(s []float32) f32x8 {
	var x [8]float32
	copy(x[:], s)
	return archsimd.LoadFloat32x8(&x)
}

// save256 stores the first len(s) values.
func save256(s []float32, v f32x8) {
	var x [8]float32
	v.Store(&x)
	copy(s, x[:])
}
