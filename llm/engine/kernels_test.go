package engine

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func normal(random *rand.Rand, n int, scale float64) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(scale * random.NormFloat64())
	}
	return x
}

func eachKernel(t *testing.T, f func(t *testing.T, k *kernels, random *rand.Rand)) {
	for _, k := range available() {
		t.Run(k.name, func(t *testing.T) { f(t, k, rand.New(rand.NewPCG(9, 9))) })
	}
}

func close32(got float32, want, scale float64) bool {
	return math.Abs(float64(got)-want) <= 4e-7*scale
}

func TestLinear(t *testing.T) {
	eachKernel(t, func(t *testing.T, k *kernels, random *rand.Rand) {
		for _, size := range []struct{ rows, out, in int }{{1, 1, 1}, {3, 32, 5}, {4, 64, 256}, {7, 70, 257}, {130, 33, 600}, {9, 95, 48}} {
			w, x := normal(random, size.out*size.in, 1), normal(random, size.rows*size.in, 1)
			bias, start := normal(random, size.out, 1), normal(random, size.rows*size.out, 1)
			packed, err := pack(size.out, size.in, 2, func(dst []float32, first, n int) error {
				copy(dst, w[first*size.in:(first+n)*size.in])
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			row := make([]float32, size.in)
			if packed.row(row, size.out-1); !cmp.Equal(row, w[(size.out-1)*size.in:]) {
				t.Errorf("%v: the last row isn't what was packed", size)
			}
			for _, add := range []bool{false, true} {
				got := append([]float32{}, start...)
				linear{packed, bias}.apply(k, got, x, size.rows, 2, add)
				checkLinear(t, fmt.Sprint(size, add), got, start, x, w, bias, size.rows, add)
				alone := append([]float32{}, start...) // each row by itself must give the same bits
				for r := range size.rows {
					linear{packed, bias}.apply(k, alone[r*size.out:(r+1)*size.out], x[r*size.in:(r+1)*size.in], 1, 1, add)
				}
				if !cmp.Equal(got, alone) {
					t.Errorf("%v: rows depend on each other", size)
				}
			}
		}
	})
}

func checkLinear(t *testing.T, name string, got, start, x, w, bias []float32, rows int, add bool) {
	t.Helper()
	out, in := len(bias), len(x)/rows
	for r := range rows {
		for o := range out {
			want, scale := float64(bias[o]), math.Abs(float64(bias[o]))
			if add {
				want += float64(start[r*out+o])
			}
			for i := range in {
				p := float64(x[r*in+i]) * float64(w[o*in+i])
				want, scale = want+p, scale+math.Abs(p)
			}
			if !close32(got[r*out+o], want, scale+3) {
				t.Fatalf("%s: element (%d, %d) is %v, want %v", name, r, o, got[r*out+o], want)
			}
		}
	}
}

func TestElementwise(t *testing.T) {
	eachKernel(t, func(t *testing.T, k *kernels, random *rand.Rand) {
		for _, n := range []int{1, 7, 8, 15, 16, 17, 48, 129} {
			x, w := normal(random, n, 3), normal(random, n, 1)
			got := make([]float32, n)
			k.rmsNorm(got, x, w, 1e-5)
			mean := 0.0
			for _, v := range x {
				mean += float64(v) * float64(v) / float64(n)
			}
			for i := range got {
				want := float64(x[i]) / math.Sqrt(mean+1e-5) * float64(w[i])
				if !close32(got[i], want, math.Abs(want)) {
					t.Fatalf("rmsNorm of %d: element %d is %v, want %v", n, i, got[i], want)
				}
			}
			gate := normal(random, n, 20)
			got = append([]float32{}, gate...)
			k.swiglu(got, w)
			for i, g := range gate {
				want := float64(g) / (1 + math.Exp(-float64(g))) * float64(w[i])
				if !close32(got[i], want, math.Abs(want)+1e-20) {
					t.Fatalf("swiglu of %d: %v, %v gives %v, want %v", n, g, w[i], got[i], want)
				}
			}
			want := math.Inf(-1)
			for _, v := range x {
				want = max(want, float64(v))
			}
			if top := k.max(x); float64(top) != want {
				t.Fatalf("max of %d is %v, want %v", n, top, want)
			}
			sum := 0.0
			for _, v := range x {
				sum += math.Exp(float64(v - 2))
			}
			if s := k.sumExp(x, 2); math.Abs(s-sum) > 1e-6*sum {
				t.Fatalf("sumExp of %d is %v, want %v", n, s, sum)
			}
		}
	})
}

func TestNaNIsNotSwallowed(t *testing.T) {
	nan := float32(math.NaN())
	eachKernel(t, func(t *testing.T, k *kernels, random *rand.Rand) {
		for at := range 20 {
			x := normal(random, 40, 1)
			x[at] = nan
			if s := k.sumExp(x, 1); !math.IsNaN(s) {
				t.Errorf("sumExp with NaN at %d is %v", at, s)
			}
			if s := k.softmax(x, 20); !math.IsNaN(float64(s)) {
				t.Errorf("softmax with NaN at %d sums to 1/%v", at, s)
			}
		}
	})
}

func TestAttentionKernels(t *testing.T) {
	eachKernel(t, func(t *testing.T, k *kernels, random *rand.Rand) {
		for _, n := range []int{1, 2, 15, 16, 17, 40, 64, 130} {
			for _, dim := range []int{2, 8, 12, 16, 24, 64} {
				stride, room := 3*dim, roundUp(n, keyBlock)
				q, keys, values := normal(random, dim, 2/math.Sqrt(float64(dim))), normal(random, dim*room, 1), normal(random, n*stride, 1)
				s := make([]float32, room+keyBlock)
				k.keys(s, q, keys, room, n)
				want := make([]float64, n)
				sum := 0.0
				for j := range want {
					for d := range q {
						want[j] += float64(q[d]) * float64(keys[d*room+j])
					}
					if !close32(s[j], want[j], 20) {
						t.Fatalf("key %d of %d: %v, want %v", j, n, s[j], want[j])
					}
					want[j] = math.Exp(want[j])
					sum += want[j]
				}
				scale := k.softmax(s, n)
				out := make([]float64, dim)
				for j := range want {
					want[j] /= sum
					if !close32(s[j]*scale, want[j], 10*want[j]+1e-6) {
						t.Fatalf("probability %d of %d: %v, want %v", j, n, s[j]*scale, want[j])
					}
					for d := range out {
						out[d] += want[j] * float64(values[j*stride+d])
					}
				}
				checkValues(t, k, s[:n], values, stride, scale, out)
			}
		}
	})
}

// checkValues requires the sum over all keys, and the same bits wherever they are cut in two.
func checkValues(t *testing.T, k *kernels, p, v []float32, stride int, scale float32, want []float64) {
	t.Helper()
	got, parts := make([]float32, len(want)), make([]float32, len(want))
	k.values(got, p, nil, 0, v, stride, scale)
	for d := range want {
		if !close32(got[d], want[d], 20) {
			t.Fatalf("value %d is %v, want %v", d, got[d], want[d])
		}
	}
	for n := range p {
		k.values(parts, p, v[:n*stride], n, v[n*stride:], stride, scale)
		if !cmp.Equal(got, parts) {
			t.Fatalf("cut at %d of %d: %v, at once %v", n, len(p), parts, got)
		}
	}
}
