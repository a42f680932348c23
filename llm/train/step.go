package train

import (
	"fmt"
	"math"

	gomlx "github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/graph"

	"d2nwg/llm"
	"d2nwg/llm/pack"
)

// inputs are the parameters of a graph that carry a batch. M = rows·length.
type inputs struct {
	rows, length int
	ids, targets *node // (M) int32
	weights      *node // (M)
	cos, sin     *node // (M, headDim/2) of the rotary embedding at every position
	segments     *node // (rows, length) int32
}

// newInputs declares the batch's parameters, in the order in which hostBatch lists its arrays.
func newInputs(g *graph.Graph, cfg llm.Config, rows, length int) inputs {
	m := rows * length
	return inputs{
		rows: rows, length: length,
		ids:      graph.Parameter(g, "ids", shapes.Make(dtypes.Int32, m)),
		targets:  graph.Parameter(g, "targets", shapes.Make(dtypes.Int32, m)),
		weights:  graph.Parameter(g, "weights", shapes.Make(dtypes.Float32, m)),
		cos:      graph.Parameter(g, "cos", shapes.Make(dtypes.Float32, m, cfg.HeadDim/2)),
		sin:      graph.Parameter(g, "sin", shapes.Make(dtypes.Float32, m, cfg.HeadDim/2)),
		segments: graph.Parameter(g, "segments", shapes.Make(dtypes.Int32, rows, length)),
	}
}

// array is a flat slice with its shape, on its way to the backend.
type array struct {
	flat  any
	shape shapes.Shape
}

func floats(flat []float32, dims ...int) array {
	return array{flat, shapes.Make(dtypes.Float32, dims...)}
}
func ints(flat []int32, dims ...int) array { return array{flat, shapes.Make(dtypes.Int32, dims...)} }

// upload copies arrays into buffers of the backend.
func upload(b gomlx.Backend, arrays []array) ([]gomlx.Buffer, error) {
	var buffers []gomlx.Buffer
	for _, a := range arrays {
		buf, err := b.BufferFromFlatData(0, a.flat, a.shape)
		if err != nil {
			release(buffers)
			return nil, fmt.Errorf("train: hand an array of shape %v to the backend: %w", a.shape, err)
		}
		buffers = append(buffers, buf)
	}
	return buffers, nil
}

// release gives buffers back to their backend. A failure only delays that until the garbage collector comes, so it is no error.
func release(buffers []gomlx.Buffer) {
	for _, b := range buffers {
		if b != nil {
			_ = b.Finalize()
		}
	}
}

// download copies a float32 buffer of n values to the host.
func download(b gomlx.Buffer, n int) ([]float32, error) {
	flat := make([]float32, n)
	if err := b.ToFlatData(flat); err != nil {
		return nil, fmt.Errorf("train: read %d values back from the backend: %w", n, err)
	}
	return flat, nil
}

// feeder turns batches into arrays. It remembers the angles of the positions it has met.
type feeder struct {
	cfg     llm.Config
	inverse []float64
	table   [][]float32 // by position: headDim/2 cosines, then as many sines
}

func newFeeder(cfg llm.Config) *feeder { return &feeder{cfg: cfg, inverse: cfg.InverseFrequencies()} }

// maxPosition bounds the table of angles; no batch that fits in memory reaches it.
const maxPosition = 1 << 22

// arrays lists the arrays of one batch made of the groups' batches behind one another, in newInputs' order.
func (f *feeder) arrays(batches []*pack.Batch, step int) ([]array, error) {
	first := batches[0]
	half := f.cfg.HeadDim / 2
	m := first.Rows * first.Len
	total := m * len(batches)
	ids, targets, segments := make([]int32, 0, total), make([]int32, 0, total), make([]int32, 0, total)
	weights := make([]float32, 0, total)
	cos, sin := make([]float32, 0, total*half), make([]float32, 0, total*half)
	for g, b := range batches {
		if b.Rows != first.Rows || b.Len != first.Len {
			return nil, fmt.Errorf("train: step %d: batch of group %d is %d×%d, the others are %d×%d; give all one shape", step, g, b.Rows, b.Len, first.Rows, first.Len)
		}
		if err := f.check(b); err != nil {
			return nil, fmt.Errorf("train: step %d, group %d: %w", step, g, err)
		}
		ids, targets = append(ids, b.IDs...), append(targets, b.Targets...)
		segments, weights = append(segments, b.Segments...), append(weights, b.Weights...)
		for _, p := range b.Positions {
			angles := f.angles(int(p))
			cos, sin = append(cos, angles[:half]...), append(sin, angles[half:]...)
		}
	}
	rows := first.Rows * len(batches)
	return []array{
		ints(ids, total), ints(targets, total), floats(weights, total),
		floats(cos, total, half), floats(sin, total, half), ints(segments, rows, first.Len),
	}, nil
}

// check refuses values that the graph would silently compute nonsense from.
func (f *feeder) check(b *pack.Batch) error {
	m := b.Rows * b.Len
	if m == 0 || len(b.IDs) != m || len(b.Targets) != m || len(b.Positions) != m || len(b.Segments) != m || len(b.Weights) != m {
		return fmt.Errorf("the batch's arrays don't hold %d×%d values each", b.Rows, b.Len)
	}
	vocab := int32(f.cfg.VocabSize)
	for i := range m {
		if b.IDs[i] < 0 || b.IDs[i] >= vocab || b.Targets[i] < 0 || b.Targets[i] >= vocab {
			return fmt.Errorf("token %d or target %d is outside the vocabulary of %d", b.IDs[i], b.Targets[i], vocab)
		}
		if b.Positions[i] < 0 || b.Positions[i] > maxPosition {
			return fmt.Errorf("position %d is out of range", b.Positions[i])
		}
		if w := b.Weights[i]; !(w >= 0) || math.IsInf(float64(w), 0) {
			return fmt.Errorf("loss weight %v is not a number from 0", w)
		}
	}
	return nil
}

// angles returns cos and sin at a position.
func (f *feeder) angles(position int) []float32 {
	for len(f.table) <= position {
		p := float64(len(f.table))
		half := len(f.inverse)
		row := make([]float32, 2*half)
		for i, inv := range f.inverse {
			s, c := math.Sincos(p * inv)
			row[i], row[half+i] = float32(c), float32(s)
		}
		f.table = append(f.table, row)
	}
	return f.table[position]
}
