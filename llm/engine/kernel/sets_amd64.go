package kernel

import (
	"unsafe"

	"golang.org/x/sys/cpu"
)

// assembled returns the sets in assembly that this CPU can run, the fastest last.
func assembled() []*Set {
	var all []*Set
	c := &cpu.X86
	if c.HasAVX2 && c.HasFMA && c.HasBMI2 && c.HasF16C {
		all = append(all, avx2())
		if c.HasAVX512F && c.HasAVX512BW && c.HasAVX512DQ && c.HasAVX512VL {
			all = append(all, avx512())
			if c.HasAVX512BF16 {
				all = append(all, avx512bf16())
			}
		}
	}
	return all
}

func avx2() *Set {
	f := family{lanes: 8, rows: 3, block: 1024, dots: [dtypes][]func(t *tile){
		F32:  {dot256F32x1, dot256F32x2, dot256F32x3},
		F16:  {dot256F16x1, dot256F16x2, dot256F16x3},
		BF16: {dot256BF16x1, dot256BF16x2, dot256BF16x3},
	}}
	s := &Set{name: "avx2", vectors: assembly256.vectors(), round: round8}
	s.mul[Float32], s.mul[BFloat16] = &f, f.rounded()
	s.read = func(p []byte) uint64 { return readBlocks(p, read256) }
	s.peak[Float32] = func(n int) int { peak256F32(n); return n * 12 * 16 }
	s.peak[BFloat16] = s.peak[Float32]
	return s
}

func avx512() *Set {
	f := family{lanes: 16, rows: 6, block: 1024, dots: [dtypes][]func(t *tile){
		F32:  {dot512F32x1, dot512F32x2, dot512F32x3, dot512F32x4, dot512F32x5, dot512F32x6},
		F16:  {dot512F16x1, dot512F16x2, dot512F16x3, dot512F16x4, dot512F16x5, dot512F16x6},
		BF16: {dot512BF16x1, dot512BF16x2, dot512BF16x3, dot512BF16x4, dot512BF16x5, dot512BF16x6},
	}}
	f.lines[F32] = line512F32
	s := &Set{name: "avx512", vectors: assembly512.vectors(), round: round16, half: half16}
	s.mul[Float32], s.mul[BFloat16] = &f, f.rounded()
	s.read = func(p []byte) uint64 { return readBlocks(p, read512) }
	s.peak[Float32] = func(n int) int { peak512F32(n); return n * 24 * 32 }
	s.peak[BFloat16] = s.peak[Float32]
	return s
}

// avx512bf16 is avx512 with the dot product of pairs of bfloat16.
func avx512bf16() *Set {
	s := avx512()
	s.name = "avx512bf16"
	s.mul[BFloat16] = &family{pairs: true, pack: pack32, lanes: 32, rows: 6, block: 2048, dots: [dtypes][]func(t *tile){
		BF16: {dot512Pairsx1, dot512Pairsx2, dot512Pairsx3, dot512Pairsx4, dot512Pairsx5, dot512Pairsx6},
	}, lines: [dtypes]func(t *tile){BF16: line512Pairs}}
	s.peak[BFloat16] = func(n int) int { peak512Pairs(n); return n * 24 * 64 }
	return s
}

func round16(dst []uint16, src []float32) {
	if len(src) > 0 {
		round512(unsafe.Pointer(&dst[0]), unsafe.Pointer(&src[0]), len(src))
	}
}

// pack32 takes 32 values to a step.
func pack32(dst []uint16, src []float32, step int) {
	if n := len(src); n > 0 {
		dst = dst[:(n-1)/32*step+32]
		pack512(unsafe.Pointer(&dst[0]), unsafe.Pointer(&src[0]), n, 2*step)
	}
}

func half16(dst []uint16, src []float32) {
	if len(src) > 0 {
		half512(unsafe.Pointer(&dst[0]), unsafe.Pointer(&src[0]), len(src))
	}
}

func round8(dst []uint16, src []float32) {
	n := len(src) &^ 7
	if n > 0 {
		round256(unsafe.Pointer(&dst[0]), unsafe.Pointer(&src[0]), n)
	}
	roundPortable(dst[n:], src[n:])
}

// readBlocks reads through assembly a megabyte at a time, so that no call keeps the garbage collector waiting.
func readBlocks(p []byte, read func(p unsafe.Pointer, n int) uint64) uint64 {
	var word uint64
	for len(p) >= 512 {
		n := min(len(p), 1<<20) &^ 511
		word ^= read(unsafe.Pointer(&p[0]), n)
		p = p[n:]
	}
	return word ^ readPortable(p)
}
