package engine

import (
	"fmt"

	"d2nwg/llm"
	"d2nwg/llm/engine/kernel"
	"d2nwg/safetensors"
)

// linear is a weight (out, in) where it lies, in the mapped checkpoint or in a variant's memory, with its bias.
type linear struct {
	kernel.Weights
	bias []float32 // (out), nil for none
}

// output is where the product with a matrix goes: y (rows, out), to which it is added where add is set.
type output struct {
	l   *linear
	y   []float32
	add bool
}

// apply sets, for each output, y = x·Wᵀ + bias, or adds it to y.
func (m *Model) apply(x *inputs, threads int, outputs ...output) {
	for a := range x.forms {
		var products []kernel.Product
		for _, o := range outputs {
			if m.arithmetic(o.l) == kernel.Arithmetic(a) {
				products = append(products, kernel.Product{C: o.y, LDC: o.l.Out, W: o.l.Weights, Add: o.add})
			}
		}
		if len(products) > 0 {
			m.k.MultiplyParallel(x.form(kernel.Arithmetic(a), threads), threads, products...)
		}
	}
	for _, o := range outputs {
		for r := range x.rows {
			o.l.addBias(o.y[r*o.l.Out:(r+1)*o.l.Out], 0)
		}
	}
}

// addBias adds the bias of the outputs from lo on to y.
func (l *linear) addBias(y []float32, lo int) {
	if l.bias == nil {
		return
	}
	for j, v := range l.bias[lo : lo+len(y)] {
		y[j] += v
	}
}

// narrow is the number of inputs below which float32 is used all the same: the errors of so few rounded inputs don't
// average out (two thirds of the difference in log-probability of a model of 64), and narrow matrices cost little.
const narrow = 256

// arithmetic is what a matrix is multiplied with: bfloat16 only where it is stored so, and never for the head, whose
// inputs' errors are the logits'.
func (m *Model) arithmetic(l *linear) kernel.Arithmetic {
	if m.options.Arithmetic == BF16 && l.Type == kernel.BF16 && l.In >= narrow && l != &m.head {
		return kernel.BFloat16
	}
	return kernel.Float32
}

// half tells whether keys and values are kept in float16, whose rounding is an eighth of that of bfloat16: where these
// come from products in bfloat16, and the kernels can.
func (m *Model) half() bool {
	return m.k.HasF16() && len(m.layers) > 0 && m.arithmetic(&m.layers[0].k) == kernel.BFloat16
}

// inputs are rows (rows, k) that one or several matrices are multiplied with, in the forms that these need.
type inputs struct {
	set     *kernel.Set
	rows, k int
	data    []float32
	forms   [2]*kernel.Input
	made    [2]bool
}

// reset makes the inputs those of other rows; data has to stay as it is as long as they are used.
func (x *inputs) reset(set *kernel.Set, data []float32, k int) *inputs {
	if x.set != set {
		x.set, x.forms = set, [2]*kernel.Input{}
	}
	x.data, x.rows, x.k = data, len(data)/k, k
	x.made = [2]bool{}
	return x
}

func (x *inputs) form(a kernel.Arithmetic, threads int) *kernel.Input {
	in := x.forms[a]
	if x.made[a] {
		return in
	}
	if in == nil {
		in = x.set.NewInput(a, x.rows, x.k)
		x.forms[a] = in
	} else {
		in.Reset(x.rows, x.k)
	}
	kernel.Parallel(x.rows, threadsFor(threads, len(x.data)), 1, func(lo, hi int) {
		for r := lo; r < hi; r++ {
			in.SetRow(r, x.data[r*x.k:(r+1)*x.k])
		}
	})
	x.made[a] = true
	return in
}

// elementWork is the number of elements below which threads cost more than they bring.
const elementWork = 1 << 16

// threadsFor is how many threads work on so many elements.
func threadsFor(threads, elements int) int {
	if elements < elementWork {
		return 1
	}
	return threads
}

// weightTypes are the types that kernels multiply with; a tensor of another one is converted once.
var weightTypes = map[safetensors.DType]kernel.DType{
	safetensors.F32: kernel.F32, safetensors.F16: kernel.F16, safetensors.BF16: kernel.BF16,
}

// weights returns the matrix of a tensor's bytes, without a copy where kernels know the type.
func weights(t llm.NamedShape, dtype safetensors.DType, raw []byte) (kernel.Weights, error) {
	of, ok := weightTypes[dtype]
	if !ok {
		values := make([]float32, t.Elements())
		if err := safetensors.Decode(values, dtype, raw); err != nil {
			return kernel.Weights{}, fmt.Errorf("tensor %q: %w", t.Name, err)
		}
		of, raw = kernel.F32, make([]byte, 4*len(values))
		if err := safetensors.Encode(raw, safetensors.F32, values); err != nil {
			return kernel.Weights{}, fmt.Errorf("tensor %q: %w", t.Name, err)
		}
	}
	w, err := kernel.NewWeights(raw, of, t.Shape[0], t.Shape[1])
	if err != nil {
		return w, fmt.Errorf("tensor %q: %w: %w", t.Name, safetensors.ErrFormat, err)
	}
	return w, nil
}

// row decodes the weights of one output to dst (in).
func row(dst []float32, w kernel.Weights, i int) error {
	types := [...]safetensors.DType{kernel.F32: safetensors.F32, kernel.F16: safetensors.F16, kernel.BF16: safetensors.BF16}
	size := w.In * w.Type.Size()
	return safetensors.Decode(dst[:w.In], types[w.Type], w.Data[i*size:(i+1)*size])
}
