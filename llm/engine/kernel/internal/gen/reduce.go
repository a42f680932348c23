package main

import "fmt"

// The sums of a tile are vectors; each has to become one number, added in the same order for every element of C and
// for every number of rows. Four vectors of a row are transposed and added until each 128-bit lane holds partial sums
// of four neighbours in C, and then the lanes are added.

// reduce512 adds lanes as ((0+2)+(1+3)) within a quarter, then quarters likewise.
func (d *dot) reduce512() {
	for i := range d.rows {
		d.quarters(i)
	}
	// Of up to four rows: Z(sum(i,0)) holds 4 quarters of row i.
	for first := 0; first < d.rows; first += 4 {
		n := min(4, d.rows-first)
		at := func(i int) int { return d.sum(first+min(i, n-1), 0) }
		d.fold("VSHUFF64X2", "$0x44", "$0xEE", at(0), at(1), 24)
		second := 24
		if n > 2 {
			d.fold("VSHUFF64X2", "$0x44", "$0xEE", at(2), at(3), 25)
			second = 25
		}
		d.fold("VSHUFF64X2", "$0x88", "$0xDD", 24, second, 26+first/4)
	}
	d.storeMask512()
	d.op("MOVQ", mem(tileLDC, "DI"), "R9")
	d.op("MOVQ", "R8", "SI")
	for i := range d.rows {
		from, lane := 26+i/4, i%4
		to := from
		if lane > 0 {
			to = 28
			d.op("VEXTRACTF32X4", imm(lane), z(from), x(28))
		}
		d.store512(i, to)
	}
}

// quarters leaves in the first register of row i, in each quarter, the quarter's sums for the four outputs.
func (d *dot) quarters(i int) {
	s := func(j int) int { return d.sum(i, j) }
	d.fold2("VUNPCKLPS", "VUNPCKHPS", s(0), s(1), 24)
	d.fold2("VUNPCKLPS", "VUNPCKHPS", s(2), s(3), 25)
	d.fold2("VUNPCKLPD", "VUNPCKHPD", 24, 25, s(0))
}

// fold2 adds two interleavings of registers a and b.
func (d *dot) fold2(low, high string, a, b, to int) {
	d.op(low, z(b), z(a), z(30))
	d.op(high, z(b), z(a), z(31))
	d.op("VADDPS", z(31), z(30), z(to))
}

func (d *dot) fold(name, low, high string, a, b, to int) {
	d.op(name, low, z(b), z(a), z(30))
	d.op(name, high, z(b), z(a), z(31))
	d.op("VADDPS", z(31), z(30), z(to))
}

// storeMask512 sets K2 to the outputs that are there, K3 to those of them to add to.
func (d *dot) storeMask512() {
	d.op("MOVL", "$15", "SI")
	d.op("BZHIQ", "DX", "SI", "SI") // which takes 8 bits of DX: t.n is below 256
	d.op("KMOVW", "SI", "K2")
	d.op("ANDQ", mem(tileAdd, "DI"), "SI")
	d.op("KMOVW", "SI", "K3")
}

func (d *dot) store512(row, from int) {
	d.op("VMOVUPS.Z", mem(0, "SI"), "K3", x(29))
	d.op("VADDPS", x(29), width(16).reg(from), x(28))
	d.op("VMOVUPS", x(28), "K2", mem(0, "SI"))
	if row < d.rows-1 {
		d.op("ADDQ", "R9", "SI")
	}
}

// reduce256 adds lanes as ((0+1)+(2+3)) within a half, then the halves.
func (d *dot) reduce256() {
	d.note("Y14 selects the outputs that are there.")
	d.op("MOVQ", "$4", "CX")
	d.op("CMPQ", "DX", "CX")
	d.op("CMOVQLT", "DX", "CX")
	d.op("LEAQ", "windowF32<>+32(SB)", "R9")
	d.op("SHLQ", "$2", "CX")
	d.op("SUBQ", "CX", "R9")
	d.op("VMOVUPS", mem(0, "R9"), x(14))
	d.op("MOVQ", mem(tileLDC, "DI"), "R9")
	d.op("MOVQ", "R8", "SI")
	for i := range d.rows {
		s := d.sum(i, 0)
		d.op("VHADDPS", y(s+1), y(s), y(12))
		d.op("VHADDPS", y(s+3), y(s+2), y(13))
		d.op("VHADDPS", y(13), y(12), y(12))
		d.op("VEXTRACTF128", "$1", y(12), x(13))
		d.op("VADDPS", x(13), x(12), x(12))
		d.op("VXORPS", x(13), x(13), x(13))
		d.op("CMPQ", mem(tileAdd, "DI"), imm(0))
		d.op("JEQ", fmt.Sprintf("store%d", i))
		d.op("VMASKMOVPS", mem(0, "SI"), x(14), x(13))
		d.label(fmt.Sprintf("store%d", i))
		d.op("VADDPS", x(13), x(12), x(12))
		d.op("VMASKMOVPS", x(12), x(14), mem(0, "SI"))
		d.op("ADDQ", "R9", "SI")
	}
}

// windows are tables to cut masks from: of 32-bit lanes, n times -1 before zeros; of bytes, the identity before
// indices that give zero.
func (f *file) windows() {
	ones := ^uint64(0)
	f.constant("windowF32", ones, ones, ones, ones, 0, 0, 0, 0)
	f.constant("windowF16", 0x0706050403020100, 0x0f0e0d0c0b0a0908, 0x8080808080808080, 0x8080808080808080)
}
