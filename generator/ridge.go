package generator

import (
	"fmt"
	"math"
	"slices"

	"gonum.org/v1/gonum/mat"
)

// ridge is a ridge regression from condition vectors to latents in its dual form: the prediction for c is Mean + Σ_s ⟨X_s, c⟩·Dual_s.
// X holds standardized conditions, and the latents' mean is not penalized.
type ridge struct {
	Lambda float64   // +Inf: the condition tells nothing, the prediction is the mean
	R2     float64   // share of the latents' variance that leave-one-out predictions explain, beside predicting the others' mean
	x      []float32 // (sets, cond)
	dual   []float32 // (sets, outputs); nil for Lambda = +Inf
	mean   []float32 // (outputs)
}

// lambdas is the grid that cross-validation chooses from, relative to the mean eigenvalue of the kernel.
func lambdas() []float64 {
	out := []float64{math.Inf(1)}
	for e := 3.0; e >= -4; e -= 0.5 {
		out = append(out, math.Pow(10, e))
	}
	return out
}

// fitRidge regresses z (sets, outputs) on standardized conditions x (sets, cond). λ is the one with the least leave-one-out error; weight
// sets of the very same condition are left out together, because the error that matters is that for a condition never seen. The closed
// form leaves out a group I by dividing its residuals by the block 1 − H_II of the hat matrix.
func fitRidge(x []float32, cond int, z []float32, sets int) (*ridge, error) {
	outputs := len(z) / sets
	r := &ridge{Lambda: math.Inf(1), x: x, mean: columnMeans(z, sets)}
	blocks := sameConditions(x, cond, sets)
	if len(blocks) < 3 {
		return r, nil
	}
	zc := make([]float64, len(z)) // centred
	for i, v := range z {
		zc[i] = float64(v) - float64(r.mean[i%outputs])
	}
	latents, inputs := mat.NewDense(sets, outputs, zc), mat.NewDense(sets, cond, toFloat64(x))
	var gram, kernel mat.SymDense
	gram.SymOuterK(1, latents)
	kernel.SymOuterK(1, inputs)
	var eig mat.EigenSym
	if !eig.Factorize(&kernel, true) {
		return nil, fmt.Errorf("generator: the eigenvalues of the condition kernel of %d sets did not converge", sets)
	}
	values := eig.Values(nil)
	var u mat.Dense
	eig.VectorsTo(&u)
	unit := mat.Trace(&kernel) / float64(sets)
	if unit <= 0 {
		return r, nil
	}
	best, null := math.Inf(1), math.Inf(1)
	for _, l := range lambdas() {
		e, err := leaveOut(&u, values, l*unit, &gram, blocks)
		if err != nil {
			return nil, err
		}
		if math.IsInf(l, 1) {
			null = e
		}
		if e < best {
			best, r.Lambda = e, l*unit
		}
	}
	if null > 0 { // identical latents leave nothing to explain
		r.R2 = 1 - best/null
	}
	if !math.IsInf(r.Lambda, 1) {
		var dual, half mat.Dense
		half.Mul(u.T(), latents)
		half.Apply(func(i, _ int, v float64) float64 {
			if values[i] <= 1e-10*values[sets-1] {
				return 0 // conditions have no part in this direction: it predicts nothing, and 1/λ of it would only cost digits
			}
			return v / (values[i] + r.Lambda)
		}, &half)
		dual.Mul(&u, &half)
		r.dual = toFloat32(dual.RawMatrix().Data)
	}
	return r, nil
}

// leaveOut is the squared error of predicting every block from the others, computed from the Gram matrix of the latents alone.
func leaveOut(u *mat.Dense, values []float64, lambda float64, gram *mat.SymDense, blocks [][]int) (float64, error) {
	n := len(values)
	rest := mat.NewDense(n, n, nil) // 1 − H
	if !math.IsInf(lambda, 1) {
		var half mat.Dense
		half.Apply(func(_, j int, v float64) float64 { e := max(values[j], 0); return v * e / (e + lambda) }, u)
		rest.Mul(&half, u.T())
	}
	rest.Apply(func(i, j int, v float64) float64 {
		if i == j {
			return 1 - v - 1/float64(n)
		}
		return -v - 1/float64(n)
	}, rest)
	out := mat.NewDense(n, n, nil) // block diagonal of (1 − H_II)⁻¹, times 1 − H
	for _, b := range blocks {
		rows, block := mat.NewDense(len(b), n, nil), mat.NewDense(len(b), len(b), nil)
		for i, p := range b {
			rows.SetRow(i, rest.RawRowView(p))
			for j, q := range b {
				block.Set(i, j, rest.At(p, q))
			}
		}
		var solved mat.Dense
		if err := solved.Solve(block, rows); err != nil {
			if _, ill := err.(mat.Condition); !ill {
				return 0, fmt.Errorf("generator: leave-one-out of the ridge regression: %w", err)
			}
		}
		for i, p := range b {
			out.SetRow(p, solved.RawRowView(i))
		}
	}
	var half mat.Dense
	half.Mul(out, gram)
	var sum float64
	for i := range n {
		sum += mat.Dot(half.RowView(i), out.RowView(i))
	}
	return sum, nil
}

// sameConditions groups the sets that have the same condition, in order of their first set.
func sameConditions(x []float32, cond, sets int) [][]int {
	var out [][]int
	for s := range sets {
		row := x[s*cond : (s+1)*cond]
		k := slices.IndexFunc(out, func(b []int) bool { return slices.Equal(row, x[b[0]*cond:(b[0]+1)*cond]) })
		if k < 0 {
			out = append(out, []int{s})
		} else {
			out[k] = append(out[k], s)
		}
	}
	return out
}

// predict returns the conditional mean (outputs) of a standardized condition; nil means the null condition, whose mean is the zoo's.
func (r *ridge) predict(cond []float32) []float32 {
	out := slices.Clone(r.mean)
	if r.dual == nil || cond == nil {
		return out
	}
	sums := make([]float64, len(out))
	for s := range len(r.x) / len(cond) {
		var k float64
		for i, c := range cond {
			k += float64(r.x[s*len(cond)+i]) * float64(c)
		}
		for i, d := range r.dual[s*len(out) : (s+1)*len(out)] {
			sums[i] += k * float64(d)
		}
	}
	for i, v := range sums {
		out[i] += float32(v)
	}
	return out
}

func columnMeans(z []float32, rows int) []float32 {
	n := len(z) / rows
	sums := make([]float64, n)
	for i, v := range z {
		sums[i%n] += float64(v)
	}
	out := make([]float32, n)
	for i, v := range sums {
		out[i] = float32(v / float64(rows))
	}
	return out
}

func toFloat64(x []float32) []float64 {
	out := make([]float64, len(x))
	for i, v := range x {
		out[i] = float64(v)
	}
	return out
}

func toFloat32(x []float64) []float32 {
	out := make([]float32, len(x))
	for i, v := range x {
		out[i] = float32(v)
	}
	return out
}
