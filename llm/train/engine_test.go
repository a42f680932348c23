package train

import (
	"context"
	"math"
	"math/rand/v2"
	"testing"

	"d2nwg/internal/compute"
	"d2nwg/llm"
	"d2nwg/llm/engine"
	"d2nwg/llm/pack"
)

// TestLogitsEqualEngine wants the training graph and the scoring engine to agree within 1e-4 of the logits' deviation.
func TestLogitsEqualEngine(t *testing.T) {
	for name, cfg := range map[string]llm.Config{
		"tied": tiny(),
		"untied, llama3 rope": {
			VocabSize: 31, HiddenSize: 24, IntermediateSize: 40, Layers: 3, Heads: 6, KVHeads: 3, HeadDim: 8, MaxPositions: 64,
			RMSNormEps: 1e-5, RopeTheta: 500000, BOS: 1, DType: "F32",
			RopeScaling: &llm.RopeScaling{Type: llm.RopeLlama3, Factor: 8, LowFreqFactor: 1, HighFreqFactor: 4, OriginalMaxPositions: 32},
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := roughWeights(cfg, 8)
			model, err := engine.New(writeBase(t, cfg, w), engine.Options{})
			if err != nil {
				t.Fatal(err)
			}
			rng := rand.New(rand.NewPCG(3, 4))
			ids := make([]int, 33)
			for i := range ids {
				ids[i] = rng.IntN(cfg.VocabSize)
			}
			want, err := model.Logits(ids[:32])
			if err != nil {
				t.Fatal(err)
			}
			batch := pack.NewBatch(1, 32)
			pack.Text(batch, 0, ids)
			for _, backend := range []string{compute.Go, compute.ONNX} {
				t.Run(backend, func(t *testing.T) {
					got, err := LogitsFor(context.Background(), cfg, w, batch, openBackend(t, backend))
					if err != nil {
						t.Fatal(err)
					}
					mean, square, worst := 0.0, 0.0, 0.0
					for i, v := range want {
						mean += float64(v) / float64(len(want))
						square += float64(v) * float64(v) / float64(len(want))
						worst = max(worst, math.Abs(float64(v)-float64(got[i])))
					}
					if deviation := math.Sqrt(square - mean*mean); worst > 1e-4*deviation {
						t.Errorf("logits differ by %g, deviation %g", worst, deviation)
					}
				})
			}
		})
	}
}
