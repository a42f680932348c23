package kernel

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// expError is the relative error of exp by the vector kernels: twice what its polynomial's author states, for the
// reduction of the argument.
const expError = 4e-7

// lengths are around every multiple of a vector up to a few, and larger ones.
func lengths() []int { return append(inputs(70), 127, 128, 129, 1023, 1024, 1025, 2500) }

// behind returns n random numbers that end where memory does.
func behind(t *testing.T, random *rand.Rand, n int) []float32 {
	x := floats(guarded(t, 4*n))
	for i := range x {
		x[i] = float32(random.NormFloat64())
	}
	return x
}

func near(t *testing.T, what string, n, i int, got float32, want, limit float64) {
	t.Helper()
	if !(math.Abs(float64(got)-want) <= limit) {
		t.Fatalf("%s of %d: element %d is %v, want %v ± %g", what, n, i, got, want, limit)
	}
}

func TestRMSNorm(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	for _, n := range lengths() {
		x, w := behind(t, random, n), behind(t, random, n)
		mean := 0.0
		for _, v := range x {
			mean += float64(v) * float64(v) / float64(n)
		}
		eachSet(t, func(t *testing.T, s *Set) {
			got := make([]float32, n)
			s.RMSNorm(got, x, w, 1e-5)
			for i := range got {
				want := float64(x[i]) / math.Sqrt(mean+1e-5) * float64(w[i])
				// Half the error of the sum of squares, all positive, and three roundings.
				near(t, "RMSNorm", n, i, got[i], want, math.Abs(want)*bound(float64(n/8+9)/2+3))
			}
			same := append([]float32{}, x...)
			if s.RMSNorm(same, same, w, 1e-5); !cmp.Equal(got, same) {
				t.Fatal("RMSNorm in place differs")
			}
		})
	}
}

func TestSwiGLU(t *testing.T) {
	random := rand.New(rand.NewPCG(2, 1))
	for _, n := range lengths() {
		gate, up := behind(t, random, n), behind(t, random, n)
		for i := range gate {
			gate[i] *= 20
		}
		eachSet(t, func(t *testing.T, s *Set) {
			got := append([]float32{}, gate...)
			s.SwiGLU(got, up)
			for i, g := range gate {
				want := float64(g) / (1 + math.Exp(-float64(g))) * float64(up[i])
				near(t, "SwiGLU", n, i, got[i], want, math.Abs(want)*(expError+bound(4))+1e-36)
			}
			alone := append([]float32{}, gate...)
			for i := range alone {
				s.SwiGLU(alone[i:i+1], up[i:])
			}
			if !cmp.Equal(got, alone) {
				t.Fatal("elements depend on each other")
			}
		})
	}
}

func TestMaxSumExpSoftmax(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 1))
	for _, n := range lengths() {
		x := behind(t, random, n)
		for i := range x {
			x[i] -= 10
		}
		top, sum := math.Inf(-1), 0.0
		for _, v := range x {
			top = max(top, float64(v))
		}
		for _, v := range x {
			sum += math.Exp(float64(v) - top)
		}
		limit := expError + bound(float64(n)/8+9)
		eachSet(t, func(t *testing.T, s *Set) {
			if got := s.Max(x); float64(got) != top {
				t.Fatalf("Max of %d is %v, want %v", n, got, top)
			}
			if got := s.SumExp(x, float32(top)); math.Abs(got-sum) > limit*sum {
				t.Fatalf("SumExp of %d is %v, want %v", n, got, sum)
			}
			y := append([]float32{}, x...)
			scale := s.Softmax(y)
			limit := limit
			if s.name == "portable" { // one sum instead of a vector of them
				limit += bound(float64(n))
			}
			for i, v := range x {
				want := math.Exp(float64(v)-top) / sum
				// A difference of numbers up to 20 is rounded, too.
				near(t, "Softmax", n, i, y[i]*scale, want, want*(limit+20*unit+expError+bound(3)))
			}
		})
	}
}

func TestEmpty(t *testing.T) {
	eachSet(t, func(t *testing.T, s *Set) {
		s.RMSNorm(nil, nil, nil, 1)
		s.SwiGLU(nil, nil)
		one, none := &[Queries]float32{1}, oneRow(nil)
		s.Keys(none, oneRow([]float32{1}), Numbers{})
		s.Values(none, oneRow([]float32{1}), Numbers{F32: []float32{1}}, 1, one, false, false)
		out := []float32{5}
		if s.Values(oneRow(out), none, Numbers{}, 1, one, false, false); out[0] != 0 {
			t.Errorf("no values add up to %v", out[0])
		}
		if s.Keys(oneRow(out), none, Numbers{}); out[0] != 0 {
			t.Errorf("no products add up to %v", out[0])
		}
		if got := s.Max(nil); !math.IsInf(float64(got), -1) {
			t.Errorf("Max of nothing is %v", got)
		}
		if got := s.SumExp(nil, 1); got != 0 {
			t.Errorf("SumExp of nothing is %v", got)
		}
		if got := s.Softmax(nil); !math.IsInf(float64(got), 1) {
			t.Errorf("Softmax of nothing is %v", got)
		}
	})
}

func TestNaNIsNotSwallowed(t *testing.T) {
	nan := float32(math.NaN())
	eachSet(t, func(t *testing.T, s *Set) {
		for at := range 40 {
			x := normal(rand.New(rand.NewPCG(9, 9)), 40)
			x[at] = nan
			if got := s.SumExp(x, 1); !math.IsNaN(got) {
				t.Errorf("SumExp with NaN at %d is %v", at, got)
			}
			y := append([]float32{}, x...)
			if got := s.Softmax(y); got == got {
				t.Errorf("Softmax with NaN at %d sums to 1/%v", at, got)
			}
			y = append(y[:0], x...)
			if s.SwiGLU(y, x); y[at] == y[at] {
				t.Errorf("SwiGLU of NaN at %d is %v", at, y[at])
			}
			if s.RMSNorm(y, x, x, 1); y[0] == y[0] {
				t.Errorf("RMSNorm with NaN at %d is %v", at, y[0])
			}
		}
	})
}

// TestVectorsDependOnTheirInputs compares results at different addresses.
func TestVectorsDependOnTheirInputs(t *testing.T) {
	eachSet(t, func(t *testing.T, s *Set) {
		rapid.Check(t, func(t *rapid.T) {
			n := rapid.IntRange(1, 300).Draw(t, "n")
			x := normal(rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0)), n)
			shift := rapid.IntRange(1, 20).Draw(t, "shift")
			moved := append(make([]float32, shift), x...)[shift:]
			if a, b := s.SumExp(x, 1), s.SumExp(moved, 1); a != b {
				t.Fatalf("SumExp is %v and %v", a, b)
			}
			a, b := make([]float32, n), make([]float32, n+1)[1:]
			s.RMSNorm(a, x, x, 1e-5)
			if s.RMSNorm(b, moved, x, 1e-5); !cmp.Equal(a, b) {
				t.Fatal("RMSNorm depends on addresses")
			}
		})
	})
}

// TestRotate requires the same bits of every set, in place, with numbers that end where memory does.
func TestRotate(t *testing.T) {
	random := rand.New(rand.NewPCG(6, 1))
	for _, half := range lengths() {
		x, cos, sin := behind(t, random, 2*half), behind(t, random, half), behind(t, random, half)
		eachSet(t, func(t *testing.T, s *Set) {
			got := behind(t, random, 2*half)
			copy(got, x)
			s.Rotate(got, cos, sin, 0.7)
			for i := range half {
				a, b := float64(x[i]), float64(x[half+i])
				c, d := float64(cos[i]), float64(sin[i])
				limit := (math.Abs(a) + math.Abs(b)) * (math.Abs(c) + math.Abs(d)) * bound(4)
				near(t, "Rotate", half, i, got[i], (a*c-b*d)*0.7, limit)
				near(t, "Rotate", half, half+i, got[half+i], (b*c+a*d)*0.7, limit)
			}
			want := append([]float32{}, x...)
			if half > 0 {
				rotatePortable(want, cos, sin, 0.7)
			}
			if !cmp.Equal(got, want) {
				t.Fatalf("%d pairs differ from those of portable Go", half)
			}
		})
	}
}

func TestSumSquares(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 1))
	inf, nan := float32(math.Inf(-1)), float32(math.NaN())
	for _, n := range lengths() {
		x := behind(t, random, n)
		want := 0.0
		for _, v := range x {
			want += float64(v) * float64(v)
		}
		eachSet(t, func(t *testing.T, s *Set) {
			near(t, "SumSquares", n, 0, s.SumSquares(x), want, want*bound(float64(n)))
			for i := range x {
				y := append([]float32{}, x...)
				if y[i] = inf; !math.IsInf(float64(s.SumSquares(y)), 1) {
					t.Fatalf("with an infinite number at %d of %d it is %v", i, n, s.SumSquares(y))
				}
				if y[i] = nan; s.SumSquares(y) == s.SumSquares(y) {
					t.Fatalf("with NaN at %d of %d it is %v", i, n, s.SumSquares(y))
				}
			}
		})
	}
}
