package generator

import (
	"math"
	"math/rand/v2"
	"testing"

	"gonum.org/v1/gonum/mat"
)

// centredPair makes standardized-like conditions x (sets, cond), centred, with sets 0 and 1 sharing a condition, and latents z.
func centredPair(sets, cond, outputs int) (x, z []float32) {
	r := rand.New(rand.NewPCG(5, 6))
	x, z = make([]float32, sets*cond), make([]float32, sets*outputs)
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	copy(x[cond:2*cond], x[:cond])
	m := columnMeans(x, sets)
	for i := range x {
		x[i] -= m[i%cond]
	}
	for i := range z {
		s, o := i/outputs, i%outputs
		z[i] = float32(3 + float64(x[s*cond+o%cond]) - 0.5*float64(x[s*cond+(o+1)%cond]) + 0.3*r.NormFloat64())
	}
	return x, z
}

// normalEquations predicts at c from the rows of (x, z) that skip leaves: (XᵀX + λ)⁻¹ Xᵀ(Z − mean) with a free intercept, by the normal
// equations of the centred rows.
func normalEquations(x, z []float32, sets, cond, outputs int, lambda float64, skip func(int) bool, c []float32) []float64 {
	var rows []int
	for s := range sets {
		if !skip(s) {
			rows = append(rows, s)
		}
	}
	xm, zm := make([]float64, cond), make([]float64, outputs)
	for _, s := range rows {
		for i := range cond {
			xm[i] += float64(x[s*cond+i]) / float64(len(rows))
		}
		for o := range outputs {
			zm[o] += float64(z[s*outputs+o]) / float64(len(rows))
		}
	}
	a, b := mat.NewDense(len(rows), cond, nil), mat.NewDense(len(rows), outputs, nil)
	for k, s := range rows {
		for i := range cond {
			a.Set(k, i, float64(x[s*cond+i])-xm[i])
		}
		for o := range outputs {
			b.Set(k, o, float64(z[s*outputs+o])-zm[o])
		}
	}
	var ata, atb, w mat.Dense
	ata.Mul(a.T(), a)
	for i := range cond {
		ata.Set(i, i, ata.At(i, i)+lambda)
	}
	atb.Mul(a.T(), b)
	if err := w.Solve(&ata, &atb); err != nil {
		panic(err)
	}
	out := zm
	for o := range outputs {
		for i := range cond {
			out[o] += (float64(c[i]) - xm[i]) * w.At(i, o)
		}
	}
	return out
}

func TestRidgeAgreesWithNormalEquations(t *testing.T) {
	const sets, cond, outputs = 14, 4, 6
	x, z := centredPair(sets, cond, outputs)
	r, err := fitRidge(x, cond, z, sets)
	if err != nil {
		t.Fatal(err)
	}
	if math.IsInf(r.Lambda, 1) || r.R2 < 0.7 {
		t.Fatalf("λ %v, R² %v on nearly linear data", r.Lambda, r.R2)
	}
	c := []float32{0.3, -1, 2, 0.1}
	want := normalEquations(x, z, sets, cond, outputs, r.Lambda, func(int) bool { return false }, c)
	for o, v := range r.predict(c) {
		if math.Abs(float64(v)-want[o]) > 1e-5 {
			t.Errorf("output %d: %v, normal equations %v", o, v, want[o])
		}
	}
	for o, v := range r.predict(nil) {
		if v != r.mean[o] {
			t.Errorf("the null condition predicts %v, the mean is %v", v, r.mean[o])
		}
	}
}

// The closed form of leave-one-out, with the sets of one condition left out together, against refitting without them.
func TestLeaveOutAgreesWithRefitting(t *testing.T) {
	const sets, cond, outputs, lambda = 9, 3, 5, 0.7
	x, z := centredPair(sets, cond, outputs)
	blocks := sameConditions(x, cond, sets)
	if len(blocks) != sets-1 || len(blocks[0]) != 2 {
		t.Fatalf("sets 0 and 1 share a condition; the blocks are %v", blocks)
	}
	var kernel, gram mat.SymDense
	kernel.SymOuterK(1, mat.NewDense(sets, cond, toFloat64(x)))
	zm := columnMeans(z, sets)
	zc := toFloat64(z)
	for i := range zc {
		zc[i] -= float64(zm[i%outputs])
	}
	gram.SymOuterK(1, mat.NewDense(sets, outputs, zc))
	var eig mat.EigenSym
	if !eig.Factorize(&kernel, true) {
		t.Fatal("no eigenvalues")
	}
	var u mat.Dense
	eig.VectorsTo(&u)
	got, err := leaveOut(&u, eig.Values(nil), lambda, &gram, blocks)
	if err != nil {
		t.Fatal(err)
	}
	var want float64
	for _, b := range blocks {
		skip := func(s int) bool { return s == b[0] || s == b[len(b)-1] }
		for _, s := range b {
			p := normalEquations(x, z, sets, cond, outputs, lambda, skip, x[s*cond:(s+1)*cond])
			for o := range outputs {
				d := p[o] - float64(z[s*outputs+o])
				want += d * d
			}
		}
	}
	if math.Abs(got-want) > 1e-6*want {
		t.Errorf("closed form %v, refitting %v", got, want)
	}
}

func TestRidgeLeavesNoiseAlone(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 9))
	const sets, cond = 30, 20
	x, z := make([]float32, sets*cond), make([]float32, sets*50)
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	for i := range z {
		z[i] = float32(r.NormFloat64())
	}
	f, err := fitRidge(x, cond, z, sets)
	if err != nil {
		t.Fatal(err)
	}
	if f.R2 > 0.05 {
		t.Errorf("R² %v and λ %v on pure noise", f.R2, f.Lambda)
	}
}
