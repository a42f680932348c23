package main

import "fmt"

// readAhead is how many bytes ahead the next lines of memory are asked for.
const readAhead = 4096

// line is a kernel like dot for one row of X, but goes through W row by row, all of a row's blocks one after the other:
// one row of X waits for memory, which is read fastest in the order of its addresses. That pays only where a weight
// needs no conversion; several rows of X, too, are multiplied faster by tiles, whose four sums don't wait for each
// other. The sums are made in the same order.
//
//	AX  X                   SI  running through it    DX  rows of W left    DI  the arguments    R8  C
//	R13 the row of W        BX  their distance        R10 the block's end   CX  bytes to it, negative
//	R12 whole bytes left    R11 blocks left           X7  the element of C
func (f *file) line(k kind) {
	d := &dot{f, k, 1, 64, fmt.Sprintf("line512%s", k.name)}
	f.function(d.name, "(t *tile)", 8)
	d.begin("R13")
	f.label("line")
	f.op("MOVQ", "AX", "SI")
	f.op("MOVQ", "R13", "R10")
	f.op("MOVQ", mem(tileWhole, "DI"), "R12")
	f.op("MOVQ", mem(tileParts, "DI"), "R11")
	f.note("Begin with what is in C, or with zero.")
	f.op("VXORPS", x(7), x(7), x(7))
	f.op("CMPQ", mem(tileAdd, "DI"), "$0")
	f.op("JEQ", "block")
	f.op("VMOVSS", mem(0, "R8"), x(7))
	f.label("block")
	f.op("MOVQ", mem(tilePart, "DI"), "CX")
	f.op("CMPQ", "R12", "CX")
	f.op("CMOVQLT", "R12", "CX")
	f.op("SUBQ", "CX", "R12")
	f.op("ADDQ", "CX", "R10")
	f.op("VXORPS", y(0), y(0), y(0))
	f.op("NEGQ", "CX")
	f.op("JZ", "tail")
	d.lineLoop()
	f.label("tail")
	f.op("CMPQ", "R11", "$1")
	f.op("JNE", "reduce")
	f.op("CMPQ", mem(tileRem, "DI"), "$0")
	f.op("JEQ", "reduce")
	d.lineStep(true)
	f.label("reduce")
	d.lineReduce()
	f.op("DECQ", "R11")
	f.op("JNZ", "block")
	f.op("VMOVSS", x(7), mem(0, "R8"))
	f.op("ADDQ", "$4", "R8")
	f.op("ADDQ", "BX", "R13")
	f.op("DECQ", "DX")
	f.op("JNZ", "line")
	f.end()
}

// lineLoop goes through the whole vectors of a block, each a line of memory. Few instructions let the CPU begin with
// the next block before the sum of this one is ready.
func (d *dot) lineLoop() {
	d.label("step")
	d.op("PREFETCHT1", mem(readAhead, "R10", "CX*1"))
	d.lineStep(false)
	d.op("ADDQ", "$64", "SI")
	d.op("ADDQ", "$64", "CX")
	d.op("JNZ", "step")
}

// lineStep multiplies one vector of the row of W, or what is left of it, with that of X.
func (d *dot) lineStep(tail bool) {
	d.load512(0, tail)
	d.op("VMOVUPS", mem(0, "SI"), z(8))
	d.multiply(0, 8, 24)
}

// lineReduce adds the vector's lanes to the element of C as reduce512 does.
func (d *dot) lineReduce() {
	d.fold2("VUNPCKLPS", "VUNPCKHPS", 0, 0, 24)
	d.fold2("VUNPCKLPD", "VUNPCKHPD", 24, 24, 24)
	d.op("VEXTRACTF64X4", "$1", z(24), y(25))
	d.op("VADDPS", y(25), y(24), y(24))
	d.op("VEXTRACTF32X4", "$1", y(24), x(25))
	d.op("VADDPS", x(25), x(24), x(24))
	d.op("VADDPS", x(24), x(7), x(7))
}
