package main

import "fmt"

// lines is the most rows of X for which there are kernels that take W row by row. A few rows wait for memory, which is
// read fastest in the order of its addresses; tiles read four rows of W at once.
const (
	lines512 = 4
	lines256 = rows256
)

// readAhead is how many bytes ahead the next lines of memory are asked for.
const readAhead = 4096

// line is a kernel like dot, but goes through W row by row, all of a row's blocks one after the other. The sums are
// made in the same order.
//
//	AX  X                   SI  running through it    DX  rows of W left    DI  the arguments    R8  C
//	R13 the row of W        BX  their distance        R10 the block's end   CX  bytes to it, negative
//	R12 whole bytes left    R11 blocks left           R9  to calculate with
func (f *file) line(w width, k kind, rows int) {
	d := &dot{f, k, rows, w, fmt.Sprintf("line%d%sx%d", w*8, k.name, rows)}
	f.function(d.name, "(t *tile)", 8)
	d.begin("R13")
	f.label("line")
	f.op("MOVQ", "AX", "SI")
	f.op("MOVQ", "R13", "R10")
	f.op("MOVQ", mem(tileWhole, "DI"), "R12")
	f.op("MOVQ", mem(tileParts, "DI"), "R11")
	d.loadSums()
	f.label("block")
	f.op("MOVQ", mem(tilePart, "DI"), "CX")
	f.op("CMPQ", "R12", "CX")
	f.op("CMOVQLT", "R12", "CX")
	f.op("SUBQ", "CX", "R12")
	f.op("ADDQ", "CX", "R10")
	for i := range rows {
		f.op("VXORPS", w.small(i), w.small(i), w.small(i))
	}
	f.op("NEGQ", "CX")
	f.op("JZ", "tail")
	d.lineLoop()
	f.label("tail")
	f.op("CMPQ", "R11", "$1")
	f.op("JNE", "reduce")
	f.op("CMPQ", mem(tileRem, "DI"), "$0")
	f.op("JEQ", "reduce")
	d.lineStep(0, true)
	f.label("reduce")
	d.lineReduce()
	f.op("DECQ", "R11")
	f.op("JNZ", "block")
	d.storeSums()
	f.op("ADDQ", "$4", "R8")
	f.op("ADDQ", "BX", "R13")
	f.op("DECQ", "DX")
	f.op("JNZ", "line")
	f.end()
}

// lineSums is the register of C's elements, one a row of X.
const lineSums = 7

// loadSums begins with what is in C, or with zeros.
func (d *dot) loadSums() {
	d.op("VXORPS", x(lineSums), x(lineSums), x(lineSums))
	d.op("CMPQ", mem(tileAdd, "DI"), "$0")
	d.op("JEQ", "block")
	d.op("MOVQ", "R8", "R9")
	for i := range d.rows {
		d.op("VINSERTPS", imm(i<<4), mem(0, "R9"), x(lineSums), x(lineSums))
		if i < d.rows-1 {
			d.op("ADDQ", mem(tileLDC, "DI"), "R9")
		}
	}
}

func (d *dot) storeSums() {
	d.op("MOVQ", "R8", "R9")
	for i := range d.rows {
		d.op("VEXTRACTPS", imm(i), x(lineSums), mem(0, "R9"))
		if i < d.rows-1 {
			d.op("ADDQ", mem(tileLDC, "DI"), "R9")
		}
	}
}

// lineLoop goes through the whole vectors of a block, a line of memory at a time as long as there is one: few
// instructions let the CPU begin with the next block before the sums of this one are ready.
func (d *dot) lineLoop() {
	size := d.stepBytes()
	if size < 64 {
		d.op("CMPQ", "CX", "$-64")
		d.op("JGT", "step")
	}
	d.label("line64")
	d.op("PREFETCHT1", mem(readAhead, "R10", "CX*1"))
	for i := range 64 / size {
		d.lineStep(i, false)
	}
	d.op("ADDQ", imm(d.rows*int(d.w)*64/size), "SI")
	d.op("ADDQ", "$64", "CX")
	if size == 64 {
		d.op("JNZ", "line64")
		return
	}
	d.op("CMPQ", "CX", "$-64")
	d.op("JLE", "line64")
	d.op("TESTQ", "CX", "CX")
	d.op("JZ", "tail")
	d.label("step")
	d.lineStep(0, false)
	d.op("ADDQ", imm(d.rows*int(d.w)), "SI")
	d.op("ADDQ", imm(size), "CX")
	d.op("JNZ", "step")
}

// lineStep multiplies one vector of the row of W, or what is left of it, with those of X.
func (d *dot) lineStep(step int, tail bool) {
	vector := 15
	if d.w == 64 {
		vector = 24
		d.load512(0, step, tail)
	} else {
		d.load256(0, step, tail)
	}
	for i := range d.rows {
		from := mem(int(d.w)*(step*d.rows+i), "SI")
		if d.kind == pairs {
			d.op("VMOVUPS", from, d.w.reg(8+i))
			d.dotBF16(i, 8+i, vector)
		} else {
			d.op("VFMADD231PS", from, d.w.reg(vector), d.w.reg(i))
		}
	}
}

// lineReduce adds up the vectors of up to four rows, as reduce512 and reduce256 do, into the elements of lineSums.
func (d *dot) lineReduce() {
	at := func(i int) int { return min(i, d.rows-1) }
	if d.w == 32 {
		d.op("VHADDPS", y(at(1)), y(0), y(12))
		d.op("VHADDPS", y(at(3)), y(at(2)), y(13))
		d.op("VHADDPS", y(13), y(12), y(12))
		d.op("VEXTRACTF128", "$1", y(12), x(13))
		d.op("VADDPS", x(13), x(12), x(12))
		d.op("VADDPS", x(12), x(lineSums), x(lineSums))
		return
	}
	d.fold2("VUNPCKLPS", "VUNPCKHPS", 0, at(1), 24)
	second := 24
	if d.rows > 2 {
		d.fold2("VUNPCKLPS", "VUNPCKHPS", at(2), at(3), 25)
		second = 25
	}
	d.fold2("VUNPCKLPD", "VUNPCKHPD", 24, second, 24)
	d.op("VEXTRACTF64X4", "$1", z(24), y(25))
	d.op("VADDPS", y(25), y(24), y(24))
	d.op("VEXTRACTF32X4", "$1", y(24), x(25))
	d.op("VADDPS", x(25), x(24), x(24))
	d.op("VADDPS", x(24), x(lineSums), x(lineSums))
}
