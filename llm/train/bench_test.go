package train

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"d2nwg/internal/compute"
	"d2nwg/internal/progress"
	"d2nwg/llm"
	"d2nwg/llm/pack"
)

// bundled is the shape of the bundled model: 1.03M parameters.
func bundled() llm.Config {
	return llm.Config{
		VocabSize: 355, HiddenSize: 128, IntermediateSize: 384, Layers: 5, Heads: 8, KVHeads: 4, HeadDim: 16, MaxPositions: 256,
		RMSNormEps: 1e-5, RopeTheta: 10000, TieWordEmbeddings: true, BOS: 1, EOS: []int{2}, DType: "BF16",
	}
}

// randomData packs random examples of 10 to 20 tokens behind a prefix.
func randomData(cfg llm.Config, rows, length, prefix int, seed uint64) Data {
	return DataFunc(func(step int) (*pack.Batch, error) {
		rng := rand.New(rand.NewPCG(seed, uint64(step)))
		ids := func(n int) []int {
			out := make([]int, n)
			for i := range out {
				out[i] = rng.IntN(cfg.VocabSize)
			}
			return out
		}
		b := pack.NewBatch(rows, length)
		for row := range rows {
			var examples []pack.Example
			for range length / 8 {
				examples = append(examples, pack.Example{Prompt: ids(6 + rng.IntN(6)), Answer: ids(4 + rng.IntN(5))})
			}
			b.Add(row, ids(prefix), examples)
		}
		return b, nil
	})
}

func BenchmarkFull(b *testing.B) {
	cfg := bundled()
	for _, name := range []string{compute.ONNX, compute.Go} {
		for _, shape := range [][2]int{{32, 208}, {64, 104}, {104, 64}} {
			b.Run(fmt.Sprintf("%s/%dx%d", name, shape[0], shape[1]), func(b *testing.B) {
				backend, err := compute.Open(context.Background(), name)
				if err != nil {
					b.Skip(err)
				}
				b.ResetTimer()
				_, log, err := Full(context.Background(), InitWeights(cfg, 1), cfg, randomData(cfg, shape[0], shape[1], 20, 2), Options{
					Steps: b.N, Clip: 1, WeightDecay: 0.1, Backend: backend,
				})
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(log.Loss[b.N-1][0], "loss")
			})
		}
	}
}

// BenchmarkAdapters tells what adapters cost: the same 64 rows given to ever more of them, and ever more rows of the same two for each.
func BenchmarkAdapters(b *testing.B) {
	cfg := bundled()
	base := writeBase(b, cfg, InitWeights(cfg, 1))
	for _, name := range []string{compute.ONNX, compute.Go} {
		backend, err := compute.Open(context.Background(), name)
		if err != nil {
			b.Logf("%s: %v", name, err)
			continue
		}
		for _, trainA := range []bool{false, true} {
			for _, shape := range [][2]int{{1, 64}, {8, 8}, {32, 2}, {64, 1}, {1, 2}, {8, 2}, {64, 2}} {
				groups, rows := shape[0], shape[1]
				b.Run(fmt.Sprintf("%s/ownA=%v/%dx%d", name, trainA, groups, rows), func(b *testing.B) {
					var data []Data
					for g := range groups {
						data = append(data, randomData(cfg, rows, 128, 20, uint64(g)))
					}
					var last progress.Event
					opt := Options{Steps: b.N, Clip: 1, Backend: backend, Progress: func(e progress.Event) { last = e }}
					if _, _, err := Adapters(context.Background(), base, data, LowRankOptions{Rank: 4, TrainA: trainA}, opt); err != nil {
						b.Fatal(err)
					}
					b.ReportMetric(last.Values["ms_per_step"], "ms/step") // without the compilation
					b.ReportMetric(last.Values["ms_per_step"]/float64(groups), "ms/step/adapter")
				})
			}
		}
	}
}
