package safetensors

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Decode converts the elements of src to float32. len(dst) is the number of elements and src holds exactly their bytes.
// Types wider than float32 (F64, and integers beyond 24 bits) are rounded to nearest even; the 4- and 6-bit types and C64
// have no float32 form here and give an error.
func Decode(dst []float32, dt DType, src []byte) error {
	if err := checkLengths(len(dst), dt, len(src)); err != nil {
		return err
	}
	switch dt {
	case F32:
		decode32(dst, src)
	case BF16:
		decodeBF16(dst, src)
	case F16:
		decodeF16(dst, src)
	case F64:
		for i := range dst {
			dst[i] = float32(math.Float64frombits(binary.LittleEndian.Uint64(src[8*i:])))
		}
	case F8E4M3, F8E5M2, F8E8M0, F8E4M3FNUZ, F8E5M2FNUZ:
		table := float8Table(dt)
		for i, b := range src {
			dst[i] = table[b]
		}
	default:
		return decodeInteger(dst, dt, src)
	}
	return nil
}

// decodeInteger converts the integer types and BOOL.
func decodeInteger(dst []float32, dt DType, src []byte) error {
	le := binary.LittleEndian
	for i := range dst {
		switch dt {
		case Bool, U8:
			dst[i] = float32(src[i])
		case I8:
			dst[i] = float32(int8(src[i]))
		case U16:
			dst[i] = float32(le.Uint16(src[2*i:]))
		case I16:
			dst[i] = float32(int16(le.Uint16(src[2*i:])))
		case U32:
			dst[i] = float32(le.Uint32(src[4*i:]))
		case I32:
			dst[i] = float32(int32(le.Uint32(src[4*i:])))
		case U64:
			dst[i] = float32(le.Uint64(src[8*i:]))
		case I64:
			dst[i] = float32(int64(le.Uint64(src[8*i:])))
		default:
			return fmt.Errorf("dtype %s cannot be read as float32", dt)
		}
	}
	return nil
}

// Encode converts src to elements of dt in dst, rounding to nearest even; NaN stays NaN. What is too large becomes
// infinite, except in F8_E4M3, which has no infinity and where it becomes NaN. Encode knows F64, F32, F16, BF16, F8_E4M3
// and F8_E5M2.
func Encode(dst []byte, dt DType, src []float32) error {
	if err := checkLengths(len(src), dt, len(dst)); err != nil {
		return err
	}
	switch dt {
	case F32:
		encode32(dst, src)
	case BF16:
		encodeBF16(dst, src)
	case F16:
		encodeF16(dst, src)
	case F8E4M3:
		for i, v := range src {
			dst[i] = toE4M3(v)
		}
	case F8E5M2:
		for i, v := range src {
			dst[i] = toE5M2(v)
		}
	case F64:
		for i, v := range src {
			binary.LittleEndian.PutUint64(dst[8*i:], math.Float64bits(float64(v)))
		}
	default:
		return fmt.Errorf("float32 cannot be written as dtype %s", dt)
	}
	return nil
}

// Round replaces each value by the one that survives Encode and Decode with dt.
func Round(dt DType, x []float32) error {
	switch dt {
	case F32, F64:
	case BF16:
		roundBF16(x)
	case F16:
		roundF16(x)
	case F8E4M3:
		table := float8Table(dt)
		for i, v := range x {
			x[i] = table[toE4M3(v)]
		}
	case F8E5M2:
		table := float8Table(dt)
		for i, v := range x {
			x[i] = table[toE5M2(v)]
		}
	default:
		return fmt.Errorf("float32 cannot be written as dtype %s", dt)
	}
	return nil
}

// checkLengths checks that n elements of dt take exactly size bytes.
func checkLengths(n int, dt DType, size int) error {
	width, ok := dt.Bits()
	if !ok {
		return fmt.Errorf("dtype %s is unknown", quote(string(dt)))
	}
	if want, whole, fits := byteSize(int64(n), width); !whole || !fits || want != int64(size) {
		return fmt.Errorf("%d elements of %s do not take %d bytes", n, dt, size)
	}
	return nil
}

func fromBF16(h uint16) float32 { return math.Float32frombits(uint32(h) << 16) }

// toBF16 keeps the upper half of the bits, rounded to nearest even; a NaN stays a (quiet) NaN.
func toBF16(v float32) uint16 {
	u := math.Float32bits(v)
	if u&0x7fffffff > 0x7f800000 {
		return uint16(u>>16) | 0x40
	}
	return uint16((u + 0x7fff + u>>16&1) >> 16)
}

// fromF16 decodes IEEE 754 binary16: exponent and mantissa are put in place and the exponent is rebased. A subnormal is
// read as if it had the implied leading bit, which is then subtracted; that is exact.
func fromF16(h uint16) float32 {
	u := uint32(h&0x7fff) << 13
	switch {
	case u >= 31<<23: // infinity or NaN
		u += 224 << 23
	case u >= 1<<23:
		u += 112 << 23
	default:
		u = math.Float32bits(math.Float32frombits(u+113<<23) - 0x1p-14)
	}
	return math.Float32frombits(u | uint32(h&0x8000)<<16)
}

// toF16 rounds to IEEE 754 binary16.
func toF16(v float32) uint16 { return uint16(toSmall(v, 5, 10)) }

// toE5M2 rounds to F8_E5M2.
func toE5M2(v float32) uint8 { return uint8(toSmall(v, 5, 2)) }

// toSmall rounds to nearest even to an IEEE-like format with a sign, the given number of exponent bits and mantissa
// bits, subnormals, infinities and NaN.
func toSmall(v float32, expBits, manBits uint32) uint32 {
	u := math.Float32bits(v)
	sign := u >> 31 << (expBits + manBits)
	u &= 0x7fffffff
	inf := (uint32(1)<<expBits - 1) << manBits
	if u > 0x7f800000 {
		return sign | inf | 1<<(manBits-1)
	}
	return sign | min(roundSmall(u, expBits, manBits), inf)
}

// roundSmall rounds the magnitude with bits u to a format's exponent and mantissa bits; the result grows past the
// format's largest finite value for what is too large.
func roundSmall(u, expBits, manBits uint32) uint32 {
	bias := uint32(1)<<(expBits-1) - 1
	drop := 23 - manBits
	least := (127 - bias + 1) << 23 // the smallest normal value of the format
	if u >= least {
		u -= (127 - bias) << 23
		return (u + (1<<(drop-1) - 1) + u>>drop&1) >> drop
	}
	// A subnormal is a multiple of 2^(1−bias−manBits): adding that times 2^23 lets the processor round, and leaves the
	// multiple in the low bits of the sum.
	magic := math.Float32frombits((127 + 1 - bias - manBits + 23) << 23)
	return math.Float32bits(math.Float32frombits(u)+magic) - math.Float32bits(magic)
}

// toE4M3 rounds to F8_E4M3 (E4M3FN): the code above the largest finite value, 448, is NaN, and there is no infinity.
func toE4M3(v float32) uint8 {
	u := math.Float32bits(v)
	sign := uint8(u >> 31 << 7)
	u &= 0x7fffffff
	if u > 0x7f800000 {
		return sign | 0x7f
	}
	return sign | uint8(min(roundSmall(u, 4, 3), 0x7f))
}

// float8Table returns the value of each of the 256 codes of an 8-bit floating-point type.
func float8Table(dt DType) *[256]float32 {
	var t [256]float32
	nan := float32(math.NaN())
	for b := range t {
		switch dt {
		case F8E5M2:
			t[b] = fromF16(uint16(b) << 8)
		case F8E4M3:
			t[b] = fromSmall(uint8(b), 3, 7)
			if b&0x7f == 0x7f {
				t[b] = nan
			}
		case F8E8M0:
			t[b] = float32(math.Ldexp(1, b-127))
			if b == 0xff {
				t[b] = nan
			}
		case F8E4M3FNUZ:
			t[b] = fromSmall(uint8(b), 3, 8)
			if b == 0x80 {
				t[b] = nan
			}
		case F8E5M2FNUZ:
			t[b] = fromSmall(uint8(b), 2, 16)
			if b == 0x80 {
				t[b] = nan
			}
		}
	}
	return &t
}

// fromSmall decodes an 8-bit code with the given mantissa bits and exponent bias, every code finite.
func fromSmall(b uint8, manBits, bias int) float32 {
	exp := int(b&0x7f) >> manBits
	man := float64(int(b) & (1<<manBits - 1))
	if exp == 0 {
		exp = 1
	} else {
		man += float64(int(1) << manBits)
	}
	v := math.Ldexp(man, exp-bias-manBits)
	if b&0x80 != 0 {
		v = -v
	}
	return float32(v)
}
