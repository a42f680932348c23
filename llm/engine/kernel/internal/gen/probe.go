package main

// probes are loops that do one thing as fast as the machine can: multiply and add in registers, and read memory.
func probes() *file {
	f := newFile()
	f.peak("peak512F32", 64, 24, func(sum int) { f.op("VFMADD231PS", z(24), z(25), z(sum)) })
	f.peak("peak512Pairs", 64, 24, func(sum int) { f.dotBF16(sum, 24, 25) })
	f.peak("peak256F32", 32, 12, func(sum int) { f.op("VFMADD231PS", y(12), y(13), y(sum)) })
	f.read("read512", 64, "VPXORD")
	f.read("read256", 32, "VPXOR")
	return f
}

// peak runs n times through a number of sums, none of which waits for another.
func (f *file) peak(name string, w width, sums int, multiply func(sum int)) {
	f.function(name, "(n int)", 8)
	f.op("MOVQ", "n+0(FP)", "CX")
	for i := range sums + 2 {
		f.op("VXORPS", w.small(i), w.small(i), w.small(i))
	}
	f.label("again")
	for i := range sums {
		multiply(i)
	}
	f.op("DECQ", "CX")
	f.op("JNZ", "again")
	f.end()
}

// read combines n bytes at p, a multiple of 512, into one word, so that they have to be read.
func (f *file) read(name string, w width, combine string) {
	f.function(name, "(p unsafe.Pointer, n int) (word uint64)", 24)
	f.op("MOVQ", "p+0(FP)", "SI")
	f.op("MOVQ", "n+8(FP)", "CX")
	const vectors = 8
	for i := range vectors {
		f.op("VXORPS", w.small(i), w.small(i), w.small(i))
	}
	f.label("again")
	for i := range 512 / 64 {
		f.op("PREFETCHT1", mem(readAhead+64*i, "SI"))
	}
	for i := range 512 / int(w) {
		v := w.reg(i % vectors)
		f.op(combine, mem(i*int(w), "SI"), v, v)
	}
	f.op("ADDQ", "$512", "SI")
	f.op("SUBQ", "$512", "CX")
	f.op("JNZ", "again")
	for i := 1; i < vectors; i++ {
		f.op(combine, w.reg(i), w.reg(0), w.reg(0))
	}
	f.op("MOVQ", "X0", "AX")
	f.op("MOVQ", "AX", "word+16(FP)")
	f.end()
}
