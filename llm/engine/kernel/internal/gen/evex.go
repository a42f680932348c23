package main

import "fmt"

// dotBF16 is VDPBF16PS zmm(dst), zmm(a), zmm(b): each float32 lane of dst takes the products of two pairs of bfloat16.
// Go's assembler doesn't know it (EVEX.512.F3.0F38.W0 52 /r), so these are its six bytes.
func dotBF16(dst, a, b int) [6]byte {
	invert := func(register, bit int) byte { return byte(^register >> bit & 1) }
	p0 := invert(dst, 3)<<7 | invert(b, 4)<<6 | invert(b, 3)<<5 | invert(dst, 4)<<4 | 2 // R X B R' 00 mm, map 0F38
	p1 := byte(^a&15)<<3 | 1<<2 | 2                                                     // W vvvv 1 pp, prefix F3
	p2 := byte(2)<<5 | invert(a, 4)<<3                                                  // z L'L b V' aaa, 512 bits, no mask
	return [6]byte{0x62, p0, p1, p2, 0x52, 0xc0 | byte(dst&7)<<3 | byte(b&7)}
}

func (f *file) dotBF16(dst, a, b int) {
	e := dotBF16(dst, a, b)
	long := uint32(e[0]) | uint32(e[1])<<8 | uint32(e[2])<<16 | uint32(e[3])<<24
	f.text.WriteString(fmt.Sprintf("\tLONG $%#08x; WORD $%#04x // VDPBF16PS Z%d, Z%d, Z%d\n",
		long, uint16(e[4])|uint16(e[5])<<8, b, a, dst))
}
