package optim

import (
	"fmt"

	gomlx "github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/graph"

	"d2nwg/internal/compute"
)

// Func is a compiled model with fixed parameters, for inference. It is not safe for concurrent use.
type Func struct {
	b      gomlx.Backend
	prog   *compute.Program
	inputs []shapes.Shape
	outs   []int // sizes of the outputs
	params []gomlx.Buffer
}

// NewFunc compiles net for float32 inputs of the given shapes with the parameters values.
func NewFunc(backend *compute.Backend, inputs [][]int, values map[string][]float32, net Loss) (*Func, error) {
	f := &Func{b: backend.GoMLX()}
	for _, dims := range inputs {
		f.inputs = append(f.inputs, shapes.Make(dtypes.Float32, dims...))
	}
	var m *model
	prog, err := backend.Compile("infer", func(g *graph.Graph) []*graph.Node {
		var outs []*graph.Node
		m, outs = build(g, 0, values, true, inputs, net)
		for _, o := range outs {
			f.outs = append(f.outs, o.Shape().Size())
		}
		return outs
	})
	if err != nil {
		return nil, err
	}
	f.prog = prog
	for _, name := range m.names {
		buf, err := f.b.BufferFromFlatData(0, m.init[name], m.nodes[name].Shape())
		if err != nil {
			f.Close()
			return nil, err
		}
		f.params = append(f.params, buf)
	}
	return f, nil
}

// Call runs the model. It returns fresh slices, one an output.
func (f *Func) Call(inputs ...[]float32) ([][]float32, error) {
	if len(inputs) != len(f.inputs) {
		return nil, fmt.Errorf("%d inputs given, the model takes %d", len(inputs), len(f.inputs))
	}
	var args []gomlx.Buffer
	for i, v := range inputs {
		if len(v) != f.inputs[i].Size() {
			return nil, fmt.Errorf("an input of %d values was given for shape %v", len(v), f.inputs[i].Dimensions)
		}
		buf, err := f.b.BufferFromFlatData(0, v, f.inputs[i])
		if err != nil {
			return nil, err
		}
		args = append(args, buf)
	}
	results, err := f.prog.Run(append(args, f.params...))
	if err == nil {
		err = finalize(args)
	}
	if err != nil {
		return nil, err
	}
	var out [][]float32
	for i, r := range results {
		v := make([]float32, f.outs[i])
		if err := r.ToFlatData(v); err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, finalize(results)
}

// Close frees the parameters and the compiled model.
func (f *Func) Close() {
	for _, b := range f.params {
		_ = b.Finalize()
	}
	f.params = nil
	if f.prog != nil {
		f.prog.Close()
	}
}
