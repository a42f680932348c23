// Package tokens cuts weight tensors into tokens of one length and puts them together again.
//
// A tensor is flattened row-major, padded on the right with zeros to a multiple of the chunk length, and cut into chunks; a chunk is one
// token. The tokens of a Map's tensors stand one after another in the Map's order. Cutting and joining only move bits; normalization is a
// separate, lossy step whose statistics stand in the Map, which is saved as JSON with the model that was trained on it.
package tokens

import (
	"errors"
	"fmt"
	"math"
)

// Spec names one learned tensor.
type Spec struct {
	Name   string `json:"name"`   // the tensor's name in the checkpoint
	Module string `json:"module"` // module type, such as "q_proj"
	Layer  int    `json:"layer"`  // layer index, −1 outside the layers
	Shape  []int  `json:"shape"`
}

// Elements is the number of values of the tensor.
func (s Spec) Elements() int {
	n := 1
	for _, d := range s.Shape {
		n *= d
	}
	return n
}

// Tensor is the place of one tensor among the tokens, with its normalization statistics.
type Tensor struct {
	Spec
	First   int     `json:"first_token"`
	Count   int     `json:"tokens"`
	Padding int     `json:"padding"` // zeros at the end of the last token
	Mean    float64 `json:"mean"`
	Std     float64 `json:"std"` // above 0
}

// Map says which tokens hold which tensor. It is saved as JSON.
type Map struct {
	ChunkLen int      `json:"chunk_len"`
	Tensors  []Tensor `json:"tensors"`
}

// NewMap lays the tensors of specs out in their order as tokens of chunkLen values. The statistics start as mean 0 and deviation 1.
func NewMap(specs []Spec, chunkLen int) (*Map, error) {
	if chunkLen < 1 {
		return nil, fmt.Errorf("tokens: chunk length %d is below 1", chunkLen)
	}
	if len(specs) == 0 {
		return nil, errors.New("tokens: no tensors to learn")
	}
	m := &Map{ChunkLen: chunkLen}
	first, seen := 0, map[string]bool{}
	for _, s := range specs {
		if seen[s.Name] {
			return nil, fmt.Errorf("tokens: tensor %s is named twice", s.Name)
		}
		seen[s.Name] = true
		for _, d := range s.Shape {
			if d < 1 {
				return nil, fmt.Errorf("tokens: tensor %s has the empty shape %v", s.Name, s.Shape)
			}
		}
		n := s.Elements()
		count := (n + chunkLen - 1) / chunkLen
		m.Tensors = append(m.Tensors, Tensor{Spec: s, First: first, Count: count, Padding: count*chunkLen - n, Std: 1})
		first += count
	}
	return m, nil
}

// Tokens is the number of tokens of one weight set.
func (m *Map) Tokens() int {
	last := m.Tensors[len(m.Tensors)-1]
	return last.First + last.Count
}

// Find returns the tensor called name.
func (m *Map) Find(name string) (Tensor, bool) {
	for _, t := range m.Tensors {
		if t.Name == name {
			return t, true
		}
	}
	return Tensor{}, false
}

// Valid is the number of values of the tensor's i-th token that are not padding.
func (m *Map) Valid(t Tensor, i int) int {
	if i == t.Count-1 {
		return m.ChunkLen - t.Padding
	}
	return m.ChunkLen
}

// Chunk cuts the values of a tensor into its tokens, (t.Count, ChunkLen), with zeros as padding. The bits of the values are kept.
func (m *Map) Chunk(t Tensor, values []float32) ([]float32, error) {
	if len(values) != t.Elements() {
		return nil, fmt.Errorf("tokens: tensor %s has %d values, its shape %v needs %d", t.Name, len(values), t.Shape, t.Elements())
	}
	out := make([]float32, t.Count*m.ChunkLen)
	copy(out, values)
	return out, nil
}

// Unchunk joins a tensor's tokens, (t.Count, ChunkLen), into its values and cuts the padding. The bits of the values are kept.
func (m *Map) Unchunk(t Tensor, chunks []float32) ([]float32, error) {
	if len(chunks) != t.Count*m.ChunkLen {
		return nil, fmt.Errorf("tokens: tensor %s has %d values in tokens, its %d tokens of %d hold %d",
			t.Name, len(chunks), t.Count, m.ChunkLen, t.Count*m.ChunkLen)
	}
	out := make([]float32, t.Elements())
	copy(out, chunks)
	return out, nil
}

// ChunkBytes is Chunk for the raw bytes of any dtype of bits per value. A token takes ChunkLen·bits/8 bytes, which has to be whole.
func (m *Map) ChunkBytes(t Tensor, bits int, raw []byte) ([]byte, error) {
	whole, used, err := m.rawSizes(t, bits)
	if err != nil {
		return nil, err
	}
	if len(raw) != used {
		return nil, fmt.Errorf("tokens: tensor %s has %d bytes, its shape %v at %d bits needs %d", t.Name, len(raw), t.Shape, bits, used)
	}
	out := make([]byte, whole)
	copy(out, raw)
	return out, nil
}

// UnchunkBytes is the inverse of ChunkBytes.
func (m *Map) UnchunkBytes(t Tensor, bits int, chunks []byte) ([]byte, error) {
	whole, used, err := m.rawSizes(t, bits)
	if err != nil {
		return nil, err
	}
	if len(chunks) != whole {
		return nil, fmt.Errorf("tokens: tensor %s has %d bytes in tokens, its %d tokens hold %d", t.Name, len(chunks), t.Count, whole)
	}
	out := make([]byte, used)
	copy(out, chunks)
	return out, nil
}

// rawSizes returns the bytes of a tensor's tokens and of its values.
func (m *Map) rawSizes(t Tensor, bits int) (whole, used int, err error) {
	if bits < 1 || m.ChunkLen*bits%8 != 0 || t.Elements()*bits%8 != 0 {
		return 0, 0, fmt.Errorf("tokens: tensor %s: %d values in chunks of %d at %d bits are not whole bytes", t.Name, t.Elements(), m.ChunkLen, bits)
	}
	return t.Count * m.ChunkLen * bits / 8, t.Elements() * bits / 8, nil
}

// Fit sets every tensor's mean and deviation over sets weight sets. load gives the values of one tensor of one set. A value that is not
// finite is an error that names the tensor.
func (m *Map) Fit(sets int, load func(set int, tensor string) ([]float32, error)) error {
	if sets < 1 {
		return errors.New("tokens: no weight sets to take statistics of")
	}
	for i := range m.Tensors {
		t := &m.Tensors[i]
		var stat running
		for s := range sets {
			v, err := load(s, t.Name)
			if err != nil {
				return err
			}
			if len(v) != t.Elements() {
				return fmt.Errorf("tokens: tensor %s of weight set %d has %d values, its shape %v needs %d", t.Name, s, len(v), t.Shape, t.Elements())
			}
			if err := stat.add(v); err != nil {
				return fmt.Errorf("tokens: tensor %s of weight set %d: %w", t.Name, s, err)
			}
		}
		t.Mean, t.Std = stat.mean, stat.std()
	}
	return nil
}

// running merges the mean and the sum of squared deviations of blocks of values, which stays exact where plain sums of squares cancel.
type running struct{ n, mean, m2 float64 }

func (r *running) add(v []float32) error {
	var sum float64
	for _, x := range v {
		sum += float64(x)
	}
	if math.IsNaN(sum) || math.IsInf(sum, 0) {
		return errors.New("a value is not finite")
	}
	n := float64(len(v))
	mean := sum / n
	var m2 float64
	for _, x := range v {
		d := float64(x) - mean
		m2 += d * d
	}
	delta, total := mean-r.mean, r.n+n
	r.m2 += m2 + delta*delta*r.n*n/total
	r.mean += delta * n / total
	r.n = total
	return nil
}

// std is the deviation; a constant tensor gets 1, so that normalization stays defined.
func (r *running) std() float64 {
	s := math.Sqrt(r.m2 / r.n)
	if s <= 1e-12*math.Abs(r.mean) || s == 0 {
		return 1
	}
	return s
}

// Normalize replaces every value x by (x − mean)/std.
func (t Tensor) Normalize(values []float32) {
	mean, inv := float32(t.Mean), float32(1/t.Std)
	for i, x := range values {
		values[i] = (x - mean) * inv
	}
}

// Denormalize replaces every value x by x·std + mean.
func (t Tensor) Denormalize(values []float32) {
	mean, std := float32(t.Mean), float32(t.Std)
	for i, x := range values {
		values[i] = x*std + mean
	}
}
