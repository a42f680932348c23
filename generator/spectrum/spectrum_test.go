package spectrum

import (
	"context"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"testing"
)

// testMatrix is a matrix of float32 values in memory.
func testMatrix(rows, cols int, value func(i, j int) float64) *matrix {
	raw := make([]byte, rows*cols*4)
	for i := range rows {
		for j := range cols {
			binary.LittleEndian.PutUint32(raw[4*(i*cols+j):], math.Float32bits(float32(value(i, j))))
		}
	}
	return &matrix{name: "test", rows: rows, cols: cols, dtype: "F32", raw: raw, size: 4}
}

func noise(rows, cols int, seed uint64) *matrix {
	r := rand.New(rand.NewPCG(seed, 1))
	return testMatrix(rows, cols, func(int, int) float64 { return 0.02 * r.NormFloat64() })
}

func allKernels() map[string]kernels {
	return map[string]kernels{"portable": portable, "best": bestKernels()}
}

func TestThroughGramAgainstSVD(t *testing.T) {
	shapes := [][2]int{{1, 1}, {1, 9}, {2, 2}, {3, 7}, {7, 3}, {64, 64}, {65, 200}, {200, 65}, {130, 130}, {131, 700}, {700, 131}, {9, 1100}}
	for name, k := range allKernels() {
		for _, shape := range shapes {
			m := noise(shape[0], shape[1], 3)
			got, err := throughGram(context.Background(), m, k)
			if err != nil {
				t.Fatal(err)
			}
			want, err := direct(m)
			if err != nil {
				t.Fatal(err)
			}
			if len(got) != len(want) {
				t.Fatalf("%s %v: %d values, want %d", name, shape, len(got), len(want))
			}
			for i := range got { // eigenvalues ascend, singular values descend
				w := want[len(want)-1-i]
				// λ is exact to a few ulps of λmax, so σ to λmax·ulp/σ.
				tolerance := 1e-14 * want[0] * want[0] / w
				if math.Abs(got[i]-w) > max(tolerance, 1e-13*w) {
					t.Fatalf("%s %v: singular value %d is %.17g, want %.17g", name, shape, i, got[i], w)
				}
			}
		}
	}
}

// BenchmarkSingularValues measures one matrix of LLaMA-3.2-1B's MLP.
func BenchmarkSingularValues(b *testing.B) {
	m := noise(2048, 8192, 1)
	for b.Loop() {
		if _, err := throughGram(context.Background(), m, bestKernels()); err != nil {
			b.Fatal(err)
		}
	}
}
