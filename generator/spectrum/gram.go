package spectrum

import (
	"context"
	"fmt"
	"math"

	"d2nwg/llm"
	"d2nwg/safetensors"
)

// square is a symmetric matrix of which the upper half is kept: row i from its
// diagonal block of lane columns on. Rows and columns from n to stride are zeros.
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
	panel := make([]float64, g.stride*panelLen) // (n, panelLen), packed
	fill := m.wide
	if m.rows > m.cols {
		fill = m.tall
	}
	for first := 0; first < long; first += panelLen {
		length := min(panelLen, long-first)
		if length < panelLen {
			clear(panel)
		}
		if err := fill(panel, first, length); err != nil {
			return nil, err
		}
		if err := g.add(ctx, k, panel, panel, panelLen, 1, 0); err != nil {
			return nil, err
		}
	}
	return g, nil
}

// packed is where element t of row i stands among rows of k elements packed for
// kernels.tile: by fours of rows, 8 elements of each in turn.
func packed(i, t, k int) int { return i/4*4*k + t/lane*quad + i%4*lane + t%lane }

// wide fills the panel (rows, panelLen), packed, with columns first … of every
// row.
func (m *matrix) wide(panel []float64, first, length int) error {
	var buf [panelLen]float32
	for i := range m.rows {
		if err := m.read(buf[:length], i, first); err != nil {
			return err
		}
		for j, x := range buf[:length] {
			panel[packed(i, j, panelLen)] = float64(x)
		}
	}
	return nil
}

// tall fills the panel (cols, panelLen), packed, with rows first …, transposed,
// lane rows at a time so that whole cache lines are written.
func (m *matrix) tall(panel []float64, first, length int) error {
	buf := make([]float32, lane*m.cols) // (lane, cols)
	for b := 0; b < length; b += lane {
		clear(buf)
		for i := range min(lane, length-b) {
			if err := m.read(buf[i*m.cols:(i+1)*m.cols], first+b+i, 0); err != nil {
				return err
			}
		}
		for j := range m.cols {
			out := panel[packed(j, b, panelLen):][:lane]
			for i := range out {
				out[i] = float64(buf[i*m.cols+j])
			}
		}
	}
	return nil
}

// blockRows is how many rows of a product stay in the cache at a time.
const blockRows = 64

// add adds scale·p·qᵀ, which must be symmetric, to the kept half of rows and
// columns from first on. p and q are (stride, k), packed.
func (g *square) add(ctx context.Context, kern kernels, p, q []float64, k int, scale float64, first int) error {
	var c [16]float64
	for top := first / lane * lane; top < g.stride; top += blockRows {
		if err := ctx.Err(); err != nil {
			return err
		}
		end := min(top+blockRows, g.stride)
		for j := top; j < g.stride; j += 4 {
			for i := top; i < min(end, j/lane*lane+lane); i += 4 {
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
	return nil
}

// squareRoots turns eigenvalues of the Gram matrix into singular values; the
// negative ones are zeros that rounding pushed below.
func squareRoots(eigenvalues []float64) {
	for i, x := range eigenvalues {
		eigenvalues[i] = math.Sqrt(max(0, x))
	}
}
