package main

import (
	"fmt"
	"math"
)

// vector writes kernels that go through slices, a vector at a time; the rest is masked and otherwise treated alike, so
// that an element's result doesn't depend on where it stands.
type vector struct {
	*file
	w width
}

// Registers for all vector kernels: K1 or maskRegister selects the rest.
const maskRegister = 15

func (v *vector) lanes() int { return int(v.w) / 4 }

// name distinguishes the widths.
func (v *vector) name(s string) string {
	if v.w == 64 {
		return s + "512"
	}
	return s + "256"
}

// Where numbers begin: float32, but for the last one.
const (
	expLow = iota * 4
	expHigh
	log2e
	ln2High
	ln2Low
	expPoly0
	expPoly1
	expPoly2
	expPoly3
	expPoly4
	expPoly5
	one
	minusInf
	exponentBias
)

// numbers declares the constants of exp(x) = 2ⁿ·exp(r), n = round(x/ln 2), r = x − n·ln 2, with Cephes' polynomial for
// exp(r): relative error below 2e-7. The argument is clamped so that 2ⁿ stays a normal number.
func (f *file) numbers() {
	all := []float64{
		-87, 88, 1.44269504088896341, -0.693359375, 2.12194440e-4,
		1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1,
		1, math.Inf(-1), float64(math.Float32frombits(127)),
	}
	words := make([]uint64, len(all)/2)
	for i, x := range all {
		words[i/2] |= uint64(math.Float32bits(float32(x))) << (32 * (i % 2))
	}
	f.constant("numbers", words...)
}

func (v *vector) broadcast(number, to int) {
	v.op("VBROADCASTSS", fmt.Sprintf("numbers<>+%d(SB)", number), v.w.reg(to))
}

// zero clears registers.
func (v *vector) zero(registers ...int) {
	for _, r := range registers {
		v.op("VXORPS", v.w.small(r), v.w.small(r), v.w.small(r))
	}
}

// each goes through CX elements; step treats those at the pointers, which move on.
func (v *vector) each(step func(rest bool), pointers ...string) {
	lanes := imm(v.lanes())
	v.op("CMPQ", "CX", lanes)
	v.op("JLT", "rest")
	v.label("again")
	step(false)
	for _, p := range pointers {
		v.op("ADDQ", imm(int(v.w)), p)
	}
	v.op("SUBQ", lanes, "CX")
	v.op("CMPQ", "CX", lanes)
	v.op("JGE", "again")
	v.label("rest")
	v.op("TESTQ", "CX", "CX")
	v.op("JZ", "done")
	v.mask("CX", "R9")
	step(true)
	v.label("done")
}

// mask selects n elements, fewer than a vector has.
func (v *vector) mask(n, scratch string) {
	if v.w == 64 {
		v.op("MOVL", "$0xffff", scratch)
		v.op("BZHIL", n, scratch, scratch)
		v.op("KMOVW", scratch, "K1")
		return
	}
	v.op("LEAQ", "windowF32<>+32(SB)", scratch)
	v.op("SHLQ", "$2", n)
	v.op("SUBQ", n, scratch)
	v.op("VMOVUPS", mem(0, scratch), y(maskRegister))
}

// load loads a vector; of the rest, zeros where there is nothing.
func (v *vector) load(from string, to int, rest bool) {
	switch {
	case !rest:
		v.op("VMOVUPS", from, v.w.reg(to))
	case v.w == 64:
		v.op("VMOVUPS.Z", from, "K1", z(to))
	default:
		v.op("VMASKMOVPS", from, y(maskRegister), y(to))
	}
}

func (v *vector) store(from int, to string, rest bool) {
	switch {
	case !rest:
		v.op("VMOVUPS", v.w.reg(from), to)
	case v.w == 64:
		v.op("VMOVUPS", z(from), "K1", to)
	default:
		v.op("VMASKMOVPS", y(from), y(maskRegister), to)
	}
}

// fold makes one number of a register's lanes, in the first lane, with the next register to help.
func (v *vector) fold(name string, a int) {
	b := a + 1
	if v.w == 64 {
		v.op("VEXTRACTF64X4", "$1", z(a), y(b))
		v.op(name, y(b), y(a), y(a))
	}
	v.op("VEXTRACTF128", "$1", y(a), x(b))
	v.op(name, x(b), x(a), x(a))
	v.op("VPERMILPS", "$0x0e", x(a), x(b))
	v.op(name, x(b), x(a), x(a))
	v.op("VPERMILPS", "$0x01", x(a), x(b))
	v.op(name, x(b), x(a), x(a))
}

// Registers of exp: its constants lie in expBase…, except those that are read from memory.
const (
	expScratch = 2 // and the two after it
	expBase    = 5
)

// expConstants loads what exp needs: the two limits, log2e, ln 2 in two parts, one.
func (v *vector) expConstants() {
	for i, n := range []int{expLow, expHigh, log2e, ln2High, ln2Low, one} {
		v.broadcast(n, expBase+i)
	}
}

// exp replaces register a by its exponential. NaN stays NaN: of two operands, one NaN, the limits give the second.
func (v *vector) exp(a int) {
	r := v.w.reg
	n, p, t := expScratch, expScratch+1, expScratch+2
	v.op("VMAXPS", r(a), r(expBase), r(a))
	v.op("VMINPS", r(a), r(expBase+1), r(a))
	v.op("VMULPS", r(expBase+2), r(a), r(n))
	if v.w == 64 {
		v.op("VRNDSCALEPS", "$0", r(n), r(n))
	} else {
		v.op("VROUNDPS", "$0", r(n), r(n))
	}
	v.op("VFMADD231PS", r(expBase+3), r(n), r(a))
	v.op("VFMADD231PS", r(expBase+4), r(n), r(a))
	v.broadcast(expPoly0, p)
	for i := expPoly1; i <= expPoly5; i += 4 {
		v.broadcast(i, t)
		v.op("VFMADD213PS", r(t), r(a), r(p))
	}
	v.op("VMULPS", r(a), r(a), r(t))
	v.op("VFMADD213PS", r(a), r(t), r(p)) // p·r² + r
	v.op("VADDPS", r(expBase+5), r(p), r(p))
	if v.w == 64 {
		v.op("VSCALEFPS", r(n), r(p), r(a))
		return
	}
	v.op("VCVTPS2DQ", r(n), r(n))
	v.broadcast(exponentBias, t)
	v.op("VPADDD", r(t), r(n), r(n))
	v.op("VPSLLD", "$23", r(n), r(n))
	v.op("VMULPS", r(n), r(p), r(a))
}
