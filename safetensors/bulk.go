package safetensors

import (
	"encoding/binary"
	"math"
	"unsafe"
)

// littleEndian tells whether this machine keeps numbers the way the file does, so that F32 is a plain copy.
var littleEndian = binary.NativeEndian.Uint16([]byte{1, 0}) == 1

// bytesOf views values as the bytes they are in memory.
func bytesOf(values []float32) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(values))), 4*len(values))
}

func decode32(dst []float32, src []byte) {
	if littleEndian {
		copy(bytesOf(dst), src)
		return
	}
	for i := range dst {
		dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(src[4*i:]))
	}
}

func encode32(dst []byte, src []float32) {
	if littleEndian {
		copy(dst, bytesOf(src))
		return
	}
	for i, v := range src {
		binary.LittleEndian.PutUint32(dst[4*i:], math.Float32bits(v))
	}
}

// decodeBF16 reads four elements at a time where there are no vectors.
func decodeBF16(dst []float32, src []byte) {
	done := decodeBF16Vector(dst, src)
	dst, src = dst[done:], src[2*done:]
	for len(dst) >= 4 && len(src) >= 8 {
		u := binary.LittleEndian.Uint64(src)
		d := dst[:4:4]
		d[0] = math.Float32frombits(uint32(u) << 16)
		d[1] = math.Float32frombits(uint32(u) & 0xffff0000)
		d[2] = math.Float32frombits(uint32(u>>32) << 16)
		d[3] = math.Float32frombits(uint32(u>>32) & 0xffff0000)
		dst, src = dst[4:], src[8:]
	}
	for i := range dst {
		dst[i] = fromBF16(binary.LittleEndian.Uint16(src[2*i:]))
	}
}

// encodeBF16 writes BF16.
func encodeBF16(dst []byte, src []float32) {
	done := encodeBF16Vector(dst, src)
	dst = dst[2*done:]
	for i, v := range src[done:] {
		binary.LittleEndian.PutUint16(dst[2*i:], toBF16(v))
	}
}

// roundBF16 keeps what survives BF16.
func roundBF16(x []float32) {
	x = x[roundBF16Vector(x):]
	for i, v := range x {
		x[i] = fromBF16(toBF16(v))
	}
}

// decodeF16 reads F16.
func decodeF16(dst []float32, src []byte) {
	done := decodeF16Vector(dst, src)
	dst, src = dst[done:], src[2*done:]
	for i := range dst {
		dst[i] = fromF16(binary.LittleEndian.Uint16(src[2*i:]))
	}
}

// encodeF16 writes F16.
func encodeF16(dst []byte, src []float32) {
	done := encodeF16Vector(dst, src)
	dst = dst[2*done:]
	for i, v := range src[done:] {
		binary.LittleEndian.PutUint16(dst[2*i:], toF16(v))
	}
}

// roundF16 keeps what survives F16.
func roundF16(x []float32) {
	x = x[roundF16Vector(x):]
	for i, v := range x {
		x[i] = fromF16(toF16(v))
	}
}
