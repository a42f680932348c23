package lora

import (
	"context"
	"fmt"
	"hash/fnv"
	"math/rand/v2"

	"d2nwg/llm"
	"d2nwg/safetensors"

	"gonum.org/v1/gonum/mat"
)

// Up to this side the whole decomposition is quick.
const smallSide = 128

// Subspace iteration: how many more directions than the rank are followed, when they count as found, and how often
// they are followed at most. Each pass multiplies a direction's share by the square of its singular value.
const (
	moreDirections = 16
	foundWithin    = 1e-9 // of the squared norm, from one pass to the next
	maxPasses      = 10
)

// blockElements is how much of a difference is held at once.
const blockElements = 1 << 20

// change is the difference of one tensor between two checkpoints, read in blocks of rows.
type change struct {
	name       string
	rows, cols int
	from, to   stream
}

// stream is a stored tensor.
type stream struct {
	raw   []byte
	dtype safetensors.DType
	width int // bytes an element
}

func newChange(base, tuned *llm.Checkpoint, t llm.NamedShape) (*change, error) {
	d := &change{name: t.Name, rows: t.Shape[0], cols: 1}
	if len(t.Shape) == 2 {
		d.cols = t.Shape[1]
	}
	for _, x := range []struct {
		c *llm.Checkpoint
		s *stream
	}{{base, &d.from}, {tuned, &d.to}} {
		info, ok := x.c.Tensor(t.Name)
		if !ok {
			return nil, fmt.Errorf("%s lacks it", x.c.Dir)
		}
		raw, err := x.c.Bytes(t.Name)
		if err != nil {
			return nil, err
		}
		bits, _ := info.DType.Bits()
		*x.s = stream{raw, info.DType, bits / 8}
	}
	return d, nil
}

// read decodes elements from first on.
func (s stream) read(dst []float32, first int) error {
	return safetensors.Decode(dst, s.dtype, s.raw[first*s.width:(first+len(dst))*s.width])
}

// blocks calls f with the difference, whole rows at a time.
func (d *change) blocks(f func(block []float64) error) error {
	rows := max(1, blockElements/d.cols)
	n := min(rows, d.rows) * d.cols
	from, to, block := make([]float32, n), make([]float32, n), make([]float64, n)
	for first := 0; first < d.rows*d.cols; first += n {
		n = min(n, d.rows*d.cols-first)
		if err := d.from.read(from[:n], first); err != nil {
			return err
		}
		if err := d.to.read(to[:n], first); err != nil {
			return err
		}
		for i := range block[:n] {
			block[i] = float64(to[i]) - float64(from[i])
		}
		if err := f(block[:n]); err != nil {
			return err
		}
	}
	return nil
}

// nearest is the update of a rank nearest to the difference.
func (d *change) nearest(ctx context.Context, rank int) (llm.LowRank, error) {
	if err := ctx.Err(); err != nil {
		return llm.LowRank{}, err
	}
	find := d.iterate
	if min(d.rows, d.cols) <= max(smallSide, rank+moreDirections) {
		find = d.whole
	}
	terms, err := find(ctx, rank)
	if err != nil {
		return llm.LowRank{}, err
	}
	order(terms)
	like := llm.LowRank{Rank: rank, A: make([]float32, rank*d.cols), B: make([]float32, d.rows*rank)}
	return rounded(terms[:min(rank, len(terms))], like)
}

// whole decomposes the difference at once.
func (d *change) whole(context.Context, int) ([]component, error) {
	values := make([]float64, 0, d.rows*d.cols)
	err := d.blocks(func(block []float64) error {
		values = append(values, block...)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return components(nil, mat.NewDense(d.rows, d.cols, values), nil, 0)
}

// iterate follows the difference's leading directions: a random subspace is multiplied by DᵀD and made orthonormal
// until what D keeps of it grows no more. D is read once a pass.
func (d *change) iterate(ctx context.Context, rank int) ([]component, error) {
	hash := fnv.New64a()
	hash.Write([]byte(d.name))
	random := rand.New(rand.NewPCG(hash.Sum64(), 1))
	width := rank + moreDirections
	q := mat.NewDense(d.cols, width, nil) // (cols, width)
	for i := range q.RawMatrix().Data {
		q.RawMatrix().Data[i] = random.NormFloat64()
	}
	q, _ = thin(q)
	energy := 0.0
	for pass := 1; ; pass++ {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		y, z, err := d.multiply(q) // (rows, width), (cols, width)
		if err != nil {
			return nil, err
		}
		before := energy
		energy = dot(y.RawMatrix().Data, y.RawMatrix().Data)
		if energy-before <= foundWithin*energy || pass == maxPasses {
			u, r := thin(y)
			return components(u, r, q, 0)
		}
		q, _ = thin(z)
	}
}

// multiply returns D·q and Dᵀ·D·q.
func (d *change) multiply(q *mat.Dense) (y, z *mat.Dense, err error) {
	_, width := q.Dims()
	y, z = mat.NewDense(d.rows, width, nil), mat.NewDense(d.cols, width, nil)
	var part mat.Dense
	row := 0
	err = d.blocks(func(block []float64) error {
		n := len(block) / d.cols
		b := mat.NewDense(n, d.cols, block)
		out := y.Slice(row, row+n, 0, width).(*mat.Dense)
		out.Mul(b, q)
		part.Reset()
		part.Mul(b.T(), out)
		z.Add(z, &part)
		row += n
		return nil
	})
	return y, z, err
}
