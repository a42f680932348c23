package llm

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"d2nwg/safetensors"
)

// LowRank is an update ΔW = B·A of a matrix W (out, in), scale folded in.
type LowRank struct {
	Rank int
	A    []float32 // (r, in)
	B    []float32 // (out, r)
	// Seed, when set, says that A is SharedA(config, tensor, Rank, *Seed). Save
	// then leaves A out, and A may be nil.
	Seed *uint64
}

// Variant is a candidate: a base checkpoint with some tensors replaced, others
// updated by a low-rank delta. A tensor is in at most one of the two maps. A
// Variant is only read by its methods, so it may be shared once it is filled.
type Variant struct {
	Base    *Checkpoint
	Replace map[string][]float32 // whole tensors, row-major
	LowRank map[string]LowRank   // matrices only
}

// Names returns the tensors that differ from the base, sorted.
func (v *Variant) Names() []string {
	names := slices.Collect(maps.Keys(v.Replace))
	for name := range v.LowRank {
		if _, ok := v.Replace[name]; !ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Check tells whether the variant fits its base: every name is a tensor of the
// base, every length agrees. The error lists all names at fault.
func (v *Variant) Check() error {
	if v.Base == nil {
		return errors.New("variant has no base checkpoint")
	}
	var faults []string
	for _, name := range v.Names() {
		if err := v.checkTensor(name); err != nil {
			faults = append(faults, err.Error())
		}
	}
	if len(faults) > 0 {
		return errors.New(strings.Join(faults, "; "))
	}
	return nil
}

func (v *Variant) checkTensor(name string) error {
	t, ok := v.Base.Tensor(name)
	if !ok {
		return fmt.Errorf("tensor %q isn't in the base checkpoint %s", name, v.Base.Dir)
	}
	values, replaced := v.Replace[name]
	lr, updated := v.LowRank[name]
	if replaced && updated {
		return fmt.Errorf("tensor %q is both replaced and updated by a low-rank delta", name)
	}
	if replaced {
		if want := elements(t.Shape); len(values) != want {
			return fmt.Errorf("replacement of tensor %q has %d values, shape %v needs %d", name, len(values), t.Shape, want)
		}
		return nil
	}
	return lr.check(name, t.Shape)
}

func (l LowRank) check(name string, shape []int) error {
	if len(shape) != 2 {
		return fmt.Errorf("low-rank delta of tensor %q: shape %v is not a matrix", name, shape)
	}
	out, in := shape[0], shape[1]
	if l.Rank < 1 || l.Rank > max(out, in) {
		return fmt.Errorf("low-rank delta of tensor %q: rank %d of a matrix %v", name, l.Rank, shape)
	}
	if len(l.B) != out*l.Rank {
		return fmt.Errorf("low-rank delta of tensor %q: B has %d values, (%d, %d) needs %d", name, len(l.B), out, l.Rank, out*l.Rank)
	}
	if len(l.A) != l.Rank*in && (l.A != nil || l.Seed == nil) {
		return fmt.Errorf("low-rank delta of tensor %q: A has %d values, (%d, %d) needs %d", name, len(l.A), l.Rank, in, l.Rank*in)
	}
	return nil
}

// Weights returns the effective values of a tensor, row-major, rounded through
// the dtype of the base's tensor: exactly what the written checkpoint holds, so
// a score of the variant is a score of the file.
func (v *Variant) Weights(name string) ([]float32, error) {
	if v.Base == nil {
		return nil, errors.New("variant has no base checkpoint")
	}
	e, err := v.effective(name)
	if err != nil {
		return nil, err
	}
	out := make([]float32, elements(e.tensor.Shape))
	if err := e.read(out, 0); err != nil {
		return nil, err
	}
	return out, nil
}

// Factors returns the low-rank delta of a tensor with its A filled in, also where
// only A's seed is known; false when the tensor has none.
func (v *Variant) Factors(name string) (LowRank, bool) {
	lr, ok := v.LowRank[name]
	if ok && lr.A == nil && lr.Seed != nil && v.Base != nil {
		lr.A = SharedA(v.Base.Config, name, lr.Rank, *lr.Seed)
	}
	return lr, ok
}

// effective computes the values of one tensor of a variant piecewise, so that a
// writer needs no whole copy.
type effective struct {
	tensor  Tensor
	base    []byte    // stored bytes; nil when replaced
	replace []float32 // nil when not replaced
	lowRank *LowRank  // nil when there is no delta
	cols    int       // elements a row
}

func (v *Variant) effective(name string) (*effective, error) {
	t, ok := v.Base.Tensor(name)
	if !ok {
		return nil, fmt.Errorf("tensor %q isn't in the base checkpoint %s", name, v.Base.Dir)
	}
	e := &effective{tensor: t, cols: 1}
	if len(t.Shape) > 0 {
		e.cols = t.Shape[len(t.Shape)-1]
	}
	values, replaced := v.Replace[name]
	_, updated := v.LowRank[name]
	if replaced || updated {
		if err := v.checkTensor(name); err != nil {
			return nil, err
		}
	}
	if replaced {
		e.replace = values
		return e, nil
	}
	raw, err := v.Base.Bytes(name)
	if err != nil {
		return nil, err
	}
	e.base = raw
	if lr, ok := v.Factors(name); ok {
		e.lowRank = &lr
	}
	return e, nil
}

// read fills dst with the rounded values from row on; dst holds whole rows.
func (e *effective) read(dst []float32, row int) error {
	start := row * e.cols
	dt := e.tensor.DType
	if e.replace != nil {
		copy(dst, e.replace[start:])
		return safetensors.Round(dt, dst)
	}
	bits, _ := dt.Bits()
	size := bits / 8
	if err := safetensors.Decode(dst, dt, e.base[start*size:(start+len(dst))*size]); err != nil {
		return fmt.Errorf("tensor %q: %w", e.tensor.Name, err)
	}
	if e.lowRank == nil {
		return nil
	}
	e.lowRank.addTo(dst, row, e.cols)
	return safetensors.Round(dt, dst)
}

// addTo adds rows of B·A to dst. Each delta is summed in float32 in order of
// the rank before it meets the weight, so that a small delta keeps its digits.
func (l *LowRank) addTo(dst []float32, row, in int) {
	delta := make([]float32, in)
	for r := 0; r*in < len(dst); r++ {
		clear(delta)
		b := l.B[(row+r)*l.Rank : (row+r+1)*l.Rank] // (r)
		for k, scale := range b {
			a := l.A[k*in : (k+1)*in] // (in)
			for j := range delta {
				delta[j] += scale * a[j]
			}
		}
		w := dst[r*in : (r+1)*in]
		for j := range w {
			w[j] += delta[j]
		}
	}
}

// finite returns an error that names the tensor when a value is NaN or Inf.
func finite(name string, values []float32, first int) error {
	for i, x := range values {
		if y := float64(x); math.IsNaN(y) || math.IsInf(y, 0) {
			return fmt.Errorf("tensor %q has the value %v at element %d: it can't be written", name, x, first+i)
		}
	}
	return nil
}
