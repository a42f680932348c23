package main

import "fmt"

// blockVectors is how many vectors of results an attention kernel keeps in registers, so that one chain of additions
// doesn't wait for itself.
const blockVectors = 4

// keys sets s[j] = Σ_d q[d]·kt[d, j] for j < n; stride is the distance of kt's rows in bytes.
//
//	DI s    SI kt    CX n    R8 q    R9 stride    DX dim    R10, R11, R12 run through kt, q and dim
func (v *vector) keys() {
	v.function(v.name("keys"), "(s, q unsafe.Pointer, dim int, kt unsafe.Pointer, stride, n int)", 48)
	v.arguments("s", "DI", "q", "R8", "dim", "DX", "kt", "SI", "stride", "R9", "n", "CX")
	v.inBlocks(func(block string, vectors int, rest bool) {
		v.zero(0, 1, 2, 3)
		v.op("MOVQ", "SI", "R10")
		v.op("MOVQ", "R8", "R11")
		v.op("MOVQ", "DX", "R12")
		v.sumRows(block, vectors, rest)
		for i := range vectors {
			v.store(i, mem(i*int(v.w), "DI"), rest)
		}
	}, "SI", "DI")
	v.end()
}

// values sets out[d] = scale · Σ_j p[j]·v[j, d], where the first n rows are in v and m more in w. One after the other is
// added, so that it doesn't matter where the rows are cut in two.
//
//	DI out    SI v    R8 w    CX dim    R9 stride    R10, R11, R12 run through rows, p and their number
func (v *vector) values() {
	v.function(v.name("values"),
		"(out unsafe.Pointer, dim int, p, v unsafe.Pointer, n int, w unsafe.Pointer, m, stride int, scale float32)", 68)
	v.arguments("out", "DI", "dim", "CX", "p", "", "v", "SI", "n", "", "w", "R8", "m", "", "stride", "R9")
	v.op("VBROADCASTSS", "scale+64(FP)", v.w.reg(6))
	v.inBlocks(func(block string, vectors int, rest bool) {
		v.zero(0, 1, 2, 3)
		v.op("MOVQ", "p+16(FP)", "R11")
		v.op("MOVQ", "SI", "R10")
		v.op("MOVQ", "n+32(FP)", "R12")
		v.sumRows(block+"First", vectors, rest)
		v.op("MOVQ", "R8", "R10")
		v.op("MOVQ", "m+48(FP)", "R12")
		v.sumRows(block+"Second", vectors, rest)
		for i := range vectors {
			v.op("VMULPS", v.w.reg(6), v.w.reg(i), v.w.reg(i))
			v.store(i, mem(i*int(v.w), "DI"), rest)
		}
	}, "SI", "R8", "DI")
	v.end()
}

// arguments loads arguments of 8 bytes into registers, in pairs of name and register; no register for those to skip.
func (f *file) arguments(pairs ...string) {
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			f.op("MOVQ", fmt.Sprintf("%s+%d(FP)", pairs[i], 4*i), pairs[i+1])
		}
	}
}

// inBlocks goes through CX results: several vectors of them at a time, then one, then the rest.
func (v *vector) inBlocks(body func(block string, vectors int, rest bool), pointers ...string) {
	for _, b := range []struct {
		name    string
		vectors int
	}{{"wide", blockVectors}, {"single", 1}} {
		after := b.name + "Done"
		v.label(b.name)
		v.op("CMPQ", "CX", imm(b.vectors*v.lanes()))
		v.op("JLT", after)
		body(b.name, b.vectors, false)
		for _, p := range pointers {
			v.op("ADDQ", imm(b.vectors*int(v.w)), p)
		}
		v.op("SUBQ", imm(b.vectors*v.lanes()), "CX")
		v.op("JMP", b.name)
		v.label(after)
	}
	v.op("TESTQ", "CX", "CX")
	v.op("JZ", "done")
	v.mask("CX", "AX")
	body("rest", 1, true)
	v.label("done")
}

// sumRows adds R12 rows from R10 on, R9 apart, each times a number from R11 on, to registers 0, 1…
func (v *vector) sumRows(label string, vectors int, rest bool) {
	v.op("TESTQ", "R12", "R12")
	v.op("JZ", label+"Summed")
	v.label(label + "Row")
	v.op("VBROADCASTSS", mem(0, "R11"), v.w.reg(4))
	for i := range vectors {
		from := mem(i*int(v.w), "R10")
		if rest {
			v.load(from, 5, true)
			from = v.w.reg(5)
		}
		v.op("VFMADD231PS", from, v.w.reg(4), v.w.reg(i))
	}
	v.op("ADDQ", "$4", "R11")
	v.op("ADDQ", "R9", "R10")
	v.op("DECQ", "R12")
	v.op("JNZ", label+"Row")
	v.label(label + "Summed")
}
