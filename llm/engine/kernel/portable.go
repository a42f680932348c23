package kernel

import (
	"encoding/binary"
	"math"
	"runtime"
	"unsafe"
)

// lanesPortable is how many sums the portable kernels keep for one element of C.
const lanesPortable = 8

// portable returns kernels in plain Go for any CPU. Products are rounded explicitly, so that no compiler fuses them
// into some additions and not into others.
func portable() *Set {
	f := family{lanes: lanesPortable, rows: 4, block: 512}
	for t := range dtypes {
		for rows := range f.rows {
			f.dots[t] = append(f.dots[t], func(a *tile) { dotPortable(a, t, rows+1) })
		}
	}
	s := &Set{name: "portable", vectors: vectorsPortable(), round: roundPortable, read: readPortable}
	s.mul[Float32], s.mul[BFloat16] = &f, f.rounded()
	s.peak[Float32], s.peak[BFloat16] = peakPortable, peakPortable
	return s
}

// rounded is the family that multiplies inputs rounded to bfloat16 in float32.
func (f family) rounded() *family {
	f.round = true
	f.dots[F32], f.dots[F16] = nil, nil
	f.lines[F32], f.lines[F16] = nil, nil
	return &f
}

func dotPortable(t *tile, kind DType, rows int) {
	size := kind.Size()
	length := t.whole + t.rem*size // bytes
	steps := (length + lanesPortable*size - 1) / (lanesPortable * size)
	inputs := unsafe.Slice((*float32)(t.x), steps*rows*lanesPortable)
	for j := range t.n {
		weights := unsafe.Slice((*byte)(unsafe.Add(t.w, j*t.ldw)), length)
		var sums [4][lanesPortable]float32
		x := inputs
		for len(weights) > 0 {
			var w [lanesPortable]float32
			n := min(len(weights), lanesPortable*size)
			decode(&w, weights[:n], kind)
			weights = weights[n:]
			for r := range rows {
				s, v := &sums[r], (*[lanesPortable]float32)(x)
				for l := range s {
					s[l] += float32(v[l] * w[l])
				}
				x = x[lanesPortable:]
			}
		}
		for r := range rows {
			s := &sums[r]
			total := ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]))
			c := (*float32)(unsafe.Add(t.c, r*t.ldc+4*j))
			if t.add != 0 {
				total += *c
			}
			*c = total
		}
	}
}

// decode widens up to 8 weights; what is missing is zero.
func decode(dst *[lanesPortable]float32, src []byte, kind DType) {
	switch kind {
	case F32:
		for i := range len(src) / 4 {
			dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(src[4*i:]))
		}
	case F16:
		for i := range len(src) / 2 {
			dst[i] = fromF16(binary.LittleEndian.Uint16(src[2*i:]))
		}
	case BF16:
		for i := range len(src) / 2 {
			dst[i] = fromBF16(binary.LittleEndian.Uint16(src[2*i:]))
		}
	}
}

func fromBF16(v uint16) float32 { return math.Float32frombits(uint32(v) << 16) }

// fromF16 moves the fields of a half into those of a float32; the multiplication puts the exponent right, also of
// subnormal numbers.
func fromF16(v uint16) float32 {
	bits := uint32(v&0x7fff) << 13
	magnitude := math.Float32frombits(bits) * 0x1p112
	if v&0x7c00 == 0x7c00 { // infinite or NaN
		magnitude = math.Float32frombits(bits | 0x7f800000)
	}
	return math.Float32frombits(math.Float32bits(magnitude) | uint32(v&0x8000)<<16)
}

func roundPortable(dst []uint16, src []float32) {
	for i, v := range src {
		dst[i] = roundOne(v)
	}
}

func roundOne(v float32) uint16 {
	bits := math.Float32bits(v)
	if v != v {
		return uint16(bits>>16) | 0x40
	}
	return uint16((bits + 0x7fff + bits>>16&1) >> 16)
}

func readPortable(p []byte) uint64 {
	var a, b, c, d uint64
	for ; len(p) >= 32; p = p[32:] {
		a ^= binary.LittleEndian.Uint64(p)
		b ^= binary.LittleEndian.Uint64(p[8:])
		c ^= binary.LittleEndian.Uint64(p[16:])
		d ^= binary.LittleEndian.Uint64(p[24:])
	}
	for _, v := range p {
		a ^= uint64(v)
	}
	return a ^ b ^ c ^ d
}

// peakPortable multiplies and adds in eight chains.
func peakPortable(n int) int {
	var s [8]float32
	for range n {
		for i := range s {
			s[i] += float32(s[i] * 0.5)
		}
	}
	runtime.KeepAlive(s)
	return 16 * n
}
