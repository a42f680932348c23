package optim

import (
	"fmt"
	"math"
	"runtime"
	"sync"
	"sync/atomic"

	gomlx "github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/graph"
)

// factors are the numbers of a step of AdamW that depend on the step.
type factors struct {
	rate    float32 // learning rate / (1 − β1^t)
	decay   float32 // 1 − learning rate · weight decay
	second  float32 // 1 / √(1 − β2^t)
	average float32 // 1 − decay of the averages
}

func (t *Trainer) factors(learningRate float64) factors {
	n := float64(t.step + 1)
	return factors{
		rate:   float32(learningRate / (1 - math.Pow(t.opt.Beta1, n))),
		decay:  float32(1 - learningRate*t.opt.WeightDecay),
		second: float32(1 / math.Sqrt(1-math.Pow(t.opt.Beta2, n))),
		// Averages warm up: a decay of at most (1+t)/(10+t) keeps the first, untrained values from lingering.
		average: float32(1 - math.Min(t.opt.EMA, (1+n)/(10+n))),
	}
}

// decays reports whether weight decay acts on parameter i.
func (t *Trainer) decays(i int) bool { return t.opt.WeightDecay > 0 && t.shapes[i].Rank() >= 2 }

// adamW adds AdamW to the graph and returns the new state in the order of t.state.
func (t *Trainer) adamW(m *model, params, grads []*graph.Node) []*graph.Node {
	moments := make([][]*graph.Node, t.groups()-1)
	for k := range moments {
		for i, name := range m.names {
			moments[k] = append(moments[k], graph.Parameter(m.g, fmt.Sprintf("state%d:%s", k, name), t.shapes[i]))
		}
	}
	scalar := shapes.Make(dtypes.Float32)
	rate := graph.Parameter(m.g, "rate", scalar)       // learning rate / (1 − β1^t)
	decay := graph.Parameter(m.g, "decay", scalar)     // 1 − learning rate · weight decay
	second := graph.Parameter(m.g, "second", scalar)   // 1 / √(1 − β2^t)
	average := graph.Parameter(m.g, "average", scalar) // 1 − EMA decay of this step
	grads = clip(grads, t.opt.Clip)
	next := make([][]*graph.Node, t.groups())
	for i, p := range params {
		g := grads[i]
		m1 := lerp(moments[0][i], g, 1-t.opt.Beta1)
		m2 := lerp(moments[1][i], graph.Mul(g, g), 1-t.opt.Beta2)
		update := graph.Div(graph.Mul(rate, m1), graph.AddScalar(graph.Mul(graph.Sqrt(m2), second), t.opt.Epsilon))
		if t.decays(i) {
			p = graph.Mul(p, decay)
		}
		p = graph.Sub(p, update)
		next[0], next[1], next[2] = append(next[0], p), append(next[1], m1), append(next[2], m2)
		if t.opt.EMA > 0 {
			avg := moments[2][i]
			next[3] = append(next[3], graph.Add(avg, graph.Mul(graph.Sub(p, avg), average)))
		}
	}
	var all []*graph.Node
	for _, group := range next {
		all = append(all, group...)
	}
	return all
}

// lerp is a + w·(b − a).
func lerp(a, b *graph.Node, w float64) *graph.Node {
	return graph.Add(a, graph.MulScalar(graph.Sub(b, a), w))
}

// clip scales the gradients so that their common norm is at most limit.
func clip(grads []*graph.Node, limit float64) []*graph.Node {
	if limit <= 0 {
		return grads
	}
	var total *graph.Node
	for _, g := range grads {
		sq := graph.Mul(g, g)
		for sq.Rank() > 0 { // one axis at a time: the go backend's plain f32 sum of a million terms is 1 % off
			sq = graph.ReduceSum(sq, -1)
		}
		if total == nil {
			total = sq
		} else {
			total = graph.Add(total, sq)
		}
	}
	norm := graph.Sqrt(graph.AddScalar(total, 1e-12))
	limitNode := graph.Scalar(total.Graph(), dtypes.Float32, limit)
	scale := graph.Div(limitNode, graph.Max(norm, limitNode))
	out := make([]*graph.Node, len(grads))
	for i, g := range grads {
		out[i] = graph.Mul(g, scale)
	}
	return out
}

// block is the number of values that one goroutine updates at a time.
const block = 1 << 15

// span is a part of one parameter.
type span struct{ param, from, to int }

// apply takes the step on the host: it reads the gradients, updates the state in place and frees the gradients.
func (t *Trainer) apply(learningRate float64, grads []gomlx.Buffer) error {
	state, grad := make([][]float32, len(t.state)), make([][]float32, len(grads))
	for i, b := range t.state {
		v, err := memory(b)
		if err != nil {
			return err
		}
		state[i] = v
	}
	var spans []span
	for i, b := range grads {
		v, err := memory(b)
		if err != nil {
			return err
		}
		grad[i] = v
		for from := 0; from < len(v); from += block {
			spans = append(spans, span{i, from, min(from+block, len(v))})
		}
	}
	scale := float32(1)
	if t.opt.Clip > 0 {
		sums := make([]float64, len(spans))
		parallel(len(spans), func(k int) {
			s := spans[k]
			for _, g := range grad[s.param][s.from:s.to] {
				sums[k] += float64(g) * float64(g)
			}
		})
		var total float64
		for _, v := range sums {
			total += v
		}
		scale = float32(t.opt.Clip / math.Max(math.Sqrt(total), t.opt.Clip))
	}
	n, f := len(t.names), t.factors(learningRate)
	parallel(len(spans), func(k int) {
		s := spans[k]
		part := func(group int) []float32 { return state[group*n+s.param][s.from:s.to] }
		var avg []float32
		if t.opt.EMA > 0 {
			avg = part(3)
		}
		decay := float32(1)
		if t.decays(s.param) {
			decay = f.decay
		}
		t.update(part(0), part(1), part(2), avg, grad[s.param][s.from:s.to], scale, decay, f)
	})
	return finalize(grads)
}

// update is AdamW on a part of one parameter; every value is computed for itself, so parts don't change the result.
func (t *Trainer) update(p, m1, m2, avg, grad []float32, scale, decay float32, f factors) {
	w1, w2, eps := float32(1-t.opt.Beta1), float32(1-t.opt.Beta2), float32(t.opt.Epsilon)
	m1, m2, grad = m1[:len(p)], m2[:len(p)], grad[:len(p)]
	for i, x := range p {
		g := grad[i] * scale
		a := m1[i] + w1*(g-m1[i])
		b := m2[i] + w2*(g*g-m2[i])
		m1[i], m2[i] = a, b
		p[i] = x*decay - f.rate*a/(float32(math.Sqrt(float64(b)))*f.second+eps)
	}
	for i := range avg {
		avg[i] += f.average * (p[i] - avg[i])
	}
}

// memory gives the values of a shared buffer of float32.
func memory(b gomlx.Buffer) ([]float32, error) {
	flat, err := b.Data()
	if err != nil {
		return nil, err
	}
	v, ok := flat.([]float32)
	if !ok {
		return nil, fmt.Errorf("a buffer holds %T instead of []float32", flat)
	}
	return v, nil
}

// parallel runs f(0) … f(n−1) on all processors.
func parallel(n int, f func(i int)) {
	workers := min(runtime.GOMAXPROCS(0), n)
	if workers <= 1 {
		for i := range n {
			f(i)
		}
		return
	}
	var next atomic.Int64
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				f(i)
			}
		})
	}
	wg.Wait()
}
