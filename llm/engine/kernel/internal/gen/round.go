package main

// rounding has the conversions of float32 to bfloat16 and, with AVX-512, to float16, to the nearest, ties to even; NaN
// stays NaN. That to bfloat16:
//
//	bits + 0x7fff + (bits>>16 & 1), of which the upper half is the result; for NaN the upper half with the quiet bit
func rounding() *file {
	f := newFile()
	f.constant("roundWords", 0x0000000100007fff, 0x0000000000000040)
	f.round512()
	f.pack512()
	f.round256()
	f.half512()
	return f
}

// roundBegin loads dst, src, n values, which all have, and what rounding needs; AVX2's n is a multiple of 8.
func (f *file) roundBegin(name, signature string, argBytes int, w width) {
	f.function(name, signature, argBytes)
	f.op("MOVQ", "dst+0(FP)", "DI")
	f.op("MOVQ", "src+8(FP)", "SI")
	f.op("MOVQ", "n+16(FP)", "CX")
	f.op("VPBROADCASTD", "roundWords<>+0(SB)", w.reg(5))
	f.op("VPBROADCASTD", "roundWords<>+4(SB)", w.reg(6))
	f.op("VPBROADCASTD", "roundWords<>+8(SB)", w.reg(7))
}

func (f *file) round512() {
	f.roundBegin("round512", "(dst, src unsafe.Pointer, n int)", 24, 64)
	f.op("MOVQ", "$-1", "AX")
	f.label("again")
	f.op("MOVQ", "$16", "DX")
	f.op("CMPQ", "CX", "DX")
	f.op("CMOVQLT", "CX", "DX")
	f.op("BZHIQ", "DX", "AX", "BX")
	f.op("KMOVW", "BX", "K1")
	f.roundVector(mem(0, "SI"), "K1")
	f.op("VPMOVDW", z(3), "K1", mem(0, "DI"))
	f.op("ADDQ", "$64", "SI")
	f.op("ADDQ", "$32", "DI")
	f.op("SUBQ", "$16", "CX")
	f.op("JGT", "again")
	f.end()
}

// roundVector loads what a mask selects and leaves it, rounded, in the lower halves of Z3's lanes; zero elsewhere.
func (f *file) roundVector(from, mask string) {
	f.op("VMOVDQU32.Z", from, mask, z(0))
	f.op("VPSRLD", "$16", z(0), z(1))
	f.op("VPANDD", z(6), z(1), z(2))
	f.op("VPADDD", z(5), z(0), z(3))
	f.op("VPADDD", z(2), z(3), z(3))
	f.op("VPSRLD", "$16", z(3), z(3))
	f.op("VCMPPS", "$3", z(0), z(0), "K2")
	f.op("VPORD", z(7), z(1), "K2", z(3))
}

// pack512 rounds as round512 does, 32 values to each step of dst, the last filled up with zeros.
func (f *file) pack512() {
	f.roundBegin("pack512", "(dst, src unsafe.Pointer, n, step int)", 32, 64)
	f.op("MOVQ", "step+24(FP)", "R8")
	f.op("MOVQ", "$-1", "AX")
	f.label("again")
	f.op("MOVQ", "$32", "DX")
	f.op("CMPQ", "CX", "DX")
	f.op("CMOVQLT", "CX", "DX")
	f.op("BZHIQ", "DX", "AX", "BX")
	f.op("KMOVW", "BX", "K1")
	f.op("SHRQ", "$16", "BX")
	f.op("KMOVW", "BX", "K3")
	f.roundVector(mem(0, "SI"), "K1")
	f.op("VPMOVDW", z(3), mem(0, "DI"))
	f.roundVector(mem(64, "SI"), "K3")
	f.op("VPMOVDW", z(3), mem(32, "DI"))
	f.op("ADDQ", "$128", "SI")
	f.op("ADDQ", "R8", "DI")
	f.op("SUBQ", "$32", "CX")
	f.op("JGT", "again")
	f.end()
}

func (f *file) round256() {
	f.roundBegin("round256", "(dst, src unsafe.Pointer, n int)", 24, 32)
	f.label("again")
	f.op("VMOVDQU", mem(0, "SI"), y(0))
	f.op("VPSRLD", "$16", y(0), y(1))
	f.op("VPAND", y(6), y(1), y(2))
	f.op("VPADDD", y(5), y(0), y(3))
	f.op("VPADDD", y(2), y(3), y(3))
	f.op("VPSRLD", "$16", y(3), y(3))
	f.op("VCMPPS", "$3", y(0), y(0), y(4))
	f.op("VPOR", y(7), y(1), y(1))
	f.op("VBLENDVPS", y(4), y(1), y(3), y(3))
	f.op("VEXTRACTI128", "$1", y(3), x(4))
	f.op("VPACKUSDW", x(4), x(3), x(3))
	f.op("VMOVDQU", x(3), mem(0, "DI"))
	f.op("ADDQ", "$32", "SI")
	f.op("ADDQ", "$16", "DI")
	f.op("SUBQ", "$8", "CX")
	f.op("JNZ", "again")
	f.end()
}

func (f *file) half512() {
	f.function("half512", "(dst, src unsafe.Pointer, n int)", 24)
	f.op("MOVQ", "dst+0(FP)", "DI")
	f.op("MOVQ", "src+8(FP)", "SI")
	f.op("MOVQ", "n+16(FP)", "CX")
	v := &vector{f, 64}
	v.each(func(rest bool) {
		v.load(mem(0, "SI"), 0, rest)
		if rest {
			f.op("VCVTPS2PH", "$0", z(0), "K1", mem(0, "DI"))
		} else {
			f.op("VCVTPS2PH", "$0", z(0), mem(0, "DI"))
		}
		f.op("ADDQ", "$32", "DI")
	}, "SI")
	f.end()
}
