package lora

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"d2nwg/llm"
)

// Inner is the inner product of two updates of one matrix, the sum over its elements of ΔW₁·ΔW₂, computed as
// tr((B₁ᵀB₂)(A₂A₁ᵀ)) in float64 without the matrices. Both factors must be there, as llm.Variant.Factors gives them.
func Inner(x, y llm.LowRank) (float64, error) {
	out, in, err := sides(x)
	if err != nil {
		return 0, err
	}
	out2, in2, err := sides(y)
	if err != nil {
		return 0, err
	}
	if out != out2 || in != in2 {
		return 0, fmt.Errorf("updates of matrices (%d, %d) and (%d, %d) have no inner product", out, in, out2, in2)
	}
	left := make([]float64, x.Rank*y.Rank) // B₁ᵀB₂ (r₁, r₂)
	for i := range out {
		row := y.B[i*y.Rank : (i+1)*y.Rank]
		for k, b := range x.B[i*x.Rank : (i+1)*x.Rank] {
			for l, c := range row {
				left[k*y.Rank+l] += float64(b) * float64(c)
			}
		}
	}
	sum := 0.0
	for k := range x.Rank {
		for l := range y.Rank {
			right := 0.0 // A₁A₂ᵀ
			other := y.A[l*in : (l+1)*in]
			for j, a := range x.A[k*in : (k+1)*in] {
				right += float64(a) * float64(other[j])
			}
			sum += left[k*y.Rank+l] * right
		}
	}
	return sum, nil
}

// Dot is the inner product of two variants of one architecture as the sum over all tensors of the inner products of
// what they change; a tensor that only one of them changes counts zero. Replaced tensors count with their difference
// from their own base, before any rounding.
func Dot(v, w *llm.Variant) (float64, error) {
	if err := errors.Join(v.Check(), w.Check()); err != nil {
		return 0, err
	}
	sum := 0.0
	for _, name := range v.Names() {
		if !changes(w, name) {
			continue
		}
		s, err := dotTensor(v, w, name)
		if err != nil {
			return 0, fmt.Errorf("tensor %q: %w", name, err)
		}
		sum += s
	}
	return sum, nil
}

func changes(v *llm.Variant, name string) bool {
	_, low := v.LowRank[name]
	_, replaced := v.Replace[name]
	return low || replaced
}

func dotTensor(v, w *llm.Variant, name string) (float64, error) {
	x, low := v.Factors(name)
	y, alsoLow := w.Factors(name)
	if low && alsoLow {
		return Inner(x, y)
	}
	t, _ := v.Base.Tensor(name)
	if u, _ := w.Base.Tensor(name); !slices.Equal(t.Shape, u.Shape) {
		return 0, fmt.Errorf("shapes %v and %v have no inner product", t.Shape, u.Shape)
	}
	switch {
	case low:
		return againstDense(x, w, name)
	case alsoLow:
		return againstDense(y, v, name)
	}
	a, err := difference(v, name)
	if err != nil {
		return 0, err
	}
	if v == w {
		return dot(a, a), nil
	}
	b, err := difference(w, name)
	if err != nil {
		return 0, err
	}
	return dot(a, b), nil
}

// againstDense is the inner product with a replaced matrix: the sum over the rank of bᵀ·D·a.
func againstDense(x llm.LowRank, w *llm.Variant, name string) (float64, error) {
	_, in, err := sides(x)
	if err != nil {
		return 0, err
	}
	d, err := difference(w, name)
	if err != nil {
		return 0, err
	}
	sum := 0.0
	for k := range x.Rank {
		a := make([]float64, in)
		for j, y := range x.A[k*in : (k+1)*in] {
			a[j] = float64(y)
		}
		for i := range len(d) / in {
			sum += float64(x.B[i*x.Rank+k]) * dot(d[i*in:(i+1)*in], a)
		}
	}
	return sum, nil
}

// difference is a replaced tensor minus the base's.
func difference(v *llm.Variant, name string) ([]float64, error) {
	base, err := v.Base.Float32(name)
	if err != nil {
		return nil, err
	}
	values := v.Replace[name]
	if err := notFinite(values); err != nil {
		return nil, err
	}
	out := make([]float64, len(values))
	for i, x := range values {
		out[i] = float64(x) - float64(base[i])
	}
	return out, nil
}

// Norm is the root of the sum of squares of all that a variant changes.
func Norm(v *llm.Variant) (float64, error) {
	s, err := Dot(v, v)
	return math.Sqrt(max(0, s)), err
}

// Cosine is the cosine between what two variants change, 0 when one of them changes nothing.
func Cosine(v, w *llm.Variant) (float64, error) {
	a, err := Norm(v)
	if err != nil {
		return 0, err
	}
	b, err := Norm(w)
	if err != nil {
		return 0, err
	}
	s, err := Dot(v, w)
	if err != nil || a == 0 || b == 0 {
		return 0, err
	}
	return max(-1, min(1, s/a/b)), nil
}
