package main

// elementwise has the kernels between the matrices, for one width.
func elementwise(w width) *file {
	f := newFile()
	f.windows()
	f.numbers()
	v := &vector{f, w}
	v.sumSquares()
	v.scaleMultiply()
	v.swiglu()
	v.maximum()
	v.fetch()
	v.rotate()
	v.expSum("expStore", true)
	v.expSum("expSum", false)
	for i := range queries {
		for _, half := range []bool{false, true}[:int(w)/32] {
			(&attention{v, i + 1, half, true}).keys()
			(&attention{v, i + 1, half, false}).values()
		}
	}
	return f
}

// rotate sets p = (p · cos − q · sin) · scale and q = (q · cos + p · sin) · scale, with every product rounded.
func (v *vector) rotate() {
	r := v.w.reg
	v.function(v.name("rotate"), "(p, q, cos, sin unsafe.Pointer, n int, scale float32)", 44)
	v.arguments("p", "SI", "q", "DI", "cos", "R10", "sin", "R11", "n", "CX")
	v.op("VBROADCASTSS", "scale+40(FP)", r(8))
	v.each(func(rest bool) {
		for i, from := range []string{"SI", "DI", "R10", "R11"} {
			v.load(mem(0, from), i, rest)
		}
		v.op("VMULPS", r(2), r(0), r(4))
		v.op("VMULPS", r(3), r(1), r(5))
		v.op("VMULPS", r(2), r(1), r(6))
		v.op("VMULPS", r(3), r(0), r(7))
		v.op("VSUBPS", r(5), r(4), r(4))
		v.op("VADDPS", r(7), r(6), r(6))
		v.op("VMULPS", r(8), r(4), r(4))
		v.op("VMULPS", r(8), r(6), r(6))
		v.store(4, mem(0, "SI"), rest)
		v.store(6, mem(0, "DI"), rest)
	}, "SI", "DI", "R10", "R11")
	v.end()
}

// fetch asks for n bytes of memory, a multiple of 64 from 1 on.
func (v *vector) fetch() {
	v.function(v.name("fetch"), "(p unsafe.Pointer, n int)", 16)
	v.op("MOVQ", "p+0(FP)", "SI")
	v.op("MOVQ", "n+8(FP)", "CX")
	v.label("again")
	v.op("PREFETCHT0", mem(0, "SI"))
	v.op("ADDQ", "$64", "SI")
	v.op("SUBQ", "$64", "CX")
	v.op("JGT", "again")
	v.op("RET")
}

func (v *vector) sumSquares() {
	v.function(v.name("sumSquares"), "(p unsafe.Pointer, n int) (sum float32)", 20)
	v.op("MOVQ", "p+0(FP)", "SI")
	v.op("MOVQ", "n+8(FP)", "CX")
	v.zero(0)
	v.each(func(rest bool) {
		v.load(mem(0, "SI"), 1, rest)
		v.op("VFMADD231PS", v.w.reg(1), v.w.reg(1), v.w.reg(0))
	}, "SI")
	v.fold("VADDPS", 0)
	v.op("VMOVSS", x(0), "sum+16(FP)")
	v.end()
}

// scaleMultiply sets dst = p · scale · q.
func (v *vector) scaleMultiply() {
	v.function(v.name("scaleMultiply"), "(dst, p, q unsafe.Pointer, n int, scale float32)", 36)
	v.op("MOVQ", "dst+0(FP)", "DI")
	v.op("MOVQ", "p+8(FP)", "SI")
	v.op("MOVQ", "q+16(FP)", "DX")
	v.op("MOVQ", "n+24(FP)", "CX")
	v.op("VBROADCASTSS", "scale+32(FP)", v.w.reg(2))
	v.each(func(rest bool) {
		v.load(mem(0, "SI"), 0, rest)
		v.load(mem(0, "DX"), 1, rest)
		v.op("VMULPS", v.w.reg(2), v.w.reg(0), v.w.reg(0))
		v.op("VMULPS", v.w.reg(1), v.w.reg(0), v.w.reg(0))
		v.store(0, mem(0, "DI"), rest)
	}, "SI", "DX", "DI")
	v.end()
}

// swiglu sets gate = gate / (1 + exp(−gate)) · up.
func (v *vector) swiglu() {
	r := v.w.reg
	v.function(v.name("swiglu"), "(gate, up unsafe.Pointer, n int)", 24)
	v.op("MOVQ", "gate+0(FP)", "DI")
	v.op("MOVQ", "up+8(FP)", "SI")
	v.op("MOVQ", "n+16(FP)", "CX")
	v.expConstants()
	const gate = 12
	v.each(func(rest bool) {
		v.load(mem(0, "DI"), gate, rest)
		v.zero(0)
		v.op("VSUBPS", r(gate), r(0), r(0))
		v.exp(0)
		v.op("VADDPS", r(expBase+5), r(0), r(0))
		v.op("VDIVPS", r(0), r(gate), r(0))
		v.load(mem(0, "SI"), 1, rest)
		v.op("VMULPS", r(1), r(0), r(0))
		v.store(0, mem(0, "DI"), rest)
	}, "DI", "SI")
	v.end()
}

func (v *vector) maximum() {
	r := v.w.reg
	v.function(v.name("maximum"), "(p unsafe.Pointer, n int) (top float32)", 20)
	v.op("MOVQ", "p+0(FP)", "SI")
	v.op("MOVQ", "n+8(FP)", "CX")
	v.broadcast(minusInf, 0)
	v.broadcast(minusInf, 2)
	v.each(func(rest bool) {
		v.load(mem(0, "SI"), 1, rest)
		v.lowerRest(1, 2, rest)
		v.op("VMAXPS", r(1), r(0), r(0))
	}, "SI")
	v.fold("VMAXPS", 0)
	v.op("VMOVSS", x(0), "top+16(FP)")
	v.end()
}

// lowerRest replaces what isn't there by another register's lanes.
func (v *vector) lowerRest(a, other int, rest bool) {
	switch {
	case !rest:
	case v.w == 64:
		v.op("VBLENDMPS", z(a), z(other), "K1", z(a))
	default:
		v.op("VBLENDVPS", y(maskRegister), y(a), y(other), y(a))
	}
}

// expSum returns Σ exp(p − shift); the one that stores puts the summands in the place of p.
func (v *vector) expSum(name string, store bool) {
	r := v.w.reg
	v.function(v.name(name), "(p unsafe.Pointer, n int, shift float32) (sum float32)", 28)
	v.op("MOVQ", "p+0(FP)", "SI")
	v.op("MOVQ", "n+8(FP)", "CX")
	v.op("VBROADCASTSS", "shift+16(FP)", r(12))
	v.expConstants()
	v.zero(0, 13)
	v.each(func(rest bool) {
		v.load(mem(0, "SI"), 1, rest)
		v.op("VSUBPS", r(12), r(1), r(1))
		v.exp(1)
		v.lowerRest(1, 13, rest)
		if store {
			v.store(1, mem(0, "SI"), rest)
		}
		v.op("VADDPS", r(1), r(0), r(0))
	}, "SI")
	v.fold("VADDPS", 0)
	v.op("VMOVSS", x(0), "sum+24(FP)")
	v.end()
}
