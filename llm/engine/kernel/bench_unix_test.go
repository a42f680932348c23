//go:build unix

package kernel

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var typeNames = [dtypes]string{"f32", "f16", "bf16"}

// BenchmarkGEMM multiplies 512 rows with weights (8192, 2048) and (2048, 8192), beside the peak of the machine.
func BenchmarkGEMM(b *testing.B) {
	for _, shape := range []struct{ rows, in, out int }{{512, 2048, 8192}, {512, 8192, 2048}} {
		benchmark(b, shape.rows, shape.in, shape.out)
	}
}

// BenchmarkBatch multiplies as many rows as a batch of generated texts has.
func BenchmarkBatch(b *testing.B) {
	for _, rows := range []int{6, 16, 64} {
		benchmark(b, rows, 2048, 8192)
	}
}

func benchmark(b *testing.B, rows, in, out int) {
	for _, s := range Available()[1:] {
		eachProduct(s, func(a Arithmetic, d DType) {
			if a == BFloat16 && !s.mul[a].pairs {
				return
			}
			for _, threads := range []int{1, 2} {
				name := fmt.Sprintf("%dx%dx%d/%s/x%d·%s/threads=%d", rows, in, out, s.name, 32-16*int(a), typeNames[d], threads)
				b.Run(name, func(b *testing.B) { benchmarkOne(b, s, a, d, rows, in, out, threads) })
			}
		})
	}
}

func benchmarkOne(b *testing.B, s *Set, a Arithmetic, d DType, rows, in, out, threads int) {
	random := rand.New(rand.NewPCG(1, 1))
	x := fill(s, a, normal(random, rows*in), rows, in)
	data := make([]byte, out*in*d.Size())
	encode(data, normal(random, out*in), d)
	w := Weights{data, d, out, in}
	c := make([]float32, rows*out)
	flops := 2 * float64(rows) * float64(in) * float64(out)
	var multiply, peak, work float64 // processor seconds: others may be at work on this machine
	var best float64
	for b.Loop() {
		start, wall := cpuSeconds(b), time.Now()
		s.MultiplyParallel(x, threads, Product{C: c, LDC: out, W: w})
		best = max(best, flops/time.Since(wall).Seconds())
		middle := cpuSeconds(b)
		n, _ := timed(threads, 10*time.Millisecond, func(int) int { return s.peak[a](10_000) })
		multiply, peak, work = multiply+middle-start, peak+cpuSeconds(b)-middle, work+n
	}
	b.ReportMetric(best/1e9, "GFLOP/s-best")
	b.ReportMetric(100*float64(b.N)*flops/multiply/(work/peak), "%peak")
	b.ReportMetric(float64(b.N)*flops/multiply/1e9, "GFLOP/cpu-s")
	b.ReportMetric(0, "ns/op")
}

// cpuSeconds is the processor time of this process.
func cpuSeconds(b *testing.B) float64 {
	b.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
}

// BenchmarkGEMV multiplies one row with weights that are in no cache, beside the speed at which memory is read.
func BenchmarkGEMV(b *testing.B) {
	const in, out = 2048, 1 << 16
	for _, s := range Available()[1:] {
		eachProduct(s, func(a Arithmetic, d DType) {
			if a == BFloat16 && !s.mul[a].pairs {
				return
			}
			for _, threads := range []int{1, 2} {
				name := fmt.Sprintf("%s/x%d·%s/threads=%d", s.name, 32-16*int(a), typeNames[d], threads)
				b.Run(name, func(b *testing.B) { benchmarkRow(b, s, a, d, in, out, threads) })
			}
		})
	}
}

func benchmarkRow(b *testing.B, s *Set, a Arithmetic, d DType, in, out, threads int) {
	x := fill(s, a, normal(rand.New(rand.NewPCG(1, 1)), in), 1, in)
	data := make([]byte, out*in*d.Size())
	for i := range data {
		data[i] = byte(i & 0x3f)
	}
	w := Weights{data, d, out, in}
	c := make([]float32, out)
	var read, multiply []float64
	for b.Loop() { // in turn, since the machine's speed isn't constant
		start := time.Now()
		Parallel(len(data), threads, maxOuts*in*d.Size(), func(lo, hi int) { s.read(data[lo:hi]) })
		middle := time.Now()
		s.MultiplyParallel(x, threads, Product{C: c, LDC: out, W: w})
		read = append(read, middle.Sub(start).Seconds())
		multiply = append(multiply, time.Since(middle).Seconds())
	}
	bytes := float64(len(data))
	b.ReportMetric(bytes/median(multiply)/1e9, "GB/s")
	b.ReportMetric(100*median(read)/median(multiply), "%read")
	b.ReportMetric(bytes/median(read)/1e9, "GB/s-read")
	b.ReportMetric(bytes/slices.Min(multiply)/1e9, "GB/s-best")
	b.ReportMetric(bytes/slices.Min(read)/1e9, "GB/s-read-best")
	b.ReportMetric(0, "ns/op")
}

func median(x []float64) float64 {
	slices.Sort(x)
	return x[len(x)/2]
}

// BenchmarkSetRow lays out rows for a product.
func BenchmarkSetRow(b *testing.B) {
	const rows, k = 512, 2048
	src := normal(rand.New(rand.NewPCG(1, 1)), k)
	for _, s := range Available()[1:] {
		for a := range arithmetics {
			b.Run(fmt.Sprintf("%s/x%d", s.name, 32-16*int(a)), func(b *testing.B) {
				in := s.NewInput(a, rows, k)
				row := 0
				for b.Loop() {
					in.SetRow(row, src)
					row = (row + 1) % rows
				}
				b.ReportMetric(4*k*float64(b.N)/b.Elapsed().Seconds()/1e9, "GB/s")
			})
		}
	}
}

// BenchmarkVectors has the kernels between the matrices, for hidden and vocabulary sizes of a 1B model.
func BenchmarkVectors(b *testing.B) {
	random := rand.New(rand.NewPCG(1, 1))
	x, w, big, out := normal(random, 2048), normal(random, 2048), normal(random, 128256), make([]float32, 2048)
	const keys, dim, stride = 512, 64, 512
	p := normal(random, Queries*keys)
	for _, s := range Available() {
		run := func(name string, values int, f func()) {
			b.Run(s.name+"/"+name, func(b *testing.B) {
				for b.Loop() {
					f()
				}
				b.ReportMetric(b.Elapsed().Seconds()*1e9/float64(b.N*values), "ns/value")
			})
		}
		run("RMSNorm", len(x), func() { s.RMSNorm(out, x, w, 1e-5) })
		run("SwiGLU", len(x), func() { copy(out, x); s.SwiGLU(out, w) })
		run("Max", len(big), func() { s.Max(big) })
		run("SumExp", len(big), func() { s.SumExp(big, 4) })
		run("Softmax", keys, func() { copy(out, x); s.Softmax(out[:keys]) })
		for n := 1; n <= Queries; n++ {
			q, scores, results := Rows{x, n, dim, dim}, Rows{out, n, keys, keys}, Rows{out, n, dim, dim}
			for _, half := range []bool{false, true} {
				if half && !s.HasF16() {
					continue
				}
				kv := NewNumbers(keys*stride, half)
				run(fmt.Sprintf("Keys/f16=%v/queries=%d", half, n), n*keys*dim, func() { s.Keys(scores, q, kv) })
				run(fmt.Sprintf("Values/f16=%v/queries=%d", half, n), n*keys*dim, func() {
					s.Values(results, Rows{p, n, keys, keys}, kv, stride, &[Queries]float32{1, 1, 1, 1}, false, false)
				})
			}
		}
	}
}
