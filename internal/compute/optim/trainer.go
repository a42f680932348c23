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
	b      gomlx.Backend
	host   bool // AdamW runs on the host, in the backend's own memory
	prog   *compute.Program
	opt    Options
	names  []string
	shapes []shapes.Shape
	inputs []shapes.Shape
	state  []gomlx.Buffer // parameters, first moments, second moments and averages, each in the order of names
	step   int
}

// NewTrainer builds and compiles the step of loss for float32 inputs of the given shapes. Parameters start with values, or with their
// own initialization drawn from seed where values has none.
//
// Where the backend's memory is the host's, AdamW runs in Go in one pass over the state, in place: as graph operations it takes twenty,
// and more time than the gradients of a small model. Elsewhere, on a GPU, it is part of the compiled step.
func NewTrainer(backend *compute.Backend, inputs [][]int, loss Loss, opt Options, values map[string][]float32, seed uint64) (*Trainer, error) {
	return newTrainer(backend, inputs, loss, opt, values, seed, backend.GoMLX().HasSharedBuffers())
}

func newTrainer(backend *compute.Backend, inputs [][]int, loss Loss, opt Options, values map[string][]float32, seed uint64, host bool) (*Trainer, error) {
	t := &Trainer{b: backend.GoMLX(), opt: opt, host: host}
	for _, dims := range inputs {
		t.inputs = append(t.inputs, shapes.Make(dtypes.Float32, dims...))
	}
	var m *model
	prog, err := backend.Compile("train", func(g *graph.Graph) []*graph.Node {
		var outs []*graph.Node
		m, outs = build(g, seed, values, false, inputs, loss)
		t.names = m.names
		return append(t.next(m, outs[0]), outs...)
	})
	if err != nil {
		return nil, err
	}
	t.prog = prog
	if err := t.start(m); err != nil {
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

// next adds gradients to the graph. On the host they are its outputs; else AdamW is added, and the outputs are the new state.
func (t *Trainer) next(m *model, loss *graph.Node) []*graph.Node {
	params := make([]*graph.Node, len(m.names))
	for i, name := range m.names {
		params[i] = m.nodes[name]
		t.shapes = append(t.shapes, params[i].Shape())
	}
	grads := graph.Gradient(loss, params...)
	if t.host {
		return grads
	}
	return t.adamW(m, params, grads)
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
	in, numbers, err := t.args(learningRate, inputs)
	if err != nil {
		return 0, nil, fmt.Errorf("train: %w", err)
	}
	results, err := t.prog.Run(slices.Concat(in, t.state[:t.passed()], numbers))
	if err == nil {
		err = finalize(append(in, numbers...))
	}
	if err != nil {
		return 0, nil, fmt.Errorf("train: %w", err)
	}
	out, err := t.take(learningRate, results)
	if err != nil {
		return 0, nil, fmt.Errorf("train: %w", err)
	}
	t.step++
	if math.IsNaN(out[0]) || math.IsInf(out[0], 0) {
		return 0, nil, fmt.Errorf("the loss of step %d is not finite; lower the learning rate", t.step)
	}
	return out[0], out[1:], nil
}

// passed is the number of state buffers that the compiled step reads.
func (t *Trainer) passed() int {
	if t.host {
		return len(t.names)
	}
	return len(t.state)
}

// take brings the results of a step into the state and reads the loss and the metrics behind them.
func (t *Trainer) take(learningRate float64, results []gomlx.Buffer) ([]float64, error) {
	n := t.passed()
	if t.host {
		if err := t.apply(learningRate, results[:n]); err != nil {
			return nil, err
		}
	} else {
		if err := finalize(t.state); err != nil {
			return nil, err
		}
		t.state = results[:n]
	}
	var out []float64
	for _, r := range results[n:] {
		v := make([]float32, 1)
		if err := r.ToFlatData(v); err != nil {
			return nil, err
		}
		out = append(out, float64(v[0]))
	}
	return out, finalize(results[n:])
}

// args makes the arguments of a step beside the state: the inputs, which stand before it, and AdamW's factors, which stand behind it where
// the graph needs them.
func (t *Trainer) args(learningRate float64, inputs [][]float32) (in, numbers []gomlx.Buffer, err error) {
	if len(inputs) != len(t.inputs) {
		return nil, nil, fmt.Errorf("%d inputs given, the step takes %d", len(inputs), len(t.inputs))
	}
	for i, v := range inputs {
		if len(v) != t.inputs[i].Size() {
			return nil, nil, fmt.Errorf("an input of %d values was given for shape %v", len(v), t.inputs[i].Dimensions)
		}
		buf, err := t.b.BufferFromFlatData(0, v, t.inputs[i])
		if err != nil {
			return nil, nil, err
		}
		in = append(in, buf)
	}
	if t.host {
		return in, nil, nil
	}
	f := t.factors(learningRate)
	for _, v := range []float32{f.rate, f.decay, f.second, f.average} {
		buf, err := t.b.BufferFromFlatData(0, []float32{v}, shapes.Make(dtypes.Float32))
		if err != nil {
			return nil, nil, err
		}
		numbers = append(numbers, buf)
	}
	return in, numbers, nil
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

// finalize frees buffers.
func finalize(buffers []gomlx.Buffer) error {
	for _, b := range buffers {
		if err := b.Finalize(); err != nil {
			return err
		}
	}
	return nil
}

// Close frees the state and the compiled step.
func (t *Trainer) Close() {
	_ = finalize(t.state)
	t.state = nil
	if t.prog != nil {
		t.prog.Close()
	}
}
