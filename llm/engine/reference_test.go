package engine

import (
	"hash/crc32"
	"math"
	"math/cmplx"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"d2nwg/llm"
	"d2nwg/llm/engine/kernel"
	"d2nwg/safetensors"
)

// reference is the model as its definition reads: float64, one token and one output at a time, nothing shared with the
// engine but the config and the weights.
type reference struct {
	c llm.Config
	w map[string][]float32
}

// matVec is W·x + bias; W (out, in).
func (m reference) matVec(name string, x []float64) []float64 {
	w, bias := m.w[name+".weight"], m.w[name+".bias"]
	y := make([]float64, len(w)/len(x))
	for o := range y {
		for i, v := range x {
			y[o] += float64(w[o*len(x)+i]) * v
		}
		if bias != nil {
			y[o] += float64(bias[o])
		}
	}
	return y
}

func (m reference) norm(name string, x []float64) []float64 {
	mean := 0.0
	for _, v := range x {
		mean += v * v / float64(len(x))
	}
	y := make([]float64, len(x))
	for i, v := range x {
		y[i] = v / math.Sqrt(mean+m.c.RMSNormEps) * float64(m.w[name+".weight"][i])
	}
	return y
}

// turn rotates a head as complex numbers.
func (m reference) turn(x []float64, position int) []float64 {
	half := len(x) / 2
	y := make([]float64, len(x))
	for i, inv := range m.c.InverseFrequencies() {
		z := complex(x[i], x[i+half]) * cmplx.Rect(1, float64(position)*inv)
		y[i], y[i+half] = real(z), imag(z)
	}
	return y
}

// logits returns (T, vocab), the hidden states after the final norm (T, hidden), and the norm of the last position's
// residual stream after the embedding and each layer.
func (m reference) logits(ids []int) (logits, hidden [][]float64, norms []float64) {
	c := m.c
	x := make([][]float64, len(ids))
	for t, id := range ids {
		for _, v := range m.w[llm.EmbedName][id*c.HiddenSize : (id+1)*c.HiddenSize] {
			x[t] = append(x[t], float64(v))
		}
	}
	norms = append(norms, length(x[len(x)-1]))
	for l := range c.Layers {
		m.layer(strings.TrimSuffix(llm.Modules()[1].Tensor(l), "input_layernorm.weight"), x)
		norms = append(norms, length(x[len(x)-1]))
	}
	head := strings.TrimSuffix(llm.LMHeadName, ".weight")
	if c.TieWordEmbeddings {
		head = strings.TrimSuffix(llm.EmbedName, ".weight")
	}
	for t := range x {
		h := m.norm("model.norm", x[t])
		hidden = append(hidden, h)
		logits = append(logits, m.matVec(head, h))
	}
	return logits, hidden, norms
}

func (m reference) layer(p string, x [][]float64) {
	c, dim := m.c, m.c.HeadDim
	q, k, v := make([][]float64, len(x)), make([][]float64, len(x)), make([][]float64, len(x))
	for t := range x {
		h := m.norm(p+"input_layernorm", x[t])
		q[t], k[t], v[t] = m.matVec(p+"self_attn.q_proj", h), m.matVec(p+"self_attn.k_proj", h), m.matVec(p+"self_attn.v_proj", h)
	}
	for t := range x {
		var mixed []float64
		for head := range c.Heads {
			at := head / (c.Heads / c.KVHeads) * dim
			query := m.turn(q[t][head*dim:(head+1)*dim], t)
			weights, total := make([]float64, t+1), 0.0
			for s := range weights {
				key, dot := m.turn(k[s][at:at+dim], s), 0.0
				for d := range key {
					dot += query[d] * key[d]
				}
				weights[s] = math.Exp(dot / math.Sqrt(float64(dim)))
				total += weights[s]
			}
			out := make([]float64, dim)
			for s, w := range weights {
				for d := range out {
					out[d] += w / total * v[s][at+d]
				}
			}
			mixed = append(mixed, out...)
		}
		add(x[t], m.matVec(p+"self_attn.o_proj", mixed))
		h := m.norm(p+"post_attention_layernorm", x[t])
		gate, up := m.matVec(p+"mlp.gate_proj", h), m.matVec(p+"mlp.up_proj", h)
		for i, g := range gate {
			up[i] *= g / (1 + math.Exp(-g))
		}
		add(x[t], m.matVec(p+"mlp.down_proj", up))
	}
}

func add(x, y []float64) {
	for i := range x {
		x[i] += y[i]
	}
}

func length(x []float64) float64 {
	sum := 0.0
	for _, v := range x {
		sum += v * v
	}
	return math.Sqrt(sum)
}

func deviation(x []float64) float64 {
	mean, sum := 0.0, 0.0
	for _, v := range x {
		mean += v / float64(len(x))
	}
	for _, v := range x {
		sum += (v - mean) * (v - mean) / float64(len(x))
	}
	return math.Sqrt(sum)
}

// shapes are small models that between them have all there is: grouped heads, both heads, biases, scaled frequencies,
// widths that are no multiple of a vector, every dtype.
func shapes() map[string]llm.Config {
	base := llm.Config{
		VocabSize: 97, HiddenSize: 48, IntermediateSize: 112, Layers: 3, Heads: 6, KVHeads: 2, HeadDim: 8, MaxPositions: 96,
		RMSNormEps: 1e-5, RopeTheta: 10000, TieWordEmbeddings: true, BOS: 1, EOS: []int{2}, DType: "F32",
	}
	scaled := base
	scaled.RopeTheta = 500000
	scaled.RopeScaling = &llm.RopeScaling{Type: "llama3", Factor: 32, LowFreqFactor: 1, HighFreqFactor: 4, OriginalMaxPositions: 16}
	scaled.DType = "BF16"
	biased := base
	biased.HiddenSize, biased.IntermediateSize, biased.Heads, biased.KVHeads, biased.HeadDim = 30, 77, 3, 3, 14
	biased.AttentionBias, biased.MLPBias, biased.TieWordEmbeddings, biased.VocabSize = true, true, false, 61
	biased.DType = "F16"
	wide := base
	wide.HiddenSize, wide.IntermediateSize, wide.Heads, wide.KVHeads, wide.HeadDim, wide.Layers = 320, 300, 4, 1, 96, 2
	return map[string]llm.Config{"grouped": base, "scaled": scaled, "biased": biased, "wide": wide}
}

// randomModel writes and opens a checkpoint of lively weights: attention is far from uniform, biases and norms matter.
func randomModel(t testing.TB, c llm.Config, seed uint64) (*llm.Checkpoint, reference) {
	t.Helper()
	ref := reference{c, map[string][]float32{}}
	dir := filepath.Join(t.TempDir(), "model")
	shapeOf := map[string]llm.NamedShape{}
	for _, s := range c.TensorShapes() {
		shapeOf[s.Name] = s
	}
	err := llm.WriteCheckpoint(dir, c, c.DType, func(name string) ([]float32, error) {
		s := shapeOf[name]
		random := rand.New(rand.NewPCG(seed, uint64(crc32.ChecksumIEEE([]byte(name))))) // whatever the order of the calls
		w := make([]float32, s.Elements())
		for i := range w {
			switch z := random.NormFloat64(); {
			case len(s.Shape) == 2 && s.Module != llm.EmbedTokens:
				w[i] = float32(2 * z / math.Sqrt(float64(s.Shape[1])))
			case strings.HasSuffix(name, ".bias"):
				w[i] = float32(0.5 * z)
			case len(s.Shape) == 1:
				w[i] = float32(1 + 0.3*z)
			default:
				w[i] = float32(z)
			}
		}
		if err := safetensors.Round(c.DType, w); err != nil {
			return nil, err
		}
		ref.w[name] = w
		return w, nil
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	checkpoint, err := llm.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := checkpoint.Close(); err != nil {
			t.Error(err)
		}
	})
	return checkpoint, ref
}

func randomIDs(random *rand.Rand, n, vocab int) []int {
	ids := make([]int, n)
	for i := range ids {
		ids[i] = random.IntN(vocab)
	}
	return ids
}

func mustModel(t testing.TB, c *llm.Checkpoint) *Model {
	t.Helper()
	m, err := New(c, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// everyModel returns a random model of each shape with each kind of kernels, the wide one in bfloat16 arithmetic, too.
func everyModel(t *testing.T, seed uint64) map[string]*Model {
	models := map[string]*Model{}
	add := func(name string, c llm.Config, options Options) {
		checkpoint, _ := randomModel(t, c, seed)
		m, err := New(checkpoint, options)
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range kernel.Available() {
			models[name+", "+k.Name()] = m.withKernels(k)
		}
	}
	for name, c := range shapes() {
		add(name, c, Options{})
	}
	wide := shapes()["wide"]
	wide.DType = "BF16"
	add("wide in bf16", wide, Options{Arithmetic: BF16})
	return models
}

// withKernels returns the model computing with other kernels.
func (m *Model) withKernels(k *kernel.Set) *Model {
	other := *m
	other.k = k
	return &other
}
