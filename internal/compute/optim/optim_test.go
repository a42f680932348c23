package optim

import (
	"context"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/gomlx/gomlx/core/graph"
	"github.com/google/go-cmp/cmp"

	"d2nwg/internal/compute"
)

// eachBackend runs f on the go backend, and on onnx where its library is.
func eachBackend(t *testing.T, f func(t *testing.T, b *compute.Backend)) {
	for _, name := range []string{compute.Go, compute.ONNX} {
		t.Run(name, func(t *testing.T) {
			b, err := compute.Open(context.Background(), name)
			if err != nil {
				t.Skip(err)
			}
			f(t, b)
		})
	}
}

// quadratic is mean((x·w + c − y)²) with x (4, 3), w (3, 2), c (2).
func quadratic(s *Scope, in []*graph.Node) []*graph.Node {
	w := s.In("lin").Param("w", Normal(0.5), 3, 2)
	c := s.In("lin").Param("c", Ones, 2)
	d := graph.Sub(graph.Add(graph.Dot(in[0], w).Product(), graph.BroadcastToDims(graph.Reshape(c, 1, 2), 4, 2)), in[1])
	loss := graph.ReduceAllMean(graph.Mul(d, d))
	return []*graph.Node{loss, graph.ReduceAllMean(graph.Abs(d))}
}

// reference is the same in float64, with AdamW written out from its paper.
type reference struct{ w, m, v, avg []float64 } // w (3, 2) then c (2)

func (r *reference) step(x, y []float32, n int, lr float64, o Options) float64 {
	g := make([]float64, 8)
	var loss float64
	for i := range 4 {
		for k := range 2 {
			d := r.w[6+k] - float64(y[i*2+k])
			for j := range 3 {
				d += float64(x[i*3+j]) * r.w[j*2+k]
			}
			loss += d * d / 8
			for j := range 3 {
				g[j*2+k] += d / 4 * float64(x[i*3+j])
			}
			g[6+k] += d / 4
		}
	}
	var norm float64
	for _, v := range g {
		norm += v * v
	}
	if norm = math.Sqrt(norm); norm > o.Clip {
		for i := range g {
			g[i] *= o.Clip / norm
		}
	}
	for i := range g {
		r.m[i] = o.Beta1*r.m[i] + (1-o.Beta1)*g[i]
		r.v[i] = o.Beta2*r.v[i] + (1-o.Beta2)*g[i]*g[i]
		mh, vh := r.m[i]/(1-math.Pow(o.Beta1, float64(n))), r.v[i]/(1-math.Pow(o.Beta2, float64(n)))
		if i < 6 {
			r.w[i] -= lr * o.WeightDecay * r.w[i]
		}
		r.w[i] -= lr * mh / (math.Sqrt(vh) + o.Epsilon)
		decay := math.Min(o.EMA, (1+float64(n))/(10+float64(n)))
		r.avg[i] = decay*r.avg[i] + (1-decay)*r.w[i]
	}
	return loss
}

func data() (x, y []float32) {
	r := rand.New(rand.NewPCG(3, 4))
	x, y = make([]float32, 12), make([]float32, 8)
	Normal(1)(r, x)
	Normal(2)(r, y)
	return x, y
}

func TestTrainerAgreesWithAdamW(t *testing.T) {
	o := Options{Beta1: 0.9, Beta2: 0.95, Epsilon: 1e-8, WeightDecay: 0.1, Clip: 1.5, EMA: 0.9}
	x, y := data()
	eachBackend(t, func(t *testing.T, b *compute.Backend) {
		for _, host := range []bool{false, true} {
			agree(t, b, o, x, y, host)
		}
	})
}

// agree compares 20 steps, taken by the graph or on the host, with the reference.
func agree(t *testing.T, b *compute.Backend, o Options, x, y []float32, host bool) {
	tr, err := newTrainer(b, [][]int{{4, 3}, {4, 2}}, quadratic, o, nil, 7, host)
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	p, err := tr.Params(false)
	if err != nil {
		t.Fatal(err)
	}
	ref := reference{m: make([]float64, 8), v: make([]float64, 8)}
	for _, v := range append(p["lin.w"], p["lin.c"]...) {
		ref.w = append(ref.w, float64(v))
	}
	ref.avg = append([]float64(nil), ref.w...)
	for n := 1; n <= 20; n++ {
		lr := 0.1 / float64(n)
		want := ref.step(x, y, n, lr, o)
		got, metrics, err := tr.Step(lr, x, y)
		if err != nil {
			t.Fatal(err)
		}
		if math.Abs(got-want) > 1e-5*want || len(metrics) != 1 || metrics[0] <= 0 {
			t.Fatalf("step %d: loss %v, reference %v; metrics %v", n, got, want, metrics)
		}
	}
	for _, averaged := range []bool{false, true} {
		p, err := tr.Params(averaged)
		if err != nil {
			t.Fatal(err)
		}
		want := ref.w
		if averaged {
			want = ref.avg
		}
		for i, v := range append(p["lin.w"], p["lin.c"]...) {
			if math.Abs(float64(v)-want[i]) > 2e-5 {
				t.Errorf("host %v, averaged %v: parameter %d is %v, reference %v", host, averaged, i, v, want[i])
			}
		}
	}
}

func TestStateContinuesExactly(t *testing.T) {
	o := Options{Beta1: 0.9, Beta2: 0.99, Epsilon: 1e-8, EMA: 0.99}
	x, y := data()
	eachBackend(t, func(t *testing.T, b *compute.Backend) {
		run := func(tr *Trainer, steps int) map[string][]float32 {
			for range steps {
				if _, _, err := tr.Step(0.05, x, y); err != nil {
					t.Fatal(err)
				}
			}
			st, err := tr.State()
			if err != nil {
				t.Fatal(err)
			}
			return st
		}
		open := func(seed uint64) *Trainer {
			tr, err := NewTrainer(b, [][]int{{4, 3}, {4, 2}}, quadratic, o, nil, seed)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(tr.Close)
			return tr
		}
		whole, half, rest := open(1), open(1), open(99)
		want := run(whole, 10)
		if err := rest.SetState(run(half, 4), half.Steps()); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, run(rest, 6)); d != "" {
			t.Errorf("continued training differs from uninterrupted training: %s", d)
		}
		if err := rest.SetState(map[string][]float32{"param/lin.w": nil}, 1); err == nil {
			t.Error("a foreign state was accepted")
		}
	})
}

func TestFuncAndErrors(t *testing.T) {
	x, y := data()
	eachBackend(t, func(t *testing.T, b *compute.Backend) {
		tr, err := NewTrainer(b, [][]int{{4, 3}, {4, 2}}, quadratic, Options{Beta1: 0.9, Beta2: 0.99, Epsilon: 1e-8}, nil, 5)
		if err != nil {
			t.Fatal(err)
		}
		defer tr.Close()
		p, err := tr.Params(true)
		if err != nil {
			t.Fatal(err)
		}
		f, err := NewFunc(b, [][]int{{4, 3}, {4, 2}}, p, quadratic)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for range 3 { // parameters stay in place between calls
			out, err := f.Call(x, y)
			if err != nil {
				t.Fatal(err)
			}
			loss, _, err := tr.Step(0, x, y)
			if err != nil {
				t.Fatal(err)
			}
			if math.Abs(float64(out[0][0])-loss) > 1e-6*loss {
				t.Errorf("inference gives the loss %v, training %v", out[0][0], loss)
			}
		}
		if _, err := f.Call(x); err == nil {
			t.Error("a missing input was accepted")
		}
		delete(p, "lin.c")
		if _, err := NewFunc(b, [][]int{{4, 3}, {4, 2}}, p, quadratic); err == nil || !strings.Contains(err.Error(), "lin.c") {
			t.Errorf("a missing parameter gives %v", err)
		}
		y[0] = float32(math.NaN())
		if _, _, err := tr.Step(0.1, x, y); err == nil {
			t.Error("a NaN loss was accepted")
		}
		y[0] = 0
	})
}
