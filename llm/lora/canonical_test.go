package lora

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"d2nwg/llm"
	"d2nwg/safetensors"

	"gonum.org/v1/gonum/mat"
	"pgregory.net/rapid"
)

// dense is B·A in float64.
func dense(lr llm.LowRank) []float64 {
	out, in := len(lr.B)/lr.Rank, len(lr.A)/lr.Rank
	return effective(1, tensor{shape: []int{out, lr.Rank}, values: lr.B}, tensor{shape: []int{lr.Rank, in}, values: lr.A})
}

// apart is ‖x−y‖/‖y‖, or ‖x‖ where y is zero.
func apart(x, y []float64) float64 {
	var d, n float64
	for i := range x {
		d += (x[i] - y[i]) * (x[i] - y[i])
		n += y[i] * y[i]
	}
	if n == 0 {
		return math.Sqrt(d)
	}
	return math.Sqrt(d / n)
}

func wide(values []float32) []float64 {
	out := make([]float64, len(values))
	for i, x := range values {
		out[i] = float64(x)
	}
	return out
}

// sameBits tells whether two updates have the same factors, bit for bit.
func sameBits(x, y llm.LowRank) bool {
	return x.Rank == y.Rank && slices.Equal(x.A, y.A) && slices.Equal(x.B, y.B)
}

// checkCanonical requires the form to keep ΔW, to be its own form, and to be what its definition says.
func checkCanonical(t interface{ Errorf(string, ...any) }, what string, lr llm.LowRank) llm.LowRank {
	c, err := Canonical(lr)
	if err != nil {
		t.Errorf("%s: %v", what, err)
		return c
	}
	if d := apart(dense(c), dense(lr)); d > 4e-7 {
		t.Errorf("%s: ΔW moved by %g of itself", what, d)
	}
	again, err := Canonical(c)
	if err != nil || !sameBits(c, again) {
		t.Errorf("%s: the form of the form differs by %g and %g, %v", what, apart(wide(again.B), wide(c.B)), apart(wide(again.A), wide(c.A)), err)
	}
	out, in := len(lr.B)/lr.Rank, len(lr.A)/lr.Rank
	bb, aa := new(mat.Dense), new(mat.Dense)
	b, a := mat.NewDense(out, lr.Rank, wide(c.B)), mat.NewDense(lr.Rank, in, wide(c.A))
	bb.Mul(b.T(), b)
	aa.Mul(a, a.T())
	for i := range lr.Rank {
		for j := range lr.Rank {
			size := math.Sqrt(bb.At(i, i) * bb.At(j, j))
			if i == j && math.Abs(bb.At(i, i)-aa.At(i, i)) > 1e-6*size || i != j && max(math.Abs(bb.At(i, j)), math.Abs(aa.At(i, j))) > 1e-6*size {
				t.Errorf("%s: BᵀB and AAᵀ at (%d, %d) are %g and %g of %g", what, i, j, bb.At(i, j), aa.At(i, j), size)
				return c
			}
		}
		if i > 0 && bb.At(i, i) > bb.At(i-1, i-1)*(1+1e-6) {
			t.Errorf("%s: size %d is %g, after %g", what, i, bb.At(i, i), bb.At(i-1, i-1))
		}
	}
	return c
}

// respelt is (B·G, G⁻¹·A) for a random G near enough to orthogonal to be inverted well.
func respelt(t interface{ Fatal(...any) }, lr llm.LowRank, seed uint64) llm.LowRank {
	r := lr.Rank
	g := mat.NewDense(r, r, wide(normals(r*r, 0.3, seed)))
	for i := range r {
		g.Set(i, i, g.At(i, i)+2)
	}
	var inverse, b, a mat.Dense
	if err := inverse.Inverse(g); err != nil {
		t.Fatal(err)
	}
	b.Mul(mat.NewDense(len(lr.B)/r, r, wide(lr.B)), g)
	a.Mul(&inverse, mat.NewDense(r, len(lr.A)/r, wide(lr.A)))
	out := llm.LowRank{Rank: r, A: make([]float32, len(lr.A)), B: make([]float32, len(lr.B))}
	for i, x := range b.RawMatrix().Data {
		out.B[i] = float32(x)
	}
	for i, x := range a.RawMatrix().Data {
		out.A[i] = float32(x)
	}
	return out
}

func TestCanonical(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ out, in, rank int }{{1, 1, 1}, {40, 24, 4}, {24, 40, 4}, {128, 96, 16}, {300, 7, 7}, {7, 300, 7}, {5, 9, 8}, {6, 6, 6}, {512, 256, 64}} {
		what := fmt.Sprint(c)
		lr := lowRank(c.out, c.in, c.rank, 3)
		form := checkCanonical(t, what, lr)
		// Singular values of random factors are a few percent apart.
		for seed := range uint64(3) {
			other := checkCanonical(t, what, respelt(t, lr, seed))
			if d := max(apart(wide(other.B), wide(form.B)), apart(wide(other.A), wide(form.A))); d > 2e-4 {
				t.Errorf("%s: another pair of the same update has a form %g away", what, d)
			}
		}
	}
}

// TestCanonicalAgainstSVD: singular values are those of the whole matrix.
func TestCanonicalAgainstSVD(t *testing.T) {
	t.Parallel()
	lr := lowRank(31, 17, 5, 9)
	var svd mat.SVD
	if !svd.Factorize(mat.NewDense(31, 17, dense(lr)), mat.SVDNone) {
		t.Fatal("no singular values")
	}
	form := checkCanonical(t, "random", lr)
	for k, want := range svd.Values(nil)[:5] {
		size := 0.0
		for i := range 31 {
			size += float64(form.B[i*5+k]) * float64(form.B[i*5+k])
		}
		if math.Abs(size-want) > 1e-6*want {
			t.Errorf("singular value %d is %g, want %g", k, size, want)
		}
	}
}

// TestCanonicalDegenerate: ties, zeros, and scales from one end of float32 to the other.
func TestCanonicalDegenerate(t *testing.T) {
	t.Parallel()
	const out, in, rank = 12, 10, 4
	set := func(b, a func(i, k int) float32) llm.LowRank {
		lr := llm.LowRank{Rank: rank, A: make([]float32, rank*in), B: make([]float32, out*rank)}
		for k := range rank {
			for i := range out {
				lr.B[i*rank+k] = b(i, k)
			}
			for j := range in {
				lr.A[k*in+j] = a(j, k)
			}
		}
		return lr
	}
	unit := func(i, k int) float32 {
		if i == k {
			return 1
		}
		return 0
	}
	// Signed powers of ±1: orthogonal columns whose elements all have one magnitude, so that every rule meets ties.
	signs := func(i, k int) float32 {
		if i >= 8 {
			return 0
		}
		return float32(1 - 2*(i>>k&1))
	}
	noise := lowRank(out, in, rank, 5)
	scaledBy := func(b, a float32) llm.LowRank {
		return set(func(i, k int) float32 { return b * noise.B[i*rank+k] }, func(j, k int) float32 { return a * noise.A[k*in+j] })
	}
	cases := map[string]struct {
		lr      llm.LowRank
		unusual bool // rounding its other spellings makes other updates of them
	}{
		"all zero":         {set(func(i, k int) float32 { return 0 }, func(i, k int) float32 { return 0 }), false},
		"B zero":           {set(func(i, k int) float32 { return 0 }, func(j, k int) float32 { return noise.A[k*in+j] }), false},
		"all equal":        {set(unit, unit), false},
		"two pairs equal":  {set(func(i, k int) float32 { return unit(i, k) * float32(1+k/2) }, unit), false},
		"equal magnitudes": {set(signs, signs), false},
		"rank one":         {set(func(i, k int) float32 { return noise.B[i*rank] }, func(j, k int) float32 { return noise.A[j] }), false},
		"rank two": {set(func(i, k int) float32 { return noise.B[i*rank+k%2] },
			func(j, k int) float32 { return noise.A[k%2*in+j] }), false},
		"cancelling": {set(func(i, k int) float32 { return noise.B[i*rank+k/2] * float32(1-2*(k%2)) },
			func(j, k int) float32 { return noise.A[k/2*in+j] }), true},
		"huge and tiny":    {scaledBy(1e30, 1e-30), false},
		"tiny and huge":    {scaledBy(1e-30, 1e30), false},
		"both small":       {scaledBy(1e-15, 1e-15), false},
		"both large":       {scaledBy(1e15, 1e15), false},
		"below float32":    {scaledBy(1e-30, 1e-30), true},
		"falling by 1e-10": {set(func(i, k int) float32 { return noise.B[i*rank+k] * float32(math.Pow(10, -10*float64(k))) }, func(j, k int) float32 { return noise.A[k*in+j] }), true},
	}
	for name, c := range cases {
		form := checkCanonical(t, name, c.lr)
		if c.unusual {
			continue
		}
		for seed := range uint64(3) {
			other := checkCanonical(t, name, respelt(t, c.lr, seed))
			if d := max(apart(wide(other.B), wide(form.B)), apart(wide(other.A), wide(form.A))); d > 2e-4 {
				t.Errorf("%s: another pair of the same update has a form %g away", name, d)
			}
		}
	}
}

// TestCanonicalIsItsOwnForm: whatever the update, the form of the form is the form, bit for bit.
func TestCanonicalIsItsOwnForm(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		out, in, rank := rapid.IntRange(1, 40).Draw(t, "out"), rapid.IntRange(1, 40).Draw(t, "in"), rapid.IntRange(1, 12).Draw(t, "rank")
		lr := lowRank(out, in, rank, rapid.Uint64().Draw(t, "seed"))
		if levels := rapid.IntRange(0, 3).Draw(t, "levels"); levels > 0 { // few values make ties and dependence
			for _, values := range [][]float32{lr.A, lr.B} {
				for i, x := range values {
					values[i] = float32(math.Round(float64(x) * float64(levels)))
				}
			}
		}
		checkCanonical(t, "drawn", lr)
	})
}

func TestCanonicalRefuses(t *testing.T) {
	t.Parallel()
	nan := lowRank(4, 4, 2, 1)
	nan.B[3] = float32(math.NaN())
	largest := lowRank(4, 4, 2, 1)
	for i := range largest.B {
		largest.A[i], largest.B[i] = math.MaxFloat32, math.MaxFloat32
	}
	for name, lr := range map[string]llm.LowRank{"NaN": nan, "overflow": largest, "rank 0": {}, "ragged": {Rank: 2, A: make([]float32, 3), B: make([]float32, 4)},
		"A by its seed": {Rank: 2, B: make([]float32, 4), Seed: new(uint64)}} {
		if _, err := Canonical(lr); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// TestInner holds inner products against the sum over the whole matrices in float64.
func TestInner(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ out, in, r1, r2 int }{{1, 1, 1, 1}, {24, 40, 4, 4}, {40, 24, 3, 16}, {100, 80, 16, 1}} {
		x, y := lowRank(c.out, c.in, c.r1, 1), lowRank(c.out, c.in, c.r2, 2)
		want := dot(dense(x), dense(y))
		got, err := Inner(x, y)
		swapped, err2 := Inner(y, x)
		scale := math.Sqrt(dot(dense(x), dense(x)) * dot(dense(y), dense(y)))
		if err != nil || err2 != nil || math.Abs(got-want) > 1e-12*scale || math.Abs(got-swapped) > 1e-12*scale {
			t.Errorf("%v: %g and %g, want %g; %v, %v", c, got, swapped, want, err, err2)
		}
	}
	if _, err := Inner(lowRank(4, 5, 2, 1), lowRank(5, 4, 2, 1)); err == nil {
		t.Error("no error for different shapes")
	}
	if _, err := Inner(lowRank(4, 5, 2, 1), llm.LowRank{Rank: 2, B: make([]float32, 8)}); err == nil {
		t.Error("no error without A")
	}
}

// TestDot holds whole variants against sums over differences of their effective weights.
func TestDot(t *testing.T) {
	t.Parallel()
	base := newBase(t, tiny(), safetensors.F32, 7)
	v, w := everyLinear(base, 3, 1), everyLinear(base, 5, 50)
	seed := uint64(4)
	v.LowRank[k1+".weight"] = llm.LowRank{Rank: 3, B: normals(16*3, 0.3, 8), Seed: &seed}
	delete(w.LowRank, q0+".weight")
	for _, x := range []*llm.Variant{v, w} {
		delete(x.LowRank, down1+".weight")
	}
	v.Replace[down1+".weight"] = normals(24*40, 1, 3)
	w.LowRank[down1+".weight"] = lowRank(24, 40, 2, 4)
	v.Replace["model.norm.weight"], w.Replace["model.norm.weight"] = normals(24, 1, 5), normals(24, 1, 6)
	v.Replace["model.layers.0.input_layernorm.weight"] = normals(24, 1, 7)
	deltas := func(v *llm.Variant) map[string][]float64 {
		out := map[string][]float64{}
		for _, name := range v.Names() {
			if lr, ok := v.Factors(name); ok {
				out[name] = dense(lr)
				continue
			}
			own, err := base.Float32(name)
			if err != nil {
				t.Fatal(err)
			}
			for i, x := range v.Replace[name] {
				out[name] = append(out[name], float64(x)-float64(own[i]))
			}
		}
		return out
	}
	sum := func(x, y map[string][]float64) (s float64) {
		for name := range x {
			if y[name] != nil {
				s += dot(x[name], y[name])
			}
		}
		return s
	}
	a, b := deltas(v), deltas(w)
	close := func(what string, got float64, err error, want float64) {
		if err != nil || math.Abs(got-want) > 1e-12*math.Abs(want)+1e-12 {
			t.Errorf("%s is %g, want %g, %v", what, got, want, err)
		}
	}
	got, err := Dot(v, w)
	close("the inner product", got, err, sum(a, b))
	got, err = Dot(w, v)
	close("the other way round", got, err, sum(a, b))
	got, err = Norm(v)
	close("the norm", got, err, math.Sqrt(sum(a, a)))
	got, err = Cosine(v, w)
	close("the cosine", got, err, sum(a, b)/math.Sqrt(sum(a, a)*sum(b, b)))
	got, err = Cosine(v, v)
	close("the cosine with itself", got, err, 1)
	got, err = Cosine(v, &llm.Variant{Base: base})
	close("the cosine with nothing", got, err, 0)
	form, err := CanonicalVariant(v)
	if err != nil {
		t.Fatal(err)
	}
	if got, err = Cosine(v, form); err != nil || got < 1-1e-12 {
		t.Errorf("the cosine with the canonical form is %g, %v", got, err)
	}
}
