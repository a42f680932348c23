package kernel

// DType is how the elements of a weight are stored, little-endian.
type DType int

// The storage types that kernels multiply with.
const (
	F32 DType = iota
	F16
	BF16
	dtypes
)

// Size returns the bytes of an element.
func (d DType) Size() int {
	if d == F32 {
		return 4
	}
	return 2
}

// Arithmetic says what is multiplied.
type Arithmetic int

const (
	// Float32 multiplies float32 with weights widened to float32 and adds up in float32, fused.
	Float32 Arithmetic = iota
	// BFloat16 rounds the inputs to bfloat16 first; products are exact and added up in float32. Only with weights of
	// BF16. Between Sets with a dot instruction for it and others the sums differ by rounding.
	BFloat16
	arithmetics
)

// Set is all kernels in one variant, for one kind of CPU.
type Set struct {
	name    string
	mul     [arithmetics]*family
	vectors vectors
	round   func(dst []uint16, src []float32)
	half    func(dst []uint16, src []float32)    // nil: none
	read    func(p []byte) uint64                // combines all bytes into one word
	peak    [arithmetics]func(n int) (flops int) // multiplies and adds in registers
}

// Name is "avx512bf16", "avx512", "avx2" or "portable".
func (s *Set) Name() string { return s.name }

// RoundBF16 rounds src to bfloat16, to the nearest, ties to even; NaN stays NaN. Both have one length.
func (s *Set) RoundBF16(dst []uint16, src []float32) { s.round(dst[:len(src)], src) }

// Available returns the sets that work on this CPU, the fastest last.
func Available() []*Set { return append([]*Set{portable()}, assembled()...) }

// Best returns the fastest set of this CPU.
func Best() *Set {
	all := Available()
	return all[len(all)-1]
}

type packFunc func(dst []uint16, src []float32, step int)

// family is the matrix kernels of one arithmetic.
type family struct {
	pairs bool                    // inputs are stored as bfloat16, by
	pack  packFunc                // which rounds values and puts lanes of them to each step of dst, padded with zeros
	round bool                    // inputs are rounded to bfloat16, but stored as float32
	lanes int                     // inputs that one step takes
	rows  int                     // most rows of a tile
	block int                     // most inputs summed at once, see Input
	dots  [dtypes][]func(t *tile) // by rows − 1
	lines [dtypes]func(t *tile)   // the same for one row, all blocks of k at once; nil where tiles are faster
}
