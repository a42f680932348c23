package train

import (
	"hash/fnv"
	"math"
	"math/rand/v2"
	"strings"

	"d2nwg/llm"
)

// InitWeights returns random weights to pretrain from. Each tensor has its own random stream of seed and name, so a tensor's values don't
// depend on what other tensors there are. Matrices are normal with deviation 0.55/√in (GPT-2's 0.02 at its width of 768), those that write
// into the residual stream divided by √(2·layers), embeddings 0.02; norms are 1 and biases 0.
func InitWeights(cfg llm.Config, seed uint64) Weights {
	w := Weights{}
	for _, s := range cfg.TensorShapes() {
		values := make([]float32, s.Elements())
		switch {
		case strings.HasSuffix(s.Module, ".bias"):
		case len(s.Shape) == 1:
			for i := range values {
				values[i] = 1
			}
		default:
			normal(values, deviation(cfg, s), seed, s.Name)
		}
		w[s.Name] = values
	}
	return w
}

func deviation(cfg llm.Config, s llm.NamedShape) float64 {
	switch s.Module {
	case llm.EmbedTokens, llm.LMHead:
		return 0.02
	case "o_proj", "down_proj":
		return 0.55 / math.Sqrt(float64(s.Shape[1])*2*float64(cfg.Layers))
	}
	return 0.55 / math.Sqrt(float64(s.Shape[1]))
}

// normal fills values from the stream of seed and name.
func normal(values []float32, deviation float64, seed uint64, name string) {
	h := fnv.New64a()
	h.Write([]byte(name))
	rng := rand.New(rand.NewPCG(seed, h.Sum64()))
	for i := range values {
		values[i] = float32(rng.NormFloat64() * deviation)
	}
}
