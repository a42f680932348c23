package optim

import (
	"fmt"
	"math"
	"slices"

	gomlx "github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/graph"

	"d2nwg/internal/compute"
)

// Options configures AdamW (Loshchilov & Hutter 2019: decoupled weight decay). Weight decay acts on parameters of rank 2 and above.
type Options struct {
	Beta1, Beta2, Epsilon, WeightDecay float64
	Clip                               float64 // largest norm of the whole gradient, 0 = no clipping
	EMA                                float64 // decay of averaged weights, 0 = none are kept
}

// Loss is a model with its loss: the first output is the scalar to minimize, the others are scalars to report.
type Loss func(s *Scope, in []*graph.Node) []*graph.Node

// Trainer holds a compiled training step and its state on the backend. It is not safe for concurrent use.
type Trainer struct {
	b       gomlx.Backend
	g       *graph.Graph
	opt     Options
	names   []string
	shapes  []shapes.Shape
	inputs  []shapes.Shape
	state   []gomlx.Buffer // parameters, first moments, second moments and averages, each in the order of names
	metrics int
	step    int
}

// NewTrainer builds and compiles the step of loss for float32 inputs of the given shapes. Parameters start with values, or with their
// own initialization drawn from seed when values is nil.
func NewTrainer(backend *compute.Backend, inputs [][]int, loss Loss, opt Options, values map[string][]float32, seed uint64) (*Trainer, error) {
	t := &Trainer{b: backend.GoMLX(), opt: opt}
	err := compute.Safe("build the training step", func() error {
		m, outs := build(t.b, "train", seed, values, inputs, loss)
		t.g, t.names, t.metrics = m.g, m.names, len(outs)-1
		for _, dims := range inputs {
			t.inputs = append(t.inputs, shapes.Make(dtypes.Float32, dims...))
		}
		if err := t.compile(m, outs); err != nil {
			return err
		}
		return t.start(m)
	})
	if err != nil {
		t.Close()
		return nil, err
	}
	return t, nil
}

// groups is the number of buffers a parameter needs.
func (t *Trainer) groups() int {
	if t.opt.EMA > 0 {
		return 4
	}
	return 3
}

// compile adds gradients and AdamW to the graph. Outputs: new state in the order of t.state, then the loss and the metrics.
func (t *Trainer) compile(m *model, outs []*graph.Node) error {
	params := make([]*graph.Node, len(m.names))
	for i, name := range m.names {
		params[i] = m.nodes[name]
		t.shapes = append(t.shapes, params[i].Shape())
	}
	grads := graph.Gradient(outs[0], params...)
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
		if t.opt.WeightDecay > 0 && p.Rank() >= 2 {
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
	return m.g.Compile(append(all, outs...)...)
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

// start puts the first state on the backend: moments 0, averages at the parameters.
func (t *Trainer) start(m *model) error {
	for k := range t.groups() {
		for i, name := range t.names {
			values := m.init[name]
			if k == 1 || k == 2 {
				values = make([]float32, t.shapes[i].Size())
			}
			if err := t.append(values, t.shapes[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

func (t *Trainer) append(values []float32, shape shapes.Shape) error {
	buf, err := t.b.BufferFromFlatData(0, values, shape)
	if err != nil {
		return err
	}
	t.state = append(t.state, buf)
	return nil
}

// Step takes one step of AdamW with the given learning rate. inputs are float32 values in the order and of the shapes given to
// NewTrainer. It returns the loss and the metrics before the step. A loss that is not finite is an error; the state is then spoiled.
func (t *Trainer) Step(learningRate float64, inputs ...[]float32) (float64, []float64, error) {
	var out []float64
	err := compute.Safe("train", func() error {
		args, donate, err := t.args(learningRate, inputs)
		if err != nil {
			return err
		}
		results, err := t.g.Executable().Execute(args, donate, 0)
		if err != nil {
			return err
		}
		t.state = results[:len(t.state)]
		for _, r := range results[len(t.state):] {
			v := make([]float32, 1)
			if err := r.ToFlatData(v); err != nil {
				return err
			}
			if err := r.Finalize(); err != nil {
				return err
			}
			out = append(out, float64(v[0]))
		}
		return nil
	})
	if err != nil {
		return 0, nil, err
	}
	t.step++
	if math.IsNaN(out[0]) || math.IsInf(out[0], 0) {
		return 0, nil, fmt.Errorf("the loss of step %d is not finite; lower the learning rate", t.step)
	}
	return out[0], out[1:], nil
}

// args lines up the graph's arguments: inputs, parameters, moments, averages, scalars. All of them are given away to the step.
func (t *Trainer) args(learningRate float64, inputs [][]float32) (args []gomlx.Buffer, donate []bool, err error) {
	if len(inputs) != len(t.inputs) {
		return nil, nil, fmt.Errorf("%d inputs given, the step takes %d", len(inputs), len(t.inputs))
	}
	put := func(values []float32, shape shapes.Shape) error {
		if len(values) != shape.Size() {
			return fmt.Errorf("an input of %d values was given for shape %v", len(values), shape.Dimensions)
		}
		buf, err := t.b.BufferFromFlatData(0, values, shape)
		args = append(args, buf)
		return err
	}
	for i, v := range inputs {
		if err := put(v, t.inputs[i]); err != nil {
			return nil, nil, err
		}
	}
	args = append(args, t.state...)
	n, scalar := float64(t.step+1), shapes.Make(dtypes.Float32)
	// Averages warm up: a decay of at most (1+t)/(10+t) keeps the first, untrained values from lingering.
	average := 1 - math.Min(t.opt.EMA, (1+n)/(10+n))
	for _, v := range []float64{learningRate / (1 - math.Pow(t.opt.Beta1, n)), 1 - learningRate*t.opt.WeightDecay,
		1 / math.Sqrt(1-math.Pow(t.opt.Beta2, n)), average} {
		if err := put([]float32{float32(v)}, scalar); err != nil {
			return nil, nil, err
		}
	}
	donate = make([]bool, len(args))
	for i := range donate {
		donate[i] = true
	}
	return args, donate, nil
}

// Steps is the number of steps taken, those before a SetState included.
func (t *Trainer) Steps() int { return t.step }

// Params returns copies of the parameters, the averaged ones when averaged is asked for and kept.
func (t *Trainer) Params(averaged bool) (map[string][]float32, error) {
	first := 0
	if averaged && t.opt.EMA > 0 {
		first = 3 * len(t.names)
	}
	out := map[string][]float32{}
	for i, name := range t.names {
		v, err := t.read(first + i)
		if err != nil {
			return nil, err
		}
		out[name] = v
	}
	return out, nil
}

func (t *Trainer) read(i int) ([]float32, error) {
	v := make([]float32, t.shapes[i%len(t.names)].Size())
	return v, t.state[i].ToFlatData(v)
}

// prefixes name the groups of State.
var prefixes = []string{"param/", "moment1/", "moment2/", "average/"}

// State returns copies of everything that the next step depends on, by name.
func (t *Trainer) State() (map[string][]float32, error) {
	out := map[string][]float32{}
	for i := range t.state {
		v, err := t.read(i)
		if err != nil {
			return nil, err
		}
		out[prefixes[i/len(t.names)]+t.names[i%len(t.names)]] = v
	}
	return out, nil
}

// SetState continues from a State taken after steps steps.
func (t *Trainer) SetState(state map[string][]float32, steps int) error {
	if len(state) != len(t.state) {
		return fmt.Errorf("the saved state holds %d arrays, this model needs %d", len(state), len(t.state))
	}
	return compute.Safe("restore the training state", func() error {
		for i := range t.state {
			name, shape := prefixes[i/len(t.names)]+t.names[i%len(t.names)], t.shapes[i%len(t.names)]
			if len(state[name]) != shape.Size() {
				return fmt.Errorf("%s has %d values, this model needs %v", name, len(state[name]), shape.Dimensions)
			}
			if err := t.replace(i, state[name], shape); err != nil {
				return err
			}
		}
		t.step = steps
		return nil
	})
}

// SetParams overwrites some parameters, and their averages, before training.
func (t *Trainer) SetParams(values map[string][]float32) error {
	return compute.Safe("set parameters", func() error {
		for name, v := range values {
			i := slices.Index(t.names, name)
			if i < 0 {
				return fmt.Errorf("the model has no parameter %s", name)
			}
			if len(v) != t.shapes[i].Size() {
				return fmt.Errorf("parameter %s has %d values, the model needs %v", name, len(v), t.shapes[i].Dimensions)
			}
			for k := 0; k < t.groups(); k += 3 {
				if err := t.replace(k*len(t.names)+i, v, t.shapes[i]); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// replace puts new values in the place of state buffer i.
func (t *Trainer) replace(i int, values []float32, shape shapes.Shape) error {
	buf, err := t.b.BufferFromFlatData(0, values, shape)
	if err != nil {
		return err
	}
	old := t.state[i]
	t.state[i] = buf
	return old.Finalize()
}

// Close frees the state and the compiled step.
func (t *Trainer) Close() {
	for _, b := range t.state {
		_ = b.Finalize()
	}
	t.state = nil
	if t.g != nil {
		t.g.Finalize()
	}
}
