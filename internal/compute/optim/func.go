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
	g      *graph.Graph
	inputs []shapes.Shape
	outs   []int // sizes of the outputs
	params []gomlx.Buffer
}

// NewFunc compiles model for float32 inputs of the given shapes with the parameters values.
func NewFunc(backend *compute.Backend, inputs [][]int, values map[string][]float32, model Loss) (*Func, error) {
	f := &Func{b: backend.GoMLX()}
	err := compute.Safe("build the model", func() error {
		m, outs := build(f.b, "infer", 0, values, inputs, model)
		f.g = m.g
		for _, dims := range inputs {
			f.inputs = append(f.inputs, shapes.Make(dtypes.Float32, dims...))
		}
		for _, o := range outs {
			f.outs = append(f.outs, o.Shape().Size())
		}
		for _, name := range m.names {
			buf, err := f.b.BufferFromFlatData(0, m.init[name], m.nodes[name].Shape())
			if err != nil {
				return err
			}
			f.params = append(f.params, buf)
		}
		return m.g.Compile(outs...)
	})
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// Call runs the model. It returns fresh slices, one an output.
func (f *Func) Call(inputs ...[]float32) ([][]float32, error) {
	var out [][]float32
	err := compute.Safe("run the model", func() error {
		if len(inputs) != len(f.inputs) {
			return fmt.Errorf("%d inputs given, the model takes %d", len(inputs), len(f.inputs))
		}
		args := make([]gomlx.Buffer, 0, len(inputs)+len(f.params))
		for i, v := range inputs {
			if len(v) != f.inputs[i].Size() {
				return fmt.Errorf("an input of %d values was given for shape %v", len(v), f.inputs[i].Dimensions)
			}
			buf, err := f.b.BufferFromFlatData(0, v, f.inputs[i])
			if err != nil {
				return err
			}
			args = append(args, buf)
		}
		args = append(args, f.params...)
		donate := make([]bool, len(args))
		for i := range inputs {
			donate[i] = true
		}
		results, err := f.g.Executable().Execute(args, donate, 0)
		if err != nil {
			return err
		}
		for i, r := range results {
			v := make([]float32, f.outs[i])
			if err := r.ToFlatData(v); err != nil {
				return err
			}
			if err := r.Finalize(); err != nil {
				return err
			}
			out = append(out, v)
		}
		return nil
	})
	return out, err
}

// Close frees the parameters and the compiled model.
func (f *Func) Close() {
	for _, b := range f.params {
		_ = b.Finalize()
	}
	f.params = nil
	if f.g != nil {
		f.g.Finalize()
		f.g = nil
	}
}
