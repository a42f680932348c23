package train

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"d2nwg/internal/compute"
	"d2nwg/llm"
	"d2nwg/llm/pack"
)

// bundled is the shape of the bundled model: 1.2M parameters.
func bundled() llm.Config {
	return llm.Config{
		VocabSize: 360, HiddenSize: 128, IntermediateSize: 384, Layers: 6, Heads: 8, KVHeads: 4, HeadDim: 16, MaxPositions: 512,
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

func BenchmarkAdapters(b *testing.B) {
	cfg := bundled()
	base := writeBase(b, cfg, InitWeights(cfg, 1))
	var data []Data
	for g := range 32 {
		data = append(data, randomData(cfg, 8, 64, 20, uint64(g)))
	}
	for _, name := range []string{compute.ONNX, compute.Go} {
		b.Run(name+"/32x8x64", func(b *testing.B) {
			backend, err := compute.Open(context.Background(), name)
			if err != nil {
				b.Skip(err)
			}
			b.ResetTimer()
			_, log, err := Adapters(context.Background(), base, data, LowRankOptions{Rank: 4}, Options{Steps: b.N, Clip: 1, Backend: backend})
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(log.Loss[b.N-1][0], "loss")
		})
	}
}
