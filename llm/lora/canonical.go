package lora

import (
	"fmt"
	"math"
	"slices"

	"d2nwg/llm"

	"gonum.org/v1/gonum/mat"
)

// Tolerances of the canonical form, against rounding to float32 (2⁻²⁴): how far from orthogonal, balanced and sorted
// factors may be to count as canonical, and how near to one another singular values count as equal.
const (
	canonicalWithin = 0x1p-20
	tiedWithin      = 0x1p-22
	rotatedWithin   = 1e-5
)

// CanonicalVariant returns the variant with canonical factors; replaced tensors stay as they are.
func CanonicalVariant(v *llm.Variant) (*llm.Variant, error) {
	if err := v.Check(); err != nil {
		return nil, err
	}
	out := &llm.Variant{Base: v.Base, Replace: v.Replace, LowRank: map[string]llm.LowRank{}}
	for name := range v.LowRank {
		lr, _ := v.Factors(name)
		c, err := Canonical(lr)
		if err != nil {
			return nil, fmt.Errorf("tensor %q: %w", name, err)
		}
		out.LowRank[name] = c
	}
	return out, nil
}

// Canonical returns the factors that every pair (B·G, G⁻¹·A) of the same update shares: with B = Q₁R₁, Aᵀ = Q₂R₂ and
// R₁R₂ᵀ = UΣVᵀ they are B' = Q₁U√Σ and A' = √ΣVᵀQ₂ᵀ. Singular values fall. The largest element of each column of B' is
// positive (the first of those within 10⁻⁵ of the largest). Where singular values are equal, so that any rotation among
// their vectors gives the same update, the rotation is the one that makes B' lower triangular on the rows where it is
// largest. Terms that are zero to double precision become zero columns: the rank stays.
//
// It computes in float64; rounding the result to float32 moves ΔW by some 2⁻²⁴ of itself. Factors that are canonical up
// to that rounding are returned as they are, so that the form of a canonical form is itself, bit for bit. Two pairs of
// the same update agree up to rounding, which near-equal singular values magnify by one over their relative distance.
// NaN and infinite values are errors.
func Canonical(lr llm.LowRank) (llm.LowRank, error) {
	if _, _, err := sides(lr); err != nil {
		return llm.LowRank{}, err
	}
	const rounds = 4 // rounding can move a value across one of the rules' edges; it doesn't go on doing so
	for range rounds {
		if isCanonical(lr) {
			break
		}
		terms, err := terms(lr)
		if err != nil {
			return llm.LowRank{}, err
		}
		order(terms)
		if lr, err = rounded(terms, lr); err != nil {
			return llm.LowRank{}, err
		}
	}
	lr.Seed = nil
	return lr, nil
}

// sides returns out and in of an update, and an error when its factors don't make a matrix of finite numbers.
func sides(lr llm.LowRank) (out, in int, err error) {
	if lr.Rank < 1 || len(lr.A)%lr.Rank != 0 || len(lr.B)%lr.Rank != 0 || len(lr.A) == 0 || len(lr.B) == 0 {
		return 0, 0, fmt.Errorf("factors of %d and %d values are no update of rank %d", len(lr.B), len(lr.A), lr.Rank)
	}
	for name, values := range map[string][]float32{"A": lr.A, "B": lr.B} {
		if err := notFinite(values); err != nil {
			return 0, 0, fmt.Errorf("factor %s: %w", name, err)
		}
	}
	return len(lr.B) / lr.Rank, len(lr.A) / lr.Rank, nil
}

// terms computes the singular value decomposition of an update from its factors.
func terms(lr llm.LowRank) ([]component, error) {
	out, in := len(lr.B)/lr.Rank, len(lr.A)/lr.Rank
	b, at := mat.NewDense(out, lr.Rank, nil), mat.NewDense(in, lr.Rank, nil)
	for k := range lr.Rank {
		for i := range out {
			b.Set(i, k, float64(lr.B[i*lr.Rank+k]))
		}
		for j, x := range lr.A[k*in : (k+1)*in] {
			at.Set(j, k, float64(x))
		}
	}
	q1, r1 := thin(b)
	q2, r2 := thin(at)
	const epsilon = 0x1p-52
	cut := epsilon * float64(max(out, in)) * mat.Norm(r1, 2) * mat.Norm(r2, 2)
	return components(q1, product(r1, r2.T()), q2, cut)
}

// order fixes what the decomposition leaves open: signs, and the rotation among terms of one size.
func order(terms []component) {
	for first, next := range ties(terms) {
		if next == first+1 {
			if x := largest(terms[first].b); x < 0 {
				negate(terms[first].b)
				negate(terms[first].a)
			}
			continue
		}
		rotate(terms[first:next])
	}
}

// ties yields the groups [first, next) of terms that count as equal in size.
func ties(terms []component) func(yield func(first, next int) bool) {
	return func(yield func(int, int) bool) {
		for first := 0; first < len(terms); {
			size := dot(terms[first].b, terms[first].b)
			next := first + 1
			for next < len(terms) && dot(terms[next].b, terms[next].b) >= size*(1-tiedWithin) {
				next++
			}
			if !yield(first, next) {
				return
			}
			first = next
		}
	}
}

// largest returns the element of largest magnitude, the first of those that are within rounding.
func largest(x []float64) float64 {
	top := 0.0
	for _, y := range x {
		top = max(top, math.Abs(y))
	}
	i := slices.IndexFunc(x, func(y float64) bool { return math.Abs(y) >= top*(1-rotatedWithin) })
	return x[i]
}

func negate(x []float64) {
	for i := range x {
		x[i] = -x[i]
	}
}

// rotate turns terms of one size so that b is lower triangular, with a positive diagonal, on the rows where what is
// left of it is largest. It returns how far the rotation is from none.
func rotate(terms []component) (moved float64) {
	k := len(terms)
	turn := mat.NewDense(k, k, nil) // rows: the given terms in the turned ones
	for i := range k {
		turn.Set(i, i, 1)
	}
	for t := range k {
		p := pivot(terms[t:])
		for j := k - 1; j > t; j-- {
			givens(terms, turn, t, j, terms[t].b[p], terms[j].b[p])
		}
		if terms[t].b[p] < 0 {
			negate(terms[t].b)
			negate(terms[t].a)
			for i := range k {
				turn.Set(i, t, -turn.At(i, t))
			}
		}
	}
	for i := range k {
		for j := range k {
			want := 0.0
			if i == j {
				want = 1
			}
			moved = max(moved, math.Abs(turn.At(i, j)-want))
		}
	}
	return moved
}

// givens turns terms t and j so that the second of x, y becomes zero and the first positive.
func givens(terms []component, turn *mat.Dense, t, j int, x, y float64) {
	h := math.Hypot(x, y)
	if h == 0 || y == 0 {
		return
	}
	c, s := x/h, y/h
	mix := func(p, q *float64) { *p, *q = c**p+s**q, c**q-s**p }
	for i := range terms[t].b {
		mix(&terms[t].b[i], &terms[j].b[i])
	}
	for i := range terms[t].a {
		mix(&terms[t].a[i], &terms[j].a[i])
	}
	for i := range len(terms) {
		p, q := turn.At(i, t), turn.At(i, j)
		mix(&p, &q)
		turn.Set(i, t, p)
		turn.Set(i, j, q)
	}
}

// pivot is the row in which terms are largest together, the first of those that are within rounding.
func pivot(terms []component) int {
	norm := func(row int) float64 {
		var s float64
		for _, c := range terms {
			s += c.b[row] * c.b[row]
		}
		return s
	}
	top := 0.0
	for row := range terms[0].b {
		top = max(top, norm(row))
	}
	for row := range terms[0].b {
		if norm(row) >= top*(1-rotatedWithin) {
			return row
		}
	}
	return 0
}

// rounded puts terms into the shape of an update's factors.
func rounded(terms []component, like llm.LowRank) (llm.LowRank, error) {
	out := llm.LowRank{Rank: like.Rank, A: make([]float32, len(like.A)), B: make([]float32, len(like.B))}
	in := len(like.A) / like.Rank
	for k, c := range terms {
		for i, x := range c.b {
			out.B[i*like.Rank+k] = float32(x)
		}
		for j, x := range c.a {
			out.A[k*in+j] = float32(x)
		}
	}
	_, _, err := sides(out)
	return out, err
}

// isCanonical tells whether factors are canonical up to rounding.
func isCanonical(lr llm.LowRank) bool {
	out, in := len(lr.B)/lr.Rank, len(lr.A)/lr.Rank
	all := make([]component, lr.Rank)
	used := 0
	for k := range all {
		all[k] = component{make([]float64, out), make([]float64, in)}
		for i := range out {
			all[k].b[i] = float64(lr.B[i*lr.Rank+k])
		}
		for j, x := range lr.A[k*in : (k+1)*in] {
			all[k].a[j] = float64(x)
		}
		b, a := dot(all[k].b, all[k].b), dot(all[k].a, all[k].a)
		switch {
		case b == 0 && a == 0:
		case used < k || math.Abs(b-a) > canonicalWithin*max(a, b): // a zero before it, or unbalanced
			return false
		default:
			used = k + 1
		}
	}
	all = all[:used]
	for k, c := range all {
		for _, d := range all[:k] {
			size := math.Sqrt(dot(c.b, c.b) * dot(d.b, d.b))
			if math.Abs(dot(c.b, d.b)) > canonicalWithin*size || math.Abs(dot(c.a, d.a)) > canonicalWithin*size {
				return false
			}
		}
		if k > 0 && dot(c.b, c.b) > dot(all[k-1].b, all[k-1].b)*(1+canonicalWithin) {
			return false
		}
	}
	for first, next := range ties(all) {
		if next == first+1 && largest(all[first].b) < 0 || next > first+1 && rotate(all[first:next]) > rotatedWithin {
			return false
		}
	}
	return true
}
