//go:build unix

package engine

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"syscall"
	"testing"
	"time"

	"d2nwg/llm"
)

// cpuSeconds is the processor time of this process: on a busy machine the only honest clock.
func cpuSeconds(b *testing.B) float64 {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return (time.Duration(u.Utime.Nano()) + time.Duration(u.Stime.Nano())).Seconds()
}

// tiny is the shape of the bundled model.
func tiny() llm.Config {
	return llm.Config{
		VocabSize: 355, HiddenSize: 128, IntermediateSize: 384, Layers: 6, Heads: 8, KVHeads: 4, HeadDim: 16, MaxPositions: 256,
		RMSNormEps: 1e-5, RopeTheta: 10000, TieWordEmbeddings: true, BOS: 1, EOS: []int{2}, DType: "BF16",
	}
}

// BenchmarkScore measures requests a second of the bundled model's shape: bare ones of 15 tokens, of which 6 are
// scored, and the same behind descriptions of 90 tokens, 32 requests to a description.
func BenchmarkScore(b *testing.B) {
	checkpoint, _ := randomModel(b, tiny(), 1)
	m := mustModel(b, checkpoint)
	random := rand.New(rand.NewPCG(1, 1))
	for _, kind := range []struct {
		name   string
		prefix int
	}{{"bare", 0}, {"described", 90}} {
		var reqs []Request
		var description []int
		for i := range 2048 {
			if i%32 == 0 {
				description = append([]int{1}, randomIDs(random, kind.prefix, 355)...)
			}
			ids := append(append([]int{}, description...), randomIDs(random, 14, 355)...)
			reqs = append(reqs, Request{ids, len(ids) - 6})
		}
		for _, k := range available() {
			for _, workers := range []int{1, runtime.GOMAXPROCS(0)} {
				b.Run(fmt.Sprintf("%s/%s/workers=%d", kind.name, k.name, workers), func(b *testing.B) {
					model := m.withKernels(k)
					start := cpuSeconds(b)
					for b.Loop() {
						if _, err := model.Score(context.Background(), reqs, workers); err != nil {
							b.Fatal(err)
						}
					}
					b.ReportMetric(float64(b.N*len(reqs))/b.Elapsed().Seconds(), "requests/s")
					b.ReportMetric(float64(b.N*len(reqs))/(cpuSeconds(b)-start), "requests/cpu-s")
				})
			}
		}
	}
}

func BenchmarkWith(b *testing.B) {
	checkpoint, ref := randomModel(b, tiny(), 1)
	m := mustModel(b, checkpoint)
	v := &llm.Variant{Base: checkpoint, Replace: ref.w}
	for b.Loop() {
		if _, err := m.With(v); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkGenerate(b *testing.B) {
	checkpoint, _ := randomModel(b, tiny(), 1)
	m := mustModel(b, checkpoint)
	start := cpuSeconds(b)
	for b.Loop() {
		if _, err := m.Greedy(context.Background(), []int{1, 2, 3, 4, 5, 6, 7, 8}, 64, nil); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N*64)/b.Elapsed().Seconds(), "tokens/s")
	b.ReportMetric(float64(b.N*64)/(cpuSeconds(b)-start), "tokens/cpu-s")
}
