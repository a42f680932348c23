package safetensors

import "math/bits"

// DType is an element type, spelled as in a file's header.
type DType string

// The element types of the format, as of 2026.
const (
	Bool       DType = "BOOL"
	F4         DType = "F4" // E2M1, two elements a byte
	F6E2M3     DType = "F6_E2M3"
	F6E3M2     DType = "F6_E3M2"
	U8         DType = "U8"
	I8         DType = "I8"
	F8E5M2     DType = "F8_E5M2"
	F8E4M3     DType = "F8_E4M3" // E4M3FN: no infinities, one NaN a sign
	F8E8M0     DType = "F8_E8M0" // an exponent alone: 2^(byte−127)
	F8E4M3FNUZ DType = "F8_E4M3FNUZ"
	F8E5M2FNUZ DType = "F8_E5M2FNUZ"
	I16        DType = "I16"
	U16        DType = "U16"
	F16        DType = "F16"
	BF16       DType = "BF16"
	I32        DType = "I32"
	U32        DType = "U32"
	F32        DType = "F32"
	C64        DType = "C64" // two float32: real, imaginary
	F64        DType = "F64"
	I64        DType = "I64"
	U64        DType = "U64"
)

// dtypes lists every type with its width; a type's place in it is its code inside the reader.
var dtypes = [...]struct {
	name DType
	bits int
}{
	{Bool, 8}, {F4, 4}, {F6E2M3, 6}, {F6E3M2, 6}, {U8, 8}, {I8, 8},
	{F8E5M2, 8}, {F8E4M3, 8}, {F8E8M0, 8}, {F8E4M3FNUZ, 8}, {F8E5M2FNUZ, 8},
	{I16, 16}, {U16, 16}, {F16, 16}, {BF16, 16}, {I32, 32}, {U32, 32}, {F32, 32},
	{C64, 64}, {F64, 64}, {I64, 64}, {U64, 64},
}

// dtypeCode returns the place of d in dtypes.
func dtypeCode(d string) (int, bool) {
	for i := range dtypes {
		if string(dtypes[i].name) == d {
			return i, true
		}
	}
	return 0, false
}

// Bits returns the width of one element, and false for a name that the format does not know.
func (d DType) Bits() (int, bool) {
	code, ok := dtypeCode(string(d))
	if !ok {
		return 0, false
	}
	return dtypes[code].bits, true
}

// mulCount multiplies two non-negative counts; ok is false when the product does not fit an int64.
func mulCount(a, b int64) (product int64, ok bool) {
	hi, lo := bits.Mul64(uint64(a), uint64(b))
	return int64(lo), hi == 0 && lo <= 1<<63-1
}

// byteSize returns the bytes that n elements of the given width take; whole is false when they do not fill the last
// byte, fits is false when the size does not fit an int64.
func byteSize(n int64, width int) (size int64, whole, fits bool) {
	total, ok := mulCount(n, int64(width))
	if !ok {
		return 0, true, false
	}
	return total / 8, total%8 == 0, true
}
