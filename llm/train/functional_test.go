package train

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	gomlx "github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/graph"
	"github.com/nlpodyssey/spago/ag"
	"github.com/nlpodyssey/spago/mat"

	"d2nwg/internal/compute"
	"d2nwg/llm"
	"d2nwg/llm/pack"
)

// functionalCase is a tiny base with two groups of adapters, each with a batch of its own.
func functionalCase(t *testing.T, name string) (*Functional, *llm.Checkpoint, []*pack.Batch, map[string][]float32) {
	return functionalOf(t, name, FunctionalOptions{LowRank: LowRankOptions{Rank: 2, Modules: []string{"q_proj", "v_proj", "o_proj", "up_proj", "down_proj"}}})
}

// functionalOf is functionalCase with other adapters.
func functionalOf(t *testing.T, name string, opt FunctionalOptions) (*Functional, *llm.Checkpoint, []*pack.Batch, map[string][]float32) {
	t.Helper()
	cfg := gradientModel(true, false)
	base := writeBase(t, cfg, roughWeights(cfg, 5))
	second := pack.NewBatch(2, 12)
	second.Add(0, []int{1, 2}, []pack.Example{{Prompt: []int{9, 3}, Answer: []int{4, 4, 5}}})
	second.Add(1, nil, []pack.Example{{Prompt: []int{1, 8}, Answer: []int{0, 10}}, {Prompt: []int{6}, Answer: []int{7}}})
	opt.Seed, opt.Groups, opt.Rows, opt.Length, opt.Backend = 3, 2, 2, 12, openBackend(t, name)
	f, err := NewFunctional(base, opt)
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(8, 8))
	b := map[string][]float32{}
	for _, s := range f.Factors() {
		b[s.Name] = make([]float32, 2*s.Elements())
		for i := range b[s.Name] {
			b[s.Name][i] = float32(0.3 * rng.NormFloat64())
		}
	}
	return f, base, []*pack.Batch{packedBatch(), second}, b
}

// functionalProgram compiles what outputs makes of the functional's parts. The B factors are parameters in the order of Factors.
func functionalProgram(t *testing.T, f *Functional, outputs func(b, dB map[string]*node, loss *node) []*node) *compute.Program {
	t.Helper()
	return functionalWithBase(t, f, func(_, b, dB, _ map[string]*node, loss *node) []*node { return outputs(b, dB, loss) })
}

// functionalWithBase is functionalProgram whose outputs see the base's tensors and their gradients, too.
func functionalWithBase(t *testing.T, f *Functional, outputs func(base, b, dB, dBase map[string]*node, loss *node) []*node) *compute.Program {
	t.Helper()
	p, err := f.opt.Backend.Compile("functional", func(g *graph.Graph) []*node {
		declare := func(name string, dims ...int) *node {
			return graph.Parameter(g, name, shapes.Make(dtypes.Float32, dims...))
		}
		var frozen, batch []*node
		frozenShapes, batchShapes := f.Shapes()
		for i, dims := range frozenShapes {
			frozen = append(frozen, declare(f.Frozen()[i].Name, dims...))
		}
		for i, dims := range batchShapes {
			batch = append(batch, declare(batchNames[i], dims...))
		}
		b := map[string]*node{}
		for _, s := range f.Factors() {
			b[s.Name] = declare("B:"+s.Name, 2, s.Shape[0], s.Shape[1])
		}
		base := map[string]*node{}
		for i, a := range f.Base() {
			base[a.Name] = frozen[i]
		}
		loss, dB, dBase := f.Build(frozen, batch, b)
		return outputs(base, b, dB, dBase, loss)
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// runFunctional returns the outputs of a program as flat values.
func runFunctional(t *testing.T, f *Functional, p *compute.Program, batches []*pack.Batch, b map[string][]float32) [][]float32 {
	t.Helper()
	batch, err := f.Batch(batches)
	if err != nil {
		t.Fatal(err)
	}
	var in []array
	for _, a := range append(f.Frozen(), batch...) {
		in = append(in, floats(a.Values, a.Shape...))
	}
	for _, s := range f.Factors() {
		in = append(in, floats(b[s.Name], 2, s.Shape[0], s.Shape[1]))
	}
	buffers, err := upload(f.opt.Backend.GoMLX(), in)
	if err != nil {
		t.Fatal(err)
	}
	defer release(buffers)
	out, err := p.Run(buffers)
	if err != nil {
		t.Fatal(err)
	}
	defer release(out)
	var all [][]float32
	for _, o := range out {
		all = append(all, values(t, o))
	}
	return all
}

func values(t *testing.T, b gomlx.Buffer) []float32 {
	t.Helper()
	shape, err := b.Shape()
	if err != nil {
		t.Fatal(err)
	}
	flat, err := download(b, shape.Size())
	if err != nil {
		t.Fatal(err)
	}
	return flat
}

// TestFunctionalEqualsSpago wants each group's loss and gradient to be those of spago's float64 model with the merged weights W + B·A, whose
// gradient by B is dW·Aᵀ, and autodiff through Through to carry the same gradient on.
func TestFunctionalEqualsSpago(t *testing.T) {
	for _, name := range []string{compute.Go, compute.ONNX} {
		t.Run(name, func(t *testing.T) {
			f, base, batches, b := functionalCase(t, name)
			program := functionalProgram(t, f, func(b, dB map[string]*node, loss *node) []*node {
				out := []*node{loss}
				var factors []*node
				for _, s := range f.Factors() {
					out, factors = append(out, dB[s.Name]), append(factors, b[s.Name])
				}
				through := Through(loss, b, dB)
				// Groups weigh 2 and 3, so that a mix-up of groups shows.
				weighted := graph.ReduceAllSum(graph.Mul(through, graph.Const(loss.Graph(), []float32{2, 3})))
				return append(append(out, through), graph.Gradient(weighted, factors...)...)
			})
			out := runFunctional(t, f, program, batches, b)
			factors := f.Factors()
			for g := range batches {
				v := &llm.Variant{Base: base, LowRank: map[string]llm.LowRank{}}
				for _, s := range factors {
					v.LowRank[s.Name] = llm.LowRank{
						Rank: 2, A: llm.SharedA(base.Config, s.Name, 2, 3), B: b[s.Name][g*s.Elements() : (g+1)*s.Elements()],
					}
				}
				loss, want, _ := spagoGradients(t, v, batches[g])
				if d := math.Abs(loss - float64(out[0][g])); d > 1e-5 {
					t.Errorf("group %d: loss %v differs from spago's by %v", g, out[0][g], d)
				}
				if through := out[1+len(factors)][g]; through != out[0][g] {
					t.Errorf("group %d: loss %v, through autodiff %v", g, out[0][g], through)
				}
				for i, s := range factors {
					got := out[1+i][g*s.Elements() : (g+1)*s.Elements()]
					compareGradient(t, s.Name, got, want[s.Name].b)
					carried := out[2+len(factors)+i][g*s.Elements() : (g+1)*s.Elements()]
					for k, v := range carried {
						if v != float32(2+g)*got[k] {
							t.Fatalf("group %d, %s: autodiff carries %v, want %v times %v", g, s.Name, v, 2+g, got[k])
						}
					}
				}
			}
		})
	}
}

// TestFunctionalTrainsTheBase wants the gradients by the base's tensors to be the sums of spago's over the groups, with adapters and without,
// those by the factors to stay, and Carry to bring them into autodiff.
func TestFunctionalTrainsTheBase(t *testing.T) {
	for _, name := range []string{compute.Go, compute.ONNX} {
		for _, rank := range []int{2, 0} {
			t.Run(fmt.Sprintf("%s, rank %d", name, rank), func(t *testing.T) {
				opt := FunctionalOptions{LowRank: LowRankOptions{Rank: rank, Modules: []string{"q_proj", "o_proj", "down_proj"}}, TrainBase: true}
				f, base, batches, b := functionalOf(t, name, opt)
				program := functionalWithBase(t, f, func(base, b, dB, dBase map[string]*node, loss *node) []*node {
					out := []*node{loss}
					for _, s := range f.Factors() {
						out = append(out, dB[s.Name])
					}
					var tensors []*node
					for _, a := range f.Base() {
						tensors = append(tensors, base[a.Name])
					}
					return append(out, graph.Gradient(graph.MulScalar(Carry(base, dBase), 3), tensors...)...)
				})
				out := runFunctional(t, f, program, batches, b)
				sum := map[string][]float64{}
				for g := range batches {
					v := &llm.Variant{Base: base, LowRank: map[string]llm.LowRank{}}
					for _, s := range f.Factors() {
						v.LowRank[s.Name] = llm.LowRank{Rank: rank, A: llm.SharedA(base.Config, s.Name, rank, 3), B: b[s.Name][g*s.Elements() : (g+1)*s.Elements()]}
					}
					_, factors, tensors := spagoGradients(t, v, batches[g])
					for i, s := range f.Factors() {
						compareGradient(t, s.Name, out[1+i][g*s.Elements():(g+1)*s.Elements()], factors[s.Name].b)
					}
					for tensor, d := range tensors {
						if sum[tensor] == nil {
							sum[tensor] = make([]float64, len(d))
						}
						for i, x := range d {
							sum[tensor][i] += 3 * x
						}
					}
				}
				for i, a := range f.Base() {
					compareGradient(t, a.Name, out[1+len(f.Factors())+i], sum[a.Name])
				}
			})
		}
	}
}

// factorGradients are the gradients of one tensor's factors.
type factorGradients struct{ a, b []float64 }

// spagoGradients computes the loss of a variant's weights with spago, the gradients of its factors, dW·Aᵀ and Bᵀ·dW, and every dW.
func spagoGradients(t *testing.T, v *llm.Variant, batch *pack.Batch) (float64, map[string]factorGradients, map[string][]float64) {
	t.Helper()
	w := Weights{}
	for _, s := range v.Base.Config.TensorShapes() {
		values, err := v.Weights(s.Name)
		if err != nil {
			t.Fatal(err)
		}
		w[s.Name] = values
	}
	ref := newReference(v.Base.Config, w)
	loss := ref.loss(batch)
	if err := ag.Backward(loss); err != nil {
		t.Fatal(err)
	}
	grads := map[string]factorGradients{}
	for name, l := range v.LowRank {
		out, in := len(l.B)/l.Rank, len(l.A)/l.Rank
		dW := mat.Data[float64](ref.w[name].Grad())
		g := factorGradients{make([]float64, len(l.A)), make([]float64, len(l.B))}
		for i := range out {
			for j := range in {
				for k := range l.Rank {
					g.b[i*l.Rank+k] += dW[i*in+j] * float64(l.A[k*in+j])
					g.a[k*in+j] += float64(l.B[i*l.Rank+k]) * dW[i*in+j]
				}
			}
		}
		grads[name] = g
	}
	tensors := map[string][]float64{}
	for name, x := range ref.w {
		tensors[name] = mat.Data[float64](x.Grad())
	}
	return loss.Value().Item().F64(), grads, tensors
}

// TestFunctionalFiniteDifferences moves every B along its own gradient: the loss must change by as much as the gradient says.
func TestFunctionalFiniteDifferences(t *testing.T) {
	f, _, batches, b := functionalCase(t, compute.Go)
	program := functionalProgram(t, f, func(b, dB map[string]*node, loss *node) []*node {
		out := []*node{loss}
		for _, s := range f.Factors() {
			out = append(out, dB[s.Name])
		}
		return out
	})
	out := runFunctional(t, f, program, batches, b)
	const change = 2e-2 // of the loss, one way
	for i, s := range f.Factors() {
		for g := range batches {
			grad := out[1+i][g*s.Elements() : (g+1)*s.Elements()]
			square := 0.0
			for _, v := range grad {
				square += float64(v) * float64(v)
			}
			loss := func(way float64) float64 {
				moved := map[string][]float32{}
				for name, values := range b {
					moved[name] = append([]float32(nil), values...)
				}
				for k, v := range grad {
					moved[s.Name][g*s.Elements()+k] += float32(way * change / square * float64(v))
				}
				return float64(runFunctional(t, f, program, batches, moved)[0][g])
			}
			if got := (loss(1) - loss(-1)) / 2; math.Abs(got-change) > 0.03*change {
				t.Errorf("%s, group %d: the loss changed by %g, the gradient says %g", s.Name, g, got, change)
			}
		}
	}
}

func TestFunctionalRefuses(t *testing.T) {
	f, base, batches, _ := functionalCase(t, compute.Go)
	if _, err := NewFunctional(base, FunctionalOptions{LowRank: LowRankOptions{Rank: 2}, Groups: 1, Rows: 1, Length: 8}); err == nil {
		t.Error("no backend: no error")
	}
	if _, err := NewFunctional(base, FunctionalOptions{LowRank: LowRankOptions{Rank: 2}, Rows: 1, Length: 8, Backend: f.opt.Backend}); err == nil {
		t.Error("no groups: no error")
	}
	if _, err := f.Batch(batches[:1]); err == nil {
		t.Error("a batch too few: no error")
	}
	if _, err := f.Batch([]*pack.Batch{pack.NewBatch(1, 12), pack.NewBatch(1, 12)}); err == nil {
		t.Error("a row too few: no error")
	}
	_, err := f.opt.Backend.Compile("no inputs", func(g *graph.Graph) []*node {
		loss, _, _ := f.Build(nil, nil, nil)
		return []*node{loss}
	})
	if err == nil {
		t.Error("no inputs: no error")
	}
}
