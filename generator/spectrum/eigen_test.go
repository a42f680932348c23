package spectrum

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"pgregory.net/rapid"

	"d2nwg/internal/progress"
	"d2nwg/llm"
	"d2nwg/safetensors"
)

// testMatrix is a matrix of float32 values in memory.
func testMatrix(rows, cols int, value func(i, j int) float64) *matrix {
	raw := make([]byte, rows*cols*4)
	for i := range rows {
		for j := range cols {
			binary.LittleEndian.PutUint32(raw[4*(i*cols+j):], math.Float32bits(float32(value(i, j))))
		}
	}
	return &matrix{name: "test", rows: rows, cols: cols, dtype: safetensors.F32, raw: raw, size: 4}
}

func noise(rows, cols int, seed uint64) *matrix {
	r := rand.New(rand.NewPCG(seed, 1))
	return testMatrix(rows, cols, func(int, int) float64 { return 0.02 * r.NormFloat64() })
}

// sameSpectrum holds singular values of the Gram matrix (ascending) against
// gonum's SVD (descending).
func sameSpectrum(got, want []float64) error {
	if len(got) != len(want) {
		return fmt.Errorf("%d values, want %d", len(got), len(want))
	}
	for i, x := range got {
		w := want[len(want)-1-i]
		// λ is exact to some ulps of the largest one, so σ to that over 2σ, and at worst to its root.
		lambda := 4e-15 * float64(len(want)) * want[0] * want[0]
		if math.Abs(x-w) > min(lambda/w, math.Sqrt(lambda))+1e-13*w {
			return fmt.Errorf("singular value %d is %.17g, want %.17g", i, x, w)
		}
	}
	return nil
}

func TestThroughGramAgainstSVD(t *testing.T) {
	shapes := [][2]int{{1, 1}, {1, 9}, {2, 2}, {3, 7}, {7, 3}, {64, 64}, {65, 200}, {200, 65}, {130, 130}, {131, 700}, {700, 131}, {9, 1100}, {1100, 9}}
	cases := map[string]*matrix{
		"zeros":    testMatrix(20, 30, func(int, int) float64 { return 0 }),
		"diagonal": testMatrix(70, 70, func(i, j int) float64 { return float64((1 - min(1, (i-j)*(i-j))) * (i + 1)) }),
		"rank one": testMatrix(90, 40, func(i, j int) float64 { return float64((i - 40) * (j + 1)) }),
		"huge":     testMatrix(33, 20, func(i, j int) float64 { return 1e37 * math.Sin(float64(i*i+3*j)) }),
		"minute":   testMatrix(20, 33, func(i, j int) float64 { return 1e-37 * math.Sin(float64(i*i+3*j)) }),
		"decaying": testMatrix(150, 150, func(i, j int) float64 { return 1 / float64(i+j+1) }), // Hilbert: condition beyond 1e16
	}
	for _, s := range shapes {
		cases[fmt.Sprint(s)] = noise(s[0], s[1], 3)
	}
	for _, k := range available() {
		for name, m := range cases {
			want, err := direct(m)
			if err != nil {
				t.Fatal(err)
			}
			got, err := throughGram(context.Background(), m, k)
			if err != nil {
				t.Fatal(err)
			}
			if err := sameSpectrum(got, want); err != nil {
				t.Errorf("%s %s: %v", k.name, name, err)
			}
		}
	}
}

func TestThroughGramAnyShape(t *testing.T) {
	k := bestKernels()
	rapid.Check(t, func(t *rapid.T) {
		m := noise(rapid.IntRange(1, 90).Draw(t, "rows"), rapid.IntRange(1, 90).Draw(t, "cols"), rapid.Uint64().Draw(t, "seed"))
		want, err := direct(m)
		if err != nil {
			t.Fatal(err)
		}
		got, err := throughGram(context.Background(), m, k)
		if err != nil {
			t.Fatal(err)
		}
		if err := sameSpectrum(got, want); err != nil {
			t.Fatal(err)
		}
	})
}

// TestKernels: every kernel against plain sums.
func TestKernels(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	draw := func(n int) []float64 {
		x := make([]float64, n)
		for i := range x {
			x[i] = r.NormFloat64()
		}
		return x
	}
	for _, k := range available() {
		for _, n := range []int{lane, 5 * lane, 64 * lane} {
			a, b, v := draw(4*n), draw(4*n), draw(n)
			pa, pb := make([]float64, 4*n), make([]float64, 4*n)
			for i := range 4 {
				for j := range n {
					pa[packed(i, j, n)], pb[packed(i, j, n)] = a[i*n+j], b[i*n+j]
				}
			}
			var tile [16]float64
			var rows [4]float64
			tile[5], rows[2] = 1, 1 // leftovers of the call before
			k.tile(&tile, pa, pb)
			k.rows4(&rows, append(a, 0), n, v)
			for i := range 4 {
				var want float64
				for t := range n {
					want += a[i*n+t] * v[t]
				}
				if math.Abs(rows[i]-want) > 1e-12 {
					t.Errorf("%s, %d: row %d gives %g, want %g", k.name, n, i, rows[i], want)
				}
				for j := range 4 {
					want = 0
					for t := range n {
						want += a[i*n+t] * b[j*n+t]
					}
					if math.Abs(tile[4*i+j]-want) > 1e-12 {
						t.Errorf("%s, %d: tile (%d, %d) is %g, want %g", k.name, n, i, j, tile[4*i+j], want)
					}
				}
			}
		}
	}
}

// TestOneMatrixTwice: the result doesn't depend on how the work was split.
func TestOneMatrixTwice(t *testing.T) {
	m := noise(300, 400, 5)
	a, errA := throughGram(context.Background(), m, bestKernels())
	b, errB := throughGram(context.Background(), m, bestKernels())
	if errA != nil || errB != nil {
		t.Fatal(errA, errB)
	}
	for i := range a {
		if a[i] != b[i] {
			t.Fatalf("value %d is %v and %v", i, a[i], b[i])
		}
	}
}

// BenchmarkSingularValues measures the shapes of LLaMA-3.2-1B's layers.
func BenchmarkSingularValues(b *testing.B) {
	for _, shape := range [][2]int{{512, 2048}, {2048, 2048}, {2048, 8192}, {8192, 2048}} {
		b.Run(fmt.Sprintf("%dx%d", shape[0], shape[1]), func(b *testing.B) {
			m := noise(shape[0], shape[1], 1)
			for b.Loop() {
				if _, err := throughGram(context.Background(), m, bestKernels()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkRankLlama32_1B ranks all matrices, the embedding too, of a random
// checkpoint of LLaMA-3.2-1B's shape (2.5 GB below TMPDIR):
//
//	go test ./generator/spectrum -run '^$' -bench RankLlama32_1B -benchtime 1x -timeout 60m
func BenchmarkRankLlama32_1B(b *testing.B) {
	dir := filepath.Join(b.TempDir(), "base")
	if err := llm.RandomCheckpoint(dir, llm.Llama32_1B(), safetensors.BF16, 0, 1); err != nil {
		b.Fatal(err)
	}
	c := openCheckpoint(b, dir)
	began := time.Now()
	for b.Loop() {
		layers, err := Rank(context.Background(), c, 25, func(e progress.Event) {
			b.Logf("%v %d/%d %s", time.Since(began).Round(time.Millisecond), e.Done, e.Total, e.Note)
		})
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(len(layers)), "matrices")
	}
}
