//go:build goexperiment.simd && amd64

package safetensors

import (
	"simd/archsimd"
	"unsafe"
)

// Each function here converts as many elements from the start as fill whole vectors of 8 and returns their number, 0 on
// a processor without AVX2. The arithmetic is that of the functions for one element in convert.go.

type (
	lanes16 = [8]uint16
	lanes32 = [8]uint32
	floats  = [8]float32
)

// vectors returns how many of n elements fill whole vectors.
func vectors(n int) int {
	if !archsimd.X86.AVX2() {
		return 0
	}
	return n &^ 7
}

func decodeBF16Vector(dst []float32, src []byte) int {
	n := vectors(min(len(dst), len(src)/2))
	for i := 0; i < n; i += 8 {
		h := archsimd.LoadUint16x8((*lanes16)(unsafe.Pointer(&src[2*i])))
		h.ExtendToUint32().ShiftAllLeft(16).Store((*lanes32)(unsafe.Pointer(&dst[i])))
	}
	archsimd.ClearAVXUpperBits()
	return n
}

func encodeBF16Vector(dst []byte, src []float32) int {
	n := vectors(min(len(src), len(dst)/2))
	for i := 0; i < n; i += 8 {
		narrow(bf16Lanes(loadBits(src, i))).Store((*lanes16)(unsafe.Pointer(&dst[2*i])))
	}
	archsimd.ClearAVXUpperBits()
	return n
}

func roundBF16Vector(x []float32) int {
	n := vectors(len(x))
	for i := 0; i < n; i += 8 {
		bf16Lanes(loadBits(x, i)).ShiftAllLeft(16).Store((*lanes32)(unsafe.Pointer(&x[i])))
	}
	archsimd.ClearAVXUpperBits()
	return n
}

func decodeF16Vector(dst []float32, src []byte) int {
	n := vectors(min(len(dst), len(src)/2))
	for i := 0; i < n; i += 8 {
		h := archsimd.LoadUint16x8((*lanes16)(unsafe.Pointer(&src[2*i])))
		fromF16Lanes(h.ExtendToUint32()).Store((*lanes32)(unsafe.Pointer(&dst[i])))
	}
	archsimd.ClearAVXUpperBits()
	return n
}

func encodeF16Vector(dst []byte, src []float32) int {
	n := vectors(min(len(src), len(dst)/2))
	for i := 0; i < n; i += 8 {
		narrow(f16Lanes(loadBits(src, i))).Store((*lanes16)(unsafe.Pointer(&dst[2*i])))
	}
	archsimd.ClearAVXUpperBits()
	return n
}

func roundF16Vector(x []float32) int {
	n := vectors(len(x))
	for i := 0; i < n; i += 8 {
		fromF16Lanes(f16Lanes(loadBits(x, i))).Store((*lanes32)(unsafe.Pointer(&x[i])))
	}
	archsimd.ClearAVXUpperBits()
	return n
}

func loadBits(x []float32, i int) archsimd.Uint32x8 {
	return archsimd.LoadFloat32x8((*floats)(unsafe.Pointer(&x[i]))).AsUint32x8()
}

// narrow keeps the low half of lanes whose high half is zero.
func narrow(u archsimd.Uint32x8) archsimd.Uint16x8 {
	v := u.AsInt32x8()
	return v.GetLo().SaturateToUint16Concat(v.GetHi())
}

// bf16Lanes is toBF16.
func bf16Lanes(u archsimd.Uint32x8) archsimd.Uint32x8 {
	nan := u.And(archsimd.BroadcastUint32x8(0x7fffffff)).AsInt32x8().Greater(archsimd.BroadcastInt32x8(0x7f800000))
	high := u.ShiftAllRight(16)
	odd := high.And(archsimd.BroadcastUint32x8(1))
	rounded := u.Add(archsimd.BroadcastUint32x8(0x7fff)).Add(odd).ShiftAllRight(16)
	return high.Or(archsimd.BroadcastUint32x8(0x40)).Merge(rounded, nan)
}

// f16Lanes is toF16.
func f16Lanes(u archsimd.Uint32x8) archsimd.Uint32x8 {
	abs := u.And(archsimd.BroadcastUint32x8(0x7fffffff))
	sign := u.ShiftAllRight(31).ShiftAllLeft(15)
	nan := abs.AsInt32x8().Greater(archsimd.BroadcastInt32x8(0x7f800000))
	normal := abs.AsInt32x8().Greater(archsimd.BroadcastInt32x8(113<<23 - 1))

	rebased := abs.Sub(archsimd.BroadcastUint32x8(112 << 23))
	odd := rebased.ShiftAllRight(13).And(archsimd.BroadcastUint32x8(1))
	large := rebased.Add(archsimd.BroadcastUint32x8(0xfff)).Add(odd).ShiftAllRight(13)
	magic := archsimd.BroadcastFloat32x8(0.5) // 2^−24, the smallest subnormal, times 2^23
	small := abs.AsFloat32x8().Add(magic).AsUint32x8().Sub(magic.AsUint32x8())

	finite := large.Merge(small, normal).Min(archsimd.BroadcastUint32x8(0x7c00))
	return archsimd.BroadcastUint32x8(0x7e00).Merge(finite, nan).Or(sign)
}

// fromF16Lanes is fromF16.
func fromF16Lanes(h archsimd.Uint32x8) archsimd.Uint32x8 {
	u := h.And(archsimd.BroadcastUint32x8(0x7fff)).ShiftAllLeft(13)
	sign := h.ShiftAllRight(15).ShiftAllLeft(31)
	special := u.AsInt32x8().Greater(archsimd.BroadcastInt32x8(31<<23 - 1))
	normal := u.AsInt32x8().Greater(archsimd.BroadcastInt32x8(1<<23 - 1))

	small := u.Add(archsimd.BroadcastUint32x8(113 << 23)).AsFloat32x8().Sub(archsimd.BroadcastFloat32x8(0x1p-14)).AsUint32x8()
	finite := u.Add(archsimd.BroadcastUint32x8(112<<23)).Merge(small, normal)
	return u.Add(archsimd.BroadcastUint32x8(224<<23)).Merge(finite, special).Or(sign)
}
