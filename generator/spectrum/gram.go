package spectrum

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"sync"
	"sync/atomic"

	"d2nwg/llm"
	"d2nwg/safetensors"
)

// square is a symmetric matrix in full storage. Rows and columns from n to
// stride are zeros.
type square struct {
	n, stride int // stride: n padded to a multiple of lane
	a         []float64
}

func newSquare(n int) *square {
	stride := pad(n)
	return &square{n: n, stride: stride, a: make([]float64, stride*stride)}
}

func pad(n int) int { return (n + lane - 1) / lane * lane }

// panelLen is how many elements of the long side are multiplied at once.
const panelLen = 512

// matrix is a stored weight matrix, read in pieces.
type matrix struct {
	name       string
	rows, cols int
	dtype      safetensors.DType
	raw        []byte
	size       int // bytes an element
}

func open(c *llm.Checkpoint, name string) (*matrix, error) {
	t, ok := c.Tensor(name)
	if !ok {
		return nil, fmt.Errorf("checkpoint %s has no tensor %q", c.Dir, name)
	}
	raw, err := c.Bytes(name)
	if err != nil {
		return nil, err
	}
	bits, _ := t.DType.Bits()
	return &matrix{name: name, rows: t.Shape[0], cols: t.Shape[1], dtype: t.DType, raw: raw, size: bits / 8}, nil
}

// read decodes len(dst) elements of a row from a column on.
func (m *matrix) read(dst []float32, row, col int) error {
	at := (row*m.cols + col) * m.size
	if err := safetensors.Decode(dst, m.dtype, m.raw[at:at+len(dst)*m.size]); err != nil {
		return fmt.Errorf("tensor %q: %w", m.name, err)
	}
	for i, x := range dst {
		if x-x != 0 { // NaN or infinite
			return fmt.Errorf("tensor %q has the value %v at [%d, %d]: it has no spectrum", m.name, x, row, col+i)
		}
	}
	return nil
}

// gram returns the product of the matrix with its transpose along the longer
// side, (n, n) with n the shorter one. Its eigenvalues are the squares of the
// matrix's singular values.
func gram(ctx context.Context, m *matrix, k kernels) (*square, error) {
	n, long := min(m.rows, m.cols), max(m.rows, m.cols)
	g := newSquare(n)
	panel := make([]float64, g.stride*panelLen) // (n, panelLen), rows padded
	fill := m.wide
	if m.rows > m.cols {
		fill = m.tall
	}
	for first := 0; first < long; first += panelLen {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		length := min(panelLen, long-first)
		if length < panelLen {
			clear(panel)
		}
		if err := fill(panel, first, length); err != nil {
			return nil, err
		}
		g.add(k, panel, panel, panelLen, 1, 0)
	}
	g.mirror(0)
	return g, nil
}

// packed is where element t of row i stands among rows of k elements packed for
// kernels.tile: by fours of rows, 8 elements of each in turn.
func packed(i, t, k int) int { return i/4*4*k + t/lane*quad + i%4*lane + t%lane }

// wide fills the panel (rows, panelLen), packed, with columns first … of every row.
func (m *matrix) wide(panel []float64, first, length int) error {
	return parallelErr(m.rows, func(lo, hi int) error {
		var buf [panelLen]float32
		for i := lo; i < hi; i++ {
			if err := m.read(buf[:length], i, first); err != nil {
				return err
			}
			for j, x := range buf[:length] {
				panel[packed(i, j, panelLen)] = float64(x)
			}
		}
		return nil
	})
}

// tall fills the panel (cols, panelLen), packed, with rows first …, transposed, lane rows
// at a time so that whole cache lines are written.
func (m *matrix) tall(panel []float64, first, length int) error {
	return parallelErr((length+lane-1)/lane, func(lo, hi int) error {
		buf := make([]float32, lane*m.cols) // (lane, cols)
		for b := lo; b < hi; b++ {
			count := min(lane, length-b*lane)
			clear(buf)
			for i := range count {
				if err := m.read(buf[i*m.cols:(i+1)*m.cols], first+b*lane+i, 0); err != nil {
					return err
				}
			}
			for j := range m.cols {
				out := panel[packed(j, b*lane, panelLen):][:lane]
				for i := range out {
					out[i] = float64(buf[i*m.cols+j])
				}
			}
		}
		return nil
	})
}

// blockRows is how many rows of a product one worker takes at a time.
const blockRows = 64

// add adds scale·p·qᵀ, which must be symmetric, to the tiles on and below the
// diagonal of rows and columns from first on. p and q are (stride, k), packed.
func (g *square) add(kern kernels, p, q []float64, k int, scale float64, first int) {
	from := first / lane * lane
	blocks := (g.stride - from + blockRows - 1) / blockRows
	var next atomic.Int64
	parallel(runtime.GOMAXPROCS(0), func(int, int) {
		var c [16]float64
		for {
			// The last block has the longest rows: begin with it.
			b := blocks - int(next.Add(1))
			if b < 0 {
				return
			}
			top := from + b*blockRows
			end := min(top+blockRows, g.stride)
			for j := from; j < end; j += 4 {
				for i := max(top, j); i < end; i += 4 {
					kern.tile(&c, p[i*k:(i+4)*k], q[j*k:(j+4)*k])
					for r := range 4 {
						row := g.a[(i+r)*g.stride+j:][:4]
						for s := range row {
							row[s] += scale * c[4*r+s]
						}
					}
				}
			}
		}
	})
}

// mirror copies what is below the diagonal above it, from row and column first
// on, in blocks that stay in the cache.
func (g *square) mirror(first int) {
	const block = 2 * lane
	from := first / lane * lane
	rows := (g.stride - from + block - 1) / block
	parallel(rows, func(lo, hi int) {
		for b := lo; b < hi; b++ {
			top := from + b*block
			bottom := min(top+block, g.stride)
			for left := top; left < g.stride; left += block {
				for i := top; i < bottom; i++ {
					row := g.a[i*g.stride:][:g.stride]
					for j := max(left, i+1); j < min(left+block, g.stride); j++ {
						row[j] = g.a[j*g.stride+i]
					}
				}
			}
		}
	})
}

// parallel splits 0 … n among the processors.
func parallel(n int, f func(lo, hi int)) {
	_ = parallelErr(n, func(lo, hi int) error { f(lo, hi); return nil })
}

// parallelErr is parallel with the error of the lowest part that failed.
func parallelErr(n int, f func(lo, hi int) error) error {
	workers := min(runtime.GOMAXPROCS(0), n)
	if workers <= 1 {
		return f(0, n)
	}
	errs := make([]error, workers)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() { errs[w] = f(n*w/workers, n*(w+1)/workers) })
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// squareRoots turns eigenvalues of the Gram matrix into singular values; the
// negative ones are zeros that rounding pushed below.
func squareRoots(eigenvalues []float64) {
	for i, x := range eigenvalues {
		eigenvalues[i] = math.Sqrt(max(0, x))
	}
}
