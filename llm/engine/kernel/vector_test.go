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
		s.Keys(nil, []float32{1}, []float32{1}, 1)
		s.Values(nil, []float32{1}, nil, 0, []float32{1}, 1, 1)
		out := []float32{5}
		if s.Values(out, nil, nil, 0, nil, 1, 1); out[0] != 0 {
			t.Errorf("no values add up to %v", out[0])
		}
		if s.Keys(out, nil, nil, 1); out[0] != 0 {
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

// TestAttention has keys and values that end where memory does.
func TestAttention(t *testing.T) {
	random := rand.New(rand.NewPCG(4, 1))
	for _, n := range []int{1, 2, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 100, 130} {
		for _, dim := range []int{1, 2, 8, 12, 16, 17, 24, 48, 64, 65, 128} {
			q, p := behind(t, random, dim), behind(t, random, n)
			stride := n + 3
			kt := behind(t, random, (dim-1)*stride+n)
			vstride := dim + 5
			v := behind(t, random, (n-1)*vstride+dim)
			eachSet(t, func(t *testing.T, s *Set) {
				checkKeys(t, s, q, kt, stride, n)
				checkValues(t, s, p, v, vstride, dim)
			})
		}
	}
}

func checkKeys(t *testing.T, s *Set, q, kt []float32, stride, n int) {
	t.Helper()
	got := make([]float32, n+1)
	got[n] = 12345
	s.Keys(got[:n], q, kt, stride)
	if got[n] != 12345 {
		t.Fatalf("%d keys: more was written", n)
	}
	for j := range n {
		want, magnitude := 0.0, 0.0
		for d, x := range q {
			want += float64(x) * float64(kt[d*stride+j])
			magnitude += math.Abs(float64(x) * float64(kt[d*stride+j]))
		}
		near(t, "Keys", n, j, got[j], want, magnitude*bound(float64(len(q)+1)))
		alone := []float32{0}
		if s.Keys(alone, q, kt[j:], stride); alone[0] != got[j] {
			t.Fatalf("key %d of %d depends on the others", j, n)
		}
	}
}

// checkValues requires the sum over all keys, and the same bits wherever they are cut in two.
func checkValues(t *testing.T, s *Set, p, v []float32, stride, dim int) {
	t.Helper()
	got, parts := make([]float32, dim), make([]float32, dim)
	s.Values(got, p, nil, 0, v, stride, 0.5)
	for d := range got {
		want, magnitude := 0.0, 0.0
		for j, x := range p {
			want += 0.5 * float64(x) * float64(v[j*stride+d])
			magnitude += math.Abs(0.5 * float64(x) * float64(v[j*stride+d]))
		}
		near(t, "Values", len(p), d, got[d], want, magnitude*bound(float64(len(p)+2)))
	}
	for n := range len(p) + 1 {
		var rest []float32
		if n < len(p) {
			rest = v[n*stride:]
		}
		s.Values(parts, p, v, n, rest, stride, 0.5)
		if !cmp.Equal(got, parts) {
			t.Fatalf("cut at %d of %d: %v, at once %v", n, len(p), parts, got)
		}
	}
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
