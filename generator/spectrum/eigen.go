package spectrum

import (
	"context"
	"errors"
	"fmt"
	"math"

	"gonum.org/v1/gonum/lapack/gonum"
	"gonum.org/v1/gonum/mat"

	"d2nwg/llm"
)

// Up to these limits the plain SVD of the whole matrix is fast and small enough.
// It spares the Gram matrix, whose eigenvalues are exact to about 1e-15 of the
// largest, so that singular values below 3e-8 of the largest are lost in it.
const (
	smallSide     = 128
	smallElements = 1 << 20
)

// singularValues returns the min(out, in) singular values of a layer's matrix.
func singularValues(ctx context.Context, c *llm.Checkpoint, l Layer) ([]float64, error) {
	m, err := open(c, l.Tensor)
	if err != nil {
		return nil, err
	}
	if min(m.rows, m.cols) <= smallSide && m.rows*m.cols <= smallElements {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		return direct(m)
	}
	return throughGram(ctx, m, bestKernels())
}

// direct is gonum's SVD, values only, of the whole matrix in memory.
func direct(m *matrix) ([]float64, error) {
	dense := mat.NewDense(m.rows, m.cols, nil)
	row := make([]float32, m.cols)
	for i := range m.rows {
		if err := m.read(row, i, 0); err != nil {
			return nil, err
		}
		for j, x := range row {
			dense.Set(i, j, float64(x))
		}
	}
	var svd mat.SVD
	if !svd.Factorize(dense, mat.SVDNone) {
		return nil, fmt.Errorf("tensor %q: its singular values didn't converge", m.name)
	}
	return svd.Values(nil), nil
}

// throughGram takes the roots of the Gram matrix' eigenvalues.
func throughGram(ctx context.Context, m *matrix, k kernels) ([]float64, error) {
	g, err := gram(ctx, m, k)
	if err != nil {
		return nil, err
	}
	values, err := eigenvalues(ctx, g, k)
	if err != nil {
		return nil, fmt.Errorf("tensor %q: %w", m.name, err)
	}
	squareRoots(values)
	return values, nil
}

// eigenvalues destroys g.
func eigenvalues(ctx context.Context, g *square, k kernels) ([]float64, error) {
	d, e, err := tridiagonalize(ctx, g, k)
	if err != nil {
		return nil, err
	}
	if !(gonum.Implementation{}).Dsterf(len(d), d, e) {
		return nil, errors.New("its eigenvalues didn't converge")
	}
	return d, nil
}

// panelCols is how many columns are reduced before the rest of the matrix is
// updated at once.
const panelCols = 64

const width = 2 * panelCols

// reduction is the state of a blocked Householder tridiagonalization, LAPACK's
// dsytrd/dlatrd, on the upper half: A ← A − V·Wᵀ − W·Vᵀ is put off until a panel is full.
type reduction struct {
	*square
	k    kernels
	vw   []float64 // (stride, width): rows [V | W]
	wv   []float64 // (stride, width): rows [W | V]
	vwT  []float64 // (width, stride): [V | W] transposed
	x    []float64 // (stride) the Householder vector, zeros up to its place
	p    []float64 // (stride) A·x, then w
	cols int       // columns in the panel
}

// tridiagonalize returns the diagonal and subdiagonal of a tridiagonal matrix
// with g's eigenvalues. It destroys g.
func tridiagonalize(ctx context.Context, g *square, k kernels) (d, e []float64, err error) {
	n := g.n
	d, e = make([]float64, n), make([]float64, max(0, n-1))
	r := &reduction{square: g, k: k,
		vw: make([]float64, g.stride*width), wv: make([]float64, g.stride*width),
		vwT: make([]float64, width*g.stride),
		x:   make([]float64, g.stride), p: make([]float64, g.stride)}
	for j := range n {
		r.refreshRow(j)
		d[j] = r.a[j*r.stride+j]
		if j == n-1 {
			break
		}
		e[j] = r.reflect(j)
		if r.cols == panelCols {
			if err := r.flush(ctx, j+1); err != nil {
				return nil, nil, err
			}
		}
	}
	return d, e, nil
}

// refreshRow applies the panel so far to row j from the diagonal on.
func (r *reduction) refreshRow(j int) {
	row := r.a[j*r.stride:][:r.stride]
	r.panelDots(r.wv, r.vw[j*width:][:width], j, func(i int, s float64) { row[i] -= s })
}

// panelDots calls f with the product of each row of a (stride, width) with v,
// for rows from about first on.
func (r *reduction) panelDots(a, v []float64, first int, f func(i int, s float64)) {
	var out, more [4]float64
	used := pad(r.cols)
	if used == 0 {
		return
	}
	for i := first / 4 * 4; i < r.stride; i += 4 {
		rows := a[i*width:]
		r.k.rows4(&out, rows, width, v[:used])
		r.k.rows4(&more, rows[panelCols:], width, v[panelCols:panelCols+used])
		for t := range out {
			f(i+t, out[t]+more[t])
		}
	}
}

// reflect annihilates row j beyond the subdiagonal by a Householder reflection
// H = 1 − τ·x·xᵀ and adds its column to the panel. It returns the subdiagonal.
func (r *reduction) reflect(j int) float64 {
	row := r.a[j*r.stride:][:r.n]
	head, tail := row[j+1], row[j+2:]
	norm := norm2(tail)
	if norm == 0 {
		return head // nothing to annihilate: H = 1
	}
	beta := -math.Copysign(math.Hypot(head, norm), head)
	tau := (beta - head) / beta
	clear(r.x[:j+1])
	r.x[j+1] = 1
	for i, y := range tail {
		r.x[j+2+i] = y / (head - beta)
	}
	r.multiply(j + 1)
	r.column(j+1, tau)
	return beta
}

// norm2 is the Euclidean norm, scaled against overflow and underflow.
func norm2(x []float64) float64 {
	var largest float64
	for _, y := range x {
		largest = max(largest, math.Abs(y))
	}
	if largest == 0 {
		return 0
	}
	var s float64
	for _, y := range x {
		s += (y / largest) * (y / largest)
	}
	return largest * math.Sqrt(s)
}

// multiply sets p = A·x for rows from first on; x is zero before first.
func (r *reduction) multiply(first int) {
	from := first / lane * lane
	clear(r.p[from:])
	var out [4]float64
	for i := from; i < r.stride; i += lane {
		next := i + lane
		for q := i; q < next; q += 4 {
			r.k.symv4(&out, r.a[q*r.stride+next:], r.stride, r.x[next:], r.p[next:], (*[4]float64)(r.x[q:]))
			for t, s := range out {
				r.p[q+t] += s
			}
		}
		for s := i; s < next; s++ { // the diagonal block has both halves
			row := r.a[s*r.stride+i:][:lane]
			for t, x := range r.x[i:next] {
				r.p[s] += row[t] * x
			}
		}
	}
}

// column finishes w = τ·(A·x − V·(Wᵀx) − W·(Vᵀx)), w ← w − ½τ(wᵀx)·x, and puts
// x and w into the panel.
func (r *reduction) column(first int, tau float64) {
	var s [width]float64 // [Vᵀx | Wᵀx]
	from := first / lane * lane
	x := r.x[from:]
	for c := 0; c < pad(r.cols); c += 4 {
		for _, at := range []int{c, panelCols + c} {
			r.k.rows4((*[4]float64)(s[at:]), r.vwT[at*r.stride+from:], r.stride, x)
		}
	}
	r.panelDots(r.wv, s[:], first, func(i int, y float64) { r.p[i] -= y })
	var dot float64
	for i := first; i < r.n; i++ {
		r.p[i] *= tau
		dot += r.p[i] * r.x[i]
	}
	half := tau * dot / 2
	for i := first; i < r.n; i++ {
		x := r.x[i]
		w := r.p[i] - half*x
		at := i*width + r.cols
		r.vw[at], r.vw[at+panelCols] = x, w
		r.wv[at], r.wv[at+panelCols] = w, x
		r.vwT[r.cols*r.stride+i], r.vwT[(panelCols+r.cols)*r.stride+i] = x, w
	}
	r.cols++
}

// flush applies the full panel to the rows and columns from first on.
func (r *reduction) flush(ctx context.Context, first int) error {
	if err := r.add(ctx, r.k, packRows(r.vw), packRows(r.wv), width, -1, first); err != nil {
		return err
	}
	clear(r.vw)
	clear(r.wv)
	clear(r.vwT)
	r.cols = 0
	return nil
}

// packRows packs rows of width elements for kernels.tile.
func packRows(rows []float64) []float64 {
	out := make([]float64, len(rows))
	for i := range len(rows) / width {
		for t := 0; t < width; t += lane {
			copy(out[packed(i, t, width):][:lane], rows[i*width+t:])
		}
	}
	return out
}
