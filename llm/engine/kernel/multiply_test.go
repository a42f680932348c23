package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// TestMultiply goes over odd shapes; the weights end where their memory does, at odd addresses.
func TestMultiply(t *testing.T) {
	eachSet(t, func(t *testing.T, s *Set) {
		eachProduct(s, func(a Arithmetic, d DType) {
			t.Run(fmt.Sprintf("arithmetic=%d/type=%d", a, d), func(t *testing.T) {
				guard := guarded(t, 9*2049*4+64)
				random := rand.New(rand.NewPCG(7, uint64(d)))
				for _, k := range inputs(200, 639, 640, 641, 1279, 1280, 1281, 2047, 2048, 2049) {
					rows, out := 1+k%13, 1+k%9
					checkShape(t, s, a, d, guard, random, rows, k, out)
				}
				for rows := 1; rows <= 13; rows++ {
					for out := 1; out <= 9; out++ {
						checkShape(t, s, a, d, guard, random, rows, 67, out)
					}
				}
			})
		})
	})
}

// inputs are 1…n and some more.
func inputs(n int, more ...int) []int {
	var all []int
	for k := 1; k <= n; k++ {
		all = append(all, k)
	}
	return append(all, more...)
}

func checkShape(t *testing.T, s *Set, a Arithmetic, d DType, memory []byte, random *rand.Rand, rows, k, out int) {
	t.Helper()
	data := memory[len(memory)-out*k*d.Size():]
	encode(data, normal(random, out*k), d)
	w, err := NewWeights(data, d, out, k)
	if err != nil {
		t.Fatal(err)
	}
	x, start := normal(random, rows*k), normal(random, rows*out)
	in := fill(s, a, x, rows, k)
	numbers := decoded(data, d)
	c := make([]float32, rows*out)
	for i := range c {
		c[i] = float32(math.NaN()) // must not matter
	}
	s.Multiply(c, out, in, w, 0, out, false)
	checkProduct(t, in, a, c, nil, x, numbers, out)
	c = append(c[:0], start...)
	s.Multiply(c, out, in, w, 0, out, true)
	checkProduct(t, in, a, c, start, x, numbers, out)
}

// TestUnaligned has weights at every address of their size's alignment.
func TestUnaligned(t *testing.T) {
	eachSet(t, func(t *testing.T, s *Set) {
		eachProduct(s, func(a Arithmetic, d DType) {
			random := rand.New(rand.NewPCG(3, 3))
			memory := make([]byte, 5*75*4+64)
			for shift := 0; shift < 64; shift += d.Size() {
				checkShape(t, s, a, d, memory[:5*75*d.Size()+shift], random, 7, 75, 5)
			}
		})
	})
}

// TestBatchInvariance requires the same bits of an element of C, whatever rows and outputs a call has, wherever the
// weights lie and whichever threads work.
func TestBatchInvariance(t *testing.T) {
	eachSet(t, func(t *testing.T, s *Set) {
		eachProduct(s, func(a Arithmetic, d DType) {
			rapid.Check(t, func(t *rapid.T) { checkInvariance(t, s, a, d) })
		})
	})
}

func checkInvariance(t *rapid.T, s *Set, a Arithmetic, d DType) {
	rows, out := rapid.IntRange(1, 20).Draw(t, "rows"), rapid.IntRange(1, 80).Draw(t, "outs")
	k := rapid.OneOf(rapid.IntRange(1, 100), rapid.IntRange(600, 1400)).Draw(t, "k")
	random := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
	x, start := normal(random, rows*k), normal(random, rows*out)
	data := make([]byte, out*k*d.Size())
	encode(data, normal(random, out*k), d)
	w := Weights{data, d, out, k}
	add := rapid.Bool().Draw(t, "add")
	want := append([]float32{}, start...)
	s.Multiply(want, out, fill(s, a, x, rows, k), w, 0, out, add)

	got := append([]float32{}, start...)
	for r := 0; r < rows; {
		n := rapid.IntRange(1, rows-r).Draw(t, "rows of a call")
		in := fill(s, a, x[r*k:], n, k)
		for o := 0; o < out; {
			m := rapid.IntRange(1, out-o).Draw(t, "outs of a call")
			s.Multiply(got[r*out:], out, in, w, o, o+m, add)
			o += m
		}
		r += n
	}
	if !cmp.Equal(got, want) {
		t.Fatalf("rows and outputs depend on each other")
	}
	got = append(got[:0], start...)
	Parallel(out, 3, 4, func(lo, hi int) { s.Multiply(got, out, fill(s, a, x, rows, k), w, lo, hi, add) })
	if !cmp.Equal(got, want) {
		t.Fatalf("results depend on threads")
	}
}

// TestSameWeights requires the same bits for the same numbers, however they are stored.
func TestSameWeights(t *testing.T) {
	eachSet(t, func(t *testing.T, s *Set) {
		random := rand.New(rand.NewPCG(5, 5))
		const rows, k, out = 7, 777, 9
		numbers := make([]float32, out*k)
		for i := range numbers {
			numbers[i] = float32(random.IntN(255)-127) / 64
		}
		in := fill(s, Float32, normal(random, rows*k), rows, k)
		var all [dtypes][]float32
		for d := range dtypes {
			data := make([]byte, len(numbers)*d.Size())
			encode(data, numbers, d)
			all[d] = make([]float32, rows*out)
			s.Multiply(all[d], out, in, Weights{data, d, out, k}, 0, out, false)
		}
		if !cmp.Equal(all[F32], all[F16]) || !cmp.Equal(all[F32], all[BF16]) {
			t.Error("results depend on how weights are stored")
		}
	})
}

// TestSpecialNumbers has NaN and infinite numbers on either side.
func TestSpecialNumbers(t *testing.T) {
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	eachSet(t, func(t *testing.T, s *Set) {
		eachProduct(s, func(a Arithmetic, d DType) {
			const rows, k, out = 3, 45, 6
			for at := range k {
				for _, v := range []float32{inf, -inf, nan} {
					x, w := make([]float32, rows*k), make([]float32, out*k)
					for i := range x {
						x[i] = 1
					}
					for i := range w {
						w[i] = 1
					}
					w[2*k+at], x[1*k+at] = v, v
					data := make([]byte, len(w)*d.Size())
					encode(data, w, d)
					c := make([]float32, rows*out)
					s.Multiply(c, out, fill(s, a, x, rows, k), Weights{data, d, out, k}, 0, out, false)
					for i, got := range c {
						want := float32(k)
						if onRow, onOut := i/out == 1, i%out == 2; onRow && onOut {
							want = v * v
						} else if onRow || onOut {
							want = v
						}
						if got != want && !(got != got && want != want) {
							t.Fatalf("%v at %d: element %d is %v, want %v", v, at, i, got, want)
						}
					}
				}
			}
		})
	})
}

// TestHalves widens every half by every set.
func TestHalves(t *testing.T) {
	const out = 1 << 16
	data := make([]byte, 2*out)
	for i := range out {
		data[2*i], data[2*i+1] = byte(i), byte(i>>8)
	}
	eachSet(t, func(t *testing.T, s *Set) {
		c := make([]float32, out)
		s.Multiply(c, out, fill(s, Float32, []float32{1}, 1, 1), Weights{data, F16, out, 1}, 0, out, false)
		for i, got := range c {
			exponent, mantissa := i>>10&31, float64(i&1023)
			want := math.Ldexp(1024+mantissa, exponent-25)
			switch {
			case exponent == 0:
				want = math.Ldexp(mantissa, -24)
			case exponent == 31 && mantissa == 0:
				want = math.Inf(1)
			case exponent == 31:
				want = math.NaN()
			}
			if i>>15 == 1 {
				want = -want
			}
			if float64(got) != want && !(got != got && want != want) {
				t.Fatalf("half %04x is %v, want %v", i, got, want)
			}
		}
	})
}

func TestNewWeights(t *testing.T) {
	for _, c := range []struct {
		bytes   int
		d       DType
		out, in int
		ok      bool
	}{
		{24, F32, 2, 3, true}, {12, BF16, 2, 3, true}, {0, F16, 0, 3, true}, {0, F16, 3, 0, true}, {12, F32, 2, 3, false},
		{13, F16, 2, 3, false}, {1, F32, 1, 0, false}, {4, F32, -1, -1, false}, {4, dtypes, 1, 1, false},
		{4, F32, 1, math.MaxInt/4 + 2, false},
	} {
		if _, err := NewWeights(make([]byte, c.bytes), c.d, c.out, c.in); (err == nil) != c.ok {
			t.Errorf("%v: %v", c, err)
		}
	}
}

func TestNoInputs(t *testing.T) {
	eachSet(t, func(t *testing.T, s *Set) {
		c := []float32{1, 2, 3, 4, 5, 6}
		in := s.NewInput(Float32, 2, 0)
		w := Weights{nil, F32, 3, 0}
		if s.Multiply(c, 3, in, w, 0, 3, true); !cmp.Equal(c, []float32{1, 2, 3, 4, 5, 6}) {
			t.Errorf("adding nothing gives %v", c)
		}
		if s.Multiply(c, 3, in, w, 1, 3, false); !cmp.Equal(c, []float32{1, 0, 0, 4, 0, 0}) {
			t.Errorf("nothing gives %v", c)
		}
	})
}

func TestProbes(t *testing.T) {
	buffer := make([]byte, 3<<20+700)
	eachSet(t, func(t *testing.T, s *Set) {
		for a := range arithmetics {
			if got := s.Peak(a, 2, time.Millisecond); !(got > 1e6) {
				t.Errorf("the peak of arithmetic %d is %g", a, got)
			}
		}
		if got := s.Bandwidth(buffer, 2, time.Millisecond); !(got > 1e6) {
			t.Errorf("the bandwidth is %g", got)
		}
	})
}
