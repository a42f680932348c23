package lora

import (
	"errors"
	"math"

	"gonum.org/v1/gonum/blas/blas64"
	"gonum.org/v1/gonum/lapack/lapack64"
	"gonum.org/v1/gonum/mat"
)

// thin returns m (n, k) as q·r with orthonormal columns in q (n, min(n, k)) and r (min(n, k), k). It destroys m. A wide
// m is its own r.
func thin(m *mat.Dense) (q, r *mat.Dense) {
	n, k := m.Dims()
	if n <= k {
		q = mat.NewDense(n, n, nil)
		for i := range n {
			q.Set(i, i, 1)
		}
		return q, m
	}
	raw := m.RawMatrix()
	tau := make([]float64, k)
	work := make([]float64, 1)
	lapack64.Geqrf(raw, tau, work, -1)
	work = make([]float64, max(int(work[0]), n))
	lapack64.Geqrf(raw, tau, work, len(work))
	r = mat.NewDense(k, k, nil)
	for i := range k {
		for j := i; j < k; j++ {
			r.Set(i, j, m.At(i, j))
		}
	}
	lapack64.Orgqr(raw, tau, work, len(work))
	return m, r
}

// decompose returns the singular values of m in falling order and the vectors that belong to them, as columns.
func decompose(m *mat.Dense) (u *mat.Dense, s []float64, v *mat.Dense, err error) {
	var svd mat.SVD
	if !svd.Factorize(m, mat.SVDThin) {
		return nil, nil, nil, errors.New("the singular values don't converge")
	}
	u, v = new(mat.Dense), new(mat.Dense)
	svd.UTo(u)
	svd.VTo(v)
	return u, svd.Values(nil), v, nil
}

// component is one term b·aᵀ of an update; b (out) and a (in) have the same length.
type component struct{ b, a []float64 }

// components returns the update q1·m·q2ᵀ as balanced terms in order of falling size; a q that is nil is left out, and
// so are terms of size cut and below.
func components(q1, m, q2 *mat.Dense, cut float64) ([]component, error) {
	u, s, v, err := decompose(m)
	if err != nil {
		return nil, err
	}
	if q1 != nil {
		u = product(q1, u)
	}
	if q2 != nil {
		v = product(q2, v)
	}
	var out []component
	for i, size := range s {
		if size <= cut || size == 0 {
			break
		}
		c := component{mat.Col(nil, i, u), mat.Col(nil, i, v)}
		blas64.Scal(math.Sqrt(size), blas64.Vector{N: len(c.b), Data: c.b, Inc: 1})
		blas64.Scal(math.Sqrt(size), blas64.Vector{N: len(c.a), Data: c.a, Inc: 1})
		out = append(out, c)
	}
	return out, nil
}

func product(x, y mat.Matrix) *mat.Dense {
	var out mat.Dense
	out.Mul(x, y)
	return &out
}

func dot(x, y []float64) float64 {
	s := 0.0
	for i, a := range x {
		s += a * y[i]
	}
	return s
}
