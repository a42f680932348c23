package main

import "fmt"

// Offsets of the fields of kernel.tile, which a test compares with the struct.
const (
	tileC, tileLDC, tileX, tileW, tileLDW = 0, 8, 16, 24, 32
	tileN, tileWhole, tileRem, tileAdd    = 40, 48, 56, 64
	tileAhead, tilePace                   = 72, 80
	tilePart, tileParts                   = 88, 96
)

// kind says how weights are stored and multiplied.
type kind struct {
	name  string
	bytes int // of a weight
}

var (
	f32   = kind{"F32", 4}
	f16   = kind{"F16", 2}
	bf16  = kind{"BF16", 2}
	pairs = kind{"Pairs", 2} // bfloat16 on both sides, by VDPBF16PS
)

// outs is how many rows of W a tile has. With 6 rows of X there are 24 sums, which with 4 vectors of W and some of X
// fill 32 registers; with 3 rows of X, 12 sums, the 16 of AVX2.
const outs = 4

// dot is one kernel: the products of a number of rows of X and all of t.n rows of W, 4 at a time.
//
//	AX  X of the tile      SI  running through it
//	DX  rows of W left     R10…R13  ends of 4 of them   BX  their distance   CX  bytes to the ends, negative
//	R8  C                  R9  distance of its rows, once they are stored, before that to calculate with
//	DI  the arguments      R15 what to prefetch
type dot struct {
	*file
	kind kind
	rows int
	w    width
	name string
}

func (d *dot) sum(row, out int) int { return row*outs + out }

// stepBytes is what a vector of weights takes in memory.
func (d *dot) stepBytes() int {
	if d.kind == pairs {
		return 64
	}
	return int(d.w) / 4 * d.kind.bytes
}

func (f *file) dot(w width, k kind, rows int) {
	d := &dot{f, k, rows, w, fmt.Sprintf("dot%d%sx%d", w*8, k.name, rows)}
	f.function(d.name, "(t *tile)", 8)
	d.begin("R10")
	f.op("MOVQ", mem(tileAhead, "DI"), "R15")
	f.op("ADDQ", "R10", "R15")
	f.label("tile")
	d.pointers()
	for i := range rows * outs {
		f.op("VXORPS", w.small(i), w.small(i), w.small(i))
	}
	f.op("TESTQ", "CX", "CX")
	f.op("JZ", "tail")
	f.label("step")
	for at := 0; at < outs*d.stepBytes(); at += 64 {
		f.op("PREFETCHT1", mem(at, "R15"))
	}
	d.step(false)
	f.op("ADDQ", imm(rows*int(w)), "SI")
	f.op("ADDQ", mem(tilePace, "DI"), "R15")
	f.op("ADDQ", imm(d.stepBytes()), "CX")
	f.op("JNZ", "step")
	f.label("tail")
	f.op("CMPQ", mem(tileRem, "DI"), imm(0))
	f.op("JEQ", "reduce")
	d.step(true)
	f.label("reduce")
	if w == 64 {
		d.reduce512()
	} else {
		d.reduce256()
	}
	f.op("ADDQ", imm(4*outs), "R8")
	f.op("LEAQ", mem(0, "R10", "BX*4"), "R10")
	f.op("SUBQ", mem(tileWhole, "DI"), "R10")
	f.op("SUBQ", imm(outs), "DX")
	f.op("JGT", "tile")
	f.end()
}

// small is the register to clear with an instruction that needs no AVX-512 where there is one.
func (w width) small(i int) string {
	if w == 64 && i < 16 {
		return y(i)
	}
	return w.reg(i)
}

// begin loads the arguments, the address of W into the register named.
func (d *dot) begin(w string) {
	d.op("MOVQ", "t+0(FP)", "DI")
	d.op("MOVQ", mem(tileC, "DI"), "R8")
	d.op("MOVQ", mem(tileX, "DI"), "AX")
	d.op("MOVQ", mem(tileW, "DI"), w)
	d.op("MOVQ", mem(tileLDW, "DI"), "BX")
	d.op("MOVQ", mem(tileN, "DI"), "DX")
	if d.w != 64 {
		return
	}
	d.note("K1 selects what is left of k after whole vectors.")
	d.op("MOVQ", "$-1", "SI")
	d.op("MOVQ", mem(tileRem, "DI"), "CX")
	d.op("BZHIQ", "CX", "SI", "SI")
	d.op("KMOVQ", "SI", "K1")
}

// pointers sets up four rows of W; where fewer are left, the last one stands in for the others.
func (d *dot) pointers() {
	d.op("MOVQ", "AX", "SI")
	for i, r := range []string{"R11", "R12", "R13"} {
		before := fmt.Sprintf("R%d", 10+i)
		d.op("LEAQ", mem(0, before, "BX*1"), r)
		d.op("CMPQ", "DX", imm(i+2))
		d.op("CMOVQLT", before, r)
	}
	d.op("MOVQ", mem(tileWhole, "DI"), "CX")
	for i := range outs {
		d.op("ADDQ", "CX", d.row(i))
	}
	d.op("NEGQ", "CX")
}

func (d *dot) row(out int) string { return fmt.Sprintf("R%d", 10+out) }

// step multiplies one vector of each row; as the tail, what is left of it.
func (d *dot) step(tail bool) {
	if d.w == 64 {
		for j := range outs {
			d.load512(j, tail)
		}
		for i := range d.rows {
			v := 28 + i%4
			d.op("VMOVUPS", mem(64*i, "SI"), z(v))
			for j := range outs {
				d.multiply(d.sum(i, j), v, 24+j)
			}
		}
		return
	}
	for i := range d.rows {
		d.op("VMOVUPS", mem(32*i, "SI"), y(12+i))
	}
	for j := range outs {
		d.load256(j, tail)
		for i := range d.rows {
			d.op("VFMADD231PS", y(15), y(12+i), y(d.sum(i, j)))
		}
	}
}

func (d *dot) multiply(sum, x, w int) {
	if d.kind == pairs {
		d.dotBF16(sum, x, w)
		return
	}
	d.op("VFMADD231PS", z(w), z(x), z(sum))
}

// load512 loads a vector of row j of W into Z(24+j). Masked loads touch no memory beyond the row.
func (d *dot) load512(j int, tail bool) {
	from := []any{mem(0, d.row(j), "CX*1")}
	suffix := ""
	if tail {
		from, suffix = []any{mem(0, d.row(j)), "K1"}, ".Z"
	}
	load := func(name, to string) { d.op(name+suffix, append(from, to)...) }
	switch d.kind {
	case f32:
		load("VMOVUPS", z(24+j))
	case f16:
		load("VMOVDQU16", y(24+j))
		d.op("VCVTPH2PS", y(24+j), z(24+j))
	case bf16:
		load("VPMOVZXWD", z(24+j))
		d.op("VPSLLD", "$16", z(24+j), z(24+j))
	case pairs:
		load("VMOVDQU16", z(24+j))
	}
}

// load256 loads a vector of row j of W into Y15. Of 16-bit weights the tail is cut from the last 8 of the row, which the
// caller has made sure there are: AVX2 has no masked load of them.
func (d *dot) load256(j int, tail bool) {
	from := mem(0, d.row(j), "CX*1")
	half := from
	switch {
	case tail && d.kind == f32:
		d.slide("windowF32", 32, 2, "R9")
		d.op("VMOVUPS", mem(0, "R9"), y(15))
		d.op("VMASKMOVPS", mem(0, d.row(j)), y(15), y(15))
		return
	case tail:
		d.slide("windowF16", 0, 1, "R9")
		d.op("MOVQ", mem(tileRem, "DI"), "CX")
		d.op("VMOVDQU", mem(-16, d.row(j), "CX*2"), x(15))
		d.op("VPSHUFB", mem(16, "R9"), x(15), x(15))
		d.op("XORQ", "CX", "CX")
		half = x(15)
	}
	switch d.kind {
	case f32:
		d.op("VMOVUPS", from, y(15))
	case f16:
		d.op("VCVTPH2PS", half, y(15))
	case bf16:
		d.op("VPMOVZXWD", half, y(15))
		d.op("VPSLLD", "$16", y(15), y(15))
	}
}

// slide sets a register to the window of a table that belongs to t.rem: table + offset − rem·2^shift.
func (d *dot) slide(table string, offset, shift int, to string) {
	d.op("MOVQ", mem(tileRem, "DI"), "CX")
	d.op("SHLQ", imm(shift), "CX")
	d.op("LEAQ", fmt.Sprintf("%s<>+%d(SB)", table, offset), to)
	d.op("SUBQ", "CX", to)
	d.op("XORQ", "CX", "CX")
}
