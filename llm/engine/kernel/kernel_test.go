package kernel

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"testing"
	"unsafe"
)

func eachSet(t *testing.T, f func(t *testing.T, s *Set)) {
	for _, s := range Available() {
		t.Run(s.name, func(t *testing.T) { f(t, s) })
	}
}

// eachProduct calls f for the arithmetics and types of weights that a set multiplies.
func eachProduct(s *Set, f func(a Arithmetic, d DType)) {
	for a := range arithmetics {
		for d := range dtypes {
			if s.mul[a].dots[d] != nil {
				f(a, d)
			}
		}
	}
}

func normal(random *rand.Rand, n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(random.NormFloat64())
	}
	return x
}

// encode stores numbers as weights, cut rather than rounded; the test reads back what is stored.
func encode(dst []byte, x []float32, d DType) {
	for i, v := range x {
		bits := math.Float32bits(v)
		switch d {
		case F32:
			binary.LittleEndian.PutUint32(dst[4*i:], bits)
		case BF16:
			binary.LittleEndian.PutUint16(dst[2*i:], uint16(bits>>16))
		case F16:
			binary.LittleEndian.PutUint16(dst[2*i:], toF16(v))
		}
	}
}

// toF16 cuts a number to a half; large ones become infinite.
func toF16(v float32) uint16 {
	bits := math.Float32bits(v)
	sign := uint16(bits >> 16 & 0x8000)
	switch a := math.Abs(float64(v)); {
	case math.IsNaN(a):
		return sign | 0x7e00
	case a >= 65536:
		return sign | 0x7c00
	case a >= 0x1p-14:
		return sign | uint16(bits&0x7fffffff>>13-(112<<10))
	default:
		return sign | uint16(a*0x1p24)
	}
}

// decoded are the stored weights as numbers.
func decoded(data []byte, d DType) []float64 {
	out := make([]float64, len(data)/d.Size())
	for i := range out {
		var v [lanesPortable]float32
		decode(&v, data[i*d.Size():(i+1)*d.Size()], d)
		out[i] = float64(v[0])
	}
	return out
}

// unit is the rounding error of float32 relative to a result.
const unit = 0x1p-24

// roundings is how many roundings an element of C is away from its summands at most: those of its lane in a block,
// those of adding up lanes (16 at most), one of the product where it isn't fused, and one for each block and the C before it.
func (f *family) roundings(k int) float64 {
	block := min(k, blockSize(k, f.block))
	perStep := 1
	if f.pairs {
		perStep = 2 // the products of a pair are added one after the other
	}
	blocks := (k + block - 1) / max(block, 1)
	return float64(perStep*((block+f.lanes-1)/f.lanes) + 4 + 1 + blocks + 1)
}

// bound is γ_n: how far n roundings in a row move a sum, relative to the sum of its summands' magnitudes.
func bound(n float64) float64 { return n * unit / (1 - n*unit) }

// checkProduct compares C with a reference in float64 on the very same numbers. start is what C was, nil for nothing.
func checkProduct(t *testing.T, in *Input, a Arithmetic, c, start, x []float32, w []float64, out int) {
	t.Helper()
	rows, k := in.Shape()
	limit := bound(in.f.roundings(k))
	for r := range rows {
		for o := range out {
			want, magnitude := 0.0, 0.0
			if start != nil {
				want = float64(start[r*out+o])
				magnitude = math.Abs(want)
			}
			for i, v := range x[r*k : (r+1)*k] {
				if a == BFloat16 {
					v = fromBF16(roundOne(v))
				}
				p := float64(v) * w[o*k+i]
				want += p
				magnitude += math.Abs(p)
			}
			// What the dot instruction takes for zero, numbers below the normal ones, counts a few 2⁻¹²⁶ for each product.
			tiny := float64(k+2) * 0x1p-124
			if got := float64(c[r*out+o]); !(math.Abs(got-want) <= limit*magnitude+tiny) {
				t.Fatalf("rows %d, k %d, outs %d: element (%d, %d) is %g, want %g ± %g",
					rows, k, out, r, o, got, want, limit*magnitude)
			}
		}
	}
}

// fill makes an Input of rows.
func fill(s *Set, a Arithmetic, x []float32, rows, k int) *Input {
	in := s.NewInput(a, rows, k)
	for r := range rows {
		in.SetRow(r, x[r*k:(r+1)*k])
	}
	return in
}

func TestRoundBF16(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	special := []uint32{
		0, 0x80000000, 0x7f800000, 0xff800000, 0x7f800001, 0xffffffff, 0x7fc00000, 0x7f7fffff, 0xff7fffff, 1, 0x3f808000, 0x3f818000, 0x3f808001, 0x3f817fff, 0x007fffff, 0x00008000, 0x00018000,
	}
	eachSet(t, func(t *testing.T, s *Set) {
		for n := range 200 {
			src, dst := make([]float32, n), make([]uint16, n+1)
			for i := range src {
				bits := random.Uint32()
				if i%3 == 0 {
					bits = special[random.IntN(len(special))]
				}
				src[i] = math.Float32frombits(bits)
			}
			dst[n] = 12345
			s.RoundBF16(dst, src)
			if dst[n] != 12345 {
				t.Fatalf("%d values: one more was written", n)
			}
			for i, v := range src {
				if dst[i] != nearestBF16(v) {
					t.Fatalf("%08x becomes %04x, want %04x", math.Float32bits(v), dst[i], nearestBF16(v))
				}
			}
		}
	})
}

// nearestBF16 finds the nearest bfloat16 among the two around v.
func nearestBF16(v float32) uint16 {
	low := uint16(math.Float32bits(v) >> 16)
	if v != v {
		return low | 0x40
	}
	if math.IsInf(float64(v), 0) {
		return low
	}
	// The next one may be infinite: then it counts as what it would be without the end of the exponents.
	step := math.Ldexp(1, max(int(low>>7&0xff), 1)-127-7)
	rest := math.Abs(float64(v)) - math.Abs(float64(fromBF16(low)))
	if rest > step/2 || rest == step/2 && low&1 == 1 {
		return low + 1
	}
	return low
}

// TestInputGroups checks that every row belongs to the group that holds it, and that no group is too large.
func TestInputGroups(t *testing.T) {
	in := portable().NewInput(Float32, 1, 1)
	for rows := 1; rows < 60; rows++ {
		in.Reset(rows, 3)
		for g := range in.groups {
			if n := in.group(g+1) - in.group(g); n < 1 || n > in.f.rows {
				t.Fatalf("%d rows: group %d has %d", rows, g, n)
			}
			for r := in.group(g); r < in.group(g+1); r++ {
				if in.groupOf(r) != g {
					t.Fatalf("%d rows: row %d is in group %d, not %d", rows, r, g, in.groupOf(r))
				}
			}
		}
		if in.group(in.groups) != rows {
			t.Fatalf("%d rows: groups have %d", rows, in.group(in.groups))
		}
	}
}

// floats are bytes as numbers of this machine.
func floats(p []byte) []float32 {
	return unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(p))), len(p)/4)
}
