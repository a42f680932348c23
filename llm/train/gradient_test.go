package train

import (
	"context"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/graph"
	"github.com/nlpodyssey/spago/ag"
	"github.com/nlpodyssey/spago/mat"

	"d2nwg/internal/compute"
	"d2nwg/llm"
	"d2nwg/llm/pack"
)

// reference is the model in spago's float64 autograd, one position and one head at a time, with the visible keys taken from pack.
type reference struct {
	cfg llm.Config
	w   map[string]*mat.Dense[float64]
}

func newReference(cfg llm.Config, w Weights) *reference {
	r := &reference{cfg, map[string]*mat.Dense[float64]{}}
	for _, s := range cfg.TensorShapes() {
		values := make([]float64, len(w[s.Name]))
		for i, v := range w[s.Name] {
			values[i] = float64(v)
		}
		shape := []int{s.Shape[0], 1}
		if len(s.Shape) == 2 {
			shape = s.Shape
		}
		r.w[s.Name] = mat.NewDense[float64](mat.WithShape(shape...), mat.WithBacking(values), mat.WithGrad(true))
	}
	return r
}

func scalar(v float64) mat.Tensor { return mat.Scalar(v) }

func vector(v []float64) mat.Tensor {
	return mat.NewDense[float64](mat.WithShape(len(v), 1), mat.WithBacking(v))
}

func (r *reference) linear(name string, x mat.Tensor) mat.Tensor {
	y := ag.Mul(r.w[name+".weight"], x)
	if b, ok := r.w[name+".bias"]; ok {
		y = ag.Add(y, b)
	}
	return y
}

func (r *reference) norm(name string, x mat.Tensor) mat.Tensor {
	meanSquare := ag.ProdScalar(ag.Dot(x, x), scalar(1/float64(r.cfg.HiddenSize)))
	inverse := ag.Pow(ag.AddScalar(meanSquare, scalar(r.cfg.RMSNormEps)), -0.5)
	return ag.Prod(ag.ProdScalar(x, inverse), r.w[name])
}

// head cuts head h out of x and, where rotate, turns it by the position.
func (r *reference) head(x mat.Tensor, h int, rotate bool, position int32) mat.Tensor {
	d := r.cfg.HeadDim
	first, second := ag.Slice(x, h*d, 0, h*d+d/2, 1), ag.Slice(x, h*d+d/2, 0, h*d+d, 1)
	if !rotate {
		return ag.Concat(first, second)
	}
	cos, sin := make([]float64, d/2), make([]float64, d/2)
	for i, inv := range r.cfg.InverseFrequencies() {
		cos[i], sin[i] = math.Cos(float64(position)*inv), math.Sin(float64(position)*inv)
	}
	c, s := vector(cos), vector(sin)
	return ag.Concat(ag.Sub(ag.Prod(first, c), ag.Prod(second, s)), ag.Add(ag.Prod(second, c), ag.Prod(first, s)))
}

// forward returns the logits of every position of a row; padding stays nil.
func (r *reference) forward(b *pack.Batch, row int) []mat.Tensor {
	cfg, at := r.cfg, row*b.Len
	h := make([]mat.Tensor, b.Len)
	for i := range h {
		if b.Segments[at+i] != pack.Padding {
			h[i] = ag.T(ag.RowView(r.w["model.embed_tokens.weight"], int(b.IDs[at+i])))
		}
	}
	names := map[tensorKey]string{}
	for _, s := range cfg.TensorShapes() {
		names[tensorKey{s.Module, s.Layer}] = strings.TrimSuffix(strings.TrimSuffix(s.Name, ".weight"), ".bias")
	}
	for layer := range cfg.Layers {
		name := func(module string) string { return names[tensorKey{module, layer}] }
		q, k, v := make([]mat.Tensor, b.Len), make([]mat.Tensor, b.Len), make([]mat.Tensor, b.Len)
		for i, x := range h {
			if x != nil {
				n := r.norm(name("input_layernorm")+".weight", x)
				q[i], k[i], v[i] = r.linear(name("q_proj"), n), r.linear(name("k_proj"), n), r.linear(name("v_proj"), n)
			}
		}
		for i, x := range h {
			if x == nil {
				continue
			}
			var heads []mat.Tensor
			for head := range cfg.Heads {
				heads = append(heads, r.attend(b, row, i, head, q, k, v))
			}
			h[i] = ag.Add(x, r.linear(name("o_proj"), ag.Concat(heads...)))
		}
		for i, x := range h {
			if x != nil {
				n := r.norm(name("post_attention_layernorm")+".weight", x)
				inner := ag.Prod(ag.SiLU(r.linear(name("gate_proj"), n)), r.linear(name("up_proj"), n))
				h[i] = ag.Add(x, r.linear(name("down_proj"), inner))
			}
		}
	}
	head := "lm_head"
	if cfg.TieWordEmbeddings {
		head = "model.embed_tokens"
	}
	for i, x := range h {
		if x != nil {
			h[i] = r.linear(head, r.norm("model.norm.weight", x))
		}
	}
	return h
}

func (r *reference) attend(b *pack.Batch, row, i, head int, q, k, v []mat.Tensor) mat.Tensor {
	at, shared := row*b.Len, head/(r.cfg.Heads/r.cfg.KVHeads)
	query := r.head(q[i], head, true, b.Positions[at+i])
	var scores, values []mat.Tensor
	for j := range b.Len {
		if b.Visible(row, i, j) {
			key := r.head(k[j], shared, true, b.Positions[at+j])
			scores = append(scores, ag.ProdScalar(ag.Dot(query, key), scalar(1/math.Sqrt(float64(r.cfg.HeadDim)))))
			values = append(values, r.head(v[j], shared, false, 0))
		}
	}
	return ag.MulT(ag.Stack(values...), ag.Softmax(ag.Concat(scores...)))
}

// loss is the weighted mean cross-entropy of the batch.
func (r *reference) loss(b *pack.Batch) mat.Tensor {
	var total mat.Tensor
	sum := 0.0
	for row := range b.Rows {
		for i, logits := range r.forward(b, row) {
			if w := float64(b.Weights[row*b.Len+i]); w > 0 {
				p := ag.At(ag.Softmax(logits), int(b.Targets[row*b.Len+i]), 0)
				total = ag.Add(total, ag.ProdScalar(ag.Neg(ag.Log(p)), scalar(w)))
				sum += w
			}
		}
	}
	return ag.ProdScalar(total, scalar(1/sum))
}

// gradientModel is as small as a model with every part can be.
func gradientModel(tied, biases bool) llm.Config {
	return llm.Config{
		VocabSize: 11, HiddenSize: 12, IntermediateSize: 10, Layers: 2, Heads: 4, KVHeads: 2, HeadDim: 4, MaxPositions: 64,
		RMSNormEps: 1e-5, RopeTheta: 100, TieWordEmbeddings: tied, AttentionBias: biases, MLPBias: biases, BOS: 1, DType: "F32",
	}
}

// roughWeights are far from the initial ones, so that no part of the gradient is small by accident.
func roughWeights(cfg llm.Config, seed uint64) Weights {
	rng := rand.New(rand.NewPCG(seed, 1))
	w := Weights{}
	for _, s := range cfg.TensorShapes() {
		values := make([]float32, s.Elements())
		for i := range values {
			values[i] = float32(rng.NormFloat64() * 0.4)
			if strings.HasSuffix(s.Name, "norm.weight") {
				values[i]++
			}
		}
		w[s.Name] = values
	}
	return w
}

func packedBatch() *pack.Batch {
	b := pack.NewBatch(2, 12)
	b.Add(0, []int{1, 4, 5}, []pack.Example{{Prompt: []int{6, 7}, Answer: []int{8, 9}}, {Prompt: []int{3}, Answer: []int{10, 2}}})
	pack.Text(b, 1, []int{1, 7, 7, 2, 9, 3, 0, 5, 6, 1, 1, 8, 4})
	b.Weights[14] = 0.25
	return b
}

func TestGradientsEqualSpago(t *testing.T) {
	for _, c := range []struct {
		name         string
		tied, biases bool
	}{{"tied", true, false}, {"untied with biases", false, true}} {
		cfg := gradientModel(c.tied, c.biases)
		w, b := roughWeights(cfg, 5), packedBatch()
		ref := newReference(cfg, w)
		want := ref.loss(b)
		if err := ag.Backward(want); err != nil {
			t.Fatal(err)
		}
		for _, backend := range []string{compute.Go, compute.ONNX} {
			t.Run(c.name+"/"+backend, func(t *testing.T) {
				loss, grads := gradients(t, openBackend(t, backend), cfg, w, b)
				if d := math.Abs(loss - want.Value().Item().F64()); d > 1e-5 {
					t.Errorf("loss %v differs from spago's by %v", loss, d)
				}
				for _, s := range cfg.TensorShapes() {
					compareGradient(t, s.Name, grads[s.Name], mat.Data[float64](ref.w[s.Name].Grad()))
				}
			})
		}
	}
}

// compareGradient wants every entry within 1e-4 of the tensor's largest.
func compareGradient(t *testing.T, name string, got []float32, want []float64) {
	t.Helper()
	largest, worst := 0.0, 0.0
	for i, v := range want {
		largest = max(largest, math.Abs(v))
		worst = max(worst, math.Abs(v-float64(got[i])))
	}
	if largest == 0 || worst > 1e-4*largest {
		t.Errorf("gradient of %s: largest difference %g, largest entry %g", name, worst, largest)
	}
}

// gradients runs the graph that training runs, up to the optimizer.
func gradients(t *testing.T, backend *compute.Backend, cfg llm.Config, w Weights, b *pack.Batch) (float64, Weights) {
	t.Helper()
	lay := fullLayout(cfg)
	r := &run{opt: Options{Backend: backend}, cfg: cfg, data: make([]Data, 1), layout: lay, bind: lay.bindFull}
	p, err := backend.Compile("gradients", func(g *graph.Graph) []*node {
		params := graph.Parameter(g, "params", shapes.Make(dtypes.Float32, 1, lay.size))
		loss, grad := r.lossAndGradient(map[string]*node{}, params, newInputs(g, cfg, b.Rows, b.Len))
		return []*node{loss, grad}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	flat, err := lay.flatten(w)
	if err != nil {
		t.Fatal(err)
	}
	arrays, err := newFeeder(cfg).arrays([]*pack.Batch{b}, 0)
	if err != nil {
		t.Fatal(err)
	}
	in, err := upload(backend.GoMLX(), append([]array{floats(flat, 1, lay.size)}, arrays...))
	if err != nil {
		t.Fatal(err)
	}
	defer release(in)
	out, err := p.Run(in)
	if err != nil {
		t.Fatal(err)
	}
	loss, err := download(out[0], 1)
	if err != nil {
		t.Fatal(err)
	}
	grad, err := download(out[1], lay.size)
	if err != nil {
		t.Fatal(err)
	}
	return float64(loss[0]), lay.unflatten(grad)
}

// TestLogitsEqualSpago checks the forward pass alone, and so that a packed example is computed as if it stood alone behind its prefix.
func TestLogitsEqualSpago(t *testing.T) {
	cfg := gradientModel(false, false)
	w, packed := roughWeights(cfg, 6), packedBatch()
	alone := pack.NewBatch(1, 12)
	alone.Add(0, []int{1, 4, 5}, []pack.Example{{Prompt: []int{3}, Answer: []int{10, 2}}}) // packedBatch's second example
	want := newReference(cfg, w).forward(alone, 0)
	for _, name := range []string{compute.Go, compute.ONNX} {
		t.Run(name, func(t *testing.T) {
			backend := openBackend(t, name)
			for _, c := range []struct {
				batch *pack.Batch
				at    int // where the example's first token stands in row 0
			}{{alone, 3}, {packed, 6}} {
				logits, err := LogitsFor(context.Background(), cfg, w, c.batch, backend)
				if err != nil {
					t.Fatal(err)
				}
				for i := range 2 {
					got := logits[(c.at+i)*cfg.VocabSize : (c.at+i+1)*cfg.VocabSize]
					compareGradient(t, "logits", got, mat.Data[float64](want[3+i].Value()))
				}
			}
		})
	}
}

// TestLargeVocabulary compares the gathered and scattered embedding of the go backend with the one-hot product of onnx; tokens repeat.
func TestLargeVocabulary(t *testing.T) {
	cfg := gradientModel(false, false)
	cfg.VocabSize = oneHotVocab + 5
	w, b := roughWeights(cfg, 9), packedBatch()
	loss, scattered := gradients(t, openBackend(t, compute.Go), cfg, w, b)
	productLoss, product := gradients(t, openBackend(t, compute.ONNX), cfg, w, b)
	if math.Abs(loss-productLoss) > 1e-5*loss {
		t.Errorf("loss %v gathered, %v by a product", loss, productLoss)
	}
	name := "model.embed_tokens.weight"
	want := make([]float64, len(product[name]))
	for i, v := range product[name] {
		want[i] = float64(v)
	}
	compareGradient(t, name, scattered[name], want)
}
